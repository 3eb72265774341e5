"""Receptive fields: one walk over the recorded operators gives the field of every layer.

The walk goes forwards and carries, for every tensor, the span that each of its units sees (`reach`); the cost is
linear in the number of operators. Why forwards, where the rules are stated backwards: docs/design/0001.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perimetry.geometry import Field
from perimetry.maps.joining import concatenate, join
from perimetry.maps.reach import EMPTY, Reach, image_reach, pull
from perimetry.maps.summary import FieldSummary, summarise
from perimetry.records import Layer, Network, Node, UnknownOperator, Value
from perimetry.rules import Axes, Each, Relation
from perimetry.tracing.calls import reads_of, references

# A run on shapes alone fails where a model leaves PyTorch (NumPy); a real run goes on, with nothing to follow.
_NO_WAY = "no recorded operator leads from the image to here"

View = tuple[tuple[Reach, ...], ...]  # per image axis, the reaches whose hull is what the units see


@dataclass(frozen=True, slots=True)
class LayerFields:
    """What a layer sees. None where unknown, with the `reason`; see `LayerRecord` for the rest."""

    full: Field | None
    local: Field | None
    global_by: str | None
    upper_bound: bool
    unproductive: bool
    reason: str | None
    misaligned: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk found, per value: its view, or the unknown operator that it depends on."""

    network: Network
    views: Mapping[int, View]
    unknown: Mapping[int, int]  # value -> node of the operator without a rule
    misaligned: Mapping[int, tuple[float, ...]]  # node -> pixels between its operands' centres

    def unknown_operators(self) -> tuple[UnknownOperator, ...]:
        """The operators without a rule that were met, each once per place."""
        found = []
        places = _Places(self.network)
        for index in sorted(set(self.unknown.values())):
            node = self.network.nodes[index]
            values = self.network.values
            inputs = tuple(values[i].shape for i in value_indices(node))
            outputs = tuple(values[i].shape for i in node.outputs if i is not None)
            found.append(UnknownOperator(node.op, places.of(node), inputs, outputs))
        return tuple(found)


def fields(network: Network) -> dict[str, LayerFields]:
    """The receptive field of every layer of a network, by name, in order.

    >>> import torch, perimetry
    >>> network = perimetry.trace(torch.nn.Conv2d(3, 8, 7, stride=2, padding=3), torch.zeros(1, 3, 64, 64))
    >>> field = perimetry.fields(network)["output"].full
    >>> field.size, field.stride, field.start
    ((7, 7), (Fraction(2, 1), Fraction(2, 1)), (-3, -3))
    """
    return layer_fields(walk(network))


def walk(network: Network) -> Walk:
    """Carry the image's pixels through the recorded operators, in order."""
    views: dict[int, View] = {}
    unknown: dict[int, int] = {}
    misaligned: dict[int, tuple[float, ...]] = {}
    for value in network.values:
        if value.kind == "image":
            views[value.index] = tuple(
                (image_reach(len(value.shape), axis, extent),)
                for axis, extent in zip(network.image_axes, network.image_shape, strict=True)
            )
    for node in network.nodes:
        for position, output in enumerate(node.outputs):
            if output is None or not network.depends[output]:
                continue
            blocked = next((unknown[i] for i in value_indices(node) if i in unknown), None)
            reads = None if blocked is not None else reads_of(network, node, position)
            if reads is None:
                unknown[output] = node.index if blocked is None else blocked
                continue
            used = [(value, relation) for value, relation in reads if value.index in views]
            views[output] = _pulled(used, views, len(network.image_axes), node)
            if position == 0 and len(used) > 1:
                offset = _misalignment(used, views)
                if offset is not None:
                    misaligned[node.index] = offset
    return Walk(network, views, unknown, misaligned)


def _pulled(used: list[tuple[Value, Relation]], views: Mapping[int, View], axes: int, node: Node) -> View:
    if len(used) == 1 and _identity(used[0][1], used[0][0].shape):
        return views[used[0][0].index]
    laid = _concatenated(used, node)
    result = []
    for axis in range(axes):
        if laid is not None:
            together = concatenate(
                [views[value.index][axis] for value, _ in used], laid, [v.shape[laid] for v, _ in used]
            )
            if together is not None:
                result.append(together)
                continue
        pulled = []
        for value, relation in used:
            here = _identity(relation, value.shape)
            for reach in views[value.index][axis]:
                pulled.append(reach if here else pull(reach, value.shape, relation, node.index))
        result.append(join(pulled) if len(pulled) > 1 else tuple(pulled))
    return tuple(result)


def _concatenated(used: list[tuple[Value, Relation]], node: Node) -> int | None:
    """The dimension along which a node lays its operands out, where the image reaches all of them."""
    if node.op != "aten.cat" or len(used) < 2:
        return None
    relation = used[0][1]
    if not isinstance(relation, Axes):
        return None
    dim = next(dim for dim, read in enumerate(relation.reads) if not isinstance(read, Each))
    return dim if sum(value.shape[dim] for value, _ in used) == relation.shape[dim] else None


def _identity(relation: Relation, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(relation, Axes)
        and relation.shape == shape
        and all(isinstance(read, Each) and read.dim == dim for dim, read in enumerate(relation.reads))
    )


