"""Gradients of many units from one forward pass: each carried back only where it is not zero.

A unit's gradient is zero outside its field, so at every map on the way back it is kept as a window, and the windows of
units that lie close together are carried through an operator as one batch. Operators without a rule here are carried
back by autograd, on the whole tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from perimetry.errors import InputError, TrainingModeError
from perimetry.maps.convolving import convolved
from perimetry.maps.parts import Part, is_map, merge
from perimetry.maps.program import Program, program
from perimetry.maps.replay import run_node, starting_values
from perimetry.maps.window_rules import WINDOW_RULES, Backward, folded_convolution, outputs_of, reads, run_functional
from perimetry.records import Network, Node
from perimetry.tracing.calls import call_of

# Bytes of gradients that one operator hands on; beyond that, targets go on in two halves, so that caches hold them.
_AT_HAND = 8 << 20
# What makes a new tensor and needs it no more for the way back.
_FRESH = ("aten.convolution", "aten.native_batch_norm", "aten.add")


class OneAtATimeError(Exception):
    """A program that cannot be run on several images at once."""


@dataclass(slots=True)
class Tape:
    """What one forward pass leaves for the way back.

    images: how many it was run on. values: the outputs asked for; made: the values that each node made; backward: for
    each node, from the parts of its outputs to parts of its inputs.
    """

    network: Network
    image: int
    images: int
    nodes: list[Node]
    values: dict[int, torch.Tensor] = field(default_factory=dict)
    made: dict[int, tuple[int, ...]] = field(default_factory=dict)
    backward: dict[int, Backward] = field(default_factory=dict)


def fixed_values(network: Network, nodes: Sequence[Node], image: torch.Tensor) -> dict[int, torch.Tensor]:
    """The model's own tensors, and what follows from them alone; no image changes them."""
    known = starting_values(network, image).items()
    values = {index: tensor.detach() for index, tensor in known if not network.depends[index]}
    for node in nodes:
        if node.op == "aten.convolution":  # channels last, as the images will be
            weight = call_of(network, node)["weight"].index
            if weight in values and values[weight].ndim == 4:
                values[weight] = values[weight].contiguous(memory_format=torch.channels_last)
        made = [index for index in node.outputs if index is not None]
        if not any(network.depends[index] for index in made) and not all(index in values for index in made):
            # The real program, writes included. Of what depends on the image it reads the form only.
            values.update(run_node(node, {**_forms(network, node, image), **values}))
    return values


def without_norms(network: Network, nodes: Sequence[Node], keep: frozenset[int]) -> Program:
    """Nodes with batch norms folded into the convolutions before them, where that pays. `keep`: not those values."""
    unfit = set()
    for node in nodes:
        if node.op == "aten.convolution" and node.outputs[0] is not None:
            made, weight = network.values[node.outputs[0]], call_of(network, node)["weight"]
            # Folding goes over the weight, and spares going over the map.
            if not is_map(made.shape) or weight.bytes > made.bytes:
                unfit.add(made.index)
    try:
        return program(network, nodes, keep | unfit)
    except TrainingModeError:  # a norm by the image's own statistics has a gradient of its own
        return Program(network, tuple(nodes), {})


def _forms(network: Network, node: Node, image: torch.Tensor) -> dict[int, torch.Tensor]:
    """Stand-ins without contents for what a node reads that depends on the image (as `zeros_like` does)."""
    found = {}
    for index in reads(node):
        value = network.values[index]
        if network.depends[index]:
            found[index] = torch.zeros((), dtype=value.dtype, device=image.device).expand(value.shape)
    return found


