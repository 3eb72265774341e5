"""What the dispatcher's schema says of an operator: its name, its arguments, what it writes, what it aliases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from perimetry.rules.registry import canonical


@dataclass(frozen=True, slots=True)
class Operator:
    """The facts of one operator overload that recording needs.

    name: without overload and in-place mark ("aten.add"). arguments: names in order; defaults: by name.
    written: arguments that the call writes to; returned: for those that it hands back, which output they are.
    view: outputs alias an input and nothing is written; pure: no aliasing and no writing, so that the outputs' form
    follows from the inputs' form alone; pointwise: PyTorch says that it works position by position.
    """

    name: str
    arguments: tuple[str, ...]
    defaults: dict[str, Any]
    written: tuple[str, ...]
    returned: dict[str, int]
    view: bool
    pure: bool
    pointwise: bool


@cache
def describe(func: Any) -> Operator:
    """The facts of an operator overload (an `OpOverload`)."""
    schema = func._schema
    written = tuple(a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    aliases = any(r.alias_info is not None for r in schema.returns)
    random = torch.Tag.nondeterministic_seeded in func.tags
    dynamic = torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
    tensors_out = all(str(r.type) == "Tensor" for r in schema.returns)
    return Operator(
        name=canonical(f"{schema.name}"),
        arguments=tuple(a.name for a in schema.arguments),
        defaults={a.name: a.default_value for a in schema.arguments if a.has_default_value()},
        written=written,
        returned={name: place for name, place in _handed_back(schema) if name in written},
        view=aliases and not written,
        pure=not written and not aliases and not random and not dynamic and tensors_out,
        pointwise=_tagged_pointwise(func),
    )


def _handed_back(schema: Any) -> Iterator[tuple[str, int]]:
    """Pairs of an argument and the output that is the same tensor, by the schema's alias sets."""
    for argument in schema.arguments:
        for place, output in enumerate(schema.returns):
            given, handed = argument.alias_info, output.alias_info
            if given is not None and handed is not None and given.before_set & handed.before_set:
                yield argument.name, place


def _tagged_pointwise(func: Any) -> bool:
    """PyTorch's own word that an operator works position by position; some overloads lack the tag of their sisters."""
    packet = func.overloadpacket
    return any(torch.Tag.pointwise in getattr(packet, name).tags for name in packet.overloads())
