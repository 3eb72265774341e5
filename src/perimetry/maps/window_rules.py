"""Windows carried back through operators: for each operator, how a gradient's window becomes its input's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from perimetry.errors import InputError
from perimetry.maps.convolving import spreading
from perimetry.maps.parts import Part, is_map
from perimetry.maps.program import Folded, without_writing
from perimetry.maps.replay import given
from perimetry.records import Network, Node
from perimetry.tracing.calls import call_of, references

# From the parts that arrived at a node's outputs to parts of its inputs.
Backward = Callable[[Mapping[int, list[Part]]], list[tuple[int, Part]]]
# A node's way back from its inputs' and outputs' values, or None where only autograd will do.
Rule = Callable[[Network, Node, Mapping[int, torch.Tensor], Mapping[int, torch.Tensor]], Backward | None]


def _each(output: int, source: int, step: Callable[[Part], Part]) -> Backward:
    return lambda arrived: [(source, step(part)) for part in arrived.get(output, ())]


def _one_map(network: Network, node: Node) -> tuple[int, int] | None:
    """The first output and the first input, where both are maps and no other input depends on the image."""
    source, output = reads(node)[0], node.outputs[0]
    others = [index for index in reads(node)[1:] if network.depends[index]]
    if output is None or others or not is_map(network.values[source].shape) or not is_map(network.values[output].shape):
        return None
    return output, source


def _convolution(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], _: Mapping[int, torch.Tensor]
) -> Backward | None:
    ends = _one_map(network, node)
    call = call_of(network, node)
    if ends is None or call["transposed"]:
        return None
    return _through(network, node, values, ends, values[call["weight"].index])


def folded_convolution(network: Network, node: Node, values: Mapping[int, torch.Tensor], fold: Folded) -> Backward:
    """The way back through a convolution of a map and the batch norm behind it."""
    return _through(network, node, values, (fold.output, reads(node)[0]), fold.weight)


def _through(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], ends: tuple[int, int], weight: torch.Tensor
) -> Backward:
    call = call_of(network, node)
    groups = call["groups"]
    stride, padding, dilation = (call.pair(name, 2) for name in ("stride", "padding", "dilation"))
    extents = values[ends[1]].shape[2:]
    spread_of = spreading(weight, stride, dilation, groups)

    def step(part: Part) -> Part:
        assert part.corner is not None
        spread = spread_of(part.tensor)
        # Output i reads the inputs from i * stride - padding on; what lies in the padding is cut off.
        lows = [c * s - p for c, s, p in zip(part.corner, stride, padding, strict=True)]
        cuts = [max(0, -low) for low in lows]
        lasts = [min(size, extent - low) for size, extent, low in zip(spread.shape[2:], extents, lows, strict=True)]
        window = spread[:, :, cuts[0] : max(lasts[0], cuts[0]), cuts[1] : max(lasts[1], cuts[1])]
        return Part(part.rows, window, (lows[0] + cuts[0], lows[1] + cuts[1]))

    return _each(*ends, step)


def _batch_norm(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], _: Mapping[int, torch.Tensor]
) -> Backward | None:
    ends = _one_map(network, node)
    call = call_of(network, node)
    if ends is None or call.get("training", False) or call["running_var"] is None:
        return None
    scale = torch.rsqrt(values[call["running_var"].index] + call["eps"])
    if call["weight"] is not None:
        scale = scale * values[call["weight"].index]
    scale = scale[:, None, None]
    return _each(*ends, lambda part: Part(part.rows, part.tensor * scale, part.corner))


def _pointwise(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], outputs: Mapping[int, torch.Tensor]
) -> Backward | None:
    """A function of one map, position by position: multiply by its derivative."""
    ends = _one_map(network, node)
    if ends is None or outputs[ends[0]].shape != values[ends[1]].shape:
        return None
    leaf = values[ends[1]].detach().requires_grad_()
    with torch.enable_grad():
        made = outputs_of(node, run_functional(node, {**values, ends[1]: leaf}))[ends[0]]
        (slope,) = torch.autograd.grad(made.sum(), leaf)

    def step(part: Part) -> Part:
        return Part(part.rows, part.tensor * part.cut(slope), part.corner)

    return _each(*ends, step)


def _rectifier(
    network: Network, node: Node, _: Mapping[int, torch.Tensor], outputs: Mapping[int, torch.Tensor]
) -> Backward | None:
    """Where the output is zero, nothing passes."""
    ends = _one_map(network, node)
    if ends is None:
        return None
    made = outputs[ends[0]]

    def step(part: Part) -> Part:
        return Part(part.rows, torch.ops.aten.threshold_backward(part.tensor, part.cut(made), 0), part.corner)

    return _each(*ends, step)


def _addition(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], outputs: Mapping[int, torch.Tensor]
) -> Backward | None:
    output, call = node.outputs[0], call_of(network, node)
    names = [name for name in ("self", "other") if getattr(call.get(name), "index", None) is not None]
    sources = [(name, call[name].index) for name in names if network.depends[call[name].index]]
    if output is None or not is_map(network.values[output].shape):
        return None
    if any(values[index].shape != outputs[output].shape for _, index in sources):
        return None
    factors = {"self": 1, "other": call.get("alpha", 1) * (-1 if node.op == "aten.sub" else 1)}

    def backward(arrived: Mapping[int, list[Part]]) -> list[tuple[int, Part]]:
        return [
            (index, part if factors[name] == 1 else Part(part.rows, part.tensor * factors[name], part.corner))
            for part in arrived[output]
            for name, index in sources
        ]

    return backward


def _max_pool(
    network: Network, node: Node, values: Mapping[int, torch.Tensor], outputs: Mapping[int, torch.Tensor]
) -> Backward | None:
    ends = _one_map(network, node)
    if ends is None or len(node.outputs) < 2 or node.outputs[1] is None:
        return None
    width = values[ends[1]].shape[3]
    chosen = outputs[node.outputs[1]]

    def step(part: Part) -> Part:
        picked = part.cut(chosen)
        rows, columns = picked // width, picked % width
        top, left = int(rows.min()), int(columns.min())
        height, across = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
        place = ((rows - top) * across + (columns - left)).permute(0, 2, 3, 1).flatten(1, 2)
        flat = part.tensor.new_zeros((len(part.rows), height * across, part.tensor.shape[1]))
        flat.scatter_add_(1, place, part.tensor.permute(0, 2, 3, 1).flatten(1, 2))
        return Part(part.rows, flat.unflatten(1, (height, across)).permute(0, 3, 1, 2), (top, left))

    return _each(*ends, step)


def _concatenation(
    network: Network, node: Node, _values: Mapping[int, torch.Tensor], _: Mapping[int, torch.Tensor]
) -> Backward | None:
    output, call = node.outputs[0], call_of(network, node)
    sources = reads(node)
    if (
        output is None
        or call["dim"] not in (1, -3)
        or not all(is_map(network.values[index].shape) for index in sources)
    ):
        return None

    def backward(arrived: Mapping[int, list[Part]]) -> list[tuple[int, Part]]:
        found = []
        for part in arrived[output]:
            first = 0
            for index in sources:
                channels = network.values[index].shape[1]
                if network.depends[index]:
                    found.append((index, Part(part.rows, part.tensor[:, first : first + channels], part.corner)))
                first += channels
        return found

    return backward


_POINTWISE = ("hardtanh", "silu", "gelu", "sigmoid", "hardswish", "hardsigmoid", "leaky_relu", "elu", "tanh")
WINDOW_RULES: dict[str, Rule] = {
    "aten.convolution": _convolution,
    "aten.native_batch_norm": _batch_norm,
    "aten.relu": _rectifier,
    "aten.max_pool2d_with_indices": _max_pool,
    "aten.cat": _concatenation,
    "aten.add": _addition,
    "aten.sub": _addition,
    **{f"aten.{name}": _pointwise for name in _POINTWISE},
}


def run_functional(node: Node, values: Mapping[int, torch.Tensor]) -> Any:
    """Run a node without writing into its inputs, whatever the order of their elements in memory."""
    arguments = [given(argument, values) for argument in node.args]
    keywords = {name: given(argument, values) for name, argument in node.kwargs.items()}
    if node.func in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
        return arguments[0].reshape(arguments[1])  # maps are kept with channels last, which cannot always be viewed
    if node.op in ("aten.as_strided", "aten.view_as_complex", "aten.view_as_real"):
        arguments[0] = arguments[0].contiguous()
    return without_writing(node)(*arguments, **keywords)


def outputs_of(node: Node, result: Any) -> dict[int, torch.Tensor]:
    """What a node returned, by value index."""
    flat = result if isinstance(result, list | tuple) else () if result is None else (result,)
    if len(node.outputs) > len(flat):
        raise InputError(f"{node.op} writes into an argument that it does not return; such a run cannot be repeated")
    return {index: output for index, output in zip(node.outputs, flat, strict=False) if index is not None}


def reads(node: Node) -> list[int]:
    """The values that a node is given."""
    return list(references((node.args, tuple(node.kwargs.values()))))
