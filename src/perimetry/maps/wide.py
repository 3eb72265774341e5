"""The part of a model that needs full maps, run on whole batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import torch

from perimetry.maps.plan import Plan
from perimetry.maps.program import constants, needs, program
from perimetry.maps.tile_rules import VIEWS
from perimetry.records import Network, Node

Place = tuple[str, str, int, int]  # module path, operator, how manieth of its kind there, which output


class Wide:
    """The part of a model that needs full maps, recorded on a batch of images.

    entries: the maps that it starts from, as value indices of the plan's network. A recording on one image and one on
    several need not have the same operators, so it starts from maps that are known to be the same in both (`_shared`).
    """

    def __init__(self, plan: Plan, recorded: Network, target: int) -> None:
        network = plan.program.network
        shared = _shared(network, recorded)
        self.entries = _entries(plan, shared)
        starts = {shared[entry]: entry for entry in self.entries}
        wanted, nodes = {target}, []
        for node in reversed(recorded.nodes):
            if any(output in wanted and output not in starts for output in node.outputs):
                nodes.append(node)
                wanted.update(needs(node))
        if recorded.inputs[0] in wanted and recorded.inputs[0] not in starts:
            self.entries.append(network.inputs[0])
            starts[recorded.inputs[0]] = network.inputs[0]
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


def _entries(plan: Plan, shared: Collection[int]) -> list[int]:
    """The maps that full maps are made of; further back, where one is not shared with the recording of a batch."""
    full = {node.index: node for node in plan.dependent() if node.index not in plan.tiles}
    makers = {plan.tiles[node.index].output: node for node in plan.program.nodes if node.index in plan.tiles}
    while True:
        made = {index for node in full.values() for index in (*node.outputs, *_output(plan, node))}
        entries = {i for node in full.values() for i in needs(node) if i in plan.frames} - made
        foreign = entries.difference(shared)
        if not foreign:
            return sorted(entries)
        full.update((makers[index].index, makers[index]) for index in foreign)


def _output(plan: Plan, node: Node) -> list[int]:
    rule = plan.tiles.get(node.index)
    return [] if rule is None else [rule.output]


def _shared(network: Network, recorded: Network) -> dict[int, int]:
    """Values of a recording on one image, and those of one on several that hold the same for each, one after another.

    They are made at the same place, from values that are shared, and one image's part of the shape is the same.
    """
    count = recorded.values[recorded.inputs[0]].shape[0]
    (places, makers), (others, other_makers) = _places(network), _places(recorded)
    twins = {place: index for index, place in reversed(others.items())}
    shared = dict(zip(network.inputs, recorded.inputs, strict=True))
    for index, place in places.items():
        twin, shape = twins.get(place), network.values[index].shape
        if twin is None or index in shared or not network.depends[index] or not shape:
            continue
        read = [i for i in needs(makers[index]) if network.depends[i]]
        same = [others[i] for i in needs(other_makers[twin]) if recorded.depends[i]]
        known = all(i in shared for i in read) and [places[i] for i in read] == same
        if known and recorded.values[twin].shape == (count * shape[0], *shape[1:]):
            shared[index] = twin
    return shared


def _places(network: Network) -> tuple[dict[int, Place], dict[int, Node]]:
    """Where each value was made, and by which node; a copy in the place of what it is a copy of."""
    counts: Counter[tuple[str, str]] = Counter()
    made: dict[int, Place] = {index: ("", "input", place, 0) for place, index in enumerate(network.inputs)}
    makers: dict[int, Node] = {}
    for node in network.nodes:
        output = node.outputs[0]
        if node.op == "aten.clone" and output is not None and needs(node)[0] in makers:
            made[output], makers[output] = made[needs(node)[0]], makers[needs(node)[0]]
            continue
        # Whether a tensor can be seen under another shape without a copy depends on the number of images.
        kind = network.calls[node.call].path, "view" if node.op in VIEWS else node.op
        for place, index in enumerate(node.outputs):
            if index is not None:
                made[index], makers[index] = (*kind, counts[kind], place), node
        counts[kind] += 1
    return made, makers
