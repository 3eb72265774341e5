"""SPP-net (He et al. 2014): ZF-5 with a spatial pyramid for its last pool, and that head on any backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from perimetry.errors import InputError, ShapeError
from perimetry.networks.backbones import Backbone, backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.classifier import Classifier, check_classes
from perimetry.nn import SpatialPyramidPooling, WithinChannelNorm
from perimetry.ops.pyramid import Reduction, WindowRule, check_levels

_ALIVE = ("conv2", "conv4", "conv5", "fc6", "fc7", "fc8")  # biases of 1, as in the release


def spp_net(
    *,
    classes: int = 1000,
    levels: Sequence[int] = (6, 3, 2, 1),
    reduction: Reduction = "max",
    windows: WindowRule = "adaptive",
) -> Classifier:
    """ZF-5 of SPP-net: five convolutions, a pyramid of 50 bins, and layers of 4096; for images of any size from 31 px.

    levels: bins a side; reduction and windows: as in `perimetry.ops.pyramid_pool`, where the two historical rules of
    windows refuse maps that they divide wrongly. Made for 224 pixels, 13 x 13 cells. End points are conv1 ... fc8.

    >>> sum(parameter.numel() for parameter in spp_net().parameters())
    77037672
    """
    check_classes(classes)
    network = Classifier(
        {
            "conv1": nn.Conv2d(3, 96, 7, stride=2, padding=1),
            "relu1": nn.ReLU(),
            "norm1": WithinChannelNorm(size=3, alpha=5e-5),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv2": nn.Conv2d(96, 256, 5, stride=2),
            "relu2": nn.ReLU(),
            "norm2": WithinChannelNorm(size=3, alpha=5e-5),
            "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv3": nn.Conv2d(256, 384, 3, padding=1),
            "relu3": nn.ReLU(),
            "conv4": nn.Conv2d(384, 384, 3, padding=1),
            "relu4": nn.ReLU(),
            "conv5": nn.Conv2d(384, 256, 3, padding=1),
            "relu5": nn.ReLU(),
            "pool5_spm": SpatialPyramidPooling(levels, reduction=reduction, windows=windows),
            **_connected(256 * _bins(levels), 4096, classes),
        },
        smallest=31,
    )
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _start(layer, bias=1.0 if name in _ALIVE else 0.0)
    return network


class SPPClassifier(nn.Module):
    """A backbone's last map, a spatial pyramid, and three fully connected layers; `spp_classifier` makes one."""

    def __init__(self, body: nn.Module, head: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.body = body
        for name, layer in head.items():
            self.add_module(name, layer)
        self.head = tuple(head)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores (N, classes) of images (N, C, H, W), as "logits"."""
        maps: Any = self.body(images)
        features = list(maps.values())[-1] if isinstance(maps, dict) else maps
        if not isinstance(features, Tensor) or features.ndim != 4:
            given = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ShapeError(f"expected a map (N, C, H, W) from the backbone, got {given}; cut its head off")
        for name in self.head:
            features = getattr(self, name)(features)
        return {"logits": features}


def spp_classifier(
    source: str | nn.Module,
    *,
    classes: int,
    channels: int | None = None,
    levels: Sequence[int] = (6, 3, 2, 1),
    reduction: Reduction = "max",
    windows: WindowRule = "adaptive",
    width: int = 4096,
) -> SPPClassifier:
    """SPP-net's head on any backbone: one length of vector, and so one classifier, for images of any size.

    source: a `Backbone`, or what `backbone` makes one of ("torchvision:resnet50", a classifier of one's own), whose
    last map is read; with `channels`, a module that returns one map (N, channels, H, W) already. width: of fc6 and fc7.
    The backbone's weights stay as they are; the head starts as SPP-net's.

    >>> import torch
    >>> network = spp_classifier(nn.Conv2d(3, 8, 3), channels=8, classes=5, levels=(2, 1), width=16).eval()
    >>> [tuple(network(torch.ones(2, 3, *size))["logits"].shape) for size in ((8, 8), (9, 30))]
    [(2, 5), (2, 5)]
    """
    check_classes(classes)
    if width < 1 or (channels is not None and channels < 1):
        raise InputError(f"width and channels are at least 1, got {width} and {channels}")
    if channels is None:
        body: nn.Module = source if isinstance(source, Backbone) else backbone(source)
        channels = list(body.channels.values())[-1]  # type: ignore[operator]  # a Backbone has it
    elif isinstance(source, str):
        raise InputError("a backbone by name tells its channels; leave out channels=")
    else:
        body = source
    head = {
        "pool_spm": SpatialPyramidPooling(levels, reduction=reduction, windows=windows),
        **_connected(channels * _bins(levels), width, classes),
    }
    for layer in head.values():
        if isinstance(layer, nn.Linear):
            _start(layer, bias=1.0)
    return SPPClassifier(body, head)


def _bins(levels: Sequence[int]) -> int:
    return sum(side * side for side in check_levels(levels))


def _connected(inputs: int, width: int, classes: int) -> dict[str, nn.Module]:
    return {
        "fc6": nn.Linear(inputs, width),
        "relu6": nn.ReLU(),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Linear(width, width),
        "relu7": nn.ReLU(),
        "drop7": nn.Dropout(0.5),
        "fc8": nn.Linear(width, classes),
    }


def _start(layer: nn.Conv2d | nn.Linear, *, bias: float) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]  # all have one


_RELEASE = "ShaoqingRen/SPP_net, Zeiler_conv5.prototxt"
_PAPER = "the paper"

SPP_NET = Card(
    name="spp_net",
    title="SPP-net (ZF-5)",
    task="classification",
    build=spp_net,
    image=(224, 224),
    paper="He, Zhang, Ren, Sun: Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, "
    "ECCV 2014",
    definition=_RELEASE,
    quantities=(
        Quantity("parameters", 77_037_672, _RELEASE),
        *quantities("stride", _RELEASE, {"pool1": 4, "conv2": 8, "pool2": 16, "conv5": 16}),
        *quantities(
            "map",
            _RELEASE,
            {
                "conv1": (96, 110, 110),
                "pool1": (96, 55, 55),
                "conv2": (256, 26, 26),
                "pool2": (256, 13, 13),
                "conv5": (256, 13, 13),
                "pool5_spm": (12_800,),
                "fc6": (4096,),
                "fc7": (4096,),
                "fc8": (1000,),
            },
        ),
        *quantities("map", _PAPER, {"conv5": (256, 10, 10), "pool5_spm": (12_800,)}, image=(180, 180)),
        *quantities("map", _PAPER, {"pool5_spm": (7_680,)}, options=(("levels", (4, 3, 2, 1)),)),
        *quantities(
            "setting",
            _RELEASE,
            {
                "conv1.kernel_size": (7, 7),
                "conv1.stride": (2, 2),
                "conv1.padding": (1, 1),
                "conv2.kernel_size": (5, 5),
                "conv2.stride": (2, 2),
                "conv2.padding": (0, 0),
                "norm1.size": 3,
                "norm1.alpha": 5e-5,
                "norm1.beta": 0.75,
                "norm2.size": 3,
                "pool5_spm.levels": (6, 3, 2, 1),
                "drop6.p": 0.5,
                "drop7.p": 0.5,
            },
        ),
        *quantities("initial", _RELEASE, {"conv1.bias": 0, "conv3.bias": 0, **{f"{name}.bias": 1 for name in _ALIVE}}),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB",
            "the release subtracts a mean from BGR values of 0 ... 255; weights of one do not fit the other's images",
        ),
        Difference(
            "Bins are adaptive windows, as in the released detector",
            "the released classifier has fixed windows for 13 x 13 (3/2, 5/4, 7/7, 13/13): the same for 6, 3 and 1 "
            "bins, for 2 it takes rows 0-6 and 7-12 where these overlap in row 6; the paper's rule gives a wrong "
            'number of bins for some sizes, such as 7 for 4 and 10 for 6 (windows="paper" refuses those)',
        ),
        Difference(
            "Levels stand in the order 6, 3, 2, 1",
            "the paper's; the release joins them as 1, 2, 3, 6 (levels=(1, 2, 3, 6))",
        ),
        Difference(
            "Fields count the 3x3 neighbours of the normalisation within channels: 159 pixels at conv5",
            "without them it is 139, the figure usually told",
        ),
    ),
    results=(
        Result("ImageNet, ZF-5, top-1 / top-5 error: no pyramid", "35.99 / 14.76 %", _PAPER),
        Result("the same, 50 bins", "34.98 / 14.14 %", _PAPER),
        Result("the same, 30 bins (4, 3, 2, 1), with fewer parameters than without", "35.06 / 14.04 %", _PAPER),
        Result("ImageNet, Overfeat-7 trained at 180 and 224 pixels, top-1 error", "29.68 %", _PAPER),
        Result("VOC 2007 classification, mAP", "82.44 %", _PAPER),
        Result("Caltech-101, accuracy", "93.42 %", _PAPER),
    ),
)
