"""Which module is running: module calls, followed with global hooks that leave the model itself untouched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from perimetry.tracing.structure import tensors_in


@dataclass(slots=True)
class OpenCall:
    """A module call while it runs; turned into a `ModuleCall` at the end."""

    index: int
    path: str
    module_type: str
    parent: int | None
    first_node: int
    training: bool
    last_node: int = 0
    leaf: bool = True
    outputs: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class CallLog:
    """Follows module calls by a stack. `node_count` and `value_of` ask the recorder.

    finished: call indices in the order in which the calls ended; on_exit: called with a call and what it returned.
    """

    node_count: Callable[[], int]
    value_of: Callable[[torch.Tensor], int]
    calls: list[OpenCall] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    on_exit: Callable[[int, Any], None] | None = None
    _stack: list[int] = field(default_factory=list)

    def current(self) -> int:
        """The index of the innermost call that is running."""
        return self._stack[-1]

    def enter(self, path: str, module_type: str, *, training: bool) -> None:
        """A module call begins."""
        parent = self._stack[-1] if self._stack else None
        if parent is not None:
            self.calls[parent].leaf = False
        call = OpenCall(len(self.calls), path, module_type, parent, self.node_count(), training)
        self.calls.append(call)
        self._stack.append(call.index)

    def exit(self, outputs: Any) -> None:
        """The innermost call ends."""
        call = self.calls[self._stack.pop()]
        call.last_node = self.node_count()
        call.outputs = tuple((key, self.value_of(tensor)) for key, tensor in tensors_in(outputs))
        self.finished.append(call.index)
        if self.on_exit is not None:
            self.on_exit(call.index, outputs)


@contextlib.contextmanager
def followed(model: torch.nn.Module, log: CallLog) -> Iterator[None]:
    """Write every call of the model's modules into the log, by hooks that are global and taken off again."""
    paths = {id(module): path for path, module in model.named_modules()}

    def before(module: torch.nn.Module, _: Any) -> None:
        path = paths.get(id(module))
        if path is not None:
            log.enter(path, type(module).__name__, training=module.training)

    def after(module: torch.nn.Module, _: Any, output: Any) -> None:
        if id(module) in paths:
            log.exit(output)

    handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
