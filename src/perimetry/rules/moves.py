"""Moves between space and channels: unfolding into patches, folding back, pixel shuffle, writing through a view."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Chain, Each, Gather, Relation, Reshape, Window, permuted


@rule("aten.im2col")
def im2col(call: Call) -> Reads:
    """(N, C, H, W) to (N, C * kh * kw, windows): each column holds one window."""
    source = call.source
    batch, channels = source.shape[-4:-2] if len(source.shape) == 4 else (1, source.shape[0])
    kernel = call.pair("kernel_size", 2)
    counts = _window_counts(call, source.shape[-2:])
    reads = []
    for axis in range(2):
        stride, pad = call.pair("stride", 2)[axis], call.pair("padding", 2)[axis]
        spread = call.pair("dilation", 2)[axis]
        # Positions run over (tap, window): tap * dilation + window * stride - padding.
        phases = tuple((window * stride - pad,) for window in range(counts[axis]))
        reads.append(Window(2 + axis, phases, counts[axis], spread, "pad"))
    spelt = (batch, channels, kernel[0] * counts[0], kernel[1] * counts[1])
    split = (batch, channels, kernel[0], counts[0], kernel[1], counts[1])
    order = (0, 1, 2, 4, 3, 5)
    steps: tuple[Axes | Reshape, ...] = (
        Axes((Each(0), Each(1), *reads), spelt),
        Reshape(split),
        permuted(order, tuple(split[dim] for dim in order)),
        Reshape(call.shape),
    )
    lead = (Reshape((batch, channels, *source.shape[-2:])),) if len(source.shape) == 3 else ()
    return [(source, Chain((*lead, *steps)))]


@rule("aten.col2im")
def col2im(call: Call) -> Reads:
    """(N, C * kh * kw, windows) to (N, C, H, W): each pixel sums the windows that hold it."""
    source = call.source
    batch = source.shape[0] if len(source.shape) == 3 else 1
    extents = tuple(call["output_size"])
    kernel = call.pair("kernel_size", 2)
    counts = _window_counts(call, extents)
    channels = source.shape[-2] // math.prod(kernel)
    reads = []
    for axis in range(2):
        stride, pad = call.pair("stride", 2)[axis], call.pair("padding", 2)[axis]
        spread = call.pair("dilation", 2)[axis]
        phases = []
        for pixel in range(extents[axis]):
            offsets = [(tap, pixel + pad - tap * spread) for tap in range(kernel[axis])]
            phases.append(
                tuple(
                    tap * counts[axis] + offset // stride
                    for tap, offset in offsets
                    if offset % stride == 0 and 0 <= offset // stride < counts[axis]
                )
            )
        reads.append(Window(2 + axis, tuple(phases), extents[axis], kernel[axis] * counts[axis], "cut"))
    steps = (
        Reshape((batch, channels, kernel[0], kernel[1], counts[0], counts[1])),
        permuted((0, 1, 2, 4, 3, 5), (batch, channels, kernel[0], counts[0], kernel[1], counts[1])),
        Reshape((batch, channels, kernel[0] * counts[0], kernel[1] * counts[1])),
        Axes((Each(0), Each(1), *reads), (batch, channels, *extents)),
        Reshape(call.shape),
    )
    return [(source, Chain(steps))]


def _window_counts(call: Call, extents: tuple[int, ...]) -> list[int]:
    counts = []
    for axis, extent in enumerate(extents):
        span = call.pair("dilation", 2)[axis] * (call.pair("kernel_size", 2)[axis] - 1) + 1
        counts.append((extent + 2 * call.pair("padding", 2)[axis] - span) // call.pair("stride", 2)[axis] + 1)
    return counts


@rule("aten.unfold", "aten.unfold_copy")
def unfold(call: Call) -> Reads:
    """`x.unfold(dim, size, step)`: windows along a dimension, their contents in a new last one."""
    source, rank = call.source, len(call.source.shape)
    dim, size, step = call["dimension"] % rank, call["size"], call["step"]
    count = call.shape[dim]
    spelt = (*source.shape[:dim], count * size, *source.shape[dim + 1 :])
    split = (*source.shape[:dim], count, size, *source.shape[dim + 1 :])
    taps = Window(dim, tuple((tap,) for tap in range(size)), size, step, "cut")
    reads = tuple(taps if d == dim else Each(d) for d in range(rank))
    order = [d for d in range(rank + 1) if d != dim + 1] + [dim + 1]
    return [(source, Chain((Axes(reads, spelt), Reshape(split), permuted(order, call.shape))))]


@rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Reads:
    """(..., C r r, H, W) to (..., C, H r, W r)."""
    *lead, channels, height, width = call.source.shape
    factor, rank = call["upscale_factor"], len(lead)
    split = (*lead, channels // factor**2, factor, factor, height, width)
    order = [*range(rank), rank, rank + 3, rank + 1, rank + 4, rank + 2]
    moved = permuted(order, tuple(split[d] for d in order))
    return [(call.source, Chain((Reshape(split), moved, Reshape(call.shape))))]


@rule("aten.pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Reads:
    """(..., C, H r, W r) to (..., C r r, H, W)."""
    *lead, channels, height, width = call.source.shape
    factor, rank = call["downscale_factor"], len(lead)
    split = (*lead, channels, height // factor, factor, width // factor, factor)
    order = [*range(rank), rank, rank + 2, rank + 4, rank + 1, rank + 3]
    moved = permuted(order, tuple(split[d] for d in order))
    return [(call.source, Chain((Reshape(split), moved, Reshape(call.shape))))]


@rule("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(call: Call) -> Reads:
    """Channels of different groups are interleaved."""
    batch, channels, *space = call.source.shape
    groups = call["groups"]
    split = (batch, groups, channels // groups, *space)
    order = [0, 2, 1, *range(3, len(split))]
    moved = permuted(order, tuple(split[d] for d in order))
    return [(call.source, Chain((Reshape(split), moved, Reshape(call.shape))))]


@rule("aten.diagonal", "aten.diagonal_copy", "aten.diag_embed")
def diagonal(call: Call) -> Reads:
    """The elements of a diagonal, spelt out."""
    flat = np.arange(math.prod(call.source.shape), dtype=np.int64).reshape(call.source.shape)
    axes = {"offset": call["offset"], "axis1": call["dim1"], "axis2": call["dim2"]}
    if call.op == "aten.diag_embed":
        table = np.full(call.shape, -1, dtype=np.int64)
        view = np.diagonal(table, **axes)
        view.flags.writeable = True
        view[...] = flat
        return [(call.source, Gather(table))]
    return [(call.source, Gather(np.ascontiguousarray(np.diagonal(flat, **axes))))]


@rule("perimetry.overlay")
def overlay(call: Call) -> Reads:
    """A tensor after another one that shares its memory was written: elements in common are the new ones."""
    under, over = call.tensors
    shape, strides, offset = call["under"]
    source_shape, source_strides, source_offset = call["over"]
    dense = _dense(shape, strides) and _dense(source_shape, source_strides)
    if dense and offset == source_offset and math.prod(shape) == math.prod(source_shape):
        return [(over, Reshape(call.shape))]
    here = _places(shape, strides, offset)
    there = _places(source_shape, source_strides, source_offset)
    size = int(max(here.max(initial=0), there.max(initial=0))) + 1
    owner = np.full(size, -1, dtype=np.int64)
    owner[there.ravel()] = np.arange(there.size)
    written = owner[here]
    kept = np.where(written < 0, np.arange(here.size, dtype=np.int64).reshape(here.shape), -1)
    relations: list[tuple[object, Relation]] = [(over, Gather(written)), (under, Gather(kept))]
    return relations  # type: ignore[return-value]


def _dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


def _places(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> npt.NDArray[np.int64]:
    """Where in memory each element of a strided tensor lies."""
    places = np.full(shape, offset, dtype=np.int64)
    for dim, (extent, stride) in enumerate(zip(shape, strides, strict=True)):
        index = (np.arange(extent, dtype=np.int64) * stride).reshape((-1,) + (1,) * (len(shape) - dim - 1))
        places = places + index
    return places
