"""Reading and writing by index: exact where the indices are known constants, an upper bound where data decide."""

from __future__ import annotations

import math

import numpy as np

from perimetry.records import Value
from perimetry.rules.layout import along
from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Bound, Each, Gather, Read, Relation, Whole, Window, bound, elementwise


@rule("aten.embedding")
def embedding(call: Call) -> Reads:
    """Each index looks up its row; which row depends on the index, so the table is read whole."""
    indices = call["indices"]
    here = Axes(tuple(Each(dim) for dim in range(len(indices.shape))), call.shape)
    return [(indices, here), (call["weight"], Bound(Axes((Whole(), Each(len(call.shape) - 1)), call.shape)))]


@rule("aten.index_select")
def index_select(call: Call) -> Reads:
    """Chosen indices of one dimension."""
    rank = len(call.shape)
    dim = call["dim"] % max(rank, 1)
    index: Value = call["index"]
    if index.tensor is None:
        return [(call["self"], Bound(along(dim, rank, Whole(), call.shape))), (index, bound(index.shape, call.shape))]
    chosen = index.tensor.reshape(-1).tolist()
    read = Window(dim, tuple((each,) for each in chosen), len(chosen), call["self"].shape[dim], "cut")
    return [(call["self"], along(dim, rank, read, call.shape))]


@rule("aten.index", "aten._unsafe_index")
def index(call: Call) -> Reads:
    """Advanced indexing: `x[:, rows, cols]`; constant indices are followed exactly, others may choose anything."""
    source: Value = call["self"]
    indices = list(call["indices"])
    indexed = [dim for dim, item in enumerate(indices) if isinstance(item, Value)]
    if all(indices[dim].tensor is not None for dim in indexed):
        return _known_index(call, source, indices)
    adjacent = indexed == list(range(indexed[0], indexed[-1] + 1))
    plain = all(
        indices[dim].dtype.is_floating_point is False and str(indices[dim].dtype) != "torch.bool" for dim in indexed
    )
    reads: list[tuple[Value, Relation]] = []
    if adjacent and plain:
        # The indexed dimensions give way to the indices' broadcast shape, in place.
        width = len(call.shape) - (len(source.shape) - len(indexed))
        axes: list[Read] = []
        for dim in range(len(source.shape)):
            if dim in indexed:
                axes.append(Whole())
            else:
                axes.append(Each(dim if dim < indexed[0] else dim - len(indexed) + width))
        reads.append((source, Bound(Axes(tuple(axes), call.shape))))
        inner = call.shape[indexed[0] : indexed[0] + width]
        for dim in indexed:
            shape = indices[dim].shape
            offset = indexed[0] + width - len(shape)
            spread = elementwise(shape, inner)
            moved = tuple(
                Each(offset + position) if isinstance(read, Each) else read
                for position, read in enumerate(spread.reads)
            )
            reads.append((indices[dim], Axes(moved, call.shape)))
        return reads
    return [(value, bound(value.shape, call.shape)) for value in call.tensors]


def _known_index(call: Call, source: Value, indices: list[Value | None]) -> Reads:
    if math.prod(call.shape) > 1 << 24:
        return [(source, bound(source.shape, call.shape))]
    flat = np.arange(math.prod(source.shape), dtype=np.int64).reshape(source.shape)
    key = tuple(slice(None) if item is None else item.tensor.cpu().numpy() for item in indices)  # type: ignore[union-attr]
    table = flat[key]
    if table.shape != call.shape:
        return [(source, bound(source.shape, call.shape))]
    return [(source, Gather(np.ascontiguousarray(table)))]


@rule("aten.gather", "aten.take_along_dim")
def gather(call: Call) -> Reads:
    """One index per output element, along one dimension; the others read in place."""
    source, position = call["self"], call["index"]
    rank = len(call.shape)
    dim = call["dim"] % max(rank, 1)
    if position.tensor is not None and math.prod(call.shape) <= 1 << 24:
        flat = np.arange(math.prod(source.shape), dtype=np.int64).reshape(source.shape)
        cut = tuple(slice(None) if d == dim else slice(0, extent) for d, extent in enumerate(position.shape))
        return [(source, Gather(np.take_along_axis(flat[cut], position.tensor.cpu().numpy(), axis=dim)))]
    reads = tuple(Whole() if d == dim else Each(d) for d in range(rank))
    return [(source, Bound(Axes(reads, call.shape))), (position, elementwise(position.shape, call.shape))]


@rule("aten.take")
def take(call: Call) -> Reads:
    """Flat indices."""
    source, position = call["self"], call["index"]
    if position.tensor is not None:
        return [(source, Gather(position.tensor.cpu().numpy().astype(np.int64)))]
    return [(source, bound(source.shape, call.shape)), (position, elementwise(position.shape, call.shape))]


@rule("aten.index_put", "aten._index_put_impl", "aten._unsafe_index_put")
def index_put(call: Call) -> Reads:
    """`x[rows, cols] = values`: what stays is read in place; constant indices tell exactly where values land."""
    target, values = call["self"], call["values"]
    indices = list(call["indices"])
    known = all(item is None or item.tensor is not None for item in indices)
    if known and not call["accumulate"] and math.prod(call.shape) <= 1 << 24:
        key = tuple(slice(None) if item is None else item.tensor.cpu().numpy() for item in indices)
        origin = np.full(call.shape, -1, dtype=np.int64)
        flat = np.arange(math.prod(values.shape), dtype=np.int64).reshape(values.shape)
        origin[key] = flat
        here = np.arange(math.prod(target.shape), dtype=np.int64).reshape(target.shape)
        return [(values, Gather(origin)), (target, Gather(np.where(origin < 0, here, -1)))]
    others = [value for value in call.tensors if value is not target]
    return [(target, elementwise(target.shape, call.shape)), *((v, bound(v.shape, call.shape)) for v in others)]


@rule(
    "aten.scatter",
    "aten.scatter_add",
    "aten.scatter_reduce",
    "aten.index_add",
    "aten.index_copy",
    "aten.index_reduce",
    "aten.masked_scatter",
    "aten.put",
)
def scatter(call: Call) -> Reads:
    """Elements written by index: what stays is read in place, what lands may come from anywhere."""
    target, *others = call.tensors
    return [(target, elementwise(target.shape, call.shape)), *((v, bound(v.shape, call.shape)) for v in others)]


@rule("aten.one_hot", "aten.searchsorted")
def looked_up(call: Call) -> Reads:
    """The last argument's positions stay; a table before it is read whole."""
    *tables, position = call.tensors
    here = Axes(tuple(Each(dim) for dim in range(len(position.shape))), call.shape)
    return [(position, here), *((value, bound(value.shape, call.shape)) for value in tables)]
