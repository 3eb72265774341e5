"""A module cut behind named layers: what only its head needs is left away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn

from perimetry.errors import InputError


def cut(module: nn.Module, layers: Sequence[str]) -> fx.GraphModule:
    """The part of a module that computes the outputs of these layers, which it returns as {layer: output}.

    Parameters are shared with the module, under the same names. Only the modules around the layers are traced, once,
    so that they must not choose by values; the layers themselves run as they are. Raises `InputError` otherwise.

    >>> import torch
    >>> body = cut(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 7)), ["1"])
    >>> {name: tuple(each.shape) for name, each in body(torch.ones(1, 3, 5, 5)).items()}
    {'1': (1, 4, 5, 5)}
    >>> [name for name, _ in body.named_parameters()]
    ['0.weight', '0.bias']
    """
    tracer = _Tracer(layers)
    modes = [(each, each.training) for each in module.modules()]
    try:
        module.eval()  # heads that exist in training only are not what a backbone is for
        graph = tracer.trace(module)
    except Exception as error:  # code of any kind runs on values that are not there
        raise InputError(
            f"{type(module).__name__} cannot be cut behind {', '.join(layers)} ({type(error).__name__}: {error}); pass "
            "a module that computes the maps without choosing by their values"
        ) from error
    finally:
        for each, training in modes:
            each.training = training
    missing = [layer for layer in layers if layer not in tracer.found]
    if missing:
        raise InputError(f"{type(module).__name__} does not call {', '.join(missing)} on an image, or gets no tensor")
    _keep(graph, {layer: tracer.found[layer] for layer in layers})
    return fx.GraphModule(module, graph, class_name=type(module).__name__)


class _Tracer(fx.Tracer):
    """Looks only into the modules that hold one of the layers, and notes where the layers' outputs are."""

    def __init__(self, layers: Sequence[str] = ()) -> None:  # none where a pickled cut is read again
        super().__init__()
        self.layers = layers
        self.found: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002  # torch's signature
        return not any(layer.startswith(f"{module_qualified_name}.") for layer in self.layers)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.found[self.path_of_module(m)] = output.node
        return output


def _keep(graph: fx.Graph, outputs: dict[str, fx.Node]) -> None:
    """Return these nodes, and erase what none of them needs."""
    for node in graph.find_nodes(op="output"):
        graph.erase_node(node)
    needed, waiting = set[fx.Node](), list(outputs.values())
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    for node in reversed(graph.nodes):
        if node not in needed and node.op != "placeholder":
            graph.erase_node(node)
    graph.output(outputs)
