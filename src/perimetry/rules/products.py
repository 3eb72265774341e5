"""Matrix products, bilinear forms and attention."""

from __future__ import annotations

import math

from perimetry.records import Value
from perimetry.rules.registry import Call, Reads, cost, rule
from perimetry.rules.relations import Axes, Each, Read, Relation, Spread, Whole, Window, elementwise


@rule("aten.mm", "aten.addmm", "aten._scaled_mm", "aten._addmm_activation", "aten._int_mm")
def matrix_product(call: Call) -> Reads:
    """(i, j) reads row i of the first matrix and column j of the second."""
    *added, left, right = call.tensors
    return [
        (left, Axes((Each(0), Whole()), call.shape)),
        (right, Axes((Whole(), Each(1)), call.shape)),
        *((value, elementwise(value.shape, call.shape)) for value in added),
    ]


@rule("aten.bmm", "aten.baddbmm")
def batched_product(call: Call) -> Reads:
    """As a matrix product, within each entry of the batch."""
    *added, left, right = call.tensors
    return [
        (left, Axes((Each(0), Each(1), Whole()), call.shape)),
        (right, Axes((Each(0), Whole(), Each(2)), call.shape)),
        *((value, elementwise(value.shape, call.shape)) for value in added),
    ]


@rule("aten.matmul")
def general_product(call: Call) -> Reads:
    """`matmul` where it was not taken apart: broadcast batch dimensions, then rows and columns."""
    left, right = call.tensors
    return [
        (left, _factor(left, call.shape, right, first=True)),
        (right, _factor(right, call.shape, left, first=False)),
    ]


def _factor(value: Value, shape: tuple[int, ...], other: Value, *, first: bool) -> Axes:
    rank = len(shape)
    if len(value.shape) == 1:
        return Axes((Whole(),), shape)
    own = rank - 1 if first and len(other.shape) == 1 else (rank - 2 if first else rank - 1)
    pair: tuple[Read, Read] = (Each(own), Whole()) if first else (Whole(), Each(own))
    matrix_dims = (len(left_shape) >= 2) + (len(other.shape) >= 2) if (left_shape := value.shape) else 0
    batch = rank - matrix_dims
    lead = len(value.shape) - 2
    reads: list[Read] = []
    for dim in range(lead):
        target = batch - lead + dim
        reads.append(Each(target) if value.shape[dim] == shape[target] else Spread())
    return Axes((*reads, *pair), shape)


@rule("aten.linear", "aten.mkldnn_linear", "aten._mkl_linear")
def linear(call: Call) -> Reads:
    """Each position's channels are mixed; positions stay apart."""
    source, weight, *bias = call.tensors
    last = len(call.shape) - 1
    reads: list[tuple[Value, Relation]] = [
        (source, Axes((*(Each(dim) for dim in range(last)), Whole()), call.shape)),
        (weight, Axes((Each(last), Whole()), call.shape)),
    ]
    return [*reads, *((value, Axes((Each(last),), call.shape)) for value in bias)]


@rule("aten.mv", "aten.addmv")
def matrix_vector(call: Call) -> Reads:
    """Entry i reads row i and the whole vector."""
    *added, matrix, vector = call.tensors
    return [
        (matrix, Axes((Each(0), Whole()), call.shape)),
        (vector, Axes((Whole(),), call.shape)),
        *((value, elementwise(value.shape, call.shape)) for value in added),
    ]


@rule("aten.dot", "aten.vdot")
def inner_product(call: Call) -> Reads:
    """All of both vectors."""
    return [(value, Axes((Whole(),), call.shape)) for value in call.tensors]


@rule("aten._trilinear")
def trilinear(call: Call) -> Reads:
    """The product of three factors (bilinear layers), each with dimensions of one put in, summed over `sumdim`."""
    summed = set(call["sumdim"])
    reads: list[tuple[Value, Relation]] = []
    for number, value in enumerate(call.tensors, start=1):
        added = set(call[f"expand{number}"])
        rank = len(value.shape) + len(added)
        kept = [dim for dim in range(rank) if dim not in summed]
        own = [dim for dim in range(rank) if dim not in added]
        axes = tuple(Whole() if dim in summed else Each(kept.index(dim)) for dim in own)
        reads.append((value, Axes(axes, call.shape)))
    return reads


