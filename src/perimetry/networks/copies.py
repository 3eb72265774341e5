"""Copies of a user's model, which is what gets changed."""

from __future__ import annotations

import copy

from torch import nn

from perimetry.errors import InputError, first_line


def copied(module: nn.Module) -> nn.Module:
    """A deep copy of a module; raises `InputError` where Python cannot make one.

    >>> original = nn.ReLU()
    >>> copied(original) is original
    False
    """
    try:
        return copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{type(module).__name__} cannot be copied, and only a copy would be changed ({first_line(error)}); of "
            "weight norm, take the one in torch.nn.utils.parametrizations, or remove it first"
        ) from error


def put(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module where another one stands, under every name that it has there."""
    for part in list(network.modules()):
        for name, each in part._modules.items():
            if each is old:
                part._modules[name] = new
