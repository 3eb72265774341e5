"""Resampling: nearest, linear and cubic interpolation in both conventions, anti-aliased too, and sampling by a grid.

Positions follow PyTorch: without `align_corners` the source of output o is scale * (o + 1/2) - 1/2 (nearest:
floor(scale * o)), with it o * (n - 1) / (m - 1). Taps whose weight is exactly zero are not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Bound, Each, Read, Whole, Window

Taps = Callable[[Fraction], tuple[int, ...]]


@rule("aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d")
def nearest(call: Call) -> Reads:
    """Output o reads floor(o * scale)."""
    return _resampled(call, lambda scale: lambda o: o * scale, lambda source: (math.floor(source),))


@rule("aten._upsample_nearest_exact1d", "aten._upsample_nearest_exact2d", "aten._upsample_nearest_exact3d")
def nearest_exact(call: Call) -> Reads:
    """Output o reads floor((o + 1/2) * scale)."""
    return _resampled(call, lambda scale: lambda o: (o + Fraction(1, 2)) * scale, lambda source: (math.floor(source),))


@rule("aten.upsample_linear1d", "aten.upsample_bilinear2d", "aten.upsample_trilinear3d")
def linear(call: Call) -> Reads:
    """The two neighbours of the source position, or one where it falls on a sample."""
    return _resampled(call, _centres, linear_taps)


@rule("aten.upsample_bicubic2d")
def cubic(call: Call) -> Reads:
    """The four neighbours of the source position, or one where it falls on a sample."""
    return _resampled(call, _centres, cubic_taps)


def linear_taps(source: Fraction) -> tuple[int, ...]:
    """Samples with a non-zero weight in linear interpolation."""
    low = math.floor(source)
    return (low,) if source == low else (low, low + 1)


def cubic_taps(source: Fraction) -> tuple[int, ...]:
    """Samples with a non-zero weight in cubic convolution."""
    low = math.floor(source)
    return (low,) if source == low else (low - 1, low, low + 1, low + 2)


def _centres(scale: Fraction) -> Callable[[int], Fraction]:
    return lambda o: (o + Fraction(1, 2)) * scale - Fraction(1, 2)


def _scales(call: Call, spatial: int) -> list[float | None]:
    factors = call.get("scale_factors")
    if factors is not None:
        return list(factors)
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[spatial]
    return [call.get(name) for name in names]


def _resampled(call: Call, position: Callable[[Fraction], Callable[[int], Fraction]], taps: Taps) -> Reads:
    spatial = int(call.op[-2])
    shape, lead = call.source.shape, len(call.shape) - spatial
    reads: list[Read] = [Each(dim) for dim in range(lead)]
    for axis, factor in enumerate(_scales(call, spatial)):
        dim = lead + axis
        inputs, outputs = shape[dim], call.shape[dim]
        if call.get("align_corners"):
            scale = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
            reads.append(_window(dim, scale, lambda o, scale=scale: o * scale, taps))  # type: ignore[misc]
        else:
            scale = 1 / Fraction(factor).limit_denominator(10_000) if factor else Fraction(inputs, outputs)
            read = _window(dim, scale, position(scale), taps)
            rounded = _rounded_nearest(call.op, inputs, outputs, factor)
            reads.append(read if rounded is None else _checked(read, dim, inputs, outputs, rounded))
    return [(call.source, Axes(tuple(reads), call.shape))]


def _window(dim: int, scale: Fraction, position: Callable[[int], Fraction], taps: Taps) -> Read:
    if scale == 1 and taps(position(0)) == (0,):
        return Each(dim)
    period = scale.denominator
    return Window(dim, tuple(taps(position(phase)) for phase in range(period)), period, scale.numerator, "clamp")


def _rounded_nearest(op: str, inputs: int, outputs: int, factor: float | None) -> list[int] | None:
    """What nearest neighbour really reads: PyTorch multiplies in float32, which can fall just below an integer."""
    if "nearest" not in op or outputs == 2 * inputs:
        return None
    scale = np.float32(1.0 / factor) if factor else np.float32(inputs) / np.float32(outputs)
    index = np.arange(outputs, dtype=np.float32)
    source = (index + np.float32(0.5)) * scale if "exact" in op else index * scale
    return [int(i) for i in np.minimum(np.floor(source).astype(np.int64), inputs - 1)]


def _checked(read: Read, dim: int, inputs: int, outputs: int, rounded: list[int]) -> Read:
    """The periodic window if rounding does not disturb it, else the window spelt out."""
    if isinstance(read, Window):
        exact = [
            min(read.advance * (o // read.period) + read.taps[o % read.period][0], inputs - 1) for o in range(outputs)
        ]
        if exact == rounded:
            return read
        return Window(dim, tuple((index,) for index in rounded), outputs, inputs, "clamp")
    return read


@rule("aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa", "aten._upsample_lanczos2d_aa")
def antialiased(call: Call) -> Reads:
    """A filter as wide as the scale: every sample within its support, at any scale."""
    reach = {"bilinear": 1, "bicubic": 2, "lanczos": 3}[call.op.split("_")[2].removesuffix("2d")]
    reads: list[Read] = [Each(0), Each(1)]
    for axis, factor in enumerate(_scales(call, 2)):
        dim = 2 + axis
        inputs, outputs = call.source.shape[dim], call.shape[dim]
        scale = Fraction(inputs, outputs)
        if call["align_corners"] and outputs > 1:
            scale = Fraction(inputs - 1, outputs - 1)
        elif factor:
            scale = 1 / Fraction(factor).limit_denominator(10_000)
        support = reach * max(scale, Fraction(1))

        def taps(centre: Fraction, support: Fraction = support, unit: Fraction = support / reach) -> tuple[int, ...]:
            first, last = math.ceil(centre - support - Fraction(1, 2)), math.floor(centre + support - Fraction(1, 2))
            distances = {tap: abs(tap + Fraction(1, 2) - centre) / unit for tap in range(first, last + 1)}
            return tuple(tap for tap, far in distances.items() if far < reach and (far == 0 or far.denominator != 1))

        reads.append(_window(dim, scale, lambda o, scale=scale: (o + Fraction(1, 2)) * scale, taps))  # type: ignore[misc]
        if isinstance(reads[-1], Window):
            reads[-1] = Window(dim, reads[-1].taps, reads[-1].period, reads[-1].advance, "pad")
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule("aten.grid_sampler_2d", "aten.grid_sampler_3d", "aten.cudnn_grid_sampler", "aten._grid_sampler_2d_cpu_fallback")
def grid_sampler(call: Call) -> Reads:
    """The grid decides where samples fall, so they may fall anywhere; the grid is read in place."""
    spatial = len(call.shape) - 2
    anywhere = Bound(Axes((Each(0), Each(1), *((Whole(),) * spatial)), call.shape))
    here = Axes((Each(0), *(Each(2 + axis) for axis in range(spatial)), Whole()), call.shape)
    return [(call["input"], anywhere), (call["grid"], here)]
