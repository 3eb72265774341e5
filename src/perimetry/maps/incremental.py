"""Incremental inference: run a network on many images that differ from one image in a small patch each.

Only what a patch can touch is computed again (see `plan`). What a window needs beyond the changed part comes from the
unchanged run, which is kept. An operator that no window can express (pooling over everything, attention) and what
follows run on full maps, for the whole batch (see `wide`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from perimetry.maps.plan import Plan, Reached
from perimetry.maps.program import constants, needs
from perimetry.maps.steps import Scratch, Step, TileRule
from perimetry.maps.tiles import Tile, Unchanged, Windows, as_index
from perimetry.maps.wide import Wide
from perimetry.records import Node


class Runner:
    """Runs a plan: the unchanged image once, then batches of patches. Keeps the unchanged run's values."""

    def __init__(
        self, plan: Plan, image: torch.Tensor, wide: Wide | None, tops: Sequence[int], lefts: Sequence[int]
    ) -> None:
        self.plan = plan
        self.wide = wide
        self._tops, self._lefts = np.asarray(tops), np.asarray(lefts)
        self._scratch = Scratch()
        network = plan.program.network
        self.base = constants(network, plan.program.nodes, image)
        self.base[network.inputs[0]] = image.contiguous(memory_format=torch.channels_last)
        for node in plan.dependent():
            self.base.update(plan.program.run(node, self.base))
        self._unchanged = Unchanged(self.base, plan.frames)
        self._kept = {plan.target} if wide is None else set(wide.entries)
        self._nodes = _leading_to(plan, self._kept)

    def run(self, positions: Sequence[tuple[int, int]], patches: torch.Tensor) -> Tile | torch.Tensor:
        """The target for a batch of grid positions: windows of it, or full tensors.

        patches: (N, C, rows, columns), what stands in the image at each position.
        """
        plan = self.plan
        windows = _BatchWindows(positions)
        last = {index: node.index for node in self._nodes for index in needs(node)}
        tiles = {plan.program.network.inputs[0]: self._image_tile(positions, patches, windows)}
        for node in self._nodes:
            rule = plan.tiles[node.index]
            spent = {index for index in needs(node) if last[index] == node.index and index not in self._kept}
            tiles[rule.output] = self._step(rule, windows, tiles, spent)
            for index in spent:
                tiles.pop(index, None)
        if self.wide is None:
            return tiles[plan.target]
        return self.wide.run({index: tiles.pop(index).dense(self.base[index]) for index in self.wide.entries})

    def _image_tile(self, positions: Sequence[tuple[int, int]], patches: torch.Tensor, windows: _BatchWindows) -> Tile:
        """The patches as windows of the image, cut to what the target can be reached from."""
        image = self.plan.program.network.inputs[0]
        rows, columns = (np.array(each, dtype=np.int64) for each in zip(*positions, strict=True))
        found = windows.of(self.plan.reached[image])
        whole = Windows(
            self._tops[rows],
            self._lefts[columns],
            np.full(len(rows), patches.shape[2], dtype=np.int64),
            np.full(len(rows), patches.shape[3], dtype=np.int64),
        )
        table = patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1])
        places = whole.index(found.patches, found.rows, found.columns)
        frame, shape = self.plan.frames[image], self.plan.program.network.values[image].shape
        return Tile(table.index_select(0, as_index(places, table)), found, frame, shape)

    def _step(self, rule: TileRule, windows: _BatchWindows, tiles: dict[int, Tile], spent: set[int]) -> Tile:
        own = [tiles[operand.value] for operand in rule.operands]
        memory = own[0].table.untyped_storage().data_ptr()
        others = (tile for index, tile in tiles.items() if index != rule.operands[0].value)
        shared = any(tile.table.untyped_storage().data_ptr() == memory for tile in others)
        spare = rule.operands[0].value in spent and not shared
        found = windows.of(self.plan.reached[rule.output])
        table = rule.run(Step(own, found, self._unchanged, self._scratch, spare))
        return Tile(table, found, rule.frame, self.plan.program.network.values[rule.output].shape)


def _leading_to(plan: Plan, values: Collection[int]) -> list[Node]:
    """The nodes that run on windows and that those values are made by, in order."""
    wanted, nodes = set(values), []
    for node in reversed(plan.program.nodes):
        rule = plan.tiles.get(node.index)
        if rule is not None and rule.output in wanted:
            wanted.update(operand.value for operand in rule.operands)
            nodes.append(node)
    return nodes[::-1]


class _BatchWindows:
    """The windows of one batch of grid positions on each map; the same object where two maps have the same ones."""

    def __init__(self, positions: Sequence[tuple[int, int]]) -> None:
        self._rows = [i for i, _ in positions]
        self._columns = [j for _, j in positions]
        self._found: dict[int, Windows] = {}

    def of(self, reached: Reached) -> Windows:
        key = id(reached)
        if key not in self._found:
            self._found[key] = Windows.between(reached.rows[self._rows], reached.columns[self._columns])
        return self._found[key]