def forward(
    way: Program,
    fixed: Mapping[int, torch.Tensor],
    image: torch.Tensor,
    keep: frozenset[int],
) -> Tape:
    """Run a program on an image of the recorded shape, and note how each node is carried back.

    way: what `without_norms` made; keep: values to hand out. image: or several images, for one target each, whose row
    is the image's place; raises `OneAtATimeError` where an operator has no rule for them.
    """
    network, nodes = way.network, way.nodes
    index = next(value.index for value in network.values if value.kind == "image")
    tape = Tape(network, index, 1 if image.ndim != 4 else image.shape[0] // network.values[index].shape[0], [])
    values = dict(fixed)
    if image.ndim == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    values.update({value.index: image for value in network.values if value.kind == "image"})
    last_read = {read: place for place, node in enumerate(nodes) for read in reads(node)}
    readers = Counter(read for node in nodes for read in reads(node))
    spare: set[int] = set()
    for place, node in enumerate(nodes):
        if any(output is not None and network.depends[output] for output in node.outputs):
            tape.nodes.append(node)
            outputs = _forward_node(tape, way, node, values, spare)
            if node.op in _FRESH:
                spare.update(
                    index
                    for index in outputs
                    if is_map(network.values[index].shape) and readers[index] == 1 and index not in keep
                )
            tape.made[node.index] = tuple(outputs)
            values.update(outputs)
        for read in reads(node):
            if last_read[read] == place and read not in keep and network.depends[read]:
                values.pop(read, None)
    tape.values = {index: values[index] for index in keep if index in values}
    return tape


def carry_back(tape: Tape, seeds: Sequence[tuple[int, Part]], count: int) -> torch.Tensor:
    """The gradients of targets 0 ... count - 1 with respect to the image: (count, *image shape without a batch of 1).

    seeds: gradients of the targets with respect to values of the tape.
    """
    shape = tape.network.values[tape.image].shape
    pending: dict[int, list[Part]] = {}
    for value, part in seeds:
        pending.setdefault(value, []).append(part)
    inner = shape[1:] if is_map(shape) else shape
    device = seeds[0][1].tensor.device
    total = torch.zeros((count, *inner), dtype=tape.network.values[tape.image].dtype, device=device)
    waiting = [(len(tape.nodes), pending)]
    while waiting:
        reached, pending = waiting.pop()
        while reached and pending:
            reached -= 1
            rows, held = _carry_through(tape, tape.nodes[reached], pending)
            if held > _AT_HAND and len(rows) > 1:
                middle = rows[len(rows) // 2]
                waiting.append((reached, _chosen(pending, range(middle))))
                pending = _chosen(pending, range(middle, count))
        for value, parts in pending.items():
            assert tape.network.values[value].kind == "image", "everything else was made by a node"
            for part in parts:
                place = (..., *part.window) if part.corner is not None else (...,)
                for row, gradient in zip(part.rows, part.tensor, strict=True):
                    total[row][place] += gradient
    return total


def _carry_through(tape: Tape, node: Node, pending: dict[int, list[Part]]) -> tuple[list[int], int]:
    """Move what is pending from a node's outputs to its inputs; the targets concerned, and the bytes of the result."""
    arrived = {output: pending.pop(output) for output in tape.made[node.index] if output in pending}
    rows: set[int] = set()
    held = 0
    if arrived:
        merged = {index: merge(parts) for index, parts in arrived.items()}
        for value, part in tape.backward[node.index](merged):
            if tape.network.depends[value]:
                pending.setdefault(value, []).append(part)
                rows.update(part.rows)
                held += part.tensor.numel() * part.tensor.element_size()
    return sorted(rows), held


def _chosen(pending: Mapping[int, list[Part]], wanted: range) -> dict[int, list[Part]]:
    """What is pending for some of the targets."""
    found = {value: [part for each in parts for part in each.of(wanted)] for value, parts in pending.items()}
    return {value: parts for value, parts in found.items() if parts}


def _forward_node(
    tape: Tape, way: Program, node: Node, values: Mapping[int, torch.Tensor], spare: set[int]
) -> dict[int, torch.Tensor]:
    if node.index in way.folds:
        with torch.no_grad():
            fold = way.folds[node.index]
            made = convolved(values[reads(node)[0]], fold.weight, fold.bias, call_of(tape.network, node).arguments)
        tape.backward[node.index] = folded_convolution(tape.network, node, values, fold)
        return {fold.output: made}
    if node.func is None:
        raise InputError("the model writes into memory that other tensors share; its program cannot be carried back")
    rule = WINDOW_RULES.get(node.op)
    if rule is not None:
        with torch.no_grad():
            outputs = _quickly(tape.network, node, values, spare) or outputs_of(node, run_functional(node, values))
            known = rule(tape.network, node, values, outputs)
        if known is not None:
            tape.backward[node.index] = known
            return outputs
    if tape.images > 1:
        raise OneAtATimeError(f"{node.op} has no rule for several images")
    return _recorded(tape, node, values)


def _quickly(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], spare: set[int]
) -> dict[int, torch.Tensor]:
    """Run a convolution in its fastest form, a rectifier or a sum within a map that nothing else reads; or nothing."""
    source, output = reads(node)[0], node.outputs[0]
    if output is not None and node.op == "aten.convolution" and is_map(network.values[source].shape):
        call = call_of(network, node)
        bias = None if call["bias"] is None else values[call["bias"].index]
        if not call["transposed"] and call["weight"].index != source:
            return {output: convolved(values[source], values[call["weight"].index], bias, call.arguments)}
    if output is None or source not in spare:
        return {}
    if node.op == "aten.relu":
        return {output: values[source].relu_()}
    call = call_of(network, node)
    other = values.get(getattr(call.get("other"), "index", -1))
    if node.op == "aten.add" and other is not None and source == call["self"].index:
        first = values[source]
        if first.shape == other.shape and first.dtype == other.dtype == network.values[output].dtype:
            return {output: first.add_(other, alpha=call.get("alpha", 1))}
    return {}


def _recorded(tape: Tape, node: Node, values: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Run a node under autograd, on leaves of its own, and carry gradients back one target at a time."""
    depends = tape.network.depends
    leaves = {
        index: values[index].detach().requires_grad_()
        for index in set(reads(node))
        if depends[index] and values[index].is_floating_point()
    }
    with torch.enable_grad():
        outputs = outputs_of(node, run_functional(node, {**{i: values[i] for i in reads(node)}, **leaves}))
    sources = list(leaves)

    def backward(arrived: Mapping[int, list[Part]]) -> list[tuple[int, Part]]:
        whole = {i: [_whole(part, outputs[i].shape) for part in parts] for i, parts in arrived.items()}
        whole = {index: parts for index, parts in whole.items() if outputs[index].requires_grad}
        rows = sorted({row for parts in whole.values() for part in parts for row in part.rows})
        found: dict[int, list[torch.Tensor]] = {index: [] for index in sources}
        for row in rows:
            wanted: dict[int, torch.Tensor] = {}
            for index, parts in whole.items():
                for part in parts:
                    if row in part.rows:
                        gradient = part.tensor[part.rows.index(row)].reshape(outputs[index].shape)
                        wanted[index] = wanted[index] + gradient if index in wanted else gradient
            gradients = torch.autograd.grad(
                [outputs[index] for index in wanted],
                [leaves[index] for index in sources],
                list(wanted.values()),
                retain_graph=True,
                allow_unused=True,
            )
            for index, gradient_or_none in zip(sources, gradients, strict=True):
                leaf = leaves[index]
                found[index].append(torch.zeros_like(leaf) if gradient_or_none is None else gradient_or_none)
        return [(index, _stacked(rows, gradients)) for index, gradients in found.items() if rows]

    tape.backward[node.index] = backward
    return {index: output.detach() for index, output in outputs.items()}


def _whole(part: Part, shape: torch.Size) -> Part:
    if part.corner is None or part.tensor.shape[2:] == shape[2:]:
        return Part(part.rows, part.tensor, None)
    tensor = part.tensor.new_zeros((len(part.rows), *shape[1:]))
    tensor[(..., *part.window)] = part.tensor
    return Part(part.rows, tensor, None)


def _stacked(rows: Sequence[int], gradients: list[torch.Tensor]) -> Part:
    if not is_map(gradients[0].shape):
        return Part(tuple(rows), torch.stack(gradients), None)
    tensor = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
    touched = (tensor != 0).any(dim=0).any(dim=0)
    lines, columns = touched.any(dim=1).nonzero(), touched.any(dim=0).nonzero()
    if not len(lines):
        return Part(tuple(rows), tensor[:, :, :1, :1], (0, 0))
    top, bottom, left, right = int(lines[0]), int(lines[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Part(tuple(rows), tensor[:, :, top:bottom, left:right], (top, left))
