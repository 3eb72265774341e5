"""Pooling: windows, padding, ceil mode, dilation, adaptive bins that overlap, and powers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case

VIDEO = (1, 2, 4, 7, 6)
LINE = (1, 2, 17)
THIRTEEN = (1, 2, 13, 13)


def _max_with_indices_unused(x):
    values, _ = F.max_pool2d(x, 2, return_indices=True)
    return values


def _unpool(x):
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(values, indices, 2, output_size=x.shape[2:])


CASES = [
    case("max", nn.MaxPool2d(2)),
    case("max-3-2", nn.MaxPool2d(3, 2)),
    case("max-padded", nn.MaxPool2d(3, 2, padding=1)),
    case("max-ceil", nn.MaxPool2d(3, 2, ceil_mode=True), shape=(1, 2, 10, 12)),
    case("max-ceil-padded", nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), shape=(1, 2, 10, 11)),
    case("max-ceil-last-window-dropped", nn.MaxPool2d(2, 3, ceil_mode=True), shape=(1, 2, 10, 12)),
    case("max-dilated", nn.MaxPool2d(3, 1, dilation=(2, 3))),
    case("max-dilated-padded", nn.MaxPool2d(3, 2, padding=1, dilation=2)),
    case("max-stride-1", nn.MaxPool2d((3, 2), 1)),
    case("max-gaps", nn.MaxPool2d(2, 3)),
    case("max-indices-unused", _max_with_indices_unused, exact=False),
    case("max-unpool", _unpool, exact=False),
    case("average", nn.AvgPool2d(2)),
    case("average-padded", nn.AvgPool2d(3, 2, padding=1)),
    case("average-padding-not-counted", nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
    case("average-ceil", nn.AvgPool2d(3, 2, ceil_mode=True), shape=(1, 2, 10, 12)),
    case("average-ceil-padded", nn.AvgPool2d((3, 4), (2, 3), padding=1, ceil_mode=True)),
    case("average-divisor", nn.AvgPool2d(2, divisor_override=3)),
    case("average-oblong", nn.AvgPool2d((1, 5), (1, 2), padding=(0, 2))),
    case("adaptive-average", nn.AdaptiveAvgPool2d(4)),
    case("adaptive-average-13-to-6", nn.AdaptiveAvgPool2d(6), shape=THIRTEEN),
    case("adaptive-average-oblong", nn.AdaptiveAvgPool2d((5, 3))),
    case("adaptive-average-one-axis", nn.AdaptiveAvgPool2d((None, 1))),
    case("adaptive-average-to-1", nn.AdaptiveAvgPool2d(1)),
    case("adaptive-average-up", nn.AdaptiveAvgPool2d((17, 20))),
    case("adaptive-max", nn.AdaptiveMaxPool2d(4)),
    case("adaptive-max-13-to-6", nn.AdaptiveMaxPool2d((6, 5)), shape=THIRTEEN),
    case("adaptive-max-to-1", nn.AdaptiveMaxPool2d(1)),
    case("adaptive-max-up", nn.AdaptiveMaxPool2d((12, 17))),
    case("lp", nn.LPPool2d(2, 3, 2)),
    case("lp-ceil", nn.LPPool2d(3, (2, 3), ceil_mode=True)),
    case("pyramid", lambda x: torch.cat([F.adaptive_max_pool2d(x, bins).flatten(1) for bins in (1, 2, 4)], 1)),
    case("fractional-max", nn.FractionalMaxPool2d(2, output_size=5, _random_samples=torch.rand(1, 2, 2)), exact=False),
    case("max1d", nn.MaxPool1d(3, 2, padding=1), shape=LINE, nested=False),
    case("average1d", nn.AvgPool1d(3, 2, ceil_mode=True), shape=LINE, nested=False),
    case("adaptive-average1d", nn.AdaptiveAvgPool1d(6), shape=LINE, nested=False),
    case("adaptive-max1d", nn.AdaptiveMaxPool1d(6), shape=LINE, nested=False),
    case("lp1d", nn.LPPool1d(2, 3), shape=LINE, nested=False),
    case("max3d", nn.MaxPool3d(2, 2, padding=1), shape=VIDEO, nested=False),
    case("average3d", nn.AvgPool3d((1, 3, 2)), shape=VIDEO, nested=False),
    case("adaptive-average3d", nn.AdaptiveAvgPool3d((2, 3, 4)), shape=VIDEO, nested=False),
    case("adaptive-max3d", nn.AdaptiveMaxPool3d((2, 3, 4)), shape=VIDEO, nested=False),
    Case("max-twice", lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(3, 2, ceil_mode=True))),
]
