"""Residual blocks: basic and bottleneck, with the stride where the paper or where torchvision has it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from perimetry.errors import InputError, UnknownNameError

Version = Literal["v1", "v1.5"]


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 projection where the shape changes, nothing where it does not (He et al. 2016, option B)."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 5 left); names and weights are torchvision's.

    in_channels: C; channels: of the result; stride: of the first convolution; dilation: of both. Takes (N, C, H, W),
    returns (N, channels, ceil(H / stride), ceil(W / stride)).

    >>> import torch
    >>> BasicBlock(64, 128, stride=2)(torch.rand(1, 64, 8, 9)).shape
    torch.Size([1, 128, 4, 5])
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        _check(stride, dilation)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Add what the convolutions find to the shortcut."""
        shortcut = features if self.downsample is None else self.downsample(features)
        found = self.relu(self.bn1(self.conv1(features)))
        result: Tensor = self.relu(self.bn2(self.conv2(found)) + shortcut)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut (He et al. 2016, fig. 5 right); names and weights are torchvision's.

    in_channels: C; width: of the 3x3, the result has four times as many channels; version: where the stride stands,
    "v1" in the first 1x1 as released, "v1.5" in the 3x3 as in torchvision; dilation: of the 3x3. Takes (N, C, H, W),
    returns (N, 4 * width, ceil(H / stride), ceil(W / stride)).

    >>> import torch
    >>> Bottleneck(256, 128, version="v1", stride=2)(torch.rand(1, 256, 8, 9)).shape
    torch.Size([1, 512, 4, 5])
    """

    def __init__(self, in_channels: int, width: int, *, version: Version, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        _check(stride, dilation)
        if version not in ("v1", "v1.5"):
            raise UnknownNameError("version", version, known=("v1", "v1.5"), advice='"v1" or "v1.5"')
        first, second = (stride, 1) if version == "v1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(in_channels, 4 * width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Add what the convolutions find to the shortcut."""
        shortcut = features if self.downsample is None else self.downsample(features)
        found = self.relu(self.bn1(self.conv1(features)))
        found = self.relu(self.bn2(self.conv2(found)))
        result: Tensor = self.relu(self.bn3(self.conv3(found)) + shortcut)
        return result


def _check(stride: int, dilation: int) -> None:
    if stride < 1 or dilation < 1:
        raise InputError(f"stride and dilation are at least 1, got {stride} and {dilation}")
