"""A recorded network made ready to be run many times: batch norms folded, channels last, nothing written in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from perimetry.errors import TrainingModeError
from perimetry.maps.replay import given, starting_values
from perimetry.records import Network, Node, Value
from perimetry.rules import Gather
from perimetry.tracing.calls import call_of, reads_of, references


@dataclass(frozen=True, slots=True)
class Folded:
    """A convolution that has taken in the batch norm behind it: its weight and bias, and the value it now makes."""

    weight: torch.Tensor
    bias: torch.Tensor
    output: int


@dataclass(frozen=True, slots=True)
class Program:
    """Nodes in the order in which they run, without those that were folded away.

    folds: by the index of a convolution's node.
    """

    network: Network
    nodes: tuple[Node, ...]
    folds: Mapping[int, Folded]

    def run(self, node: Node, values: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Run one node; returns its outputs by value index. No tensor in `values` is changed."""
        if node.index in self.folds:
            fold = self.folds[node.index]
            arguments = call_of(self.network, node).arguments
            source = values[node.args[0].index]
            form = (arguments["stride"], arguments["padding"], arguments["dilation"])
            made = torch.convolution(source, fold.weight, fold.bias, *form, False, [0, 0], arguments["groups"])
            return {fold.output: made}
        if node.func is None:
            return _overlaid(self.network, node, values)
        args, kwargs = (
            [given(a, values) for a in node.args],
            {key: given(item, values) for key, item in node.kwargs.items()},
        )
        result = without_writing(node)(*args, **kwargs)
        flat = result if isinstance(result, list | tuple) else () if result is None else (result,)
        return {index: output for index, output in zip(node.outputs, flat, strict=False) if index is not None}


def program(network: Network, nodes: Sequence[Node], keep: Collection[int] = ()) -> Program:
    """Fold what can be folded, but for convolutions whose own output is to be kept.

    Raises `TrainingModeError` for a batch norm that uses the batch's statistics.
    """
    readers = Counter(index for node in nodes for index in set(references((node.args, tuple(node.kwargs.values())))))
    made_by = {index: node for node in nodes for index in node.outputs if index is not None}
    folds: dict[int, Folded] = {}
    gone: set[int] = set()
    for node in nodes:
        if node.op != "aten.native_batch_norm":
            continue
        arguments = call_of(network, node).arguments
        if arguments["training"] and arguments["running_mean"] is not None:
            raise TrainingModeError("a batch norm is in training mode, so all units depend on all; call model.eval()")
        source: Value = arguments["input"]
        convolution = made_by.get(source.index)
        alone = readers[source.index] == 1 and source.index not in keep
        if convolution is None or convolution.op != "aten.convolution" or not alone:
            continue
        fold = _fold(network, convolution, arguments, node.outputs[0])
        if fold is not None:
            folds[convolution.index] = fold
            gone.add(node.index)
    return Program(network, tuple(node for node in nodes if node.index not in gone), folds)


def _fold(network: Network, convolution: Node, norm: Mapping[str, Any], output: int | None) -> Folded | None:
    arguments = call_of(network, convolution).arguments
    parts = [arguments["weight"], norm["running_mean"], norm["running_var"]]
    optional = [arguments["bias"], norm["weight"], norm["bias"]]
    known = all(part is not None and part.tensor is not None for part in parts)
    if not known or any(part is not None and part.tensor is None for part in optional) or norm["training"]:
        return None
    if arguments["transposed"] or len(arguments["weight"].shape) != 4 or output is None:
        return None
    weight, mean, variance = (part.tensor.detach() for part in parts)
    bias, scale, shift = (None if part is None else part.tensor.detach() for part in optional)
    factor = torch.rsqrt(variance + norm["eps"]) * (1 if scale is None else scale)
    moved = ((0 if bias is None else bias) - mean) * factor + (0 if shift is None else shift)
    # A batch norm kept in single precision after a convolution in half makes what the convolution makes.
    folded = (weight * factor[:, None, None, None]).to(weight).contiguous(memory_format=torch.channels_last)
    return Folded(folded, moved.to(weight), output)


def _overlaid(network: Network, node: Node, values: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """A tensor after another name of its memory was written: each element from where the rule says that it comes."""
    output = node.outputs[0]
    assert output is not None, "an overlay makes a value"
    shape = network.values[output].shape
    reads = reads_of(network, node, 0)
    assert reads is not None, "overlays have a rule"
    result: torch.Tensor | None = None
    for source, relation in reads:
        flat = values[source.index].reshape(-1)
        if isinstance(relation, Gather):
            table = torch.from_numpy(relation.table).to(flat.device)
            taken = flat[table.clamp(min=0)]
            result = taken if result is None else torch.where(table >= 0, taken, result)
        else:
            result = flat.reshape(shape)
    assert result is not None, "an overlay reads something"
    return {output: result}


def without_writing(node: Node) -> Any:
    """The operator of a node, or the one that makes a new tensor where the node's writes into its argument.

    A view becomes a reshape, because the strides of this run need not be those of the recorded one.
    """
    if node.op in ("aten.view", "aten._unsafe_view"):
        return torch.ops.aten.reshape.default
    if not node.in_place:
        return node.func
    namespace, _, name = node.func._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    overload = node.func._schema.overload_name or "default"
    if packet is not None and overload in packet.overloads() and name.endswith("_"):
        return getattr(packet, overload)
    return _on_a_copy(node.func)


def _on_a_copy(func: Any) -> Any:
    def call(first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return func(first.clone(), *args, **kwargs)

    return call


def constants(network: Network, nodes: Sequence[Node], image: torch.Tensor) -> dict[int, torch.Tensor]:
    """The model's own tensors, and what is computed from them alone: everything that no image changes."""
    values = {
        index: tensor.detach()
        for index, tensor in starting_values(network, image).items()
        if not network.depends[index]
    }
    plain = Program(network, (), {})
    for node in nodes:
        known = {i: network.values[i].tensor for i in node.outputs if i is not None}
        if known and all(tensor is not None for tensor in known.values()):
            values.update((index, tensor) for index, tensor in known.items() if tensor is not None)
        elif not any(index is not None and network.depends[index] for index in node.outputs):
            # What depends on the image can only be read for its shape here (zeros_like).
            forms = {
                index: torch.empty((), dtype=network.values[index].dtype).expand(network.values[index].shape)
                for index in needs(node)
                if network.depends[index]
            }
            values.update(plain.run(node, {**values, **forms}))
    return values


def needs(node: Node) -> list[int]:
    """The values that a node reads."""
    return list(references((node.args, tuple(node.kwargs.values()))))
