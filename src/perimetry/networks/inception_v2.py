"""Inception V2, or BN-Inception (Ioffe and Szegedy 2015, figure 5)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from perimetry.errors import UnknownNameError
from perimetry.networks.cards import Card, Difference, Quantity, quantities
from perimetry.networks.classifier import Classifier, check_classes
from perimetry.nn import InceptionV2, InceptionV2Reduction

First = Literal["separable", "dense"]
Widths = Literal["paper", "slim"]
# 1x1; 3x3 and two 3x3 as (reduced, result); projection. Without 1x1 and projection: a block that halves the map.
_BLOCKS: dict[str, tuple[int, tuple[int, int], tuple[int, int], int]] = {
    "inception_3a": (64, (64, 64), (64, 96), 32),
    "inception_3b": (64, (64, 96), (64, 96), 64),
    "inception_3c": (0, (128, 160), (64, 96), 0),
    "inception_4a": (224, (64, 96), (96, 128), 128),
    "inception_4b": (192, (96, 128), (96, 128), 128),
    "inception_4c": (160, (128, 160), (128, 160), 128),
    "inception_4d": (96, (128, 192), (160, 192), 128),
    "inception_4e": (0, (128, 192), (192, 256), 0),
    "inception_5a": (352, (192, 320), (160, 224), 128),
    "inception_5b": (352, (192, 320), (192, 224), 128),
}
_NARROW_IN_SLIM = {"inception_4c": 96, "inception_4d": 96}  # so that all of stage 4 has 576 channels


def inception_v2(*, classes: int = 1000, first: First = "separable", widths: Widths = "paper") -> Classifier:
    """BN-Inception: batch norm in the place of normalisation and dropout, two 3x3 in the place of each 5x5.

    first: the 7x7 convolution, "separable" with 8 filters a channel as in the paper and slim, or "dense" as in the
    copies for Caffe, MXNet and PyTorch. widths: "paper", or "slim" with 96 channels for the projections of 4c and 4d.
    Any image of at least one pixel will do; made for 224. End points are conv1, pool1, conv2, inception_3a ... 5b.

    >>> sum(parameter.numel() for parameter in inception_v2(first="dense").parameters())
    11285224
    """
    check_classes(classes)
    for kind, given, known in (("first", first, ("separable", "dense")), ("widths", widths, ("paper", "slim"))):
        if given not in known:
            raise UnknownNameError(f"value of {kind}", given, known=known, advice=" or ".join(map(repr, known)))
    layers: dict[str, nn.Module] = {
        "conv1": nn.Sequential(*_first(first), nn.BatchNorm2d(64, eps=1e-3), nn.ReLU()),
        "pool1": nn.MaxPool2d(3, 2, padding=1),
        "conv2_reduce": _normalized(nn.Conv2d(64, 64, 1, bias=False)),
        "conv2": _normalized(nn.Conv2d(64, 192, 3, padding=1, bias=False)),
        "pool2": nn.MaxPool2d(3, 2, padding=1),
    }
    channels = 192
    for name, (ones, threes, doubles, pooled) in _BLOCKS.items():
        if not ones:
            layers[name] = InceptionV2Reduction(channels, threes=threes, doubles=doubles)
            channels += threes[1] + doubles[1]
            continue
        projected = _NARROW_IN_SLIM.get(name, pooled) if widths == "slim" else pooled
        layers[name] = InceptionV2(
            channels,
            ones=ones,
            threes=threes,
            doubles=doubles,
            pooled=projected,
            pooling="max" if name == "inception_5b" else "mean",
        )
        channels = ones + threes[1] + doubles[1] + projected
    layers |= {"pool5": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, classes)}
    network = Classifier(layers)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def _first(kind: First) -> list[nn.Module]:
    if kind == "dense":
        return [nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)]
    return [nn.Conv2d(3, 24, 7, stride=2, padding=3, groups=3, bias=False), nn.Conv2d(24, 64, 1, bias=False)]


def _normalized(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels, eps=1e-3), nn.ReLU())


_PAPER = "the paper, figure 5"
_SLIM = "TensorFlow slim, inception_v2.py"
_COPIES = "the copies for Caffe, MXNet and PyTorch"
_STAGE_5 = {"inception_5a": (1024, 7, 7), "inception_5b": (1024, 7, 7), "fc": (1000,)}

INCEPTION_V2 = Card(
    name="inception_v2",
    title="Inception V2 (BN-Inception)",
    task="classification",
    build=inception_v2,
    image=(224, 224),
    paper="Ioffe, Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate "
    "Shift, ICML 2015",
    definition=f"{_PAPER}; {_SLIM}",
    quantities=(
        # pytorchcv's and pretrainedmodels' bninception have 11,295,240, of which 10,016 are biases before batch norm.
        Quantity(
            "parameters",
            11_295_240 - 10_016,
            f"{_COPIES}, less their biases before batch norm",
            options=(("first", "dense"),),
        ),
        Quantity("parameters", 3 * 8 * 49, _SLIM + ", depthwise", of="conv1.0.weight"),
        Quantity("parameters", 24 * 64, _SLIM + ", pointwise", of="conv1.1.weight"),
        *quantities("stride", _SLIM, {"pool2": 8, "inception_3c": 16, "inception_4e": 32, "inception_5b": 32}),
        *quantities(
            "map",
            _PAPER,
            {
                "conv1": (64, 112, 112),
                "pool1": (64, 56, 56),
                "conv2": (192, 56, 56),
                "pool2": (192, 28, 28),
                "inception_3a": (256, 28, 28),
                "inception_3b": (320, 28, 28),
                "inception_3c": (576, 14, 14),
                "inception_4a": (576, 14, 14),
                "inception_4b": (576, 14, 14),
                "inception_4e": (1056, 7, 7),
                **_STAGE_5,
            },
        ),
        *quantities("map", _COPIES, {"inception_4c": (608, 14, 14), "inception_4d": (608, 14, 14)}),
        *quantities(
            "map",
            _SLIM,
            {
                "inception_4c": (576, 14, 14),
                "inception_4d": (576, 14, 14),
                "inception_4e": (1024, 7, 7),
                **_STAGE_5,
            },
            options=(("widths", "slim"),),
        ),
    ),
    differences=(
        Difference(
            "The projections of 4c and 4d have 128 channels, so stage 4 ends with 608 and 1,056",
            'the copies that follow the paper\'s table have them; slim has 96 (widths="slim")',
        ),
        Difference(
            "Windows of stride 2 are centred: padding 1 for 3x3, in pools too",
            "TensorFlow pads at the end only where a side is even, Caffe's copies let pools round up instead; "
            "map sizes are the same at 224 pixels, and branches fit each other at every size",
        ),
        Difference("No dropout", "the paper removes it; slim keeps 0.2"),
        Difference("Batch norm has a scale and a shift", "as in the paper; slim leaves the scale to the next layer"),
    ),
    unverified=("the table of the paper was read through its copies and slim",),
)
