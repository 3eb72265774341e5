"""Position-sensitive RoI pooling in compiled loops: one channel's table of sums at a time, for all boxes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from perimetry.kernels.loops import loop, share_blocks

BLOCK = 16  # channels a task: a cache line of the result, and tables that stay in the second-level cache


def bin_means(features: Tensor, image: Tensor, edges: Tensor) -> Tensor:
    """Average each channel over the bin that is its own, for each box.

    features: (N, C * size * size, H, W), float32 or float64 on the CPU; image: (K,); edges: int32 (4, K, size), the
    first row of each bin, the one after its last, and the same of columns, inside the map. Returns (K, C * size *
    size). Sums are kept in double precision; memory is a task's tables, 16 channels a thread, beside the result. The
    readable form is in `perimetry.ops.position_sensitive`. The gradient has a gradient in turn.
    """
    return cast("Tensor", _BinMeans.apply(features, image, edges))


def bin_edges(boxes: Tensor, *, size: int, scale: float, height: int, width: int) -> Tensor:
    """The edges that `bin_means` takes, (4, K, size), of the bins of boxes (K, 5) as R-FCN rounds them.

    Torch's own rounding wakes all threads for a few thousand numbers, and waits for them where a core is busy.
    """
    edges = torch.empty(4, len(boxes), size, dtype=torch.int32)
    given = boxes.contiguous().numpy()
    kind = given.dtype.type
    _find_edges(given, size, kind(scale), kind(0.1), height, width, edges.numpy())
    return edges


class _BinMeans(torch.autograd.Function):
    @staticmethod
    def forward(features: Tensor, image: Tensor, edges: Tensor) -> Tensor:
        means = features.new_empty(len(image), features.shape[1])
        maps, bins, out = features.detach().contiguous().numpy(), edges.numpy(), means.numpy()
        share_blocks(features.shape, image, lambda *task: _pool(maps, bins, out, *task), block=BLOCK)
        return means

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        features, image, edges = inputs
        context.save_for_backward(image, edges)
        context.shape = features.shape

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _BinSpread.apply(gradient, *context.saved_tensors, context.shape), None, None


class _BinSpread(torch.autograd.Function):
    """The transpose of the means: each bin's value, divided by its cells, goes to each of them."""

    @staticmethod
    def forward(gradient: Tensor, image: Tensor, edges: Tensor, shape: torch.Size) -> Tensor:
        features = gradient.new_empty(shape)
        given, bins, out = gradient.detach().contiguous().numpy(), edges.numpy(), features.numpy()
        share_blocks(shape, image, lambda *task: _spread(given, bins, out, *task), block=BLOCK)
        return features

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        context.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _BinMeans.apply(gradient, *context.saved_tensors), None, None, None


@loop
def _find_edges(boxes, size, scale, least, height, width, edges):
    """In the precision of the boxes, each step rounded to it: the readable form's edges to the last cell."""
    one = boxes.dtype.type(1)
    for axis in range(2):
        extent = width if axis == 0 else height
        first, after = (edges[2], edges[3]) if axis == 0 else (edges[0], edges[1])
        for box in range(len(boxes)):
            start = _round_half_away(boxes[box, 1 + axis]) * scale
            end = (_round_half_away(boxes[box, 3 + axis]) + one) * scale
            step = max(end - start, least) / boxes.dtype.type(size)
            for at in range(size):
                low = np.floor(boxes.dtype.type(at) * step + start)
                high = np.ceil(boxes.dtype.type(at + 1) * step + start)
                first[box, at] = int(min(max(low, 0), extent))
                after[box, at] = int(min(max(high, 0), extent))


@loop
def _round_half_away(value):
    whole = np.trunc(value)
    if abs(value - whole) >= 0.5:
        whole += np.sign(value)
    return whole


@loop
def _pool(features, edges, out, order, starts, first, last):
    _, channels, height, width = features.shape
    size, blocks = edges.shape[2], (channels + BLOCK - 1) // BLOCK
    tables = np.zeros((BLOCK, height + 1, width + 1), np.float64)  # the sums of all cells above and left
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        high = min(low + BLOCK, channels)
        if starts[image] == starts[image + 1]:
            continue
        for channel in range(low, high):
            for y in range(height):
                total = 0.0
                for x in range(width):
                    total += features[image, channel, y, x]
                    tables[channel - low, y + 1, x + 1] = tables[channel - low, y, x + 1] + total
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            i, j = low // size % size, low % size
            for channel in range(low, high):
                top, bottom, left, right = edges[0, box, i], edges[1, box, i], edges[2, box, j], edges[3, box, j]
                table, mean = channel - low, 0.0
                if top < bottom and left < right:
                    total = tables[table, bottom, right] - tables[table, top, right]
                    total += tables[table, top, left] - tables[table, bottom, left]
                    mean = total / ((bottom - top) * (right - left))
                out[box, channel] = mean
                j += 1
                if j == size:
                    i, j = i + 1, 0
                    if i == size:
                        i = 0


@loop
def _spread(gradient, edges, out, order, starts, first, last):
    _, channels, height, width = out.shape
    size, blocks = edges.shape[2], (channels + BLOCK - 1) // BLOCK
    tables = np.empty((BLOCK, height + 1, width + 1), np.float64)  # what changes at a cell, for all below and right
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        high = min(low + BLOCK, channels)
        tables[:] = 0.0
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            i, j = low // size % size, low % size
            for channel in range(low, high):
                top, bottom, left, right = edges[0, box, i], edges[1, box, i], edges[2, box, j], edges[3, box, j]
                if top < bottom and left < right:
                    table = channel - low
                    share_of_cell = np.float64(gradient[box, channel]) / ((bottom - top) * (right - left))
                    tables[table, top, left] += share_of_cell
                    tables[table, top, right] -= share_of_cell
                    tables[table, bottom, left] -= share_of_cell
                    tables[table, bottom, right] += share_of_cell
                j += 1
                if j == size:
                    i, j = i + 1, 0
                    if i == size:
                        i = 0
        for channel in range(low, high):
            table = channel - low
            for y in range(height):
                total = 0.0
                for x in range(width):
                    total += tables[table, y, x]
                    above = tables[table, y - 1, x] if y > 0 else 0.0
                    tables[table, y, x] = total + above
                    out[image, channel, y, x] = total + above
