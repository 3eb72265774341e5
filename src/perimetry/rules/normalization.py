"""Normalisation: batch norm in evaluation is position by position; statistics over space reach the whole map."""

from __future__ import annotations

from perimetry.records import Value
from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Each, Read, Relation, Whole, Window, elementwise


def _here(value: Value, call: Call) -> tuple[Value, Relation]:
    return value, elementwise(value.shape, call.shape)


@rule(
    "aten.native_batch_norm",
    "aten.batch_norm",
    "aten.cudnn_batch_norm",
    "aten.miopen_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_no_training",
    "aten._batch_norm_with_update",
    "aten._batch_norm_no_update",
    "aten._batch_norm_impl_index",
)
def batch_norm(call: Call) -> Reads:
    """A scale and a shift per channel; in training their statistics come from the whole batch."""
    source = call.source
    per_channel = Axes((Each(0),), call.shape) if call.output else Axes((Each(1),), call.shape)
    statistics = Axes((Whole(), Each(0 if call.output else 1), *((Whole(),) * (len(source.shape) - 2))), call.shape)
    if call.output:
        return [(source, statistics)]
    training = call.get("training", call.get("train", "no_training" not in call.op and "no_update" not in call.op))
    reads: list[tuple[Value, Relation]] = [_here(source, call)]
    reads += [(value, per_channel) for value in call.tensors[1:] if len(value.shape) == 1]
    return [*reads, (source, statistics)] if training else reads


@rule("aten.native_layer_norm", "aten.layer_norm", "aten.rms_norm", "aten._fused_rms_norm")
def layer_norm(call: Call) -> Reads:
    """Statistics over the last dimensions: local when they are channels, wide when they are space."""
    source = call.source
    kept = len(source.shape) - len(call["normalized_shape"])
    lead = tuple(Each(dim) for dim in range(kept))
    statistics = Axes((*lead, *((Whole(),) * len(call["normalized_shape"]))), call.shape)
    if call.output:
        return [(source, statistics)]
    return [_here(source, call), (source, statistics), *(_here(value, call) for value in call.tensors[1:])]


@rule("aten.native_group_norm", "aten.group_norm")
def group_norm(call: Call) -> Reads:
    """Statistics over the channels of a group and all of space."""
    source = call.source
    groups = call["group"] if "group" in call.arguments else call["num_groups"]
    size = source.shape[1] // groups
    space = (Whole(),) * (len(source.shape) - 2)
    if call.output:
        block: Read = Window(1, (tuple(range(size)),), 1, size, "cut")
        return [(source, Axes((Each(0), block, *space), call.shape))]
    block = Window(1, (tuple(range(size)),) * size, size, size, "cut")
    scale = Axes((Each(1),), call.shape)
    return [
        _here(source, call),
        (source, Axes((Each(0), block, *space), call.shape)),
        *((value, scale) for value in call.tensors[1:]),
    ]


@rule("aten._weight_norm", "aten._weight_norm_interface")
def weight_norm(call: Call) -> Reads:
    """A weight divided by its norm: all of it, should it ever depend on the image."""
    return [(value, Axes((Whole(),) * len(value.shape), call.shape)) for value in call.tensors]