_ATTENTION = (
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
    "aten._scaled_dot_product_attention_math",
    "aten.scaled_dot_product_attention",
)


@rule(*_ATTENTION)
def attention(call: Call) -> Reads:
    """A query reads its own row, and every key and value of its head; query heads may share keys."""
    query, key, value = call["query"], call["key"], call["value"]
    lead = len(call.shape) - 2
    if call.output:
        lead = min(lead, len(call.shape) - 1)
    reads: list[tuple[Value, Relation]] = [(query, Axes((*_heads(query, call, lead), Each(lead), Whole()), call.shape))]
    reads.append((key, Axes((*_heads(key, call, lead), Whole(), Whole()), call.shape)))
    last: Read = Whole() if call.output else Each(lead + 1)
    reads.append((value, Axes((*_heads(value, call, lead), Whole(), last), call.shape)))
    mask = call.get("attn_mask") if call.get("attn_mask") is not None else call.get("attn_bias")
    if isinstance(mask, Value):
        rank = len(call.shape)
        dims: list[Read] = []
        for dim, extent in enumerate(mask.shape):
            target = rank - len(mask.shape) + dim
            inner = dim == len(mask.shape) - 1
            dims.append(Whole() if inner else Spread() if extent != call.shape[target] else Each(target))
        reads.append((mask, Axes(tuple(dims), call.shape)))
    return reads


def _heads(value: Value, call: Call, lead: int) -> list[Read]:
    reads: list[Read] = []
    for dim in range(lead):
        inputs, outputs = value.shape[dim], call.shape[dim]
        if inputs == outputs:
            reads.append(Each(dim))
        elif inputs == 1:
            reads.append(Spread())
        else:  # grouped queries: several query heads share one key head
            reads.append(Window(dim, ((0,),) * (outputs // inputs), outputs // inputs, 1, "cut"))
    return reads


@rule("aten._native_multi_head_attention", "aten._transformer_encoder_layer_fwd")
def fused_attention(call: Call) -> Reads:
    """Multi-head attention in one call: the query's own position, and every position as key and value."""
    source = call.source
    here = Axes((Each(0), Each(1), Whole()), call.shape)
    return [
        (source, here),
        *(
            (value, Axes((Each(0), Whole(), Whole()), call.shape))
            for value in call.tensors[:3]
            if len(value.shape) == 3
        ),
    ]


# ---- multiply-adds


@cost("aten.mm", "aten._scaled_mm", "aten._int_mm", "aten.addmm", "aten._addmm_activation")
def matrix_product_cost(call: Call) -> int:
    """Rows x inner x columns."""
    return math.prod(call.shape) * call.tensors[-2].shape[1]


@cost("aten.bmm", "aten.baddbmm")
def batched_product_cost(call: Call) -> int:
    """Batch x rows x inner x columns."""
    return math.prod(call.shape) * call.tensors[-2].shape[2]


@cost("aten.matmul", "aten.linear", "aten.mkldnn_linear", "aten._mkl_linear")
def inner_cost(call: Call) -> int:
    """Output elements times the length of the sum behind each."""
    return math.prod(call.shape) * call.tensors[0].shape[-1]


@cost("aten.mv", "aten.addmv", "aten.dot", "aten.vdot")
def vector_product_cost(call: Call) -> int:
    """One multiply-add per matrix (or vector) element."""
    return math.prod(call.tensors[-2].shape)


@cost(*_ATTENTION)
def attention_cost(call: Call) -> int:
    """Scores (queries x keys x channels), then their sum of values (queries x keys x value channels), per head."""
    query, key, value = call["query"].shape, call["key"].shape, call["value"].shape
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


@cost("aten._trilinear")
def trilinear_cost(call: Call) -> int:
    """Every combination of the three factors' indices, once."""
    extents: dict[int, int] = {}
    for number, value in enumerate(call.tensors, start=1):
        added = set(call[f"expand{number}"])
        own = [dim for dim in range(len(value.shape) + len(added)) if dim not in added]
        extents.update(zip(own, value.shape, strict=True))
    return math.prod(extents.values())


@cost("aten._native_multi_head_attention")
def fused_attention_cost(call: Call) -> int:
    """Projections in and out, scores and their sum of values."""
    batch, length, width = call["query"].shape
    keys = call["key"].shape[1]
    return int(batch * (4 * length * width * width + 2 * length * keys * width))
