"""Fully convolutional networks: FCN-32s, FCN-16s, FCN-8s and FCN-AlexNet (Long, Shelhamer, Darrell 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from perimetry.errors import UnknownNameError
from perimetry.networks.backbones import Backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.segmenter import Segmenter, crop, resize, segmenter_backbone
from perimetry.networks.vgg_trunk import classifier_head, score_layer, start_for_relu, vgg_layers
from perimetry.nn import BilinearDeconvolution, LocalResponseNorm

Training = Literal["staged", "at_once"]
_SCALES: dict[str, tuple[float, float]] = {"staged": (1.0, 1.0), "at_once": (0.01, 0.0001)}  # of pool4, of pool3


@dataclass(frozen=True, slots=True)
class Skip:
    """A finer map that is scored too: its name, the name of its scores, its channels, and where it is cropped.

    upscore: the name of the layer that brings the coarser scores to its size; scale: what the map is multiplied with.
    """

    layer: str
    score: str
    channels: int
    offset: int
    upscore: str
    scale: float = 1.0


class Scale(nn.Module):
    """Multiply by a constant: the skips of FCN-8s at once, so that unlike sizes of features do not upset training."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, features: Tensor) -> Tensor:
        """Scale (N, C, H, W)."""
        return features * self.value

    def extra_repr(self) -> str:
        """The constant."""
        return f"{self.value:g}"


class FCN(Segmenter):
    """Scores of a deep layer, deconvolved, added to the cropped scores of finer ones, deconvolved, cropped.

    Takes images (N, 3, H, W), returns {"out": (N, classes, H, W)}. crops: the offsets of the skips, then of the scores.
    """

    def __init__(
        self,
        trunk: Mapping[str, nn.Module],
        *,
        classes: int,
        channels: int,
        skips: tuple[Skip, ...] = (),
        last: tuple[str, int, int],
        offset: int,
    ) -> None:
        super().__init__(trunk)
        self.skips, self.deepest, self.last = skips, tuple(trunk)[-1], last[0]
        self.crops = (*(skip.offset for skip in skips), offset)
        _add_scores(self, classes=classes, channels=channels, skips=skips)
        for skip in skips:
            self.add_module(skip.upscore, BilinearDeconvolution(kernel=4, stride=2))
        self.add_module(last[0], BilinearDeconvolution(kernel=last[1], stride=last[2]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the pixels."""
        maps = self.maps(images, (self.deepest, *(skip.layer for skip in self.skips)))
        scores: Tensor = self.get_submodule("score_fr")(maps[self.deepest])
        for skip in self.skips:
            scores = self.get_submodule(skip.upscore)(scores)
            finer = _score(self, skip, maps[skip.layer])
            scores = scores + crop(finer, skip.offset, height=scores.shape[2], width=scores.shape[3])
        scores = self.get_submodule(self.last)(scores)
        return {"out": crop(scores, self.crops[-1], height=images.shape[2], width=images.shape[3])}


class BackboneFCN(Segmenter):
    """The same on maps of a backbone, whose cells tile the image: each map is resized to the next finer one.

    Takes images (N, 3, H, W), returns {"out": (N, classes, H, W)}.
    """

    def __init__(self, trunk: Backbone, *, classes: int, skips: tuple[Skip, ...] = ()) -> None:
        super().__init__(trunk)
        self.skips, self.deepest = skips, trunk.layer_at(32)
        _add_scores(self, classes=classes, channels=trunk.channels[self.deepest], skips=skips)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the pixels."""
        maps = self.maps(images, (self.deepest, *(skip.layer for skip in self.skips)))
        scores: Tensor = self.get_submodule("score_fr")(maps[self.deepest])
        for skip in self.skips:
            finer = _score(self, skip, maps[skip.layer])
            scores = resize(scores, height=finer.shape[2], width=finer.shape[3]) + finer
        return {"out": resize(scores, height=images.shape[2], width=images.shape[3])}


def _add_scores(network: nn.Module, *, classes: int, channels: int, skips: tuple[Skip, ...]) -> None:
    """score_fr, and for each skip its scores: all start at zero."""
    network.add_module("score_fr", score_layer(channels, classes, std=0.0))
    for skip in skips:
        if skip.scale != 1:
            network.add_module(skip.score.replace("score", "scale"), Scale(skip.scale))
        network.add_module(skip.score, score_layer(skip.channels, classes, std=0.0))


def _score(network: nn.Module, skip: Skip, features: Tensor) -> Tensor:
    if skip.scale != 1:
        features = network.get_submodule(skip.score.replace("score", "scale"))(features)
    scores: Tensor = network.get_submodule(skip.score)(features)
    return scores


def _build(
    skips: tuple[Skip, ...],
    *,
    classes: int,
    backbone: str | nn.Module | None,
    last: tuple[str, int, int],
    offset: int,
) -> Segmenter:
    """On VGG-16 with a padding of 100, or on the maps of a backbone at strides 32, 16 and 8."""
    if backbone is not None:
        found = segmenter_backbone(backbone, output_stride=None)
        layers = [found.layer_at(stride) for stride in (16, 8)[: len(skips)]]
        tied = [
            Skip(layer, skip.score, found.channels[layer], 0, skip.upscore, skip.scale)
            for layer, skip in zip(layers, skips, strict=True)
        ]
        return BackboneFCN(found, classes=classes, skips=tuple(tied))
    trunk = vgg_layers(first_padding=100) | classifier_head(512, 4096, window=7)
    start_for_relu(trunk)
    return FCN(trunk, classes=classes, channels=4096, skips=skips, last=last, offset=offset)


def fcn32s(*, classes: int = 21, backbone: str | nn.Module | None = None) -> Segmenter:
    """FCN-32s: scores at stride 32 alone, upsampled 32 times.

    backbone: VGG-16 as published where it is None; else a name or module for `perimetry.networks.backbone`. Returns a
    network from (N, 3, H, W) to {"out": (N, classes, H, W)}, with scores of zero at the start.

    >>> import torch
    >>> with torch.device("meta"):
    ...     scores = fcn32s()(torch.empty(1, 3, 100, 75))["out"]
    >>> scores.shape
    torch.Size([1, 21, 100, 75])
    """
    return _build((), classes=classes, backbone=backbone, last=("upscore", 64, 32), offset=19)


def fcn16s(*, classes: int = 21, backbone: str | nn.Module | None = None) -> Segmenter:
    """FCN-16s: the scores of pool4 are added; train it from the weights of `fcn32s` (`copy_weights`)."""
    skips = (Skip("pool4", "score_pool4", 512, 5, "upscore2"),)
    return _build(skips, classes=classes, backbone=backbone, last=("upscore16", 32, 16), offset=27)


def fcn8s(*, classes: int = 21, training: Training = "staged", backbone: str | nn.Module | None = None) -> Segmenter:
    """FCN-8s: the scores of pool4 and pool3 are added.

    training: "staged", from the weights of `fcn16s`, or "at_once", from a classifier's, with the maps of the skips
    scaled by 0.01 and 0.0001.
    """
    if training not in _SCALES:
        raise UnknownNameError("training", training, known=_SCALES, advice=" or ".join(_SCALES))
    scales = _SCALES[training]
    skips = (
        Skip("pool4", "score_pool4", 512, 5, "upscore2", scales[0]),
        Skip("pool3", "score_pool3", 256, 9, "upscore_pool4", scales[1]),
    )
    return _build(skips, classes=classes, backbone=backbone, last=("upscore8", 16, 8), offset=31)


def fcn_alexnet(*, classes: int = 21) -> Segmenter:
    """FCN-AlexNet: scores at stride 32 on the layers of CaffeNet, which pools before it normalises."""
    trunk: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 96, 11, stride=4, padding=100),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "norm1": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
        "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        "norm2": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
        "conv3": nn.Conv2d(256, 384, 3, padding=1),
        "relu3": nn.ReLU(),
        "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),
        "relu4": nn.ReLU(),
        "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),
        "relu5": nn.ReLU(),
        "pool5": nn.MaxPool2d(3, 2, ceil_mode=True),
    } | classifier_head(256, 4096, window=6)
    start_for_relu(trunk)
    return FCN(trunk, classes=classes, channels=4096, last=("upscore", 63, 32), offset=18)


