"""Reductions over dimensions, running sums, softmax, sorting and transforms that mix a whole dimension."""

from __future__ import annotations

from collections.abc import Iterable

from perimetry.rules.layout import along
from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Each, Read, Whole, Window, elementwise


def reduced(call: Call, dims: Iterable[int] | None, *, keepdim: bool) -> Axes:
    """Whole along those dimensions (all where None), the same index along the others."""
    rank = len(call.source.shape)
    over = {dim % rank for dim in dims} if dims is not None and rank else set(range(rank))
    reads: list[Read] = []
    position = 0
    for dim in range(rank):
        if dim in over:
            reads.append(Whole())
            position += keepdim
        else:
            reads.append(Each(position))
            position += 1
    return Axes(tuple(reads), call.shape)


@rule(
    "aten.sum",
    "aten.mean",
    "aten.nansum",
    "aten.nanmean",
    "aten.prod",
    "aten.amax",
    "aten.amin",
    "aten.max",
    "aten.min",
    "aten.aminmax",
    "aten.argmax",
    "aten.argmin",
    "aten.any",
    "aten.all",
    "aten.var",
    "aten.std",
    "aten.var_mean",
    "aten.std_mean",
    "aten.logsumexp",
    "aten.norm",
    "aten.linalg_vector_norm",
    "aten.median",
    "aten.nanmedian",
    "aten.mode",
    "aten.kthvalue",
    "aten.count_nonzero",
)
def reduction(call: Call) -> Reads:
    """Named dimensions are read whole; without a name, all of them. `max(a, b)` of two tensors is pointwise."""
    if len(call.tensors) == 2:
        return [(value, elementwise(value.shape, call.shape)) for value in call.tensors]
    dims = call.get("dim")
    if isinstance(dims, int):
        dims = (dims,)
    elif dims is not None and not dims:
        dims = None
    return [(call.source, reduced(call, dims, keepdim=bool(call.get("keepdim", False))))]


@rule("aten._softmax", "aten._safe_softmax", "aten.softmax", "aten._log_softmax", "aten.log_softmax")
def softmax(call: Call) -> Reads:
    """The element itself, divided by a sum over the dimension: the sum is what all of them share."""
    rank = len(call.shape)
    here = elementwise(call.shape, call.shape)
    return [(call.source, here), (call.source, _whole_along(call["dim"] % max(rank, 1), call.shape))]


def _whole_along(dim: int, shape: tuple[int, ...]) -> Axes:
    return Axes(tuple(Whole() if d == dim else Each(d) for d in range(len(shape))), shape)


@rule("aten.cumsum", "aten.cumprod", "aten.cummax", "aten.cummin", "aten.logcumsumexp")
def running(call: Call) -> Reads:
    """Index i reads indices 0 to i."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    extent = call.shape[dim]
    if extent > 1024:
        return [(call.source, _whole_along(dim, call.shape))]
    taps = tuple(tuple(range(index + 1)) for index in range(extent))
    return [(call.source, along(dim, rank, Window(dim, taps, extent, extent, "cut"), call.shape))]


@rule("aten.sort", "aten.argsort", "aten.topk", "aten.msort")
def order(call: Call) -> Reads:
    """Any index of the dimension may come first."""
    rank = len(call.shape)
    return [(call.source, _whole_along(call.get("dim", 0) % max(rank, 1), call.shape))]


@rule("aten._fft_r2c", "aten._fft_c2r", "aten._fft_c2c", "aten.stft", "aten.istft")
def fourier(call: Call) -> Reads:
    """Each frequency reads every sample along the dimensions transformed."""
    rank = len(call.shape)
    over = {dim % rank for dim in call["dim"]}
    return [(call.source, Axes(tuple(Whole() if d in over else Each(d) for d in range(rank)), call.shape))]


@rule("aten._cdist_forward", "aten.cdist")
def pairwise_distance(call: Call) -> Reads:
    """Entry (i, j) reads row i of the first tensor and row j of the second."""
    rank = len(call.shape)
    lead = tuple(Each(dim) for dim in range(rank - 2))
    return [
        (call["x1"], Axes((*lead, Each(rank - 2), Whole()), call.shape)),
        (call["x2"], Axes((*lead, Each(rank - 1), Whole()), call.shape)),
    ]


@rule("aten.histc", "aten.bincount", "aten.unique2", "aten._unique2", "aten.unique_dim", "aten.trace", "aten.equal")
def over_everything(call: Call) -> Reads:
    """All elements count."""
    return [(value, Axes((Whole(),) * len(value.shape), call.shape)) for value in call.tensors]
