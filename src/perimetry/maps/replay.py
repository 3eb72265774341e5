"""Running a recorded network again, operator by operator: all of it, or what one value needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from perimetry.errors import InputError
from perimetry.records import Network, Node, ValueRef
from perimetry.tracing.calls import references


def ancestors(network: Network, values: Collection[int]) -> list[Node]:
    """The nodes that those values depend on, in order, with the in-place writes that happen on the way."""
    wanted = set(values)
    needed: list[Node] = []
    for node in reversed(network.nodes):
        if any(output in wanted for output in node.outputs):
            needed.append(node)
            wanted.update(references((node.args, tuple(node.kwargs.values()))))
    return needed[::-1]


def starting_values(network: Network, image: torch.Tensor) -> dict[int, torch.Tensor]:
    """The values that no node makes: the image, and the model's own tensors (on the image's device and as they are).

    Raises `InputError` for a network with several inputs, or an image of another shape than the recorded one.
    """
    values: dict[int, torch.Tensor] = {}
    for value in network.values:
        if value.kind == "image":
            if tuple(image.shape) != value.shape:
                raise InputError(
                    f"the network was recorded on an image of shape {value.shape}, got {tuple(image.shape)}"
                )
            values[value.index] = image
        elif value.kind == "input":
            raise InputError("the network takes inputs beside the image; only the image can be given here")
        elif value.tensor is not None:
            values[value.index] = value.tensor
    return values


def replay(nodes: Iterable[Node], values: dict[int, torch.Tensor], keep: Collection[int]) -> dict[int, torch.Tensor]:
    """Run nodes in order; returns the values asked for as they were when they were made.

    values: what is there at the start; it is added to, and emptied of what no later node reads.
    """
    nodes = list(nodes)
    last_read: dict[int, int] = {}
    for place, node in enumerate(nodes):
        for index in references((node.args, tuple(node.kwargs.values()))):
            last_read[index] = place
    kept = {index: values[index] for index in keep if index in values}
    for place, node in enumerate(nodes):
        outputs = run_node(node, values)
        for index, output in outputs.items():
            values[index] = output
            if index in keep:
                kept[index] = output
        for index in set(references((node.args, tuple(node.kwargs.values())))):
            if last_read[index] == place and index not in keep:
                values.pop(index, None)
    return kept


def run_node(node: Node, values: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Run one node on real tensors; returns its outputs by value index."""
    if node.func is None:  # a tensor seen again after its memory was written through another name: already up to date
        index = node.outputs[0]
        assert index is not None
        return {index: values[node.args[0].index]}
    result = node.func(*(given(a, values) for a in node.args), **{k: given(v, values) for k, v in node.kwargs.items()})
    flat = result if isinstance(result, list | tuple) else () if result is None else (result,)
    made = {index: output for index, output in zip(node.outputs, flat, strict=False) if index is not None}
    if len(node.outputs) > len(flat):
        raise InputError(f"{node.op} writes into an argument that it does not return; such a run cannot be repeated")
    return made


def given(argument: Any, values: Mapping[int, torch.Tensor]) -> Any:
    """A recorded argument with tensors in place of references; lists for tuples, the CPU for the meta device."""
    if isinstance(argument, ValueRef):
        return values[argument.index]
    if isinstance(argument, tuple):
        return [given(item, values) for item in argument]
    if isinstance(argument, torch.device) and argument.type == "meta":
        return torch.device("cpu")
    return argument