_RELEASE = "shelhamer/fcn.berkeleyvision.org"
_ARITHMETIC = "Caffe's arithmetic on the release's train.prototxt, 500 x 500"
_FIELDS = {
    "conv1_1": 3, "conv1_2": 5, "pool1": 6,
    "conv2_1": 10, "conv2_2": 14, "pool2": 16,
    "conv3_1": 24, "conv3_2": 32, "conv3_3": 40, "pool3": 44,
    "conv4_1": 60, "conv4_2": 76, "conv4_3": 92, "pool4": 100,
    "conv5_1": 132, "conv5_2": 164, "conv5_3": 196, "pool5": 212,
    "fc6": 404, "fc7": 404,
}  # fmt: skip
_MAPS = {
    "conv1_1": (64, 698, 698),
    "pool1": (64, 349, 349),
    "pool2": (128, 175, 175),
    "pool3": (256, 88, 88),
    "pool4": (512, 44, 44),
    "pool5": (512, 22, 22),
    "fc6": (4096, 16, 16),
    "score_fr": (21, 16, 16),
}
_TRAINED = "training: one image at a time, loss summed over its pixels but 255, momentum .99, weight decay 5e-4"
_VGG = (
    *quantities("field", "the release's prototxts", _FIELDS),
    *quantities("stride", "the release's prototxts", {"pool3": 8, "pool4": 16, "pool5": 32, "fc7": 32, "score_fr": 32}),
    *quantities("map", _ARITHMETIC, _MAPS),
    *quantities(
        "setting",
        "the release's prototxts",
        {"conv1_1.padding": (100, 100), "fc6.kernel_size": (7, 7), "drop6.p": 0.5, "drop7.p": 0.5},
    ),
)


