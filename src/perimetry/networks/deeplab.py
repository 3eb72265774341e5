"""DeepLab of the first version: LargeFOV, its base with other windows, and scores of several scales (Chen 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks.backbones import Backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.segmenter import Segmenter, resize, segmenter_backbone, zoom
from perimetry.networks.vgg_trunk import classifier_head, max_pool, score_layer, start_for_relu, vgg_layers

Window = Literal["3x3", "4x4", "7x7"]
Scales = Literal["one", "several"]

# fc6 by its window: cells a side, dilation, padding, and channels; the padding keeps the size behind the poolings.
_WINDOWS: dict[str, tuple[int, int, int, int]] = {
    "3x3": (3, 12, 12, 1024),
    "4x4": (4, 4, 6, 4096),
    "7x7": (7, 4, 12, 4096),
}
_REACH = 96  # pixels between the taps of LargeFOV's fc6: 12 cells at stride 8
_SIDES = {"data": (3, 1), "pool1": (64, 2), "pool2": (128, 4), "pool3": (256, 8), "pool4": (512, 8)}  # channels, stride
_PARTS = ("conv", "relu_conv", "drop_conv", "fc", "relu_fc", "drop_fc", "ms")


class DeepLab(Segmenter):
    """A trunk whose cells lie on pixels start + 8 k, and scores, upsampled to the image between these pixels.

    Takes images (N, 3, H, W), returns {"out": (N, classes, H, W)}; at the pixels start + 8 k these are the scores that
    the published loss compares with labels shrunk by 8. scales: with "several", the scores of a small head on the image
    and on pool1 to pool4 are added.
    """

    def __init__(
        self, trunk: Mapping[str, nn.Module], *, classes: int, channels: int, start: int, smallest: int, scales: Scales
    ) -> None:
        super().__init__(trunk, smallest=smallest)
        self.deepest, self.start = tuple(trunk)[-1], start
        self.sides = tuple(_SIDES) if scales == "several" else ()
        self.fc8 = score_layer(channels, classes, std=0.01)
        for side in self.sides:
            self.add_layers(_side(side, classes))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the pixels."""
        height, width = images.shape[2:]
        maps = self.maps(images, (self.deepest, *self.sides))
        scores = zoom(self.fc8(maps[self.deepest]), stride=8, start=self.start, height=height, width=width)
        for side in self.sides:
            features = self.through((f"{side}_{part}" for part in _PARTS), images if side == "data" else maps[side])
            scores = scores + zoom(features, stride=_SIDES[side][1], start=0, height=height, width=width)
        return {"out": scores}


