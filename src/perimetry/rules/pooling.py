"""Pooling: windows of a fixed size, windows that adapt to the output's size, and their inverse."""

from __future__ import annotations

import math

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Bound, Each, Read, Whole, Window, window


@rule(
    "aten.max_pool1d",
    "aten.max_pool2d",
    "aten.max_pool3d",
    "aten.max_pool2d_with_indices",
    "aten.max_pool3d_with_indices",
    "aten.mkldnn_max_pool2d",
    "aten.avg_pool1d",
    "aten.avg_pool2d",
    "aten.avg_pool3d",
)
def fixed_windows(call: Call) -> Reads:
    """Windows along the last dimensions; `ceil_mode` only changes how many there are, which the shape tells."""
    spatial = int(call.op.partition("pool")[2][0])
    kernel = call.pair("kernel_size", spatial)
    stride = call.pair("stride", spatial) if call["stride"] else kernel
    padding = call.pair("padding", spatial)
    dilation = call.pair("dilation", spatial) if call.get("dilation") else (1,) * spatial
    lead = len(call.shape) - spatial
    reads: list[Read] = [Each(dim) for dim in range(lead)]
    for axis in range(spatial):
        reads.append(window(lead + axis, kernel[axis], stride[axis], padding[axis], dilation[axis]))
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule(
    "aten._adaptive_avg_pool2d",
    "aten._adaptive_avg_pool3d",
    "aten.adaptive_avg_pool1d",
    "aten.adaptive_avg_pool2d",
    "aten.adaptive_avg_pool3d",
    "aten.adaptive_max_pool1d",
    "aten.adaptive_max_pool2d",
    "aten.adaptive_max_pool3d",
    "aten.mkldnn_adaptive_avg_pool2d",
)
def adaptive_windows(call: Call) -> Reads:
    """Output i reads floor(i * n / m) to ceil((i + 1) * n / m) - 1 of n inputs, m outputs."""
    spatial = int(call.op.partition("pool")[2][0])
    lead = len(call.shape) - spatial
    reads: list[Read] = [Each(dim) for dim in range(lead)]
    reads += [adaptive_window(dim, call.source.shape[dim], call.shape[dim]) for dim in range(lead, len(call.shape))]
    return [(call.source, Axes(tuple(reads), call.shape))]


def adaptive_window(dim: int, inputs: int, outputs: int) -> Read:
    """The window of adaptive pooling; a single output reads the whole dimension.

    >>> adaptive_window(2, inputs=7, outputs=3)
    Window(dim=2, taps=((0, 1, 2), (2, 3, 4), (4, 5, 6)), period=3, advance=7, edge='pad')
    """
    if outputs == 1:
        return Whole()
    common = math.gcd(inputs, outputs)
    period, advance = outputs // common, inputs // common
    phases = tuple(
        tuple(range(phase * advance // period, -(-(phase + 1) * advance // period))) for phase in range(period)
    )
    return Each(dim) if phases == ((0,),) and advance == 1 else Window(dim, phases, period, advance)


@rule("aten.max_unpool2d", "aten.max_unpool3d")
def unpooling(call: Call) -> Reads:
    """The indices decide where each value goes, so an output may read any position of its channel."""
    spatial = int(call.op[-2])
    lead = len(call.shape) - spatial
    anywhere = Bound(Axes((*(Each(dim) for dim in range(lead)), *((Whole(),) * spatial)), call.shape))
    return [(call["self"], anywhere), (call["indices"], anywhere)]


@rule("aten.fractional_max_pool2d", "aten.fractional_max_pool3d")
def random_windows(call: Call) -> Reads:
    """The windows are drawn at random."""
    spatial = int(call.op[-2])
    lead = len(call.shape) - spatial
    return [(call["self"], Bound(Axes((*(Each(dim) for dim in range(lead)), *((Whole(),) * spatial)), call.shape)))]
