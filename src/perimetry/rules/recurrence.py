"""Recurrent layers that arrive as one call: every step may see every other along the sequence."""

from __future__ import annotations

import math

from perimetry.records import Value
from perimetry.rules.registry import Call, Reads, cost, rule
from perimetry.rules.relations import Axes, Bound, Each, Relation, Whole, bound


@rule("aten.mkldnn_rnn_layer")
def recurrent_layer(call: Call) -> Reads:
    """(steps, batch, channels): a step sees the earlier ones (the later ones when reversed); read as all of them."""
    states = [call[name] for name in ("hx_", "cx_")]
    reads: list[tuple[Value, Relation]] = [(state, bound(state.shape, call.shape)) for state in states]
    if call.output:
        return [(call["input"], bound(call["input"].shape, call.shape)), *reads]
    return [(call["input"], Bound(Axes((Whole(), Each(1), Whole()), call.shape))), *reads]


@rule("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu", "aten._cudnn_rnn")
def recurrent_stack(call: Call) -> Reads:
    """All steps, all layers; samples of the batch are not told apart."""
    return [(value, Bound(Axes((Whole(),) * len(value.shape), call.shape))) for value in call.tensors]


@cost("aten.mkldnn_rnn_layer")
def recurrent_layer_cost(call: Call) -> int:
    """Each step multiplies both weight matrices once."""
    steps, batch, _ = call["input"].shape
    weights: list[Value] = [call["weight0"], call["weight1"]]
    return int(steps * batch * sum(math.prod(weight.shape) for weight in weights))
