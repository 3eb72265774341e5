"""What the recorder does with an operator's arguments: find their tensors, replace them, describe their form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from perimetry.records import ValueRef
from perimetry.tracing.operators import Operator

# Tensors that depend on neither input nor parameters are computed for real up to this many elements.
CONSTANT_LIMIT = 1 << 20


def flat_tensors(args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """Every tensor among an operator's arguments, those in lists too."""
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, torch.Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            for item in argument:
                if isinstance(item, torch.Tensor):
                    yield item


def swapped_in(argument: Any, swapped: dict[int, torch.Tensor]) -> Any:
    """The same argument with some of its tensors replaced, by identity."""
    if isinstance(argument, torch.Tensor):
        return swapped.get(id(argument), argument)
    if isinstance(argument, list | tuple):
        return type(argument)(swapped_in(item, swapped) for item in argument)
    return argument


def referring(argument: Any, refs: dict[int, ValueRef]) -> Any:
    """The argument as it is recorded: a reference for each tensor, tuples for lists."""
    if isinstance(argument, torch.Tensor):
        return refs[id(argument)]
    if isinstance(argument, list | tuple):
        return tuple(referring(item, refs) for item in argument)
    return argument


def argument_named(operator: Operator, args: Any, kwargs: Any, name: str) -> Any:
    """The argument of that name, wherever it was given; None where it was left out."""
    position = operator.arguments.index(name)
    return args[position] if position < len(args) else kwargs.get(name)


def on_cpu(kwargs: Any) -> Any:
    """Keywords of a factory, with the device that the model took from a stand-in put back to the CPU."""
    device = kwargs.get("device")
    if device is not None and torch.device(device).type == "meta":
        return {**kwargs, "device": torch.device("cpu")}
    return kwargs


def storage_of(tensor: torch.Tensor) -> int:
    """What tells whether two tensors share memory."""
    return int(tensor.untyped_storage()._cdata)


def geometry_of(tensor: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Where a tensor's elements lie in its memory: shape, strides, offset."""
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def makes_little(args: Any) -> bool:
    """True where a factory call (arange, zeros, full ...) makes a small tensor."""
    count = 1
    for argument in args:
        if isinstance(argument, list | tuple):
            for extent in argument:
                count *= extent if isinstance(extent, int) else 1
    numbers = [abs(a) for a in args if isinstance(a, int | float) and not isinstance(a, bool)]
    return count <= CONSTANT_LIMIT and all(number <= CONSTANT_LIMIT for number in numbers)


def form_key(func: Any, args: Any, kwargs: Any) -> Any:
    """A hashable description of a call's arguments: forms of tensors, values of the rest; None where that fails."""
    key = (func, tuple(map(_form, args)), tuple((name, _form(item)) for name, item in kwargs.items()))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _form(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return (argument.shape, argument.stride(), argument.dtype)
    if isinstance(argument, list | tuple):
        return tuple(map(_form, argument))
    # 1, 1.0 and True are equal as keys but not as arguments.
    return (type(argument), argument)
