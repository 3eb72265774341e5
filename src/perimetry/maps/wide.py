"""The part of a model that needs full maps, run on whole batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from perimetry.maps.plan import Plan
from perimetry.maps.program import constants, needs, program
from perimetry.records import Network

Place = tuple[str, str, int, int]  # module path, operator, how manieth of its kind there, which output


class Wide:
    """The part of a model that needs full maps, recorded on a batch of images.

    entries: the maps that it starts from, as value indices of the plan's network. A recording on one image and one on
    several need not have the same views, so the two are matched by module, operator and count.
    """

    def __init__(self, plan: Plan, recorded: Network, target: int) -> None:
        network = plan.program.network
        full = [node for node in plan.dependent() if node.index not in plan.tiles]
        self.entries = sorted({i for node in full for i in needs(node) if i in plan.frames})
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
