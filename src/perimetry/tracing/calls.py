"""From a recorded node to what rules and costs are asked: a `Call` with named arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perimetry.records import Network, Node, ValueRef
from perimetry.rules import Call, elementwise_call, find_cost, find_rule
from perimetry.rules.registry import Reads
from perimetry.tracing.operators import describe


def call_of(network: Network, node: Node, output: int = 0) -> Call:
    """A node as its rule sees it: arguments by schema name, defaults filled in, tensors as `Value`s."""
    values = network.values
    if node.func is None:  # our own: arguments by position are tensors, the rest is named
        named: dict[str, Any] = {str(place): _resolved(a, values) for place, a in enumerate(node.args)} | dict(
            node.kwargs
        )
    else:
        operator = describe(node.func)
        named = dict(operator.defaults)
        for name, argument in zip(operator.arguments, node.args, strict=False):
            named[name] = _resolved(argument, values)
        for name, argument in node.kwargs.items():
            named[name] = _resolved(argument, values)
    index = node.outputs[output] if output < len(node.outputs) else None
    shape = values[index].shape if index is not None else ()
    return Call(node.op, named, shape, output)


def reads_of(network: Network, node: Node, output: int) -> Reads | None:
    """What a node's output reads; None where there is no rule."""
    function = find_rule(node.op)
    if function is None:
        if node.func is None or not describe(node.func).pointwise:
            return None
        function = elementwise_call
    return function(call_of(network, node, output))


def macs_of(network: Network, node: Node) -> int:
    """A node's multiply-adds."""
    function = find_cost(node.op)
    return 0 if function is None else function(call_of(network, node))


def references(arguments: Any) -> Iterator[int]:
    """The indices of all values referred to, in order."""
    for argument in arguments:
        if isinstance(argument, ValueRef):
            yield argument.index
        elif isinstance(argument, tuple):
            yield from references(argument)


def _resolved(argument: Any, values: Any) -> Any:
    if isinstance(argument, ValueRef):
        return values[argument.index]
    if isinstance(argument, tuple):
        return [_resolved(item, values) for item in argument]
    return argument
