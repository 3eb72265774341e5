"""What incremental inference computes: which operators run on windows, and which windows each patch needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.maps.program import Program, program
from perimetry.maps.replay import ancestors
from perimetry.maps.steps import TileRule
from perimetry.maps.tile_convolution import Way
from perimetry.maps.tile_rules import tile_rule
from perimetry.maps.tiles import Frame, Ints
from perimetry.records import Network, Node
from perimetry.rules import Each, Window
from perimetry.rules.relations import read_table
from perimetry.tracing.calls import macs_of


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Which rows and columns of a map each patch changes: first and last, per grid row and per grid column.

    Where last < first nothing changes (or nothing that matters to the watched unit).
    """

    rows: Ints  # (grid rows, 2)
    columns: Ints  # (grid columns, 2)

    def same_as(self, other: Reached) -> bool:
        """True where both hold the same rows and columns."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.columns, other.columns)

    def extents(self) -> tuple[Ints, Ints]:
        """How many rows and columns are changed; 0 for none."""
        rows, columns = (np.maximum(0, spans[:, 1] - spans[:, 0] + 1) for spans in (self.rows, self.columns))
        return rows, columns


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs how: windows first, full maps for the rest.

    tiles: the rule of each node that runs on windows, by node index. frames: where each value that is a map keeps its
    positions. reached: for each such value, what each patch changes.
    """

    program: Program
    target: int
    tiles: Mapping[int, TileRule]
    frames: Mapping[int, Frame]
    reached: Mapping[int, Reached]

    @property
    def windows_only(self) -> bool:
        """True where no operator on the way needs full maps."""
        return self.target in self.frames

    def touched(self) -> npt.NDArray[np.bool_]:
        """For each grid position, whether its patch can change the target at all: (grid rows, grid columns)."""
        grid = self.reached[self.program.network.inputs[0]]
        if not self.windows_only:
            return np.ones((len(grid.rows), len(grid.columns)), dtype=bool)
        rows, columns = self.reached[self.target].extents()
        return (rows > 0)[:, None] & (columns > 0)[None, :]

    def first_full_operator(self) -> str | None:
        """The first operator that needs full maps, if one does."""
        return next((node.op for node in self.dependent() if node.index not in self.tiles), None)

    def dependent(self) -> Iterable[Node]:
        """The nodes that the image has an influence on."""
        depends = self.program.network.depends
        return (node for node in self.program.nodes if any(i is not None and depends[i] for i in node.outputs))

    def saving(self, grid: Sequence[tuple[int, int]]) -> float:
        """Multiply-adds of full runs for all grid positions, divided by those of the incremental run."""
        network = self.program.network
        full = incremental = 0.0
        for node in self.dependent():
            macs = macs_of(network, node)
            full += macs * len(grid)
            if node.index not in self.tiles:
                incremental += macs * len(grid)
                continue
            output = self.tiles[node.index].output
            rows, columns = self.reached[output].extents()
            share = macs / math.prod(self.frames[output].extents)
            incremental += share * sum(int(rows[i]) * int(columns[j]) for i, j in grid)
        return math.inf if incremental == 0 else full / incremental


def make_plan(
    network: Network,
    target: int,
    unit: tuple[int, int] | None,
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: tuple[int, int],
    convolving: Way = "fastest",
) -> Plan:
    """Decide for each operator whether it runs on windows, and on which.

    target: the value watched; unit: its (row, column), None to watch all of it. tops, lefts: first row and column of
    the patches, (rows, columns) = patch, on a network recorded on one image (1, C, H, W). convolving: the fastest way,
    or the one that takes the least memory.
    """
    ready = program(network, ancestors(network, {target}))
    image = network.inputs[0]
    shape = network.values[image].shape
    frames = {image: Frame((2, 3), (shape[2], shape[3]))} if len(shape) == 4 else {}
    overlaid = any(node.op == "perimetry.overlay" for node in ready.nodes)
    tiles: dict[int, TileRule] = {}
    for node in ready.nodes:
        depends = any(index is not None and network.depends[index] for index in node.outputs)
        # Writes through views change tensors behind a window's back; such networks run on full maps.
        rule = tile_rule(ready, node, frames, convolving) if depends and not overlaid else None
        if rule is not None:
            tiles[node.index] = rule
            frames[rule.output] = rule.frame
    needed = _needed(ready, tiles, frames, target, unit)
    reached = {image: _patches(shape, needed.get(image), tops, lefts, patch)}
    for node in ready.nodes:
        rule = tiles.get(node.index)
        if rule is not None:
            made = _reach(rule, needed.get(rule.output), reached)
            alike = (reached[operand.value] for operand in rule.operands)
            reached[rule.output] = next((each for each in alike if each.same_as(made)), made)
    return Plan(ready, target, tiles, frames, reached)


