"""Convolutions: every geometry, in one, two and three dimensions, and transposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn import functional as F

from rules.cases import Case


def _conv(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(2, 2, **options)


def _transposed(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.ConvTranspose2d(2, 2, **options)


class PaddedByHand(nn.Module):
    """A convolution of even kernel whose padding is unequal on the four sides, as TensorFlow's "same" has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 4, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (1, 2, 0, 3)))


class OverRows(nn.Module):
    """A 1-D convolution along each row of a photo, by a reshape on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1, stride=2)

    def forward(self, x):
        n, c, h, w = x.shape
        rows = self.conv(x.permute(0, 2, 1, 3).reshape(n * h, c, w))
        return rows.reshape(n, h, 2, -1).permute(0, 2, 1, 3)


class OverTokens(nn.Module):
    """A 1-D convolution along the flattened photo: it joins the end of one row with the start of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x.flatten(2)).unflatten(2, x.shape[2:])


class OverChannels(nn.Module):
    """Efficient channel attention's way: a 1-D convolution along the channel axis after global pooling, as a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        gate = self.conv(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
        return x * gate.sigmoid()


class OverDepth(nn.Module):
    """A 3-D convolution over a photo that got a depth axis of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x.unsqueeze(2)).squeeze(2)


VIDEO = (1, 2, 4, 7, 6)
LINE = (1, 2, 17)

CASES = [
    Case("conv-1x1", _conv(kernel_size=1)),
    Case("conv-3x3", _conv(kernel_size=3)),
    Case("conv-padded", _conv(kernel_size=3, padding=1)),
    Case("conv-strided", _conv(kernel_size=3, stride=2, padding=1)),
    Case("conv-stride-over-kernel", _conv(kernel_size=2, stride=3)),
    Case("conv-dilated", _conv(kernel_size=3, dilation=2, padding=2)),
    Case("conv-dilated-strided", _conv(kernel_size=3, dilation=(1, 3), stride=(2, 1), padding=(0, 3))),
    Case("conv-even", _conv(kernel_size=4, padding=1, stride=2)),
    Case("conv-oblong", _conv(kernel_size=(1, 5), padding=(0, 2))),
    Case("conv-wide-padding", _conv(kernel_size=3, padding=3)),
    Case("conv-same", _conv(kernel_size=4, padding="same")),
    Case("conv-same-dilated", _conv(kernel_size=(3, 2), padding="same", dilation=2)),
    Case("conv-valid", _conv(kernel_size=3, padding="valid")),
    Case("conv-reflect", _conv(kernel_size=3, padding=1, padding_mode="reflect"), endless=False),
    Case("conv-circular", _conv(kernel_size=5, padding=2, padding_mode="circular"), endless=False),
    Case("conv-depthwise", _conv(kernel_size=3, groups=2, padding=1)),
    Case("conv-grouped", lambda: nn.Conv2d(4, 6, 3, groups=2), shape=(1, 4, 9, 10)),
    Case("conv-padded-by-hand", PaddedByHand),
    Case("conv-covers-the-map", _conv(kernel_size=(11, 13))),
    Case("transposed", _transposed(kernel_size=3), shape=(1, 2, 5, 6)),
    Case("transposed-strided", _transposed(kernel_size=4, stride=2, padding=1), shape=(1, 2, 5, 6)),
    Case("transposed-odd", _transposed(kernel_size=3, stride=2, padding=1, output_padding=1), shape=(1, 2, 5, 6)),
    Case("transposed-dilated", _transposed(kernel_size=3, stride=2, dilation=2), shape=(1, 2, 5, 6)),
    Case("transposed-gaps", _transposed(kernel_size=2, stride=3, output_padding=(1, 2)), shape=(1, 2, 5, 6)),
    Case("transposed-oblong", _transposed(kernel_size=(2, 5), stride=(2, 1), padding=(0, 2)), shape=(1, 2, 5, 6)),
    Case("transposed-grouped", _transposed(kernel_size=3, stride=2, groups=2), shape=(1, 2, 5, 6)),
    Case("conv1d", lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), shape=LINE, nested=False),
    Case("conv1d-dilated", lambda: nn.Conv1d(2, 3, 3, dilation=3), shape=LINE, nested=False),
    Case("transposed1d", lambda: nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1), shape=LINE, nested=False),
    Case("conv3d", lambda: nn.Conv3d(2, 2, 3, padding=1, stride=(1, 2, 2)), shape=VIDEO, nested=False),
    Case("conv3d-oblong", lambda: nn.Conv3d(2, 2, (1, 3, 2)), shape=VIDEO, nested=False),
    Case("transposed3d", lambda: nn.ConvTranspose3d(2, 2, 2, stride=2), shape=(1, 2, 2, 3, 4), nested=False),
    Case("conv1d-over-rows", OverRows),
    Case("conv1d-over-tokens", OverTokens),
    Case("conv1d-over-channels", OverChannels),
    Case("conv3d-over-depth", OverDepth),
]
