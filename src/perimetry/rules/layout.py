"""Layout: the same elements under another shape or order; crops, pads, flips, rolls. All of it index-exact."""

from __future__ import annotations

import math

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import (
    At,
    Axes,
    Chain,
    Each,
    Read,
    Reshape,
    Spread,
    Window,
    bound,
    elementwise,
    permuted,
    shifted,
)


@rule(
    "aten.view",
    "aten._unsafe_view",
    "aten.reshape",
    "aten._reshape_alias",
    "aten._reshape_copy",
    "aten.view_copy",
    "aten.flatten",
    "aten.unflatten",
    "aten.squeeze",
    "aten.unsqueeze",
    "aten.squeeze_copy",
    "aten.unsqueeze_copy",
)
def reshape(call: Call) -> Reads:
    """The same elements in the same order; a view as another type of another width is not followed."""
    if math.prod(call.source.shape) != math.prod(call.shape):
        return [(call.source, bound(call.source.shape, call.shape))]
    return [(call.source, Reshape(call.shape))]


@rule("aten.permute", "aten.permute_copy")
def permute(call: Call) -> Reads:
    """Output dimension d is input dimension dims[d]."""
    rank = len(call.shape)
    return [(call.source, permuted([dim % rank for dim in call["dims"]], call.shape))]


@rule("aten.transpose", "aten.transpose_copy", "aten.swapaxes")
def transpose(call: Call) -> Reads:
    """Two dimensions change places."""
    order = list(range(len(call.shape)))
    if order:
        first, second = call["dim0"] % len(order), call["dim1"] % len(order)
        order[first], order[second] = order[second], order[first]
    return [(call.source, permuted(order, call.shape))]


@rule("aten.t", "aten.t_copy", "aten.numpy_T", "aten.adjoint", "aten.mT")
def matrix_transpose(call: Call) -> Reads:
    """The last two dimensions change places."""
    order = list(range(len(call.shape)))
    order[-2:] = reversed(order[-2:])
    return [(call.source, permuted(order, call.shape))]


@rule("aten.expand", "aten.expand_copy", "aten.broadcast_to", "aten.expand_as")
def expand(call: Call) -> Reads:
    """Dimensions of one are spread."""
    return [(call.source, elementwise(call.source.shape, call.shape))]


@rule("aten.select", "aten.select_copy")
def select(call: Call) -> Reads:
    """One index of one dimension, which disappears."""
    shape = call.source.shape
    dim = call["dim"] % len(shape)
    index = call["index"] % shape[dim]
    reads = [Each(d if d < dim else d - 1) for d in range(len(shape))]
    return [(call.source, Axes((*reads[:dim], At(index), *reads[dim + 1 :]), call.shape))]


def along(dim: int, rank: int, read: Read, shape: tuple[int, ...]) -> Axes:
    """That read along one dimension, the same index along the others."""
    return Axes((*(Each(d) for d in range(dim)), read, *(Each(d) for d in range(dim + 1, rank))), shape)


