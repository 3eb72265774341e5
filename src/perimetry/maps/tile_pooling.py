"""Pooling, interpolation and moving on windows.

Averages and interpolation are linear, one axis after the other, and act on the change alone. A maximum is taken of the
values. What only moves elements (crops, padding, nearest neighbours) takes the changed ones along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from perimetry.maps.steps import Operand, Run, Step
from perimetry.maps.tiles import Frame, Ints, Windows, as_index

Weights = npt.NDArray[np.float64]


def runner(op: str, arguments: Mapping[str, Any], operands: Sequence[Operand], output: int, frame: Frame) -> Run | None:
    """How a pooling or interpolation of one map runs on windows; None for any other operator."""
    if len(operands) != 1 or len(frame.dims) != 2:
        return None
    source = operands[0]
    if op in ("aten.max_pool2d_with_indices", "aten.max_pool2d", "aten.adaptive_max_pool2d"):
        return _maximum(source, frame)
    tables = _read_tables(source, frame)
    if op == "aten._adaptive_avg_pool2d":
        return _weighted(source, output, tables, [_shares(table) for table in tables])
    if op == "aten.avg_pool2d":
        weights = _averages(arguments, source, frame, tables)
        return _weighted(source, output, tables, weights)
    if op == "aten.upsample_bilinear2d":
        axes = [_between(arguments, axis, source.frame.extents[axis], frame.extents[axis]) for axis in range(2)]
        return _weighted(source, output, [table for table, _ in axes], [weights for _, weights in axes])
    return None


def _read_tables(source: Operand, frame: Frame) -> list[Ints]:
    """Per axis the inputs that each output reads, (outputs, taps), -1 for none; each input once."""
    tables = []
    for axis, outputs in enumerate(frame.extents):
        table = source.table(axis, outputs).copy()
        for tap in range(1, table.shape[1]):
            table[(table[:, :tap] == table[:, tap : tap + 1]).any(axis=1), tap] = -1
        tables.append(table)
    return tables


def _shares(table: Ints) -> Weights:
    """Every input that an output reads counts alike."""
    read = table >= 0
    weights: Weights = read / np.maximum(read.sum(axis=1, keepdims=True), 1)
    return weights


def _averages(arguments: Mapping[str, Any], source: Operand, frame: Frame, tables: Sequence[Ints]) -> list[Weights]:
    """An average pooling's weights; the divisor counts the padding or not, but never what lies beyond it."""
    kernel = arguments["kernel_size"]
    found = []
    for axis, table in enumerate(tables):
        extent, padding = kernel[min(axis, len(kernel) - 1)], arguments["padding"]
        stride = arguments["stride"] or kernel
        pad, step = padding[min(axis, len(padding) - 1)], stride[min(axis, len(stride) - 1)]
        first = np.arange(frame.extents[axis]) * step - pad
        last = np.minimum(first + extent, source.frame.extents[axis] + pad)
        divisor = last - first if arguments["count_include_pad"] else (table >= 0).sum(axis=1)
        if arguments["divisor_override"]:
            divisor = np.full_like(first, arguments["divisor_override"] if axis == 0 else 1)
        found.append((table >= 0) / np.maximum(divisor, 1)[:, None])
    return found


def _between(arguments: Mapping[str, Any], axis: int, inputs: int, outputs: int) -> tuple[Ints, Weights]:
    """The two inputs that bilinear interpolation reads along an axis, and their weights."""
    index = np.arange(outputs, dtype=np.float64)
    factors = arguments.get("scale_factors") or (arguments.get("scales_h"), arguments.get("scales_w"))
    factor: float | None = factors[axis]
    if arguments["align_corners"]:
        place = index * ((inputs - 1) / (outputs - 1) if outputs > 1 else 0.0)
    else:
        scale = 1 / factor if factor else inputs / outputs
        place = np.maximum((index + 0.5) * scale - 0.5, 0)
    low = np.minimum(place.astype(np.int64), inputs - 1)
    share = place - low
    return np.stack((low, np.minimum(low + 1, inputs - 1)), axis=1), np.stack((1 - share, share), axis=1)


