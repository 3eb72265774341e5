"""Incremental inference: run a network on many images that differ from one image in a small patch each.

Only what a patch can touch is computed again. Each operator's relation (see `rules`) tells which outputs a changed
input can reach; where a tensor is a map, that is a window, so that a batch of patches becomes a batch of windows. What
a window needs beyond the changed part comes from the unchanged run, which is kept. An operator that no window can
express (pooling over everything, attention, a reshape) and what follows run on full maps, for the whole batch.

For a watched unit, windows are cut to what can still reach it, and patches that cannot are not run at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from perimetry.maps.program import Program, constants, needs, program
from perimetry.maps.replay import ancestors
from perimetry.maps.tiles import Tile, TileRule, assemble, densify, tile_rule
from perimetry.records import Network, Node
from perimetry.rules import Each, Window
from perimetry.rules.relations import read_table
from perimetry.tracing.calls import macs_of

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reached:
    """Which rows and columns of a map each patch changes: first and last, per grid row and per grid column.

    Where last < first nothing changes (or nothing that matters to the watched unit).
    """

    rows: Ints  # (grid rows, 2)
    columns: Ints  # (grid columns, 2)


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs how: windows first, full maps for the rest.

    tiles: the rule of each node that runs on windows, by node index. dims: for each value that is a map, which
    dimensions are rows and columns. reached: for each such value, what each patch changes.
    """

    program: Program
    target: int
    tiles: Mapping[int, TileRule]
    dims: Mapping[int, tuple[int, int]]
    reached: Mapping[int, Reached]

    @property
    def windows_only(self) -> bool:
        """True where no operator on the way needs full maps."""
        return self.target in self.dims

    def touched(self) -> npt.NDArray[np.bool_]:
        """For each grid position, whether its patch can change the target at all: (grid rows, grid columns)."""
        grid = self.reached[self.program.network.inputs[0]]
        if not self.windows_only:
            return np.ones((len(grid.rows), len(grid.columns)), dtype=bool)
        at = self.reached[self.target]
        return (at.rows[:, 1] >= at.rows[:, 0])[:, None] & (at.columns[:, 1] >= at.columns[:, 0])[None, :]

    def first_full_operator(self) -> str | None:
        """The first operator that needs full maps, if one does."""
        return next((node.op for node in self.dependent() if node.index not in self.tiles), None)

    def dependent(self) -> Iterable[Node]:
        """The nodes that the image has an influence on."""
        depends = self.program.network.depends
        return (node for node in self.program.nodes if any(i is not None and depends[i] for i in node.outputs))

    def alike_first(self, positions: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The positions ordered so that those with windows of the same sizes follow each other.

        A batch takes the largest window of its patches for all of them, so that unlike ones would waste work.
        """
        windows = [self.reached[rule.output] for rule in self.tiles.values()]
        if not windows:
            return list(positions)
        rows = np.stack([at.rows[:, 1] - at.rows[:, 0] for at in windows], axis=1).tolist()
        columns = np.stack([at.columns[:, 1] - at.columns[:, 0] for at in windows], axis=1).tolist()
        return sorted(positions, key=lambda position: (rows[position[0]], columns[position[1]], position))

    def batch_within(self, memory: int, largest: int, positions: int) -> int:
        """How many patches fit into that many bytes at once, by what the widest operator holds; a power of two.

        It depends on nothing that is measured, so that the same run always makes the same batches.
        """
        network = self.program.network
        widest = 1
        for node in self.dependent():
            rule = self.tiles.get(node.index)
            held = 0
            made = [rule.output] if rule is not None else [i for i in node.outputs if i is not None]
            for index in {*needs(node), *made}:
                value = network.values[index]
                if network.depends[index]:
                    held += int(value.bytes * (self._share(index) if rule is not None else 1.0))
            widest = max(widest, held)
        # Besides the operator's own tensors, a window is copied once, and a convolution unfolds its input.
        fitting = max(1, memory // (4 * widest))
        batch = 1
        while batch * 2 <= min(fitting, largest) and batch < positions:
            batch *= 2
        return batch

    def _share(self, value: int) -> float:
        """The largest part of a map that a window takes."""
        at = self.reached.get(value)
        if at is None:
            return 1.0
        shape = self.program.network.values[value].shape
        share = 1.0
        for spans, dim in zip((at.rows, at.columns), self.dims[value], strict=True):
            share *= max(1, int((spans[:, 1] - spans[:, 0] + 1).max(initial=1))) / shape[dim]
        return share

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
            at, (row_dim, column_dim) = self.reached[output], self.dims[output]
            shape = network.values[output].shape
            rows = np.maximum(0, at.rows[:, 1] - at.rows[:, 0] + 1) / shape[row_dim]
            columns = np.maximum(0, at.columns[:, 1] - at.columns[:, 0] + 1) / shape[column_dim]
            incremental += macs * sum(rows[i] * columns[j] for i, j in grid)
        return math.inf if incremental == 0 else full / incremental


def make_plan(
    network: Network,
    target: int,
    unit: tuple[int, int] | None,
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: tuple[int, int],
) -> Plan:
    """Decide for each operator whether it runs on windows, and on which.

    target: the value watched; unit: its (row, column), None to watch all of it. tops, lefts: first row and column of
    the patches, (rows, columns) = patch, on a network recorded on one image (1, C, H, W).
    """
    ready = program(network, ancestors(network, {target}))
    image = network.inputs[0]
    dims: dict[int, tuple[int, int]] = {image: (2, 3)} if len(network.values[image].shape) == 4 else {}
    overlaid = any(node.op == "perimetry.overlay" for node in ready.nodes)
    tiles: dict[int, TileRule] = {}
    for node in ready.nodes:
        depends = any(index is not None and network.depends[index] for index in node.outputs)
        # Writes through views change tensors behind a window's back; such networks run on full maps.
        rule = tile_rule(ready, node, dims) if depends and not overlaid else None
        if rule is not None:
            tiles[node.index] = rule
            dims[rule.output] = rule.dims
    needed = _needed(ready, tiles, dims, target, unit)
    reached = {image: _patches(network.values[image].shape, needed.get(image), tops, lefts, patch)}
    for node in ready.nodes:
        rule = tiles.get(node.index)
        if rule is not None:
            shape = network.values[rule.output].shape
            reached[rule.output] = _reach(network, rule, shape, needed.get(rule.output), reached)
    return Plan(ready, target, tiles, dims, reached)


Interval = tuple[int, int]
Needed = dict[int, tuple[Interval, Interval]]


def _needed(
    ready: Program, tiles: Mapping[int, TileRule], dims: Mapping[int, Any], target: int, unit: tuple[int, int] | None
) -> Needed:
    """For each map, the rows and columns that the watched unit can still be reached from."""
    if unit is None or target not in dims:
        return {}
    needed: Needed = {target: ((unit[0], unit[0]), (unit[1], unit[1]))}
    network = ready.network
    for node in reversed(ready.nodes):
        rule = tiles.get(node.index)
        if rule is None or rule.output not in needed:
            continue
        output = network.values[rule.output].shape
        for operand in rule.operands:
            shape = network.values[operand.value].shape
            spans = []
            for axis in range(2):
                dim, out_dim = dims[operand.value][axis], rule.dims[axis]
                spans.append(_read_by(operand.reads[axis], needed[rule.output][axis], shape[dim], output[out_dim]))
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
    return _cut(Reached(rows, columns), needed)


def _cut(reached: Reached, needed: tuple[Interval, Interval] | None) -> Reached:
    if needed is None:
        return reached
    cut = []
    for spans, (first, last) in zip((reached.rows, reached.columns), needed, strict=True):
        cut.append(np.stack((np.maximum(spans[:, 0], first), np.minimum(spans[:, 1], last)), axis=1))
    return Reached(cut[0], cut[1])


def _reach(
    network: Network, rule: TileRule, shape: tuple[int, ...], needed: Any, reached: Mapping[int, Reached]
) -> Reached:
    """What the patches change in an operator's output, given what they change in its operands."""
    both = []
    for axis in range(2):
        hull: Ints | None = None
        for operand in rule.operands:
            at = reached[operand.value]
            inputs = network.values[operand.value].shape[operand.dims[axis]]
            spans = _carried(at.rows if axis == 0 else at.columns, operand.reads[axis], inputs, shape[rule.dims[axis]])
            hull = spans if hull is None else _hull(hull, spans)
        assert hull is not None, "a rule has an operand"
        both.append(hull)
    return _cut(Reached(both[0], both[1]), needed)


def _carried(spans: Ints, read: Each | Window, inputs: int, outputs: int) -> Ints:
    """The outputs that read any of the changed inputs: first and last, per span."""
    if isinstance(read, Each):
        return spans
    table = read_table(read, inputs, outputs)
    touched: Mask = ((table[None] >= spans[:, :1, None]) & (table[None] <= spans[:, 1:, None])).any(axis=2)  # type: ignore[assignment]
    first = touched.argmax(axis=1)
    last = outputs - 1 - touched[:, ::-1].argmax(axis=1)
    some = touched.any(axis=1)
    return np.stack((np.where(some, first, 0), np.where(some, last, -1)), axis=1)


def _hull(a: Ints, b: Ints) -> Ints:
    empty_a, empty_b = a[:, 1] < a[:, 0], b[:, 1] < b[:, 0]
    first = np.where(empty_a, b[:, 0], np.where(empty_b, a[:, 0], np.minimum(a[:, 0], b[:, 0])))
    last = np.where(empty_a, b[:, 1], np.where(empty_b, a[:, 1], np.maximum(a[:, 1], b[:, 1])))
    return np.stack((first, last), axis=1)


class Runner:
    """Runs a plan: the unchanged image once, then batches of patches.

    Keeps the unchanged run's maps, which windows are cut from. Full maps, where they are needed, are computed by
    `wide`: the same model recorded on a whole batch.
    """

    def __init__(
        self, plan: Plan, image: torch.Tensor, wide: Wide | None, tops: Sequence[int], lefts: Sequence[int]
    ) -> None:
        self.plan = plan
        self.wide = wide
        self._tops, self._lefts = tops, lefts
        network = plan.program.network
        self.base = constants(network, plan.program.nodes, image)
        self.base[network.inputs[0]] = image.contiguous(memory_format=torch.channels_last)
        for node in plan.dependent():
            self.base.update(plan.program.run(node, self.base))

    def run(self, positions: Sequence[tuple[int, int]], patches: torch.Tensor) -> Tile | torch.Tensor:
        """The target for a batch of grid positions: windows of it, or full tensors.

        patches: (N, C, rows, columns), what stands in the image at each position.
        """
        plan = self.plan
        kept = {plan.target} if self.wide is None else set(self.wide.entries)
        last = {index: node.index for node in plan.program.nodes for index in needs(node)}
        tiles = {plan.program.network.inputs[0]: self._image_tile(positions, patches)}
        for node in plan.program.nodes:
            rule = plan.tiles.get(node.index)
            if rule is None:
                continue
            self._run_tile(rule, positions, tiles)
            for index in needs(node):
                if last[index] == node.index and index not in kept:
                    tiles.pop(index, None)
        if self.wide is None:
            return tiles[plan.target]
        return self.wide.run({index: densify(self.base[index], tiles.pop(index)) for index in self.wide.entries})

    def _image_tile(self, positions: Sequence[tuple[int, int]], patches: torch.Tensor) -> Tile:
        """The patches as windows of the image, cut to what the target can be reached from."""
        image = self.plan.program.network.inputs[0]
        tops, lefts, height, width = self._windows(image, positions)
        whole = Tile(patches, [self._tops[i] for i, _ in positions], [self._lefts[j] for _, j in positions], (2, 3))
        return Tile(assemble(self.base[image], whole, tops, lefts, height, width, 0.0), tops, lefts, (2, 3))

    def _windows(self, value: int, positions: Sequence[tuple[int, int]]) -> tuple[list[int], list[int], int, int]:
        """One window size for the whole batch, and where each window begins, shifted inwards at the map's border."""
        at, (row_dim, column_dim) = self.plan.reached[value], self.plan.dims[value]
        shape = self.plan.program.network.values[value].shape
        begins = []
        for spans, extent, picks in (
            (at.rows, shape[row_dim], [i for i, _ in positions]),
            (at.columns, shape[column_dim], [j for _, j in positions]),
        ):
            chosen = spans[picks]
            size = max(1, int((chosen[:, 1] - chosen[:, 0] + 1).max()))
            begins.append(([int(b) for b in np.clip(chosen[:, 0], 0, extent - size)], size))
        (tops, height), (lefts, width) = begins
        return tops, lefts, height, width

    def _run_tile(self, rule: TileRule, positions: Sequence[tuple[int, int]], tiles: dict[int, Tile]) -> None:
        tops, lefts, height, width = self._windows(rule.output, positions)
        operands = []
        for operand in rule.operands:
            rows, columns = (_stretch(read, size) for read, size in zip(operand.reads, (height, width), strict=True))
            begin_rows = [_begin(operand.reads[0], top) for top in tops]
            begin_columns = [_begin(operand.reads[1], left) for left in lefts]
            base, tile = self.base[operand.value], tiles[operand.value]
            operands.append(assemble(base, tile, begin_rows, begin_columns, rows, columns, rule.fill))
        tiles[rule.output] = Tile(rule.run(operands, self.base), tops, lefts, rule.dims)


def _begin(read: Each | Window, output: int) -> int:
    return output if isinstance(read, Each) else read.advance * output + read.taps[0][0]


def _stretch(read: Each | Window, size: int) -> int:
    """How many inputs `size` outputs in a row read, from the first to the last."""
    return size if isinstance(read, Each) else read.advance * (size - 1) + read.taps[0][-1] - read.taps[0][0] + 1


class Wide:
    """The part of a model that needs full maps, recorded on a batch of images.

    entries: the maps that it starts from, as value indices of the plan's network. A recording on one image and one on
    several need not have the same views, so the two are matched by module, operator and count.
    """

    def __init__(self, plan: Plan, recorded: Network, target: int) -> None:
        network = plan.program.network
        full = [node for node in plan.dependent() if node.index not in plan.tiles]
        self.entries = sorted({i for node in full for i in needs(node) if i in plan.dims})
        values = {place: index for index, place in _places(recorded).items()}
        places = _places(network)
        starts = {values[places[index]]: index for index in self.entries}
        wanted, nodes = {target}, []
        for node in reversed(recorded.nodes):
            if any(output in wanted and output not in starts for output in node.outputs):
                nodes.append(node)
                wanted.update(needs(node))
        self._program = program(recorded, nodes[::-1])
        self._starts = {entry: index for index, entry in starts.items()}
        self._target = target
        sample = torch.empty(recorded.values[recorded.inputs[0]].shape, device="meta")
        self._constants = constants(recorded, self._program.nodes, sample)

    def run(self, entries: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """The target's layer for a batch of changed maps."""
        values = dict(self._constants)
        values.update({self._starts[entry]: tensor for entry, tensor in entries.items()})
        nodes = self._program.nodes
        last = {index: node.index for node in nodes for index in needs(node)}
        depends = self._program.network.depends
        for node in nodes:
            if any(index is not None and depends[index] for index in node.outputs):
                values.update(self._program.run(node, values))
            for index in needs(node):
                if last[index] == node.index and index != self._target and index not in self._constants:
                    values.pop(index, None)
        return values[self._target]


Place = tuple[str, str, int, int]  # module path, operator, how manieth of its kind there, which output


def _places(network: Network) -> dict[int, Place]:
    """Where each value was made."""
    counts: Counter[tuple[str, str]] = Counter()
    made: dict[int, Place] = {index: ("", "input", place, 0) for place, index in enumerate(network.inputs)}
    for node in network.nodes:
        kind = network.calls[node.call].path, node.op
        for place, index in enumerate(node.outputs):
            if index is not None:
                made[index] = (*kind, counts[kind], place)
        counts[kind] += 1
    return made
