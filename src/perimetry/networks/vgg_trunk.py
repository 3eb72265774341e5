"""The layers of VGG, under their names, for the classifiers, segmenters and detectors that are built on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from perimetry.errors import InputError

VGG16_DEPTHS = (2, 2, 3, 3, 3)  # convolutions a stage: configuration D, table 1
_CHANNELS = (64, 128, 256, 512, 512)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """A pooling that rounds up, as Caffe's do."""
    return nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)


def vgg_layers(
    depths: Sequence[int] = VGG16_DEPTHS,
    *,
    pools: Mapping[str, nn.Module] | None = None,
    first_padding: int = 1,
    last_dilation: int = 1,
) -> dict[str, nn.Module]:
    """conv1_1, relu1_1 ... pool5 (Simonyan and Zisserman 2015).

    depths: convolutions of each stage. pools: other poolings, by name; those of 2 x 2 cells at stride 2 otherwise.
    first_padding: of conv1_1. last_dilation: of conv5_1, conv5_2 ...

    >>> sum(each.numel() for layer in vgg_layers().values() for each in layer.parameters())
    14714688
    """
    layers: dict[str, nn.Module] = {}
    before = 3
    for stage, (depth, channels) in enumerate(zip(depths, _CHANNELS, strict=True), start=1):
        dilation = last_dilation if stage == 5 else 1
        for number in range(1, depth + 1):
            padding = first_padding if (stage, number) == (1, 1) else dilation
            layers[f"conv{stage}_{number}"] = nn.Conv2d(before, channels, 3, padding=padding, dilation=dilation)
            layers[f"relu{stage}_{number}"] = nn.ReLU()
            before = channels
        layers[f"pool{stage}"] = (pools or {}).get(f"pool{stage}") or max_pool(2, 2)
    return layers


def classifier_head(
    channels: int, width: int, *, window: int, dilation: int = 1, padding: int = 0
) -> dict[str, nn.Module]:
    """fc6, relu6, drop6, fc7, relu7, drop7 as convolutions: the first reads a dilated window, the second one cell."""
    return {
        "fc6": nn.Conv2d(channels, width, window, padding=padding, dilation=dilation),
        "relu6": nn.ReLU(),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Conv2d(width, width, 1),
        "relu7": nn.ReLU(),
        "drop7": nn.Dropout(0.5),
    }


def start_for_relu(layers: Mapping[str, nn.Module]) -> None:
    """Gaussian weights by fan-in and zero biases (He et al. 2015): 16 layers learn without a classifier's weights."""
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one


def score_layer(channels: int, classes: int, *, std: float) -> nn.Conv2d:
    """A 1 x 1 convolution with Gaussian weights, or zeros for a `std` of 0, and zero biases, as its fillers say."""
    if classes < 1:
        raise InputError(f"classes is at least 1, got {classes}")
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one
    return layer
