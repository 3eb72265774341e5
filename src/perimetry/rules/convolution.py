"""Convolution and transposed convolution, in any number of dimensions, strided, dilated and grouped."""

from __future__ import annotations

import math

from perimetry.records import Value
from perimetry.rules.registry import Call, Reads, cost, rule
from perimetry.rules.relations import Axes, Bound, Each, Read, Whole, Window, window

_CONVOLUTIONS = (
    "aten.convolution",
    "aten._convolution",
    "aten.cudnn_convolution",
    "aten.mkldnn_convolution",
    "aten.convolution_overrideable",
)


@rule(*_CONVOLUTIONS)
def convolution(call: Call) -> Reads:
    """Windows along space, all channels of the group, the same sample."""
    source, weight = call["input"], call["weight"]
    spatial = len(weight.shape) - 2
    lead = len(source.shape) - spatial - 1  # 1 with a batch axis, 0 without
    stride, dilation = call.pair("stride", spatial), call.pair("dilation", spatial)
    padding = call.pair("padding", spatial)
    reads: list[Read] = [Each(0)] * lead
    reads.append(grouped(lead, source.shape[lead], call.shape[lead], call["groups"]))
    for axis in range(spatial):
        dim, kernel = lead + 1 + axis, weight.shape[2 + axis]
        form = (dim, kernel, stride[axis], padding[axis], dilation[axis])
        reads.append(transposed_window(*form) if call.get("transposed") else window(*form))
    every_weight: list[Read] = [Whole()] * len(weight.shape)
    return [
        (source, Axes(tuple(reads), call.shape)),
        (weight, Axes(tuple(every_weight), call.shape)),
        *_bias(call, lead),
    ]


def _bias(call: Call, dim: int) -> list[tuple[Value, Axes]]:
    bias = call.get("bias")
    return [] if bias is None else [(bias, Axes((Each(dim),), call.shape))]


def grouped(dim: int, inputs: int, outputs: int, groups: int) -> Read:
    """Which input channels an output channel reads: all of its group."""
    if groups == 1:
        return Whole()
    block_in, block_out = inputs // groups, outputs // groups
    if block_in == block_out == 1:
        return Each(dim)
    return Window(dim, (tuple(range(block_in)),) * block_out, block_out, block_in, "cut")


def transposed_window(dim: int, kernel: int, stride: int, padding: int, dilation: int) -> Window:
    """The window of a transposed convolution: output o reads input i wherever o = i * stride - padding + dilation * k.

    >>> transposed_window(2, kernel=3, stride=2, padding=1, dilation=1).taps
    ((0,), (1, 0))
    """
    phases = []
    for phase in range(stride):
        offsets = [phase + padding - dilation * tap for tap in range(kernel)]
        phases.append(tuple(offset // stride for offset in offsets if offset % stride == 0))
    return Window(dim, tuple(phases), period=stride, advance=1)


@cost(*_CONVOLUTIONS)
def convolution_cost(call: Call) -> int:
    """Each weight is used once per output position (per input position when transposed) and sample."""
    source, weight = call["input"], call["weight"]
    spatial = len(weight.shape) - 2
    lead = len(source.shape) - spatial - 1
    positions = source.shape if call.get("transposed") else call.shape
    samples = math.prod(source.shape[:lead])
    return int(samples * math.prod(positions[lead + 1 :]) * math.prod(weight.shape))


@rule("torchvision.deform_conv2d", "torchvision._deform_conv2d")
def deformable_convolution(call: Call) -> Reads:
    """The image decides where the samples fall, so they may fall anywhere; offsets and masks are read in place."""
    source, weight = call["input"], call["weight"]
    anywhere = Bound(Axes((Each(0), Whole(), Whole(), Whole()), call.shape))
    here = Axes((Each(0), Whole(), Each(2), Each(3)), call.shape)
    reads: list[tuple[Value, Axes | Bound]] = [(source, anywhere), (call["offset"], here)]
    if call["mask"].shape[0] == source.shape[0] and len(call["mask"].shape) == 4 and call["use_mask"]:
        reads.append((call["mask"], here))
    return [*reads, (weight, Axes((Whole(),) * 4, call.shape))]


@cost("torchvision.deform_conv2d", "torchvision._deform_conv2d")
def deformable_convolution_cost(call: Call) -> int:
    """As an ordinary convolution of the same form (sampling is not counted)."""
    return int(call.shape[0] * math.prod(call.shape[2:]) * math.prod(call["weight"].shape))
