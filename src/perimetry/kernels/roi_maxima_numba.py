"""Maxima over the bins of boxes in compiled loops: all levels from one pass over each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perimetry.kernels.loops import loop, share_blocks

BLOCK = 32  # channels a task: the innermost loop, over a map that stays in the second-level cache


def level_maxima(features: Tensor, cells: Tensor, levels: Sequence[int], *, positions: bool) -> Tensor:
    """Maximum over each level's adaptive bins of each box and channel, levels side by side.

    features: (N, C, H, W), float32 or float64 on the CPU; cells: integers (K, 5), rows of (image, first column, first
    row, last column, last row) inside the map; returns (K, C * sum of n * n), each level flattened as (C, n, n).
    positions: keep where the maxima are, which gradients need: two bytes each, four where a map has above 32,767
    cells. A level that divides another is taken from that one's bins, since those are rounded alike. The first of
    equal cells is kept, NaN before numbers. The readable form is in `perimetry.ops.roi_pooling`.
    """
    pooled: Tensor = _Maxima.apply(features, cells, tuple(levels), positions)[0]
    return pooled


def _plan(levels: Sequence[int]) -> Any:
    """Rows of (bins a side, index of the level that it is taken from or -1, its place in the result), finest first."""
    rows: list[tuple[int, int, int]] = []
    for place in sorted(range(len(levels)), key=lambda place: -levels[place]):
        finer = next((index for index, row in enumerate(rows) if row[0] % levels[place] == 0), -1)
        rows.append((levels[place], finer, sum(side * side for side in levels[:place])))
    return np.array(rows, np.int64)


class _Maxima(torch.autograd.Function):
    @staticmethod
    def forward(features: Tensor, cells: Tensor, levels: tuple[int, ...], positions: bool) -> tuple[Tensor, Tensor]:
        channels, height, width = features.shape[1:]
        maxima = features.new_empty(len(cells), channels * sum(side * side for side in levels))
        kind = torch.int16 if height * width <= torch.iinfo(torch.int16).max else torch.int32
        where = torch.empty(maxima.shape if positions else (0, 0), dtype=kind)
        maps, boxes, out, found = features.detach().contiguous().numpy(), cells.numpy(), maxima.numpy(), where.numpy()
        plan = _plan(levels)
        share_blocks(
            features.shape,
            cells[:, 0],
            lambda *task: _pool(maps, boxes, plan, positions, out, found, *task),
            block=BLOCK,
        )
        return maxima, where

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        features, cells, context.levels, _ = inputs
        context.mark_non_differentiable(output[1])
        context.save_for_backward(cells, output[1])
        context.shape = features.shape

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
        return _Spread.apply(gradient, *context.saved_tensors, context.levels, context.shape), None, None, None


class _Spread(torch.autograd.Function):
    """The transpose of reading the maxima: each bin's value is added where its maximum was."""

    @staticmethod
    def forward(gradient: Tensor, cells: Tensor, where: Tensor, levels: tuple[int, ...], shape: torch.Size) -> Tensor:
        spread = gradient.new_empty(shape)
        given, found, out = gradient.detach().contiguous().numpy(), where.numpy(), spread.flatten(2).numpy()
        plan = _plan(levels)
        share_blocks(shape, cells[:, 0], lambda *task: _add(given, found, plan, out, *task), block=BLOCK)
        return spread

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        _, cells, where, context.levels, _ = inputs
        context.save_for_backward(cells, where)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        cells, where = context.saved_tensors
        parts = where.long().split([gradient.shape[1] * side * side for side in context.levels], 1)
        maps = gradient.flatten(2)[cells[:, 0]]  # (K, C, H * W)
        read = [maps.gather(2, part.reshape(len(part), maps.shape[1], -1)).flatten(1) for part in parts]
        return torch.cat(read, 1), None, None, None, None


@loop
def _pool(features, cells, plan, positions, out, found, order, starts, first, last):
    _, channels, height, width = features.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    bins = 0
    for level in range(len(plan)):
        bins += plan[level, 0] ** 2
    block = np.empty((height * width, BLOCK), features.dtype)  # channels last
    best = np.empty((bins, BLOCK), features.dtype)
    where = np.empty((bins, BLOCK), np.int32)
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        if starts[image] == starts[image + 1]:
            continue
        for c in range(count):
            for y in range(height):
                for x in range(width):
                    block[y * width + x, c] = features[image, low + c, y, x]
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            x0, y0 = cells[box, 1], cells[box, 2]
            columns, rows = cells[box, 3] - x0 + 1, cells[box, 4] - y0 + 1
            for level in range(len(plan)):
                n, finer, slot = plan[level]
                for i in range(n):
                    for j in range(n):
                        if finer < 0:
                            top, bottom = y0 + i * rows // n, y0 + ((i + 1) * rows + n - 1) // n
                            left, right = x0 + j * columns // n, x0 + ((j + 1) * columns + n - 1) // n
                            cell = top * width + left
                            for c in range(count):
                                best[slot, c] = block[cell, c]
                                where[slot, c] = cell
                            for y in range(top, bottom):
                                for cell in range(y * width + left, y * width + right):
                                    if positions:
                                        for c in range(count):
                                            value = block[cell, c]
                                            taken = (value > best[slot, c]) | (value != value)
                                            best[slot, c] = value if taken else best[slot, c]
                                            where[slot, c] = cell if taken else where[slot, c]
                                    else:
                                        for c in range(count):
                                            value = block[cell, c]
                                            taken = (value > best[slot, c]) | (value != value)
                                            best[slot, c] = value if taken else best[slot, c]
                        else:
                            of, start = plan[finer, 0], plan[finer, 2]
                            step = of // n
                            begin = start + i * step * of + j * step
                            for c in range(count):
                                best[slot, c] = best[begin, c]
                                where[slot, c] = where[begin, c]
                            for y in range(step):
                                for fine in range(begin + y * of, begin + y * of + step):
                                    for c in range(count):
                                        value = best[fine, c]
                                        same = (value == best[slot, c]) & (where[fine, c] < where[slot, c])
                                        taken = (value > best[slot, c]) | (value != value) | same
                                        best[slot, c] = value if taken else best[slot, c]
                                        where[slot, c] = where[fine, c] if taken else where[slot, c]
                        slot += 1
                side = n * n
                start = plan[level, 2]
                to = channels * start + low * side
                for c in range(count):
                    for slot in range(start, start + side):
                        out[box, to] = best[slot, c]
                        if positions:
                            found[box, to] = where[slot, c]
                        to += 1


@loop
def _add(gradient, found, plan, out, order, starts, first, last):
    channels = out.shape[1]
    blocks = (channels + BLOCK - 1) // BLOCK
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        out[image, low : low + count] = 0
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            for level in range(len(plan)):
                side = plan[level, 0] ** 2
                to = channels * plan[level, 2] + low * side
                for c in range(low, low + count):
                    for place in range(to, to + side):
                        out[image, c, found[box, place]] += gradient[box, place]
                    to += side
