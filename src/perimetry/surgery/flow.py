"""Where a layer's result goes in a recorded run: which layers with weights read it, and what it crosses on the way."""

from __future__ import annotations

from collections import defaultdict

from torch import nn

from perimetry.errors import InputError
from perimetry.nn import L2Normalize, LocalResponseNorm
from perimetry.records import Network, Node
from perimetry.surgery.edit import references_of

# Operators that leave channels as they are, one by one.
_CROSSED = frozenset(
    f"aten.{name}"
    for name in (
        "relu", "hardtanh", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh", "celu",
        "selu", "_prelu_kernel", "rrelu_with_noise", "rrelu_with_noise_functional", "max_pool2d_with_indices",
        "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "view", "_unsafe_view", "clone", "alias",
        "detach", "constant_pad_nd", "contiguous", "unsqueeze", "squeeze", "flatten", "to", "_to_copy",
    )
)  # fmt: skip
_NORMS = ("batch_norm", "instance_norm")


class Flow:
    """The readers of every value of a recorded run."""

    def __init__(self, network: Network, module: nn.Module) -> None:
        self.network = network
        self.module = module
        self._readers: dict[int, list[Node]] = defaultdict(list)
        for node in network.nodes:
            for index in set(references_of(node)):
                self._readers[index].append(node)

    def result_of(self, path: str) -> int:
        """The value that a module returns; raises `InputError` where it is not called once, with one result."""
        calls = [call for call in self.network.calls if call.path == path]
        if len(calls) != 1 or len(calls[0].outputs) != 1:
            raise InputError(f"{path} is called {len(calls)} times in a run; this needs a layer that is called once")
        return calls[0].outputs[0][1]

    def readers(self, value: int) -> list[Node]:
        """The operators that read a value."""
        return self._readers[value]

    def is_normalized(self, path: str) -> bool:
        """True where a batch norm reads the module's result."""
        results = [value for call in self.network.calls if call.path == path for _, value in call.outputs]
        return any("batch_norm" in node.op for value in results for node in self.readers(value))

    def readers_after(self, path: str) -> tuple[list[str], list[str]]:
        """(normalisations crossed, layers with weights that read) behind a module.

        Raises `InputError` where the result meets another map (an addition, a concatenation), leaves the model, or is
        read by what is not known.
        """
        crossed: list[str] = []
        found: list[str] = []
        todo, seen = [self.result_of(path)], set()
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            if any(index == value for _, index in self.network.outputs):
                raise InputError(f"the result of {path} leaves the model, which would then return other channels")
            for node in self.readers(value):
                call = self.network.calls[node.call]
                layer = self.module.get_submodule(call.path)
                if call.leaf and isinstance(layer, nn.Conv2d | nn.Linear):
                    found.append(call.path)
                elif call.leaf and isinstance(layer, L2Normalize | LocalResponseNorm | nn.LocalResponseNorm):
                    if isinstance(layer, L2Normalize):
                        crossed.append(call.path)
                    todo.append(call.outputs[0][1])
                elif any(name in node.op for name in _NORMS):
                    crossed.append(call.path)
                    todo += [node.outputs[0]] if node.outputs[0] is not None else []
                elif node.op in _CROSSED and not self._joins(node, value):
                    todo += [node.outputs[0]] if node.outputs[0] is not None else []
                else:
                    raise InputError(
                        f"the result of {path} goes into {node.op} at {call.path or 'the model itself'}, which ties "
                        "its channels to others"
                    )
        return list(dict.fromkeys(crossed)), list(dict.fromkeys(found))

    def _joins(self, node: Node, value: int) -> bool:
        """True where an operator reads another map too."""
        return any(index != value and self.network.depends[index] for index in references_of(node))
