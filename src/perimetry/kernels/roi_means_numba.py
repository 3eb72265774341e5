"""Means over the bins of boxes in compiled loops: a table of sums for a few channels at a time, for all levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from perimetry.kernels.loops import loop, share_blocks

BLOCK = 16  # channels a task: the innermost loop, over tables that stay in the second-level cache


def level_means(features: Tensor, cells: Tensor, levels: Sequence[int]) -> Tensor:
    """Mean over each level's adaptive bins of each box and channel, levels side by side.

    features: (N, C, H, W), float32 or float64 on the CPU; cells: integers (K, 5), rows of (image, first column, first
    row, last column, last row) inside the map; returns (K, C * sum of n * n), each level flattened as (C, n, n). Sums
    are kept in double precision; memory is a task's tables, 16 channels a thread, beside the result. The readable form
    is in `perimetry.ops.roi_pooling`. The gradient has a gradient in turn.
    """
    return cast("Tensor", _Means.apply(features, cells, tuple(levels)))


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(features: Tensor, cells: Tensor, levels: tuple[int, ...]) -> Tensor:
        means = features.new_empty(len(cells), features.shape[1] * sum(side * side for side in levels))
        maps, boxes, out = features.detach().contiguous().numpy(), cells.numpy(), means.numpy()
        sides = np.array(levels, np.int64)
        share_blocks(features.shape, cells[:, 0], lambda *task: _pool(maps, boxes, sides, out, *task), block=BLOCK)
        return means

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        features, cells, context.levels = inputs
        context.save_for_backward(cells)
        context.shape = features.shape

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _Spread.apply(gradient, *context.saved_tensors, context.levels, context.shape), None, None


class _Spread(torch.autograd.Function):
    """The transpose of the means: each bin's value, divided by its cells, goes to each of them."""

    @staticmethod
    def forward(gradient: Tensor, cells: Tensor, levels: tuple[int, ...], shape: torch.Size) -> Tensor:
        spread = gradient.new_empty(shape)
        given, boxes, out = gradient.detach().contiguous().numpy(), cells.numpy(), spread.numpy()
        sides = np.array(levels, np.int64)
        share_blocks(shape, cells[:, 0], lambda *task: _add(given, boxes, sides, out, *task), block=BLOCK)
        return spread

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        _, cells, context.levels, _ = inputs
        context.save_for_backward(cells)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _Means.apply(gradient, *context.saved_tensors, context.levels), None, None, None


@loop
def _pool(features, cells, sides, out, order, starts, first, last):
    _, channels, height, width = features.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    table = np.zeros((height + 1, width + 1, BLOCK), np.float64)  # the sums of all cells above and left
    means = np.empty((sides.max() ** 2, BLOCK), np.float64)
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        if starts[image] == starts[image + 1]:
            continue
        for c in range(count):
            for y in range(height):
                total = 0.0
                for x in range(width):
                    total += features[image, low + c, y, x]
                    table[y + 1, x + 1, c] = table[y, x + 1, c] + total
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            x0, y0 = cells[box, 1], cells[box, 2]
            columns, rows = cells[box, 3] - x0 + 1, cells[box, 4] - y0 + 1
            begin = 0
            for n in sides:
                for i in range(n):
                    top, bottom = y0 + i * rows // n, y0 + ((i + 1) * rows + n - 1) // n
                    for j in range(n):
                        left, right = x0 + j * columns // n, x0 + ((j + 1) * columns + n - 1) // n
                        area = (bottom - top) * (right - left)
                        for c in range(count):
                            total = table[bottom, right, c] - table[top, right, c]
                            means[i * n + j, c] = (total + table[top, left, c] - table[bottom, left, c]) / area
                to = begin * channels + low * n * n
                for c in range(count):
                    for slot in range(n * n):
                        out[box, to] = means[slot, c]
                        to += 1
                begin += n * n


@loop
def _add(gradient, cells, sides, out, order, starts, first, last):
    _, channels, height, width = out.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    table = np.empty((height + 1, width + 1, BLOCK), np.float64)  # what changes at a cell, for all below and right
    given = np.empty((sides.max() ** 2, BLOCK), np.float64)
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        table[:] = 0.0
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            x0, y0 = cells[box, 1], cells[box, 2]
            columns, rows = cells[box, 3] - x0 + 1, cells[box, 4] - y0 + 1
            begin = 0
            for n in sides:
                place = begin * channels + low * n * n
                for c in range(count):
                    for slot in range(n * n):
                        given[slot, c] = gradient[box, place]
                        place += 1
                for i in range(n):
                    top, bottom = y0 + i * rows // n, y0 + ((i + 1) * rows + n - 1) // n
                    for j in range(n):
                        left, right = x0 + j * columns // n, x0 + ((j + 1) * columns + n - 1) // n
                        area = (bottom - top) * (right - left)
                        for c in range(count):
                            value = given[i * n + j, c] / area
                            table[top, left, c] += value
                            table[top, right, c] -= value
                            table[bottom, left, c] -= value
                            table[bottom, right, c] += value
                begin += n * n
        for c in range(count):
            for y in range(height):
                total = 0.0
                for x in range(width):
                    total += table[y, x, c]
                    above = table[y - 1, x, c] if y > 0 else 0.0
                    table[y, x, c] = total + above
                    out[image, low + c, y, x] = total + above