def _settings(crops: tuple[int, ...], deconvolutions: Mapping[str, tuple[int, int]]) -> tuple[Quantity, ...]:
    """Crops and the kernel and stride of each deconvolution, and scores of zero at the start."""
    values: dict[str, int | float | tuple[int, ...]] = {"crops": crops}
    for name, (kernel, stride) in deconvolutions.items():
        values |= {f"{name}.kernel": kernel, f"{name}.stride": stride}
    scores = ("score_fr", "score_pool4", "score_pool3")[: len(crops)]
    zeros: dict[str, int | float | tuple[int, ...]] = {
        f"{score}.{kind}": 0.0 for score in scores for kind in ("weight", "bias")
    }
    return (
        *quantities("setting", "the release's prototxts", values),
        *quantities("initial", "no filler in the release, so Caffe's default", zeros),
    )


def _card(
    build: Callable[..., nn.Module],
    title: str,
    folder: str,
    told: tuple[Quantity, ...],
    *,
    dense: int,
    results: Mapping[str, str],
    elsewhere: str = "a padding of 100, and maps are resized to the next finer one and to the image",
) -> Card:
    """What the cards of the family share."""
    return Card(
        name=build.__name__,
        title=title,
        task="segmentation",
        build=build,
        image=(500, 500),
        paper="Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015",
        definition=f"{_RELEASE}, {folder} (net.py, train.prototxt, solver.prototxt)",
        quantities=told,
        differences=(
            Difference(
                "Deconvolutions are fixed, hold no parameters and work on each channel alone",
                f"the release's mix classes with weights of zero that never change; counted with them it has {dense:,}",
            ),
            Difference(
                "Images are scaled to 0 ... 1 and normalised, RGB",
                "the release subtracts means from BGR values of 0 ... 255; its weights do not fit such images",
            ),
            Difference(
                "Layers other than scores start from Gaussian weights by fan-in",
                "the release copies a classifier's; `translate_weights` and `copy_weights` do that here",
            ),
            Difference(f"On another backbone there is no fc6, no {elsewhere}", "the crops belong to VGG-16's padding"),
        ),
        results=tuple(Result(what, value, f"{_RELEASE}/README.md") for what, value in results.items()),
        unverified=(f"{_TRAINED}: quoted from the release, and left to who trains",),
    )


FCN32S = _card(
    fcn32s,
    "FCN-32s",
    "voc-fcn32s",
    (
        Quantity("parameters", 134_346_581, "the learned weights of the release"),
        *_VGG,
        *quantities("map", _ARITHMETIC, {"upscore": (21, 544, 544)}),
        *_settings((19,), {"upscore": (64, 32)}),
    ),
    dense=136_152_917,
    results={"PASCAL VOC seg11valid": "63.6 mean IU"},
)
FCN16S = _card(
    fcn16s,
    "FCN-16s",
    "voc-fcn16s",
    (
        Quantity("parameters", 134_357_354, "the learned weights of the release"),
        *_VGG,
        *quantities("map", _ARITHMETIC, {"upscore2": (21, 34, 34), "upscore16": (21, 560, 560)}),
        *_settings((5, 27), {"upscore2": (4, 2), "upscore16": (32, 16)}),
    ),
    dense=134_815_994,
    results={"PASCAL VOC seg11valid": "65.0 mean IU"},
)
FCN8S = _card(
    fcn8s,
    "FCN-8s",
    "voc-fcn8s, voc-fcn8s-atonce",
    (
        Quantity("parameters", 134_362_751, "the learned weights of the release"),
        *_VGG,
        *quantities(
            "map", _ARITHMETIC, {"upscore2": (21, 34, 34), "upscore_pool4": (21, 70, 70), "upscore8": (21, 568, 568)}
        ),
        *_settings((5, 9, 31), {"upscore2": (4, 2), "upscore_pool4": (4, 2), "upscore8": (16, 8)}),
        *quantities(
            "setting",
            "voc-fcn8s-atonce/net.py",
            {"scale_pool4.value": 0.01, "scale_pool3.value": 0.0001},
            options=(("training", "at_once"),),
        ),
    ),
    dense=134_489_759,
    results={
        "PASCAL VOC seg11valid, staged": "65.5 mean IU",
        "PASCAL VOC seg11valid, at once": "65.4 mean IU",
        "PASCAL VOC 2012 test": "67.2 mean IU",
    },
)
FCN_ALEXNET = _card(
    fcn_alexnet,
    "FCN-AlexNet",
    "voc-fcn-alexnet",
    (
        Quantity("parameters", 56_954_261, "AlexNet's 60,965,224, with 21 scores of 4096 channels for fc8"),
        *quantities(
            "field", "AlexNet's", {"conv1": 11, "pool1": 19, "pool2": 67, "pool5": 195, "fc6": 355, "fc7": 355}
        ),
        *quantities("stride", "AlexNet's", {"pool5": 32, "score_fr": 32}),
        *quantities("setting", "the release's prototxts", {"conv1.padding": (100, 100), "fc6.kernel_size": (6, 6)}),
        *_settings((18,), {"upscore": (63, 32)}),
    ),
    dense=56_954_261 + 21 * 21 * 63 * 63,
    results={"PASCAL VOC seg11valid": "48.0 mean IU"},
    elsewhere="other trunk than CaffeNet's",
)