class BackboneDeepLab(Segmenter):
    """LargeFOV's head on the deepest map of a backbone, whose scores are resized to the image.

    Takes images (N, 3, H, W), returns {"out": (N, classes, H, W)}.
    """

    def __init__(self, trunk: Backbone, head: Mapping[str, nn.Module], *, classes: int, channels: int) -> None:
        super().__init__(trunk)
        self.deepest = tuple(trunk.channels)[-1]
        self.head = tuple(head)
        self.add_layers(head)
        self.fc8 = score_layer(channels, classes, std=0.01)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the pixels."""
        scores = self.fc8(self.through(self.head, self.maps(images, (self.deepest,))[self.deepest]))
        return {"out": resize(scores, height=images.shape[2], width=images.shape[3])}


def deeplab_largefov(
    *,
    classes: int = 21,
    window: Window = "3x3",
    scales: Scales = "one",
    backbone: str | nn.Module | None = None,
    output_stride: int = 8,
) -> Segmenter:
    """DeepLab-LargeFOV: fc6 reads 3 x 3 cells that lie 12 apart, so that few weights see far, at stride 8.

    window: of fc6, "3x3" as in LargeFOV; "4x4" is the base network of the paper, "7x7" its largest. scales: "several"
    adds scores from the image and from pool1 to pool4 (MSc). backbone: VGG-16 as published where it is None; else a
    name or module for `perimetry.networks.backbone` at `output_stride`, where fc6's taps stay 96 pixels apart. Returns
    a network from (N, 3, H, W) to {"out": (N, classes, H, W)}.

    >>> sum(each.numel() for each in deeplab_largefov().parameters())
    20505429
    """
    for kind, value, known in (("window", window, tuple(_WINDOWS)), ("scales", scales, ("one", "several"))):
        if value not in known:
            raise UnknownNameError(kind, value, known=known, advice=f"one of {', '.join(known)}")
    if backbone is not None:
        if (window, scales) != ("3x3", "one"):
            raise InputError("other windows and scales belong to VGG-16; leave them out, or the backbone")
        found = segmenter_backbone(backbone, output_stride=output_stride)
        head = large_field_head(found)
        return BackboneDeepLab(found, head, classes=classes, channels=1024)
    if output_stride != 8:
        raise InputError(f"VGG-16 has an output stride of 8 here, not {output_stride}; name a backbone for another")
    cells, dilation, padding, channels = _WINDOWS[window]
    large = window == "3x3"
    if large or scales == "several":
        pools: dict[str, nn.Module] = {f"pool{stage}": max_pool(3, 2 if stage < 4 else 1, 1) for stage in range(1, 6)}
    else:  # cells of the third pooling lie at -3.5 + 8 k, those behind the fourth at 0.5 + 8 k
        pools = {f"pool{stage}": max_pool(2, 2, 1) for stage in range(1, 4)}
        pools |= {"pool4": max_pool(2, 1), "pool5": max_pool(3, 1, 1)}
    trunk = vgg_layers(pools=pools, last_dilation=2)
    if large:
        trunk["pool5a"] = nn.AvgPool2d(3, 1, 1)
    trunk |= classifier_head(512, channels, window=cells, dilation=dilation, padding=padding)
    start_for_relu(trunk)
    start = 0 if large or scales == "several" else 1
    return DeepLab(trunk, classes=classes, channels=channels, start=start, smallest=1 + start, scales=scales)


def large_field_head(trunk: Backbone) -> dict[str, nn.Module]:
    """LargeFOV's fc6 and fc7 for the deepest map of a backbone: the taps of fc6 lie 96 pixels apart at any stride."""
    deepest = tuple(trunk.channels)[-1]
    dilation = max(_REACH // trunk.strides[deepest], 1)
    head = classifier_head(trunk.channels[deepest], 1024, window=3, dilation=dilation, padding=dilation)
    start_for_relu(head)
    return head


def _side(side: str, classes: int) -> dict[str, nn.Module]:
    """The two layers and the scores that hang on one scale, with the fillers of the release."""
    first, second = nn.Conv2d(_SIDES[side][0], 128, 3, padding=1), nn.Conv2d(128, 128, 1)
    for layer, std in ((first, 0.001), (second, 0.005 if side == "pool4" else 0.001)):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one
    scores = score_layer(128, classes, std=0.01)
    layers = (first, nn.ReLU(), nn.Dropout(0.5), second, nn.ReLU(), nn.Dropout(0.5), scores)
    return {f"{side}_{part}": layer for part, layer in zip(_PARTS, layers, strict=True)}


_RELEASE = "TheLegendAli/DeepLab-Context, branch different_models"
_BASE = (("window", "4x4"),)
_MSC = (("scales", "several"),)
_PAPER = (
    "Chen, Papandreou, Kokkinos, Murphy, Yuille: Semantic Image Segmentation with Deep Convolutional Nets and Fully "
    "Connected CRFs, ICLR 2015"
)

DEEPLAB_LARGEFOV = Card(
    name="deeplab_largefov",
    title="DeepLab-LargeFOV",
    task="segmentation",
    build=deeplab_largefov,
    image=(321, 321),
    paper=_PAPER,
    definition=f"{_RELEASE} (config/DeepLab*/train.prototxt, test.prototxt)",
    quantities=(
        Quantity("parameters", 20_505_429, f"{_RELEASE}; 20.5 M in the paper"),
        Quantity("parameters", 65_140_565, "65.1 M in the paper", options=_BASE),
        Quantity("parameters", 134_346_581, "134.3 M in the paper", options=(("window", "7x7"),)),
        Quantity("parameters", 21_711_550, f"{_RELEASE}, MSc", options=_MSC),
        *quantities(
            "field", _RELEASE, {"pool3": 51, "pool4": 115, "pool5": 227, "pool5a": 243, "fc6": 435, "fc7": 435}
        ),
        *quantities(
            "field", _RELEASE, {"pool3": 44, "pool5": 212, "fc6": 308, "fc7": 308}, options=_BASE, image=(306, 306)
        ),
        *quantities(
            "stride", _RELEASE, {"pool1": 2, "pool2": 4, "pool3": 8, "pool4": 8, "pool5": 8, "fc7": 8, "fc8": 8}
        ),
        *quantities(
            "map",
            _RELEASE,
            {
                "pool1": (64, 161, 161),
                "pool2": (128, 81, 81),
                "pool3": (256, 41, 41),
                "pool5a": (512, 41, 41),
                "fc6": (1024, 41, 41),
                "fc8": (21, 41, 41),
            },
        ),
        *quantities(
            "map",
            _RELEASE,
            {"pool1": (64, 154, 154), "pool2": (128, 78, 78), "pool3": (256, 40, 40), "fc8": (21, 39, 39)},
            options=_BASE,
            image=(306, 306),
        ),
        *quantities("map", _RELEASE, {"data_ms": (21, 321, 321), "pool4_ms": (21, 41, 41)}, options=_MSC),
        *quantities(
            "setting",
            _RELEASE,
            {
                **{f"pool{stage}.kernel_size": 3 for stage in range(1, 6)},
                **{f"pool{stage}.padding": 1 for stage in range(1, 6)},
                **{f"pool{stage}.stride": 2 if stage < 4 else 1 for stage in range(1, 6)},
                "conv5_3.dilation": (2, 2),
                "fc6.kernel_size": (3, 3),
                "fc6.dilation": (12, 12),
                "fc6.out_channels": 1024,
                "fc7.out_channels": 1024,
                "start": 0,
            },
        ),
        *quantities(
            "setting",
            _RELEASE,
            {
                "fc6.kernel_size": (4, 4),
                "fc6.dilation": (4, 4),
                "fc6.padding": (6, 6),
                "pool5.kernel_size": 3,
                "start": 1,
            },
            options=_BASE,
        ),
        *quantities("initial", _RELEASE, {"fc8.bias": 0.0}),
    ),
    differences=(
        Difference(
            "`out` is the scores upsampled to the image",
            "the release upsamples at test time; at pixels 8 k they are its scores",
        ),
        Difference(
            "The loss takes full masks; `segmentation_losses(every=8)` is the published one, on labels shrunk by 8",
            "one form of outputs for all segmenters; the base network's labels begin at pixel 1, `start=1`",
        ),
        Difference(
            "MSc runs its side heads on every pixel of their maps in training too",
            "as the release does at test time; its training skips pixels between the shrunk labels, same scores there",
        ),
        Difference("MSc's scores of 4 x 4 and 7 x 7 windows lie on 3 x 3 poolings", "so do the release's"),
        Difference("No fully connected CRF", "a step behind the network; the results quoted name it where it was used"),
        Difference(
            "On another backbone fc6's taps stay 96 pixels apart (12 at stride 8, 6 at 16), without pool5a, and scores "
            "are resized to the image",
            "fc6 then adds the same 192 pixels to the field at any output stride",
        ),
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB; the trunk starts from Gaussian weights by fan-in",
            "the release takes BGR values of 0 ... 255 less their means, and a classifier's weights",
        ),
    ),
    results=(
        Result(
            "PASCAL VOC 2012 val: DeepLab, MSc, 7x7, LargeFOV, MSc-LargeFOV",
            "59.80, 61.30, 64.38, 62.25, 64.21",
            _PAPER,
        ),
        Result("the same with CRF", "63.74, 65.21, 67.64, 67.64, 68.70", _PAPER),
        Result("PASCAL VOC 2012 test, with CRF", "66.4, 67.1, 70.3, 70.3, 71.6", _PAPER),
    ),
    unverified=(
        "the poolings of the 7 x 7 network, which no file at hand shows: here as in the 4 x 4 one",
        "the paper's column of fields of view (224, 128, 224, 224) counts fc6 alone, not the network",
        "training: 30 images, learning rate 1e-3 (scores 10 times that), 6000 steps, momentum .9, weight decay 5e-4",
    ),
)
