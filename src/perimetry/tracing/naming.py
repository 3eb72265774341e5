"""Naming layers: which values of a recorded run people can ask for, and by what name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perimetry.records import Layer, ModuleCall, Node

# Operators that only hand on what they were given; they are no layers of their own.
_COPIES = frozenset(
    f"aten.{name}"
    for name in ("_unsafe_view", "clone", "_to_copy", "copy", "contiguous", "lift_fresh", "_reshape_copy")
)


def name_layers(
    nodes: Sequence[Node],
    calls: Sequence[ModuleCall],
    finished: Sequence[int],
    depends: Sequence[bool],
) -> tuple[Layer, ...]:
    """The layers of a run, in the order in which their outputs appeared; a container stands after its parts.

    A module's output carries the module's own path, an operator outside any leaf module `parent/operator`; a name met
    again gets ":2". Views and copies are not listed, nor what the image has no influence on (but the model's output).
    """
    seen: Counter[str] = Counter()
    layers: list[Layer] = []

    def add(name: str, op: str, value: int, call: int, span: tuple[int, int], *, container: bool, module: bool) -> None:
        if depends[value] or (module and calls[call].parent is None):
            seen[name] += 1
            unique = name if seen[name] == 1 else f"{name}:{seen[name]}"
            layers.append(Layer(unique, op, value, call, span, container, module))

    ends = iter([*finished, None])
    ending = next(ends)
    for position in range(len(nodes) + 1):
        while ending is not None and calls[ending].nodes[1] == position:
            call = calls[ending]
            base = call.path or "output"
            container = not call.leaf or call.parent is None
            distinct = {value: key for key, value in reversed(call.outputs)}
            for value, key in reversed(distinct.items()):
                name = base if len(distinct) == 1 else base + key
                add(name, call.module_type, value, call.index, call.nodes, container=container, module=True)
            ending = next(ends)
        if position < len(nodes):
            node = nodes[position]
            call = calls[node.call]
            written = node.outputs[0] if node.outputs else None
            listed = not node.view and node.op not in _COPIES and (not call.leaf or call.parent is None)
            if listed and written is not None:
                short = node.op.partition(".")[2].strip("_")
                span = (node.index, node.index + 1)
                add(f"{call.path}/{short}", node.op, written, call.index, span, container=False, module=False)
    return tuple(layers)