Interval = tuple[int, int]
Needed = dict[int, tuple[Interval, Interval]]


def needed_for(plan: Plan, unit: tuple[int, int]) -> Needed:
    """For each map on the way to a unit of the target, the first and last row and column that it can depend on."""
    return _needed(plan.program, plan.tiles, plan.frames, plan.target, unit)


def _needed(
    ready: Program,
    tiles: Mapping[int, TileRule],
    frames: Mapping[int, Frame],
    target: int,
    unit: tuple[int, int] | None,
) -> Needed:
    """For each map, the rows and columns that the watched unit can still be reached from."""
    if unit is None or target not in frames:
        return {}
    needed: Needed = {target: ((unit[0], unit[0]), (unit[1], unit[1]))}
    for node in reversed(ready.nodes):
        rule = tiles.get(node.index)
        if rule is None or rule.output not in needed:
            continue
        for operand in rule.operands:
            spans = []
            for axis in range(2):
                inputs, outputs = operand.frame.extents[axis], rule.frame.extents[axis]
                spans.append(_read_by(operand.reads[axis], needed[rule.output][axis], inputs, outputs))
            known = needed.get(operand.value)
            if known is not None:
                spans = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(spans, known, strict=True)]
            needed[operand.value] = (spans[0], spans[1])
    return needed


def _read_by(read: Each | Window, wanted: Interval, inputs: int, outputs: int) -> Interval:
    if isinstance(read, Each):
        return wanted
    table = read_table(read, inputs, outputs)[wanted[0] : wanted[1] + 1]
    used = table[table >= 0]
    return (int(used.min()), int(used.max())) if used.size else (0, -1)


def _patches(
    shape: tuple[int, ...], needed: Any, tops: Sequence[int], lefts: Sequence[int], patch: tuple[int, int]
) -> Reached:
    rows = np.array([(top, min(top + patch[0], shape[2]) - 1) for top in tops], dtype=np.int64)
    columns = np.array([(left, min(left + patch[1], shape[3]) - 1) for left in lefts], dtype=np.int64)
    return _cut(rows, columns, needed)


def _cut(rows: Ints, columns: Ints, needed: tuple[Interval, Interval] | None) -> Reached:
    if needed is None:
        return Reached(rows, columns)
    cut = []
    for spans, (first, last) in zip((rows, columns), needed, strict=True):
        cut.append(np.stack((np.maximum(spans[:, 0], first), np.minimum(spans[:, 1], last)), axis=1))
    return Reached(cut[0], cut[1])


def _reach(rule: TileRule, needed: Any, reached: Mapping[int, Reached]) -> Reached:
    """What the patches change in an operator's output, given what they change in its operands."""
    both = []
    for axis in range(2):
        hull: Ints | None = None
        for operand in rule.operands:
            at = reached[operand.value]
            inputs, outputs = operand.frame.extents[axis], rule.frame.extents[axis]
            spans = _carried(at.rows if axis == 0 else at.columns, operand.reads[axis], inputs, outputs)
            hull = spans if hull is None else _hull(hull, spans)
        assert hull is not None, "a rule has an operand"
        both.append(hull)
    return _cut(both[0], both[1], needed)


def _carried(spans: Ints, read: Each | Window, inputs: int, outputs: int) -> Ints:
    """The outputs that read any of the changed inputs: first and last, per span."""
    if isinstance(read, Each):
        return spans
    table = read_table(read, inputs, outputs)
    inside = np.asarray((table[None] >= spans[:, :1, None]) & (table[None] <= spans[:, 1:, None]) & (table[None] >= 0))
    touched = np.asarray(np.any(inside, axis=2))
    first = touched.argmax(axis=1)
    last = outputs - 1 - touched[:, ::-1].argmax(axis=1)
    some = touched.any(axis=1)
    return np.stack((np.where(some, first, 0), np.where(some, last, -1)), axis=1)


def _hull(a: Ints, b: Ints) -> Ints:
    empty_a, empty_b = a[:, 1] < a[:, 0], b[:, 1] < b[:, 0]
    first = np.where(empty_a, b[:, 0], np.where(empty_b, a[:, 0], np.minimum(a[:, 0], b[:, 0])))
    last = np.where(empty_a, b[:, 1], np.where(empty_b, a[:, 1], np.maximum(a[:, 1], b[:, 1])))
    return np.stack((first, last), axis=1)