@rule("aten.slice", "aten.slice_copy", "aten.narrow")
def crop(call: Call) -> Reads:
    """Every step-th index from start."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    extent = call.source.shape[dim]
    start = call.get("start") or 0
    start = min(max(start + extent if start < 0 else start, 0), extent)
    return [(call.source, along(dim, rank, Window(dim, ((start,),), 1, call.get("step", 1), "cut"), call.shape))]


@rule("aten.split", "aten.split_copy", "aten.unsafe_split", "aten.chunk", "aten.unsafe_chunk")
def split(call: Call) -> Reads:
    """Pieces of equal size; the last may be smaller."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    chunks = call.get("chunks")
    size = call["split_size"] if chunks is None else -(-call.source.shape[dim] // chunks)
    return [(call.source, along(dim, rank, shifted(dim, size * call.output), call.shape))]


@rule("aten.split_with_sizes", "aten.split_with_sizes_copy", "aten.unsafe_split_with_sizes")
def split_with_sizes(call: Call) -> Reads:
    """Pieces of the sizes given."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    start = sum(call["split_sizes"][: call.output])
    return [(call.source, along(dim, rank, shifted(dim, start), call.shape))]


@rule("aten.unbind", "aten.unbind_copy")
def unbind(call: Call) -> Reads:
    """One index of a dimension per output."""
    shape = call.source.shape
    dim = call["dim"] % len(shape)
    reads = [Each(d if d < dim else d - 1) for d in range(len(shape))]
    return [(call.source, Axes((*reads[:dim], At(call.output), *reads[dim + 1 :]), call.shape))]


@rule("aten.flip")
def flip(call: Call) -> Reads:
    """Dimensions read from the end."""
    rank = len(call.shape)
    reads: list[Read] = [Each(dim) for dim in range(rank)]
    for dim in call["dims"]:
        reads[dim % rank] = Window(dim % rank, ((call.shape[dim] - 1,),), 1, -1, "cut")
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule("aten.rot90")
def rotate(call: Call) -> Reads:
    """Quarter turns in the plane of two dimensions: (i, j) reads (j, n - 1 - i) for one turn."""
    shape = call.source.shape
    first, second = (dim % len(shape) for dim in call["dims"])
    reads: list[Read] = [Each(dim) for dim in range(len(shape))]
    turns = call["k"] % 4
    if turns % 2:
        reads[first], reads[second] = Each(second), Each(first)
    if turns in (1, 2):
        reads[second] = Window(reads[second].dim, ((shape[second] - 1,),), 1, -1, "cut")
    if turns in (2, 3):
        reads[first] = Window(reads[first].dim, ((shape[first] - 1,),), 1, -1, "cut")
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule("aten.roll")
def roll(call: Call) -> Reads:
    """Dimensions shifted around; an unclipped field goes on past the border instead of jumping to the other side."""
    rank = len(call.shape)
    if not call["dims"]:
        flat = (math.prod(call.shape),)
        turn = Axes((Window(0, ((-call["shifts"][0],),), 1, 1, "wrap"),), flat)
        return [(call.source, Chain((Reshape(flat), turn, Reshape(call.shape))))]
    shifts = dict.fromkeys(range(rank), 0)
    for dim, shift in zip(call["dims"], call["shifts"], strict=True):
        shifts[dim % rank] += shift
    reads = tuple(Window(d, ((-s,),), 1, 1, "wrap") if s else Each(d) for d, s in shifts.items())
    return [(call.source, Axes(reads, call.shape))]


@rule("aten.constant_pad_nd", "aten.pad", "aten._pad_enum")
def pad(call: Call) -> Reads:
    """Borders that hold a constant; negative widths crop."""
    return _padded(call, "pad")


@rule("aten.reflection_pad1d", "aten.reflection_pad2d", "aten.reflection_pad3d")
def reflection_pad(call: Call) -> Reads:
    """Borders that mirror the inside."""
    return _padded(call, "reflect")


@rule("aten.replication_pad1d", "aten.replication_pad2d", "aten.replication_pad3d")
def replication_pad(call: Call) -> Reads:
    """Borders that repeat the edge."""
    return _padded(call, "clamp")


def _padded(call: Call, edge: str) -> Reads:
    rank = len(call.shape)
    reads: list[Read] = [Each(dim) for dim in range(rank)]
    widths = call["pad"] if "pad" in call.arguments else call["padding"]
    for position in range(len(widths) // 2):
        dim = rank - 1 - position
        if widths[2 * position] or widths[2 * position + 1]:
            reads[dim] = Window(dim, ((-widths[2 * position],),), 1, 1, edge)  # type: ignore[arg-type]
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule("aten.repeat", "aten.tile")
def repeat(call: Call) -> Reads:
    """The tensor laid side by side with itself."""
    shape = call.source.shape
    lead = len(call.shape) - len(shape)
    reads: list[Read] = []
    for dim, extent in enumerate(shape):
        target = lead + dim
        if call.shape[target] == extent:
            reads.append(Each(target))
        elif extent == 1:
            reads.append(Spread())
        else:
            reads.append(Window(target, tuple((index,) for index in range(extent)), extent, 0, "cut"))
    return [(call.source, Axes(tuple(reads), call.shape))]


@rule("aten.as_strided", "aten.as_strided_copy")
def as_strided(call: Call) -> Reads:
    """The same shape under other strides is the same tensor; anything else is not followed."""
    same = call.source.shape == call.shape
    return [(call.source, Reshape(call.shape) if same else bound(call.source.shape, call.shape))]
