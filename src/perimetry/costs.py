"""What a recorded network costs: multiply-adds and activation bytes per operator, parameters per layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from perimetry.records import Layer, Network, Totals
from perimetry.tracing.calls import macs_of, references


@dataclass(frozen=True, slots=True)
class Costs:
    """Running sums over a network's nodes, so that any stretch of nodes is one subtraction.

    macs[i] and activations[i] count the nodes before i.
    """

    network: Network
    macs: tuple[int, ...]
    activations: tuple[int, ...]
    first_calls: frozenset[int]  # module calls that are the first of their module
    counted: frozenset[str]  # layers, less the further outputs of a module call

    def of(self, layer: Layer) -> Totals:
        """What one layer costs, its parts included.

        Parameters count at a module's first call only; of a call with several outputs, the first one has the costs.
        """
        if layer.name not in self.counted:
            return Totals(0, 0, 0)
        first, last = layer.nodes
        return Totals(
            self._parameters(layer),
            self.macs[last] - self.macs[first],
            self.activations[last] - self.activations[first],
        )

    def totals(self) -> Totals:
        """The whole model; shared parameters and parameters that the run did not touch count once too."""
        return Totals(self.network.module_parameters[""], self.macs[-1], self.activations[-1])

    def _parameters(self, layer: Layer) -> int:
        network = self.network
        if layer.module:
            return (
                network.module_parameters.get(network.calls[layer.call].path, 0)
                if layer.call in self.first_calls
                else 0
            )
        node = network.nodes[layer.nodes[0]]
        owner = network.calls[layer.call]
        own = [network.values[i] for i in set(references((node.args, tuple(node.kwargs.values()))))]
        return sum(
            _elements(value.shape)
            for value in own
            if value.kind == "parameter" and value.name.rpartition(".")[0] == owner.path
        )


def costs(network: Network) -> Costs:
    """Count every operator once.

    Multiply-adds follow PyTorch's FlopCounterMode (half its flops) and add what it leaves out. Activation bytes are
    those of new tensors that something reads later or that the model returns: views, in-place results and outputs
    that nobody uses (a pooling's indices) are no memory of their own.
    """
    used = {index for _, index in network.outputs}
    for node in network.nodes:
        used.update(references((node.args, tuple(node.kwargs.values()))))
    macs, activations = [0], [0]
    for node in network.nodes:
        depends = any(index is not None and network.depends[index] for index in node.outputs)
        macs.append(macs_of(network, node) if depends else 0)
        fresh = depends and not node.view and not node.in_place
        written = sum(network.values[i].bytes for i in node.outputs if i is not None and i in used) if fresh else 0
        activations.append(written)
    seen: set[str] = set()
    first: set[int] = set()
    for call in network.calls:
        if call.path not in seen:
            seen.add(call.path)
            first.add(call.index)
    counted = {(layer.call, layer.nodes, layer.module): layer.name for layer in reversed(network.layers)}
    running = tuple(accumulate(macs)), tuple(accumulate(activations))
    return Costs(network, *running, frozenset(first), frozenset(counted.values()))


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count
