"""A model under change: which layers are meant, what stands in their place, and a line for each."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks.copies import put
from perimetry.records import LayerChange, Network
from perimetry.surgery.grammar import Request
from perimetry.tracing import trace


class Edit:
    """The copy of a model that one change works on.

    module: the copy; example: what it is run with; changes, notes: the record so far.
    """

    def __init__(self, module: nn.Module, request: Request, example: Any) -> None:
        self.module = module
        self.request = request
        self.example = example
        self.changes: list[LayerChange] = []
        self.notes: list[str] = []
        self.paths: dict[int, list[str]] = {}
        for path, part in module.named_modules(remove_duplicate=False):
            self.paths.setdefault(id(part), []).append(path)
        self._old = list(module.parameters())  # held, so that no new parameter takes over the id of one that went
        self._kept = {id(parameter): parameter.numel() for parameter in self._old}

    @cached_property
    def network(self) -> Network:
        """One run of the model, recorded when it is first asked for: before anything is replaced."""
        assert not self.changes, "the run has to be recorded before the model changes"
        return trace(self.module, self.example)

    def has_channels_first(self, value: int) -> bool:
        """True for a map (N, C, H, W); False where a layer put the channels last, or the axes are others altogether.

        What made the value tells: convolutions and poolings have channels first, linear layers and layer norm last.
        """
        network = self.network
        seen = network.values[value]
        if len(seen.shape) != 4:
            return False
        while seen.producer is not None:
            node = network.nodes[seen.producer]
            if any(name in node.op for name in ("convolution", "pool2d", "batch_norm", "upsample")):
                return True
            if any(name in node.op for name in ("mm", "layer_norm", "permute", "transpose", "dot_product")):
                return False
            sources = [index for index in references_of(node) if network.values[index].kind in ("image", "result")]
            if not sources:
                return True
            seen = network.values[sources[0]]
        return True

    @cached_property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """The shape of what each module without parts reads first, by its name."""
        network = self.network
        shapes: dict[str, tuple[int, ...]] = {}
        for node in network.nodes:
            call = network.calls[node.call]
            read = [index for index in references_of(node) if network.values[index].kind in ("image", "result")]
            if read:
                shapes.setdefault(call.path, network.values[read[0]].shape)
        return shapes

    def matching(self, wanted: Callable[[nn.Module], bool], what: str) -> list[tuple[str, nn.Module]]:
        """The layers of a kind that the pattern names, each once; a module's own name stands for all that it holds.

        Raises `UnknownNameError` for a pattern that names nothing, `InputError` where nothing named is of that kind.
        """
        pattern = self.request.layers
        named = [(path, part) for path, part in self.module.named_modules() if self._is_meant(part)]
        if not named and pattern != "*":
            known = [path for path, _ in self.module.named_modules() if path]
            raise UnknownNameError("layer or pattern", pattern, known=known, advice="patterns are like layer4.*")
        found = [(path, part) for path, part in named if wanted(part)]
        if not found:
            others = [path for path, part in self.module.named_modules() if wanted(part)]
            where = f"; the model has some at {', '.join(others[:3])}" if others else ""
            scope = "the model" if pattern == "*" else f"what {pattern!r} names"
            raise InputError(
                f"{self.request}: {scope} holds no {what} as a module{where}; what a forward function computes stays"
            )
        return found

    def _is_meant(self, part: nn.Module) -> bool:
        pattern = self.request.layers
        return any(
            path == pattern or path.startswith(pattern + ".") or fnmatchcase(path, pattern)
            for path in self.paths[id(part)]
        )

    def replace(self, path: str, new: nn.Module, *, after: str | None = None) -> None:
        """Put a module in a place, and wherever else the one that stood there is used under another name.

        Nothing is done where the new one is what stood there already.
        """
        old = self.module.get_submodule(path)
        if new is old or (
            after is None and in_a_line(new) == in_a_line(old) and not any(True for _ in new.parameters())
        ):
            return
        if path:
            put(self.module, old, new)
        else:
            self.module = new
        self.paths[id(new)] = places = self.paths.pop(id(old), [path])
        if len(places) > 1:
            others = ", ".join(each for each in places if each != path)
            self.notes.append(f"{path} is one layer with {others}, which changed with it")
        self.changes.append(LayerChange(path, in_a_line(old), after or in_a_line(new)))

    def fitted(self, layer: nn.Module) -> nn.Module:
        """A new layer, drawn on the CPU, on the device and in the type of the model's parameters."""
        like = next((each for each in self.module.parameters() if each.is_floating_point()), None)
        return layer if like is None else layer.to(device=like.device, dtype=like.dtype)

    def keep_partly(self, new: nn.Parameter, old: Tensor) -> None:
        """Write what still fits of an old tensor over the first cells of a new one, and count it as kept."""
        with torch.no_grad():
            new[tuple(slice(extent) for extent in old.shape)] = old
        self._kept[id(new)] = old.numel()

    def count(self) -> tuple[int, int]:
        """How many of the parameters are old, and how many are new."""
        parameters = list(self.module.parameters())
        kept = sum(self._kept.get(id(each), 0) for each in parameters)
        return kept, sum(each.numel() for each in parameters) - kept


def references_of(node: Any) -> list[int]:
    """The values that a recorded operator reads."""
    from perimetry.tracing.calls import references

    return list(references((node.args, tuple(node.kwargs.values()))))


def in_a_line(module: nn.Module) -> str:
    """A module as one line; a short chain by its parts.

    >>> in_a_line(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()))
    'Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1)) + ReLU()'
    """
    if isinstance(module, nn.Sequential) and len(module) <= 3 and not any(list(part.children()) for part in module):
        return " + ".join(in_a_line(part) for part in module) or "nothing"
    if isinstance(module, nn.Identity):
        return "nothing"
    parts = len(list(module.children()))
    return f"{type(module).__name__}({module.extra_repr() or (f'{parts} parts' if parts else '')})"
