"""Convolutions on windows: as one matrix product, by Winograd's filtering, by blocks, and transposed.

A convolution is linear, so what it makes of a changed window is the unchanged output plus the convolution of the change,
and a change is zero outside its window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from perimetry.maps import winograd
from perimetry.maps.program import Program
from perimetry.maps.tiles import Frame, Ints, Windows, as_index
from perimetry.records import Node
from perimetry.rules import Each
from perimetry.rules.relations import read_table

if TYPE_CHECKING:
    from perimetry.maps.tile_rules import Operand, Step

_UNFOLDED = 1 << 19  # numbers that are unfolded at once: 2 MiB of float32
_FILTERED = 1 << 15  # tiles times channels that are filtered at once, so that they stay in the cache
_WORTHWHILE = 0.8  # of the multiplications: beyond, small windows leave too much of the tiles unused
_FEWEST_CHANNELS = 32  # below, transforming costs more than it saves

Runner = Callable[["Step"], torch.Tensor]


class Scratch:
    """Memory that operators use one after the other; keeping it saves the kernel from handing out pages again."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def take(self, name: str, count: int, like: torch.Tensor) -> torch.Tensor:
        """That many numbers of the kind of another tensor; their contents are anything."""
        key = name, like.dtype, like.device
        if key not in self._buffers or self._buffers[key].numel() < count:
            self._buffers[key] = like.new_empty(count)
        return self._buffers[key][:count]


def runner(
    ready: Program, node: Node, arguments: Mapping[str, Any], operands: Sequence[Operand], frame: Frame
) -> Runner | None:
    """How a convolution of a map by fixed weights runs on windows; None for any other."""
    network, fold = ready.network, ready.folds.get(node.index)
    weight, bias = arguments["weight"], arguments["bias"]
    fixed = not network.depends[weight.index] and (bias is None or not network.depends[bias.index])
    if len(weight.shape) != 4 or not fixed or len(operands) != 1:
        return None
    source = operands[0]
    output = fold.output if fold is not None else node.outputs[0]
    assert output is not None

    kept: list[torch.Tensor] = []

    def weights(step: Step) -> torch.Tensor:
        if not kept:
            given = fold.weight if fold is not None else step.base.values[weight.index]
            kept.append(given.contiguous(memory_format=torch.channels_last))
        return kept[0]

    stride, dilation = tuple(arguments["stride"]), tuple(arguments["dilation"])
    if arguments["transposed"]:
        padding = tuple(arguments["padding"])
        form = [(padding[axis], dilation[axis], stride[axis]) for axis in range(2)]
        return _transposed(source, output, frame, weights, form) if arguments["groups"] == 1 else None
    if arguments["groups"] > 1:
        return _by_blocks(source, output, frame, weights, stride, tuple(arguments["padding"]), dilation)
    if all(isinstance(read, Each) for read in source.reads):

        def constant(step: Step) -> torch.Tensor | None:
            return fold.bias if fold is not None else None if bias is None else step.base.values[bias.index]

        return _pointwise(source, weights, constant)
    enough = min(weight.shape[:2]) >= _FEWEST_CHANNELS
    if tuple(weight.shape[2:]) == (3, 3) and stride == (1, 1) and enough:
        return _by_filtering(source, output, frame, weights, tuple(arguments["padding"]), dilation)
    return _unfolded(source, output, frame, weights)


def _pointwise(
    source: Operand, weights: Callable[[Step], torch.Tensor], constant: Callable[[Step], torch.Tensor | None]
) -> Runner:
    """A 1x1 convolution: a product of the table and the weights."""

    def run(step: Step) -> torch.Tensor:
        table = step.tiles[0].within(step.windows, step.base, source.value)
        matrix, bias = weights(step)[:, :, 0, 0].t(), constant(step)
        return table @ matrix if bias is None else torch.addmm(bias, table, matrix)

    return run


def _unfolded(source: Operand, output: int, frame: Frame, weights: Callable[[Step], torch.Tensor]) -> Runner:
    """Each output's inputs side by side in one row (im2col), then one matrix product."""
    tables = [
        read_table(read, source.frame.extents[axis], frame.extents[axis])
        if not isinstance(read, Each)
        else np.arange(frame.extents[axis])[:, None]
        for axis, read in enumerate(source.reads)
    ]

    def run(step: Step) -> torch.Tensor:
        matrix = weights(step).permute(0, 2, 3, 1).flatten(1).t()  # a view: the weights keep channels last
        made = step.base.rows(output, step.windows)
        _add_unfolded(step, source, tables, matrix, made, np.arange(len(step.windows)))
        return made

    return run


