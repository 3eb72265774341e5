"""ResNet-50, 101 and 152 (He et al. 2016): v1 as released, and v1.5 as torchvision has it."""

from __future__ import annotations

from torch import nn

from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.classifier import Classifier, check_classes
from perimetry.nn import Bottleneck
from perimetry.nn.residual import Version

_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # table 1


def resnet50(*, classes: int = 1000) -> Classifier:
    """ResNet-50 as released: the stride in the first 1x1 of a stage, pool1 unpadded and rounding up, conv1 with a bias.

    For images of 224 pixels, and others: pool5 is the mean over the map. End points are conv1, res2a ... res5c, fc1000;
    a block's layers have torchvision's names.

    >>> sum(parameter.numel() for parameter in resnet50().parameters())
    25557096
    """
    return _resnet(50, classes, "v1")


def resnet101(*, classes: int = 1000) -> Classifier:
    """ResNet-101 as released, without the bias that only the release of 50 layers has; see `resnet50`."""
    return _resnet(101, classes, "v1")


def resnet152(*, classes: int = 1000) -> Classifier:
    """ResNet-152 as released; see `resnet101`."""
    return _resnet(152, classes, "v1")


def resnet50_v1_5(*, classes: int = 1000) -> Classifier:
    """ResNet-50 with the stride in the 3x3 convolutions, as torchvision and timm have it.

    `translate_weights` gives their weights the names here. End points are those of `resnet50`.
    """
    return _resnet(50, classes, "v1.5")


def resnet101_v1_5(*, classes: int = 1000) -> Classifier:
    """ResNet-101 with the stride in the 3x3 convolutions; see `resnet50_v1_5`."""
    return _resnet(101, classes, "v1.5")


def resnet152_v1_5(*, classes: int = 1000) -> Classifier:
    """ResNet-152 with the stride in the 3x3 convolutions; see `resnet50_v1_5`."""
    return _resnet(152, classes, "v1.5")


def block_names(depth: int, stage: int) -> list[str]:
    """The blocks of a stage (2 to 5) under the names of the release: letters, or numbers where letters run out.

    >>> block_names(50, 3), block_names(101, 3)
    (['res3a', 'res3b', 'res3c', 'res3d'], ['res3a', 'res3b1', 'res3b2', 'res3b3'])
    """
    blocks = _DEPTHS[depth][stage - 2]
    if depth > 50 and stage in (3, 4):
        return [f"res{stage}a", *(f"res{stage}b{number}" for number in range(1, blocks))]
    return [f"res{stage}{letter}" for letter in "abcdef"[:blocks]]


