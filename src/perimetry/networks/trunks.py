"""The convolutional layers that detectors were published on, up to the map that regions are pooled from.

They differ from the classifiers: pools round up, and CaffeNet and ZF are padded so that cells lie at multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from perimetry.networks.vgg_trunk import start_for_relu, vgg_layers
from perimetry.nn import LocalResponseNorm, WithinChannelNorm


class Trunk(nn.Module):
    """Layers one after the other, under the names of the original; returns the last convolution's map by its name.

    channels, strides: of that map, by its name.

    >>> import torch
    >>> trunk = vgg16_trunk()
    >>> trunk.channels, trunk.strides
    ({'conv5_3': 512}, {'conv5_3': 16})
    """

    def __init__(self, layers: Mapping[str, nn.Module], *, name: str, channels: int, stride: int) -> None:
        super().__init__()
        for each, layer in layers.items():
            self.add_module(each, layer)
        self.channels, self.strides = {name: channels}, {name: stride}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to {name: (N, C, h, w)}."""
        features = images
        for layer in self.children():
            features = layer(features)
        return dict.fromkeys(self.channels, features)


def vgg16_trunk() -> Trunk:
    """VGG-16 up to conv5_3: stride 16, no pool5; pools round up, so that 600 x 1000 pixels give 38 x 63 cells."""
    layers = vgg_layers()
    del layers["pool5"]
    return _started(Trunk(layers, name="conv5_3", channels=512, stride=16))


def caffenet_trunk() -> Trunk:
    """CaffeNet up to conv5, padded; it pools before it normalises, and has AlexNet's groups."""
    layers = {
        "conv1": nn.Conv2d(3, 96, 11, stride=4, padding=5),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        "norm1": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
        "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        "norm2": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
        **_last_three((256, 384, 384, 256), groups=(1, 2, 2)),
    }
    return _started(Trunk(layers, name="conv5", channels=256, stride=16))


def vgg_m_trunk() -> Trunk:
    """VGG_CNN_M_1024 up to conv5 (Chatfield et al. 2014)."""
    layers = {
        "conv1": nn.Conv2d(3, 96, 7, stride=2),
        "relu1": nn.ReLU(),
        "norm1": LocalResponseNorm.caffe(size=5, alpha=5e-4, beta=0.75, k=2.0),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2": nn.Conv2d(96, 256, 5, stride=2, padding=1),
        "relu2": nn.ReLU(),
        "norm2": LocalResponseNorm.caffe(size=5, alpha=5e-4, beta=0.75, k=2.0),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        **_last_three((256, 512, 512, 512), groups=(1, 1, 1)),
    }
    return _started(Trunk(layers, name="conv5", channels=512, stride=16))


def zf_trunk() -> Trunk:
    """ZF up to conv5 as Faster R-CNN pads it (Zeiler, Fergus 2014)."""
    layers = {
        "conv1": nn.Conv2d(3, 96, 7, stride=2, padding=3),
        "relu1": nn.ReLU(),
        "norm1": WithinChannelNorm(size=3, alpha=5e-5),
        "pool1": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        "conv2": nn.Conv2d(96, 256, 5, stride=2, padding=2),
        "relu2": nn.ReLU(),
        "norm2": WithinChannelNorm(size=3, alpha=5e-5),
        "pool2": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        **_last_three((256, 384, 384, 256), groups=(1, 1, 1)),
    }
    return _started(Trunk(layers, name="conv5", channels=256, stride=16))


def _last_three(channels: tuple[int, int, int, int], *, groups: tuple[int, int, int]) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    for number, (before, after, parts) in enumerate(zip(channels, channels[1:], groups, strict=False), start=3):
        layers[f"conv{number}"] = nn.Conv2d(before, after, 3, padding=1, groups=parts)
        layers[f"relu{number}"] = nn.ReLU()
    return layers


def _started(trunk: Trunk) -> Trunk:
    """He's normal values; the releases start from weights that were trained on ImageNet and have no fillers."""
    start_for_relu(dict(trunk.named_children()))
    return trunk
