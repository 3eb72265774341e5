"""Joins: concatenation and stacking, and writing one tensor into part of another."""

from __future__ import annotations

from perimetry.records import Value
from perimetry.rules.layout import along
from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Chain, Each, Read, Relation, Reshape, Window, shifted


@rule("aten.cat", "aten.concat")
def concatenation(call: Call) -> Reads:
    """Each operand fills its own stretch of the dimension; empty one-dimensional tensors are skipped, as torch does."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    reads: list[tuple[Value, Relation]] = []
    start = 0
    for value in call["tensors"]:
        if value.shape == (0,) and rank > 1:
            continue
        reads.append((value, along(dim, rank, shifted(dim, -start), call.shape)))
        start += value.shape[dim]
    return reads


@rule("aten.stack")
def stack(call: Call) -> Reads:
    """Each operand is one index of a new dimension."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    reads: list[tuple[Value, Relation]] = []
    for index, value in enumerate(call["tensors"]):
        single = (*value.shape[:dim], 1, *value.shape[dim:])
        reads.append((value, Chain((Reshape(single), along(dim, rank, shifted(dim, -index), call.shape)))))
    return reads


@rule("aten.slice_scatter")
def slice_scatter(call: Call) -> Reads:
    """A slice is replaced; what was under it is not read, where that can be told per index."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    extent = call.shape[dim]
    start, end, step = slice(call.get("start"), call.get("end"), call.get("step", 1)).indices(extent)
    places = {place: index for index, place in enumerate(range(start, end, step))}
    over = Window(dim, tuple((places[i],) if i in places else () for i in range(extent)), extent, 0, "cut")
    under = Window(dim, tuple(() if i in places else (i,) for i in range(extent)), extent, 0, "cut")
    return [
        (call["self"], along(dim, rank, under, call.shape)),
        (call["src"], along(dim, rank, over, call.shape)),
    ]


@rule("aten.select_scatter")
def select_scatter(call: Call) -> Reads:
    """One index of a dimension is replaced."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    extent = call.shape[dim]
    index = call["index"] % extent
    under = Window(dim, tuple(() if i == index else (i,) for i in range(extent)), extent, 0, "cut")
    single = (*call.shape[:dim], 1, *call.shape[dim + 1 :])
    placed: Read = shifted(dim, -index)
    return [
        (call["self"], along(dim, rank, under, call.shape)),
        (call["src"], Chain((Reshape(single), along(dim, rank, placed, call.shape)))),
    ]


@rule("aten.index_fill")
def index_fill(call: Call) -> Reads:
    """Some indices of a dimension are overwritten with a constant; the others stay."""
    return [(call["self"], Axes(tuple(Each(dim) for dim in range(len(call.shape))), call.shape))]


@rule("aten.meshgrid")
def meshgrid(call: Call) -> Reads:
    """Output k varies along dimension k only (with indexing "ij")."""
    values = call["tensors"]
    if call.get("indexing", "ij") == "xy" and len(values) > 1:
        order = [1, 0, *range(2, len(values))]
    else:
        order = list(range(len(values)))
    return [(values[call.output], Axes((Each(order[call.output]),), call.shape))]
