"""Convolutions on windows: as one matrix product, by Winograd's filtering, by blocks, and transposed.

A convolution is linear, so what it makes of a changed window is the unchanged output plus the convolution of the
change, and a change is zero outside its window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from perimetry.maps import winograd
from perimetry.maps.covers import Cover
from perimetry.maps.program import Program
from perimetry.maps.steps import Operand, Run, Step
from perimetry.maps.tiles import Frame, Ints, as_index
from perimetry.records import Node
from perimetry.rules import Each

_UNFOLDED = 1 << 19  # numbers that are unfolded at once: 2 MiB of float32
_FEWEST_ROWS = 256  # of a product, for which the weights are read once
_FILTERED = 1 << 15  # tiles times channels that are filtered at once, so that they stay in the cache
_WORTHWHILE = 0.8  # of the multiplications: beyond, small windows leave too much of the tiles unused
_FEWEST_CHANNELS = 32  # below, transforming costs more than it saves

Way = Literal["fastest", "smallest"]  # with filters transformed for it, four times as large, or with those there are


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution of one map by fixed weights (in channels-last order), its output and where that keeps positions."""

    source: Operand
    output: int
    frame: Frame
    weights: Callable[[Step], torch.Tensor]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


def runner(
    ready: Program, node: Node, arguments: Mapping[str, Any], operands: Sequence[Operand], frame: Frame, way: Way
) -> Run | None:
    """How a convolution of a map by fixed weights runs on windows; None for any other."""
    network, fold = ready.network, ready.folds.get(node.index)
    weight, bias = arguments["weight"], arguments["bias"]
    fixed = not network.depends[weight.index] and (bias is None or not network.depends[bias.index])
    if len(weight.shape) != 4 or not fixed or len(operands) != 1:
        return None
    output = fold.output if fold is not None else node.outputs[0]
    assert output is not None, "a convolution makes a value"
    shapes = network.values[operands[0].value].shape, network.values[output].shape
    if any(shape[dim] != 1 for shape in shapes for dim in (0, 2, 3) if dim not in frame.dims):
        return None
    kept: list[torch.Tensor] = []

    def weights(step: Step) -> torch.Tensor:
        if not kept:
            given = fold.weight if fold is not None else step.base.values[weight.index]
            kept.append(given.contiguous(memory_format=torch.channels_last))
        return kept[0]

    def constant(step: Step) -> torch.Tensor | None:
        return fold.bias if fold is not None else None if bias is None else step.base.values[bias.index]

    stride, padding, dilation = (tuple(arguments[name]) for name in ("stride", "padding", "dilation"))
    form = _Convolution(operands[0], output, frame, weights, stride, padding, dilation)
    if arguments["transposed"]:
        return _transposed(form) if arguments["groups"] == 1 else None
    if arguments["groups"] > 1:
        return _by_blocks(form)
    if all(isinstance(read, Each) for read in operands[0].reads):
        return _pointwise(form, constant)
    if tuple(weight.shape[2:]) == (1, 1) and padding == (0, 0):
        return _picked(form, constant)
    return _by_filtering(form) if way == "fastest" and _is_filtered(arguments) else _unfolded(form)


def kept_bytes(arguments: Mapping[str, Any], way: Way) -> int:
    """What a convolution keeps: its filters with channels last, and transformed ones (36 numbers for 9)."""
    transformed = 4 if way == "fastest" and _is_filtered(arguments) else 0
    return int(arguments["weight"].bytes * (1 + transformed))


def scratch_bytes(arguments: Mapping[str, Any], way: Way) -> int:
    """The largest room that a convolution takes at once (see `_by_filtering` and `_add_unfolded`)."""
    weight = arguments["weight"]
    outputs, inputs = weight.shape[:2]
    item = weight.bytes // math.prod(weight.shape)
    unfolded = max(_UNFOLDED, _FEWEST_ROWS * inputs * math.prod(weight.shape[2:]))
    if way == "smallest" or not _is_filtered(arguments):
        return int(4 * unfolded * item) if arguments["groups"] > 1 else int(unfolded * item)
    together = _tiles_at_once(inputs, outputs)
    return int(together * (winograd.PATCH**2 * (2 * inputs + outputs) + winograd.TILE**2 * outputs) * item)