def _resnet(depth: int, classes: int, version: Version) -> Classifier:
    check_classes(classes)
    released = version == "v1"
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=released and depth == 50),
        "bn_conv1": nn.BatchNorm2d(64),
        "conv1_relu": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True) if released else nn.MaxPool2d(3, 2, padding=1),
    }
    before = 64
    for stage, width in zip((2, 3, 4, 5), (64, 128, 256, 512), strict=True):
        for number, name in enumerate(block_names(depth, stage)):
            stride = 2 if stage > 2 and number == 0 else 1
            layers[name] = Bottleneck(before, width, version=version, stride=stride)
            before = 4 * width
    layers |= {"pool5": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc1000": nn.Linear(2048, classes)}
    network = Classifier(layers, smallest=3 if released else 1)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # Section 3.4 names He's values; the release has no fillers, so by the outputs, as torchvision.
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


_RELEASE = "KaimingHe/deep-residual-networks"
_PAPER = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016"
_TORCHVISION = "torchvision.models.resnet"
_MAPS = {
    "conv1": (64, 112, 112),
    "pool1": (64, 56, 56),
    "res2c": (256, 56, 56),
    "res5c": (2048, 7, 7),
    "pool5": (2048, 1, 1),
    "fc1000": (1000,),
}
_LAST = {50: ("res3d", "res4f"), 101: ("res3b3", "res4b22"), 152: ("res3b7", "res4b35")}
_SCALED = Difference(
    "Images are scaled to 0 ... 1 and normalised, RGB",
    "the release subtracts a mean image from BGR values of 0 ... 255; its weights do not fit such images",
)
_GLOBAL = Difference(
    "pool5 is the mean over the whole map, in the release a 7x7 window",
    "the same at 224 pixels; other sizes can be taken",
)
_ONE_LAYER = Difference(
    "Batch normalisation and its scale are one layer, with eps 1e-5",
    "Caffe has them as two layers (bn2a_branch2a, scale2a_branch2a); the parameters are the same",
)


def _released(depth: int, parameters: int, field: int, results: tuple[str, str]) -> Card:
    source = f"{_RELEASE}, ResNet-{depth}-deploy.prototxt"
    third, fourth = _LAST[depth]
    return Card(
        name=f"resnet{depth}",
        title=f"ResNet-{depth}",
        task="classification",
        build={50: resnet50, 101: resnet101, 152: resnet152}[depth],
        image=(224, 224),
        paper=_PAPER,
        definition=source,
        quantities=(
            Quantity("parameters", parameters, source),
            Quantity("parameters", 9_408 + (64 if depth == 50 else 0), source, of="conv1.*"),
            Quantity("parameters", 69_632, source, of="res2b.conv*"),
            *quantities("field", f"{source}; google-research/receptive_field", {"res5c": field}),
            *quantities("stride", source, {"pool1": 4, "res2c": 4, third: 8, fourth: 16, "res5c": 32}),
            *quantities("map", source, {**_MAPS, third: (512, 28, 28), fourth: (1024, 14, 14)}),
            *quantities(
                "setting",
                source,
                {
                    "pool1.kernel_size": 3,
                    "pool1.stride": 2,
                    "pool1.padding": 0,
                    "pool1.ceil_mode": True,
                    "res3a.conv1.stride": (2, 2),
                    "res3a.conv2.stride": (1, 1),
                    "res3a.downsample.0.stride": (2, 2),
                },
            ),
        ),
        differences=(_SCALED, _GLOBAL, _ONE_LAYER),
        results=(
            Result("ImageNet, centre crop, top-1 / top-5 error", results[0], _RELEASE + "/README.md"),
            Result("ImageNet, 10 crops, top-1 / top-5 error", results[1], _RELEASE + "/README.md"),
        ),
    )


def _later(depth: int, parameters: int, fields: dict[str, int]) -> Card:
    third, fourth = _LAST[depth]
    return Card(
        name=f"resnet{depth}_v1_5",
        title=f"ResNet-{depth} v1.5",
        task="classification",
        build={50: resnet50_v1_5, 101: resnet101_v1_5, 152: resnet152_v1_5}[depth],
        image=(224, 224),
        paper=_PAPER,
        definition=_TORCHVISION,
        quantities=(
            Quantity("parameters", parameters, _TORCHVISION),
            *quantities("field", _TORCHVISION, fields),
            *quantities("stride", _TORCHVISION, {"res2c": 4, third: 8, fourth: 16, "res5c": 32}),
            *quantities("map", _TORCHVISION, {**_MAPS, third: (512, 28, 28), fourth: (1024, 14, 14)}),
            *quantities(
                "setting",
                _TORCHVISION,
                {
                    "pool1.padding": 1,
                    "pool1.ceil_mode": False,
                    "res3a.conv1.stride": (1, 1),
                    "res3a.conv2.stride": (2, 2),
                },
            ),
        ),
        differences=(
            Difference(
                "The stride stands in the 3x3 convolution, in the release in the 1x1 before it",
                "torchvision's and timm's weights are trained so",
            ),
            Difference("pool1 is padded by 1 and conv1 has no bias", "torchvision's and timm's form"),
        ),
    )


RESNETS = (
    _released(50, 25_557_096, 483, ("24.7 / 7.8 %", "22.9 / 6.7 %")),
    _released(101, 44_549_160, 1027, ("23.6 / 7.1 %", "21.8 / 6.1 %")),
    _released(152, 60_192_808, 1507, ("23.0 / 6.7 %", "21.4 / 5.7 %")),
    _later(50, 25_557_032, {"res5c": 427}),
    _later(101, 44_549_160, {}),
    _later(152, 60_192_808, {}),
)