def _misalignment(used: list[tuple[Value, Relation]], views: Mapping[int, View]) -> tuple[float, ...] | None:
    """Pixels between the mean centres of operands that cover the same grid; None where they agree."""
    offsets: list[float] = []
    for axis in range(len(next(iter(views.values())))):
        centres: list[float] = []
        strides = set()
        for value in {value.index: value for value, _ in used}.values():
            local = [reach for reach in views[value.index][axis] if reach.global_by is None]
            if len(local) != 1:
                continue
            dims = [dim for dim, step in enumerate(local[0].steps) if step is not None and step.period > 0]
            if len(dims) != 1:
                continue
            step = local[0].steps[dims[0]]
            assert step is not None
            strides.add((dims[0] - len(value.shape), value.shape[dims[0]], step.advance / step.period))
            inner = tuple(d for d in range(len(value.shape)) if d != dims[0])
            spans = local[0].bounds[:2].min(axis=tuple(d + 1 for d in inner))
            seen = spans[0] < EMPTY
            if seen.any():
                centres.append(float(np.mean((spans[0] - spans[1])[seen])) / 2)
        same_grid = len(centres) > 1 and len(strides) == 1
        offsets.append(max(centres) - min(centres) if same_grid else 0.0)
    return tuple(offsets) if any(offset > 1e-6 for offset in offsets) else None


def layer_fields(found: Walk) -> dict[str, LayerFields]:
    """A walk's result, told per layer."""
    network = found.network
    summaries = _Summaries(found)
    places = _Places(network)
    result: dict[str, LayerFields] = {}
    for layer in network.layers:
        if layer.value in found.unknown:
            node = network.nodes[found.unknown[layer.value]]
            reason = f"no rule for operator {node.op} at {places.of(node)!r}"
            result[layer.name] = LayerFields(None, None, None, False, False, reason, None)
            continue
        if network.captured == "real" and not network.depends[layer.value]:
            result[layer.name] = LayerFields(None, None, None, False, False, _NO_WAY, None)
            continue
        summary = summaries.of(layer.value)
        result[layer.name] = LayerFields(
            full=summary.full,
            local=summary.local,
            global_by=None if summary.global_by is None else places.of(network.nodes[summary.global_by]),
            upper_bound=summary.upper_bound,
            unproductive=_unproductive(found, layer, summaries),
            reason=None,
            misaligned=_layer_misalignment(found, layer),
        )
    return result


class _Summaries:
    """Views told as fields, each once: most operators hand their view on unchanged."""

    def __init__(self, found: Walk) -> None:
        self._found = found
        self._told: dict[tuple[int, tuple[int, ...]], FieldSummary] = {}

    def of(self, value: int) -> FieldSummary:
        """The fields of a value's units."""
        network, view = self._found.network, self._found.views.get(value, ((),) * len(self._found.network.image_axes))
        shape = network.values[value].shape
        # The channels of a tensor do not matter to its field, unless one of its dimensions carries position.
        key = (id(view) if view[0] else 0, shape)
        if key not in self._told:
            self._told[key] = summarise(view, shape, network.image_shape)
        return self._told[key]


def _unproductive(found: Walk, layer: Layer, summaries: _Summaries) -> bool:
    """True where everything that enters the layer already has a local field beyond the image, on every axis."""
    network = found.network
    own = summaries.of(layer.value).local.size
    beyond = network.image_shape
    if not all(size is None or size > extent for size, extent in zip(own, beyond, strict=True)):
        return False  # what a layer hands on is never smaller than what enters it
    first, last = layer.nodes
    entering = set()
    for node in network.nodes[first:last]:
        for index in value_indices(node):
            producer = network.values[index].producer
            if network.depends[index] and (producer is None or producer < first):
                entering.add(index)
    if first == last:  # nothing ran inside (nn.Identity): what came in is what went out
        entering.add(layer.value)
    sizes = [summaries.of(index).local.size for index in entering if index in found.views]
    return bool(sizes) and all(
        size is not None and size > extent for each in sizes for size, extent in zip(each, beyond, strict=True)
    )


def _layer_misalignment(found: Walk, layer: Layer) -> tuple[float, ...] | None:
    """Of an operator's own joins, or those of a leaf module; a container's parts speak for themselves."""
    if layer.container:
        return None
    inside = [found.misaligned[node] for node in range(*layer.nodes) if node in found.misaligned]
    return max(inside, key=max) if inside else None


class _Places:
    """Where operators stand, in the names of layers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._names: dict[int, str] = {}
        for layer in network.layers:
            if not layer.container:
                for node in range(*layer.nodes):
                    self._names.setdefault(node, layer.name)

    def of(self, node: Node) -> str:
        """The node's leaf module, or `parent/operator`."""
        call = self._network.calls[node.call]
        if node.index in self._names:
            return self._names[node.index]
        return call.path if call.leaf and call.path else f"{call.path}/{node.op.partition('.')[2].strip('_')}"


def value_indices(node: Node) -> list[int]:
    """The values that a node was given."""
    return list(references((node.args, tuple(node.kwargs.values()))))