def _add_unfolded(
    step: Step, source: Operand, tables: Sequence[Ints], matrix: torch.Tensor, made: torch.Tensor, which: Ints
) -> None:
    """Add to some rows of the output's table what its changed inputs contribute.

    tables: per axis the inputs that each output reads, (outputs, taps), -1 for none; matrix: (taps x channels, outputs).
    """
    windows, tile = step.windows, step.tiles[0]
    change = tile.change(step.base, source.value)
    nothing = len(change) - 1
    at_once = max(1, _UNFOLDED // matrix.shape[0])
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


def _transposed(
    source: Operand,
    output: int,
    frame: Frame,
    weights: Callable[[Step], torch.Tensor],
    form: Sequence[tuple[int, int, int]],
) -> Runner:
    """A transposed convolution: outputs of one phase of the stride read the same taps, so each phase is a product.

    form: padding, dilation and stride per axis. Output o reads input i where o = i * stride - padding + dilation * tap.
    """

    def run(step: Step) -> torch.Tensor:
        weight = weights(step)
        made = step.base.rows(output, step.windows)
        phases = [
            [_phase(phase, weight.shape[2 + axis], *form[axis], source.frame.extents[axis], frame.extents[axis])]
            for axis in range(2)
            for phase in range(form[axis][2])
        ]
        rows = [each[0] for each in phases[: form[0][2]]]
        columns = [each[0] for each in phases[form[0][2] :]]
        for (down, row_taps, row_table), (across, column_taps, column_table) in itertools.product(rows, columns):
            of_phase = (step.windows.rows % form[0][2] == down) & (step.windows.columns % form[1][2] == across)
            which = np.flatnonzero(of_phase)
            if len(which) and row_taps and column_taps:
                chosen = weight[:, :, row_taps][:, :, :, column_taps]
                matrix = chosen.permute(2, 3, 0, 1).flatten(0, 2)
                _add_unfolded(step, source, (row_table, column_table), matrix, made, which)
        return made

    return run


def _phase(
    phase: int, kernel: int, padding: int, dilation: int, stride: int, inputs: int, outputs: int
) -> tuple[int, list[int], Ints]:
    """The taps that outputs of a phase read, and which inputs those are for every output (of any phase)."""
    taps = [tap for tap in range(kernel) if (phase + padding - dilation * tap) % stride == 0]
    offsets = np.array([(phase + padding - dilation * tap) // stride for tap in taps], dtype=np.int64)
    table = (np.arange(outputs) // stride)[:, None] + offsets[None]
    return phase, taps, np.where((table >= 0) & (table < inputs), table, -1)


def _by_filtering(
    source: Operand,
    output: int,
    frame: Frame,
    weights: Callable[[Step], torch.Tensor],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Runner:
    """A dense 3x3 convolution with stride 1, by Winograd's filtering of 4x4 outputs at a time."""
    prepared: list[torch.Tensor] = []
    directly = _unfolded(source, output, frame, weights)

    def run(step: Step) -> torch.Tensor:
        cover = Cover.of(step.windows, winograd.TILE, (dilation[0], dilation[1]))
        if winograd.PATCH**2 * cover.count >= _WORTHWHILE * 9 * len(step.windows):
            return directly(step)
        if not prepared:
            prepared.append(winograd.prepared_kernel(weights(step)))
        kernel, tile = prepared[0], step.tiles[0]
        change = tile.change(step.base, source.value)
        inputs, outputs = kernel.shape[1:]
        found = step.scratch.take("found", winograd.TILE**2 * cover.count * outputs, change).view(-1, outputs)
        at_once = max(64, _FILTERED // max(inputs, outputs))
        for first in range(0, cover.count, at_once):
            part = slice(first, min(first + at_once, cover.count))
            count = part.stop - part.start
            index = cover.inputs(part, tile.windows, winograd.PATCH, padding, (1, 1))
            places = as_index(index.reshape(-1), change)
            patches = step.scratch.take("patches", len(places) * inputs, change)
            torch.index_select(change, 0, places, out=patches.view(-1, inputs))
            room = step.scratch.take("filtered", winograd.PATCH**2 * count * (inputs + outputs), change)
            block = found[winograd.TILE**2 * part.start : winograd.TILE**2 * part.stop]
            winograd.convolved(patches.view(-1, count, inputs), kernel, room, block.view(-1, count, outputs))
        made = found.index_select(0, as_index(cover.outputs(at_once), found))
        made += step.base.rows(output, step.windows)
        return made

    return run


def _by_blocks(
    source: Operand,
    output: int,
    frame: Frame,
    weights: Callable[[Step], torch.Tensor],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Runner:
    """A grouped convolution: blocks of outputs of one size, which the library's own convolution is given."""

    def run(step: Step) -> torch.Tensor:
        weight, tile = weights(step), step.tiles[0]
        change = tile.change(step.base, source.value)
        size = 4 if max(weight.shape[2:]) <= 3 else 8
        extents = [(size - 1) * s + (k - 1) * d + 1 for s, k, d in zip(stride, weight.shape[2:], dilation, strict=True)]
        cover = Cover.of(step.windows, size, (1, 1))
        channels, outputs = change.shape[1], weight.shape[0]
        groups = channels // weight.shape[1]
        at_once = max(1, 4 * _UNFOLDED // (math.prod(extents) * channels))
        found = change.new_empty((cover.count * size * size, outputs))
        for first in range(0, cover.count, at_once):
            part = slice(first, min(first + at_once, cover.count))
            index = cover.inputs(part, tile.windows, extents, padding, (stride[0], stride[1]))
            places = as_index(index.transpose(2, 0, 1).reshape(-1), change)
            inputs = step.scratch.take("blocks", len(places) * channels, change).view(-1, channels)
            torch.index_select(change, 0, places, out=inputs)
            blocks = inputs.view(-1, *extents, channels).permute(0, 3, 1, 2)
            made = torch.convolution(blocks, weight, None, stride, (0, 0), dilation, False, (0, 0), groups)
            found[size * size * part.start : size * size * part.stop] = made.permute(0, 2, 3, 1).reshape(-1, outputs)
        whole = found.index_select(0, as_index(cover.tile * size * size + cover.place, found))
        whole += step.base.rows(output, step.windows)
        return whole

    return run


class Cover:
    """Tiles of size x size outputs that cover windows; with dilation, of every so manieth row and column.

    count: how many; patches, rows, columns: each tile's patch and first output. tile, place: for every row of the
    windows' table, the tile that computes it and its place there, counted row by row.
    """

    def __init__(self, windows: Windows, size: int, step: tuple[int, int], axes: Sequence[_Lines]) -> None:
        down, across = axes
        many = down.counts[windows.heights] * across.counts[windows.widths]
        begins = np.concatenate(([0], np.cumsum(many)))
        self.count = int(begins[-1])
        self.size, self.step = size, step
        self.patches = np.repeat(np.arange(len(many)), many)
        wide = across.counts[windows.widths]
        local = np.arange(self.count) - begins[self.patches]
        each = np.maximum(wide[self.patches], 1)
        self.rows = windows.tops[self.patches] + down.starts[windows.heights[self.patches], local // each]
        self.columns = windows.lefts[self.patches] + across.starts[windows.widths[self.patches], local % each]
        own = windows.patches
        row_local, column_local = windows.rows - windows.tops[own], windows.columns - windows.lefts[own]
        row_tile = down.tile[windows.heights[own], row_local]
        column_tile = across.tile[windows.widths[own], column_local]
        self.tile = begins[own] + row_tile * wide[own] + column_tile
        self.place = (row_local // step[0] % size) * size + column_local // step[1] % size

    @classmethod
    def of(cls, windows: Windows, size: int, dilation: tuple[int, int]) -> Cover:
        """The cover of all windows of a batch."""
        axes = (_Lines(windows.heights, size, dilation[0]), _Lines(windows.widths, size, dilation[1]))
        return cls(windows, size, dilation, axes)

    def inputs(
        self, part: slice, source: Windows, extents: int | Sequence[int], padding: Sequence[int], stride: tuple[int, int]
    ) -> Ints:
        """Rows of the source's table that some tiles read: (rows, columns, tiles); its length where that is nothing."""
        high, wide = (extents, extents) if isinstance(extents, int) else extents
        patches = self.patches[part]
        rows = self.rows[part] * stride[0] - padding[0] + self.step[0] * np.arange(high)[:, None]
        columns = self.columns[part] * stride[1] - padding[1] + self.step[1] * np.arange(wide)[:, None]
        found = source.index(patches, rows[:, None], columns[None])
        return np.where(found < 0, len(source), found)

    def outputs(self, at_once: int) -> Ints:
        """Where each row of the windows' table stands among results stored per `at_once` tiles as (place, tile)."""
        first = self.tile // at_once * at_once
        together = np.minimum(at_once, self.count - first)
        return self.size**2 * first + self.place * together + self.tile - first


class _Lines:
    """Cutting extents 0, 1, ... into runs of `size` indices that are `step` apart.

    counts: runs of each extent; starts: (extents, runs) where each begins; tile: (extents, indices) the run of an index.
    """

    def __init__(self, extents: Ints, size: int, step: int) -> None:
        largest = int(extents.max(initial=0))
        self.counts = np.zeros(largest + 1, dtype=np.int64)
        self.starts = np.zeros((largest + 1, max(1, largest)), dtype=np.int64)
        self.tile = np.zeros((largest + 1, max(1, largest)), dtype=np.int64)
        for extent in {int(e) for e in extents}:
            starts = [start for phase in range(min(step, extent)) for start in range(phase, extent, size * step)]
            self.counts[extent] = len(starts)
            self.starts[extent, : len(starts)] = starts
            run_of = {start: run for run, start in enumerate(starts)}
            for index in range(extent):
                phase, along = index % step, index // step
                self.tile[extent, index] = run_of[phase + along // size * size * step]
