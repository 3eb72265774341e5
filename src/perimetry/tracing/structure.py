"""Finding the tensors inside whatever a module takes or returns: dicts, lists, tuples, dataclasses, nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch


def tensors_in(value: Any, key: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor inside, with the path to it: "" for a lone tensor, "[out]", "[0][boxes]".

    >>> [key for key, _ in tensors_in({"out": torch.zeros(1), "aux": [torch.zeros(1)]})]
    ['[out]', '[aux][0]']
    """
    if isinstance(value, torch.Tensor):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from tensors_in(item, f"{key}[{name}]")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, item in zip(value._fields, value, strict=True):
            yield from tensors_in(item, f"{key}[{name}]")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from tensors_in(item, f"{key}[{position}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for member in dataclasses.fields(value):
            yield from tensors_in(getattr(value, member.name), f"{key}[{member.name}]")
    elif type(value).__name__ == "ImageList" and hasattr(value, "tensors"):  # torchvision's batch of images
        yield from tensors_in(value.tensors, key)


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same structure with each tensor changed; containers are rebuilt, other objects are passed through."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)({name: map_tensors(item, change) for name, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {m.name: map_tensors(getattr(value, m.name), change) for m in dataclasses.fields(value) if m.init}
        return dataclasses.replace(value, **changed)
    return value