def _weighted(source: Operand, output: int, tables: Sequence[Ints], weights: Sequence[Weights]) -> Run:
    """A weighted sum of inputs, whose weights are a product of one for the row and one for the column."""

    def run(step: Step) -> torch.Tensor:
        windows, tile = step.windows, step.tiles[0]
        change = tile.change(step.base, source.value)
        made = step.base.rows(output, windows)
        for down in range(tables[0].shape[1]):
            for across in range(tables[1].shape[1]):
                rows, columns = tables[0][windows.rows, down], tables[1][windows.columns, across]
                index = tile.windows.index(windows.patches, rows, columns)
                weight = weights[0][windows.rows, down] * weights[1][windows.columns, across]
                reads = (index >= 0) & (rows >= 0) & (columns >= 0) & (weight != 0)
                index = np.where(reads, index, len(tile.windows))
                factor = torch.from_numpy(np.where(reads, weight, 0.0)).to(made)
                made.addcmul_(change.index_select(0, as_index(index, change)), factor[:, None])
        return made

    return run


def _maximum(source: Operand, frame: Frame) -> Run:
    """The largest of the inputs that each output reads."""
    tables = _read_tables(source, frame)

    def run(step: Step) -> torch.Tensor:
        windows = step.windows
        around = _around(windows, tables)
        read = step.tiles[0].within(around, step.base, source.value)
        lowest = torch.full((1, read.shape[1]), -math.inf, dtype=read.dtype, device=read.device)
        read = torch.cat((read, lowest))
        made: torch.Tensor | None = None
        for down in range(tables[0].shape[1]):
            for across in range(tables[1].shape[1]):
                rows, columns = tables[0][windows.rows, down], tables[1][windows.columns, across]
                index = around.index(windows.patches, rows, columns)
                index = np.where((rows < 0) | (columns < 0) | (index < 0), len(around), index)
                taken = read.index_select(0, as_index(index, read))
                made = taken if made is None else torch.maximum(made, taken, out=made)
        assert made is not None, "a window has a tap"
        return made

    return run


def _around(windows: Windows, tables: Sequence[Ints]) -> Windows:
    """The windows of the input that hold everything that windows of the output read."""
    spans = []
    for table, firsts, extents in (
        (tables[0], windows.tops, windows.heights),
        (tables[1], windows.lefts, windows.widths),
    ):
        low = np.where(table < 0, np.iinfo(np.int64).max, table).min(axis=1)
        high = table.max(axis=1)
        ends = np.maximum(firsts + extents - 1, firsts)
        # The first and last rows read need not belong to the first and last output where windows adapt.
        lows = np.minimum.accumulate(low[::-1])[::-1]
        highs = np.maximum.accumulate(high)
        inside = np.clip(firsts, 0, len(table) - 1)
        spans.append(
            np.stack((lows[inside], np.where(extents > 0, highs[np.clip(ends, 0, len(table) - 1)], -1)), axis=1)
        )
    return Windows.between(spans[0], spans[1])


def moves(source: Operand, output: int, frame: Frame) -> Run:
    """An operator whose every output is one of its inputs, or a constant."""
    down, across = (source.table(axis, outputs)[:, 0] for axis, outputs in enumerate(frame.extents))

    def run(step: Step) -> torch.Tensor:
        windows, tile = step.windows, step.tiles[0]
        made = step.base.rows(output, windows)
        rows, columns = down[windows.rows], across[windows.columns]
        index = tile.windows.index(windows.patches, rows, columns)
        inside = np.flatnonzero((index >= 0) & (rows >= 0) & (columns >= 0))
        taken = tile.table.index_select(0, as_index(index[inside], made))
        made.index_copy_(0, as_index(inside, made), taken)
        return made

    return run
