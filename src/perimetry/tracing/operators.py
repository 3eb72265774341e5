"""What the dispatcher's schema says of an operator: its name, its arguments, what it writes, what it aliases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from perimetry.rules.registry import canonical


@dataclass(frozen=True, slots=True)
class Operator:
    """The facts of one operator overload that recording needs.

    name: without overload and in-place mark ("aten.add"). arguments: names in order; defaults: by name.
    written: positions of arguments that the call writes to; view: outputs alias an input and nothing is written;
    pure: no aliasing and no writing, so that the outputs' form follows from the inputs' form alone.
    """

    name: str
    arguments: tuple[str, ...]
    defaults: dict[str, Any]
    written: tuple[str, ...]
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
        view=aliases and not written,
        pure=not written and not aliases and not random and not dynamic and tensors_out,
        pointwise=_tagged_pointwise(func),
    )


def _tagged_pointwise(func: Any) -> bool:
    """PyTorch's own word that an operator works position by position; some overloads lack the tag of their sisters."""
    packet = func.overloadpacket
    return any(torch.Tag.pointwise in getattr(packet, name).tags for name in packet.overloads())
