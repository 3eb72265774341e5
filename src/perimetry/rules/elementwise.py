"""Operators that work position by position, and those that read no contents at all.

PyTorch tags its pointwise operators itself (`torch.Tag.pointwise`); `elementwise_call` serves those, and the list here
adds the ones that are position by position without the tag. An operator is never assumed to be pointwise.
"""

from __future__ import annotations

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Each, Read, Whole, Window, elementwise, everything

_READS_NOTHING = frozenset(
    (
        "aten.zeros_like",
        "aten.ones_like",
        "aten.full_like",
        "aten.empty_like",
        "aten.rand_like",
        "aten.randn_like",
        "aten.randint_like",
        "aten.new_zeros",
        "aten.new_ones",
        "aten.new_full",
        "aten.new_empty",
        "aten.new_empty_strided",
        "aten.zeros",
        "aten.ones",
        "aten.full",
        "aten.empty",
        "aten.empty_strided",
        "aten.arange",
        "aten.linspace",
        "aten.eye",
        "aten.rand",
        "aten.randn",
        "aten.randint",
        "aten.zero",
        "aten.fill",
        "aten.uniform",
        "aten.normal",
        "aten.sym_size",
        "aten.sym_stride",
        "aten.sym_numel",
    )
)


def reads_nothing(op: str) -> bool:
    """True for operators whose result does not depend on any tensor's contents, only on its shape."""
    return op in _READS_NOTHING


@rule(*sorted(_READS_NOTHING))
def content_free(_: Call) -> Reads:
    """Factories read nothing; `zero_` and `fill_` overwrite everything."""
    return []


@rule(
    "aten.hardswish",
    "aten.log_sigmoid",
    "aten.log_sigmoid_forward",
    "aten.floor_divide",
    "aten.isclose",
    "aten.clone",
    "aten._to_copy",
    "aten.alias",
    "aten.detach",
    "aten.lift_fresh",
    "aten.lift",
    "aten.native_dropout",
    "aten.dropout",
    "aten.alpha_dropout",
    "aten.bernoulli",
    "aten._fused_dropout",
    "aten.rrelu_with_noise",
    "aten.tril",
    "aten.triu",
    "aten.view_as_complex_copy",
    "aten.contiguous",
    "aten.prelu",
    "aten._prelu_kernel",
    "aten._conj",
    "aten._neg_view",
    "aten.resolve_conj",
    "aten.resolve_neg",
    "aten.quantize_per_tensor",
    "aten.dequantize",
    "aten.fake_quantize_per_tensor_affine",
    "aten.isin",
    "aten.bucketize",
    "aten.where",
    "aten.masked_fill",
    "aten.clamp",
    "aten._assert_tensor_metadata",
    "aten.complex",
    "aten.polar",
)
def elementwise_call(call: Call) -> Reads:
    """Each tensor argument is broadcast against the output."""
    return [
        (value, elementwise(value.shape, call.shape))
        if _broadcasts(value.shape, call.shape)
        else (value, everything(value.shape, call.shape))
        for value in call.tensors
    ]


def _broadcasts(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> bool:
    if len(shape) > len(out_shape):
        return False
    aligned = zip(shape, out_shape[len(out_shape) - len(shape) :], strict=True)
    return all(extent in (1, target) for extent, target in aligned)


@rule("aten.view_as_real", "aten.view_as_complex", "aten.real", "aten.imag")
def complex_parts(call: Call) -> Reads:
    """Real and imaginary parts stand in a last dimension of their own, or are joined from it."""
    lead = min(len(call.source.shape), len(call.shape))
    joined: tuple[Read, ...] = (Whole(),) * (len(call.source.shape) - lead)
    return [(call.source, Axes((*(Each(dim) for dim in range(lead)), *joined), call.shape))]


@rule("aten.glu")
def gated_linear_unit(call: Call) -> Reads:
    """The first half of a dimension times a gate from the second half."""
    rank = len(call.shape)
    dim = call["dim"] % rank
    taps = Window(dim, ((0, call.shape[dim]),), 1, 1, "cut")
    reads = tuple(taps if d == dim else Each(d) for d in range(rank))
    return [(call.source, Axes(reads, call.shape))]


@rule("aten.copy")
def copy(call: Call) -> Reads:
    """`target.copy_(source)`: only the source is read."""
    return [(call["src"], elementwise(call["src"].shape, call.shape))]
