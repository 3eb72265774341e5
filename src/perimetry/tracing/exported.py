"""Running an exported program: its graph has no modules, but each node remembers the ones it came from."""

from __future__ import annotations

from typing import Any

import torch

from perimetry.tracing.module_calls import CallLog


def run_exported(graph: torch.fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any], log: CallLog) -> Any:
    """Run a graph node by node, reporting module calls from each node's `nn_module_stack`."""
    runner = _StackFollower(graph, log)
    log.enter("", type(graph).__name__, training=False)
    flat, _ = torch.utils._pytree.tree_flatten((args, kwargs))
    outputs = runner.run(*flat)
    runner.leave_all()
    log.exit(outputs)
    return outputs


class _StackFollower(torch.fx.Interpreter):
    """An interpreter that opens and closes module calls as the recorded module stack changes."""

    def __init__(self, graph: torch.fx.GraphModule, log: CallLog) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self._log = log
        self._open: list[tuple[str, str]] = []
        self._last: Any = None

    def run_node(self, n: torch.fx.Node) -> Any:
        stack = n.meta.get("nn_module_stack")
        if n.op in ("call_function", "call_module", "call_method") and stack:
            frames = [(path, _class_name(kind)) for path, kind in stack.values() if path]
            shared = 0
            while shared < min(len(frames), len(self._open)) and frames[shared] == self._open[shared]:
                shared += 1
            while len(self._open) > shared:
                self._leave()
            for frame in frames[shared:]:
                self._log.enter(*frame, training=False)
                self._open.append(frame)
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self._last = result
        return result

    def leave_all(self) -> None:
        """Close the calls that are still open at the end."""
        while self._open:
            self._leave()

    def _leave(self) -> None:
        self._open.pop()
        self._log.exit(self._last)


def _class_name(kind: Any) -> str:
    return str(kind).rpartition(".")[2] if isinstance(kind, str) else kind.__name__