def _tiles_at_once(inputs: int, outputs: int) -> int:
    return max(64, _FILTERED // max(inputs, outputs))


def _is_filtered(arguments: Mapping[str, Any]) -> bool:
    """True for convolutions that Winograd's filtering is for."""
    weight = arguments["weight"]
    dense = not arguments["transposed"] and arguments["groups"] == 1 and min(weight.shape[:2]) >= _FEWEST_CHANNELS
    return dense and tuple(weight.shape[2:]) == (3, 3) and tuple(arguments["stride"]) == (1, 1)


def _pointwise(form: _Convolution, constant: Callable[[Step], torch.Tensor | None]) -> Run:
    """A 1x1 convolution: a product of the table and the weights."""

    def run(step: Step) -> torch.Tensor:
        table = step.tiles[0].within(step.windows, step.base, form.source.value)
        return _product(table, form.weights(step), constant(step))

    return run


def _product(table: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Each row times a 1x1 kernel, plus the bias (afterwards: a product that begins with it first copies it)."""
    made = table @ weight[:, :, 0, 0].t()
    return made if bias is None else made.add_(bias)


def _picked(form: _Convolution, constant: Callable[[Step], torch.Tensor | None]) -> Run:
    """A 1x1 convolution with a stride: every output that changes reads one input that did."""

    def run(step: Step) -> torch.Tensor:
        tile, windows = step.tiles[0], step.windows
        rows, columns = windows.rows * form.stride[0], windows.columns * form.stride[1]
        index = tile.windows.index(windows.patches, rows, columns)
        assert (index >= 0).all(), "what reads nothing that changed does not change"
        table = tile.table.index_select(0, as_index(index, tile.table))
        return _product(table, form.weights(step), constant(step))

    return run


def _unfolded(form: _Convolution) -> Run:
    """Each output's inputs side by side in one row (im2col), then one matrix product."""
    tables = [form.source.table(axis, outputs) for axis, outputs in enumerate(form.frame.extents)]

    def run(step: Step) -> torch.Tensor:
        matrix = form.weights(step).permute(0, 2, 3, 1).flatten(1).t()  # a view: the weights keep channels last
        made = step.base.rows(form.output, step.windows)
        _add_unfolded(step, form.source, tables, matrix, made, np.arange(len(step.windows)))
        return made

    return run


def _add_unfolded(
    step: Step, source: Operand, tables: Sequence[Ints], matrix: torch.Tensor, made: torch.Tensor, which: Ints
) -> None:
    """Add to some rows of the output's table what its changed inputs contribute.

    tables: per axis, the inputs that each output reads, (outputs, taps), -1 for none.
    matrix: (taps x channels, outputs).
    """
    windows, tile = step.windows, step.tiles[0]
    change = tile.change(step.base, source.value)
    nothing = len(change) - 1
    at_once = max(_FEWEST_ROWS, _UNFOLDED // matrix.shape[0])
    for first in range(0, len(which), at_once):
        part = which[first : first + at_once]
        down, across = tables[0][windows.rows[part]], tables[1][windows.columns[part]]
        patches = windows.patches[part][:, None, None]
        index = tile.windows.index(patches, down[:, :, None], across[:, None, :])
        outside = (index < 0) | (down < 0)[:, :, None] | (across < 0)[:, None, :]
        places = as_index(np.where(outside, nothing, index).reshape(-1), change)
        inputs = step.scratch.take("unfolded", len(places) * change.shape[1], change).view(-1, change.shape[1])
        torch.index_select(change, 0, places, out=inputs)
        product = inputs.view(len(part), -1)
        if len(which) == len(windows):
            made[first : first + len(part)].addmm_(product, matrix)
        else:
            made.index_add_(0, as_index(part, made), product @ matrix)


def _transposed(form: _Convolution) -> Run:
    """A transposed convolution: outputs of one phase of the stride read the same taps, so each phase is a product.

    Output o reads input i where o = i * stride - padding + dilation * tap.
    """

    def run(step: Step) -> torch.Tensor:
        weight, windows = form.weights(step), step.windows
        made = step.base.rows(form.output, windows)
        rows, columns = (
            [_phase(form, axis, phase, weight.shape[2 + axis]) for phase in range(form.stride[axis])] for axis in (0, 1)
        )
        of_rows, of_columns = windows.rows % form.stride[0], windows.columns % form.stride[1]
        for (down, (row_taps, row_table)), (across, (column_taps, column_table)) in itertools.product(
            enumerate(rows), enumerate(columns)
        ):
            which = np.flatnonzero((of_rows == down) & (of_columns == across))
            if len(which) and row_taps and column_taps:
                chosen = weight[:, :, row_taps][:, :, :, column_taps]
                matrix = chosen.permute(2, 3, 0, 1).flatten(0, 2)
                _add_unfolded(step, form.source, (row_table, column_table), matrix, made, which)
        return made

    return run


def _phase(form: _Convolution, axis: int, phase: int, kernel: int) -> tuple[list[int], Ints]:
    """The taps that outputs of a phase read, and which inputs those are for every output (of any phase)."""
    stride, padding, dilation = form.stride[axis], form.padding[axis], form.dilation[axis]
    inputs, outputs = form.source.frame.extents[axis], form.frame.extents[axis]
    taps = [tap for tap in range(kernel) if (phase + padding - dilation * tap) % stride == 0]
    offsets = np.array([(phase + padding - dilation * tap) // stride for tap in taps], dtype=np.int64)
    table = (np.arange(outputs) // stride)[:, None] + offsets[None]
    return taps, np.where((table >= 0) & (table < inputs), table, -1)


def _by_filtering(form: _Convolution) -> Run:
    """A dense 3x3 convolution with stride 1, by Winograd's filtering of 4x4 outputs at a time."""
    prepared: list[torch.Tensor] = []
    directly = _unfolded(form)

    def run(step: Step) -> torch.Tensor:
        cover = Cover.of(step.windows, winograd.TILE, form.dilation)
        if winograd.PATCH**2 * cover.count >= _WORTHWHILE * 9 * len(step.windows):
            return directly(step)
        if not prepared:
            prepared.append(winograd.prepared_kernel(form.weights(step)))
        kernel, tile = prepared[0], step.tiles[0]
        change = tile.change(step.base, form.source.value)
        inputs, outputs = kernel.shape[1:]
        windows = step.windows
        made = change.new_empty((len(windows) + 1, outputs))  # the last row takes what lies beyond the windows
        unchanged = step.base.table(form.output)
        places = as_index(windows.flat(form.frame.extents), made)
        torch.index_select(unchanged, 0, places, out=made[: len(windows)])
        goals = cover.goals(windows)
        at_once = _tiles_at_once(inputs, outputs)
        for first in range(0, cover.count, at_once):
            part = slice(first, min(first + at_once, cover.count))
            count = part.stop - part.start
            index = cover.inputs(part, tile.windows, winograd.PATCH, form.padding, (1, 1))
            patches = step.scratch.take("patches", index.size * inputs, change)
            torch.index_select(change, 0, as_index(index.reshape(-1), change), out=patches.view(-1, inputs))
            room = step.scratch.take("filtered", winograd.PATCH**2 * count * (inputs + outputs), change)
            found = step.scratch.take("found", winograd.TILE**2 * count * outputs, change)
            winograd.convolved(patches.view(-1, count, inputs), kernel, room, found.view(-1, count, outputs))
            made.index_add_(0, as_index(goals[:, part].reshape(-1), made), found.view(-1, outputs))
        return made[: len(windows)]

    return run


def _by_blocks(form: _Convolution) -> Run:
    """A grouped convolution: blocks of outputs of one size, which the library's own convolution is given."""

    def run(step: Step) -> torch.Tensor:
        weight, tile = form.weights(step), step.tiles[0]
        change = tile.change(step.base, form.source.value)
        size = 4 if max(weight.shape[2:]) <= 3 else 8
        extents = [
            (size - 1) * s + (k - 1) * d + 1
            for s, k, d in zip(form.stride, weight.shape[2:], form.dilation, strict=True)
        ]
        cover = Cover.of(step.windows, size, (1, 1))
        channels, outputs = change.shape[1], weight.shape[0]
        groups = channels // weight.shape[1]
        at_once = max(1, 4 * _UNFOLDED // (math.prod(extents) * channels))
        found = change.new_empty((cover.count * size * size, outputs))
        for first in range(0, cover.count, at_once):
            part = slice(first, min(first + at_once, cover.count))
            index = cover.inputs(part, tile.windows, extents, form.padding, form.stride)
            places = as_index(index.transpose(2, 0, 1).reshape(-1), change)
            inputs = step.scratch.take("blocks", len(places) * channels, change).view(-1, channels)
            torch.index_select(change, 0, places, out=inputs)
            blocks = inputs.view(-1, *extents, channels).permute(0, 3, 1, 2)
            made = torch.convolution(blocks, weight, None, form.stride, (0, 0), form.dilation, False, (0, 0), groups)
            found[size * size * part.start : size * size * part.stop] = made.permute(0, 2, 3, 1).reshape(-1, outputs)
        made = step.base.rows(form.output, step.windows)
        made += found.index_select(0, as_index(cover.tile * size * size + cover.place, found))
        return made

    return run
