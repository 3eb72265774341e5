"""Which operators run on windows, and how.

An operator runs on windows where its relation reads rows and columns each on their own. Position-by-position operators
run on a table as if it were a map of one row. Linear operators that mix positions (convolution, averages,
interpolation) act on the change alone and add it to the unchanged output. What only moves elements copies them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from perimetry.maps import tile_convolution, tile_pooling
from perimetry.maps.program import Program, needs, without_writing
from perimetry.maps.replay import given
from perimetry.maps.steps import Operand, Run, Step, TileRule
from perimetry.maps.tiles import Frame
from perimetry.records import Network, Node, Value
from perimetry.rules import Axes, Each, Relation, Window
from perimetry.tracing.calls import call_of, reads_of
from perimetry.tracing.operators import describe

# Position by position along rows and columns, whatever else they do, and for any extent.
_ANY_EXTENT = frozenset(
    f"aten.{name}"
    for name in (
        "native_batch_norm",
        "cat",
        "clone",
        "_to_copy",
        "native_dropout",
        "permute",
        "transpose",
        "native_layer_norm",
        "_softmax",
        "_log_softmax",
        "hardswish",
        "glu",
        "_prelu_kernel",
        "prelu",
        "mean",
        "amax",
        "sum",
        "alias",
        "detach",
        "slice",
        "constant_pad_nd",
        "roll",
    )
)
VIEWS = ("aten.view", "aten._unsafe_view", "aten.reshape")
_PRODUCTS = ("aten.addmm", "aten.mm", "aten.linear", "aten._addmm_activation")
_MOVES = ("aten.slice", "aten.constant_pad_nd", "aten.reflection_pad2d", "aten.replication_pad2d", "aten.roll")
_IN_PLACE = ("relu", "add", "sub", "mul", "hardtanh", "silu", "hardswish", "leaky_relu", "sigmoid", "elu", "tanh")


def tile_rule(
    ready: Program, node: Node, frames: Mapping[int, Frame], convolving: tile_convolution.Way = "fastest"
) -> TileRule | None:
    """How a node runs on windows of the maps it reads; None where it needs full maps."""
    network = ready.network
    fold = ready.folds.get(node.index)
    output = fold.output if fold is not None else node.outputs[0]
    reads = reads_of(network, node, 0)
    if output is None or reads is None or node.func is None:
        return None
    if fold is None and _others_used(network, node, output):
        return None
    changed = [(value, relation) for value, relation in reads if network.depends[value.index]]
    if node.op in VIEWS:
        return _view(network, output, changed[0][0], frames)
    found = [operand for operand in (_operand(*each, frames) for each in changed) if operand is not None]
    if not found or len(found) < len(changed):
        return None
    frame = _output_frame(network.values[output].shape, found)
    if frame is None:
        return None
    kept = scratch = 0
    if node.op == "aten.convolution":
        arguments = call_of(network, node).arguments
        kept = tile_convolution.kept_bytes(arguments, convolving)
        scratch = tile_convolution.scratch_bytes(arguments, convolving)
        run = tile_convolution.runner(ready, node, arguments, found, frame, convolving)
    else:
        run = _runner(ready, node, found, frame, output)
    return None if run is None else TileRule(output, frame, tuple(found), run, kept, scratch)


def _others_used(network: Network, node: Node, output: int) -> bool:
    """True where a further output of the node (a pooling's indices) is read by another node."""
    others = {index for index in node.outputs if index is not None} - {output}
    if not others:
        return False
    return any(index in others for later in network.nodes[node.index + 1 :] for index in needs(later))


def _operand(value: Value, relation: Relation, frames: Mapping[int, Frame]) -> Operand | None:
    if value.index not in frames or not isinstance(relation, Axes):
        return None
    frame = frames[value.index]
    own = [relation.reads[dim] for dim in frame.dims]
    reads = [read for read in own if isinstance(read, Each | Window)]
    if len(reads) < len(own) or (len(own) == 1 and not isinstance(own[0], Each)):
        return None
    others = [read for dim, read in enumerate(relation.reads) if dim not in frame.dims]
    crossed = any(isinstance(read, Each | Window) and read.dim in {own.dim for own in reads} for read in others)
    return None if crossed else Operand(value.index, (reads[0], reads[-1]), frame)


def _output_frame(shape: tuple[int, ...], operands: Sequence[Operand]) -> Frame | None:
    """Where the output keeps its positions; None where the operands do not agree on it."""
    found = set()
    for operand in operands:
        if len(operand.frame.dims) == 1:
            found.add(Frame((operand.reads[0].dim,), operand.frame.extents))
        else:
            dims = operand.reads[0].dim, operand.reads[1].dim
            found.add(Frame(dims, (shape[dims[0]], shape[dims[1]])))
    frame = found.pop()
    if found or (len(frame.dims) == 2 and shape[0] != 1) or frame.dims[0] > frame.dims[-1]:
        return None
    return frame


def _view(network: Network, output: int, source: Value, frames: Mapping[int, Frame]) -> TileRule | None:
    """The same elements under another shape, where each position keeps its channels together."""
    frame = frames.get(source.index)
    made = None if frame is None else frame.reshaped(source.shape, network.values[output].shape)
    if frame is None or made is None:
        return None
    reads = (Each(made.dims[0]), Each(made.dims[-1]))
    return TileRule(output, made, (Operand(source.index, reads, frame),), lambda step: step.tiles[0].table)


def _runner(ready: Program, node: Node, operands: Sequence[Operand], frame: Frame, output: int) -> Run | None:
    """How an operator makes the table of its output's windows; None where it cannot."""
    network = ready.network
    arguments = call_of(network, node).arguments
    in_place = all(isinstance(read, Each) for operand in operands for read in operand.reads)
    if node.op in _PRODUCTS:
        rows = in_place and len(operands) == 1 and frame.dims[0] == 0 and _are_rows(network, node, operands[0].value)
        return _product(node, operands) if rows else None
    if node.op == "aten.add" and in_place and _is_plain_sum(network, node, arguments, operands):
        return _sum(operands)
    if in_place and (node.op in _ANY_EXTENT or describe(node.func).pointwise):
        free = _extents_are_free(network, node, frame)
        return _position_by_position(network, node, operands, frame) if free else None
    if node.op in _MOVES or "upsample_nearest" in node.op:
        return (
            tile_pooling.moves(operands[0], output, frame)
            if _keeps_channels(network, node, operands[0], output)
            else None
        )
    return tile_pooling.runner(node.op, arguments, operands, output, frame)


def _keeps_channels(network: Network, node: Node, source: Operand, output: int) -> bool:
    """True where what only moves rows and columns leaves the other dimensions as they are."""
    dims = source.frame.dims
    shapes = [network.values[index].shape for index in (source.value, output)]
    before, after = ([extent for dim, extent in enumerate(shape) if dim not in dims] for shape in shapes)
    turned = call_of(network, node).arguments["dims"] if node.op == "aten.roll" else ()
    return before == after and all(dim % len(shapes[0]) in dims for dim in turned)


def _are_rows(network: Network, node: Node, changed: int) -> bool:
    """True where a product's rows are the map that changes, and what is added to it is the same for all rows."""
    added = node.args[0] if "addmm" in node.op else None
    first = node.args[0] if added is None else node.args[1]
    alike = added is None or network.values[added.index].shape[:-1] in ((), (1,))
    return first.index == changed and alike


def _extents_are_free(network: Network, node: Node, frame: Frame) -> bool:
    """True where no operand that stays unchanged is a map itself: a window would meet the whole of it."""
    output = node.outputs[0]
    assert output is not None
    rank = len(network.values[output].shape)
    arguments = call_of(network, node).arguments
    if node.op == "aten.native_layer_norm":
        return max(frame.dims) < rank - len(arguments["normalized_shape"])
    if node.op in ("aten.native_batch_norm", "aten.prelu"):
        return 1 not in frame.dims
    along = node.op in ("aten._softmax", "aten._log_softmax", "aten.cat", "aten.glu", "aten.slice")
    if along and arguments["dim"] % rank in frame.dims:
        return False
    for index in needs(node):
        value = network.values[index]
        if network.depends[index]:
            continue
        lead = rank - len(value.shape)
        if any(value.shape[dim - lead] != 1 for dim in frame.dims if dim >= lead):
            return False
    return True


def _position_by_position(network: Network, node: Node, operands: Sequence[Operand], frame: Frame) -> Run:
    function = without_writing(node)
    changed = [operand.value for operand in operands]
    shapes = [network.values[index].shape for index in changed]
    writing = _writing(network, node, changed)
    read = set(needs(node))

    def run(step: Step) -> torch.Tensor:
        values = {index: step.base.values[index] for index in read}
        for tile, operand, shape in zip(step.tiles, operands, shapes, strict=True):
            table = tile.within(step.windows, step.base, operand.value)
            values[operand.value] = operand.frame.tensor(table, shape)
        own = step.spare or step.tiles[0].windows is not step.windows
        args = [given(argument, values) for argument in node.args]
        keywords = {name: given(item, values) for name, item in node.kwargs.items()}
        result = (writing if writing is not None and own else function)(*args, **keywords)
        made: torch.Tensor = result[0] if isinstance(result, list | tuple) else result
        return frame.table(made)

    return run


def _is_plain_sum(network: Network, node: Node, arguments: Mapping[str, Any], operands: Sequence[Operand]) -> bool:
    """True for the sum of two changed maps of one shape, kind and order of dimensions."""
    output = node.outputs[0]
    if len(operands) != 2 or arguments.get("alpha", 1) != 1 or output is None:
        return False
    values = [network.values[index] for index in (output, *(operand.value for operand in operands))]
    same = len({(value.shape, value.dtype) for value in values}) == 1
    return same and operands[0].frame == operands[1].frame and operands[0].value != operands[1].value


def _sum(operands: Sequence[Operand]) -> Run:
    """The sum of two maps, such as a branch and its shortcut, whose windows differ."""

    def run(step: Step) -> torch.Tensor:
        first, second = step.tiles
        made = first.within(step.windows, step.base, operands[0].value)
        if made is first.table and not step.spare:
            made = made.clone()
        second.add_to(made, step.windows, step.base, operands[1].value)
        return made

    return run


def _writing(network: Network, node: Node, changed: Sequence[int]) -> Any | None:
    """The operator's form that writes into its first argument, where that is a map of the output's shape and kind."""
    name = node.op.removeprefix("aten.")
    first = node.args[0] if node.args else None
    output = node.outputs[0]
    if name not in _IN_PLACE or output is None or getattr(first, "index", None) != changed[0]:
        return None
    values = network.values
    if values[output].shape != values[changed[0]].shape or values[output].dtype != values[changed[0]].dtype:
        return None
    packet = getattr(torch.ops.aten, f"{name}_", None)
    overload = node.func._schema.overload_name or "default"
    return getattr(packet, overload) if packet is not None and overload in packet.overloads() else None


def _product(node: Node, operands: Sequence[Operand]) -> Run:
    """A matrix product whose rows are the positions."""
    value, read = operands[0].value, set(needs(node))

    def run(step: Step) -> torch.Tensor:
        values = {index: step.base.values[index] for index in read}
        values[value] = step.tiles[0].within(step.windows, step.base, value)
        args = [given(argument, values) for argument in node.args]
        made: torch.Tensor = node.func(*args, **{name: given(item, values) for name, item in node.kwargs.items()})
        return made

    return run
