"""Cards put to the test: every quantity counted anew on the network that is built here."""

from __future__ import annotations

import fnmatch
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from perimetry.errors import InputError, UnknownNameError
from perimetry.inspection import Inspection, inspect
from perimetry.models.from_perimetry import describe
from perimetry.networks import Card, Quantity


def recount(card: Card, quantity: Quantity) -> int | float | tuple[float, ...]:
    """The quantity as the network has it that `card.build` gives, to be compared with `quantity.value`.

    Raises `UnknownNameError` where the network has no such layer or parameter, `InputError` where one number cannot
    tell it (the field differs by axis or by unit, initial values differ).

    >>> from perimetry.networks import CARDS
    >>> card = CARDS["alexnet"]
    >>> recount(card, card.quantities[0])
    60965224
    """
    if quantity.kind == "parameters":
        return _parameters(_shapes(card, quantity.options), quantity.of or "*")
    if quantity.kind == "setting":
        found = attrgetter(quantity.of)(_shapes(card, quantity.options))
        return tuple(found) if isinstance(found, list | tuple) else found
    if quantity.kind == "initial":
        return _initial(_built(card, quantity.options), quantity.of)
    if quantity.kind == "anchors":
        return _shapes(card, quantity.options).anchors(quantity.image or card.image)  # type: ignore[operator,no-any-return]  # detectors have it
    row = _inspection(card, quantity.options, quantity.image or card.image).layer(quantity.of)
    if quantity.kind == "map":
        return tuple(row.shape[1:])
    told = None if row.field is None else row.field.size if quantity.kind == "field" else row.field.stride
    if told is None or len({*told}) != 1 or told[0] is None:
        raise InputError(f"the {quantity.kind} of {quantity.of} is {told}, which is not one number of pixels")
    return int(told[0]) if told[0] == int(told[0]) else float(told[0])


@lru_cache(maxsize=2)
def _shapes(card: Card, options: tuple[tuple[str, Any], ...]) -> nn.Module:
    """The network without contents, in eval mode."""
    with torch.device("meta"):
        return card.build(**dict(options)).eval()


@lru_cache(maxsize=1)
def _built(card: Card, options: tuple[tuple[str, Any], ...]) -> nn.Module:
    """The network with its initial values."""
    return card.build(**dict(options)).eval()


@lru_cache(maxsize=2)
def _inspection(card: Card, options: tuple[tuple[str, Any], ...], image: tuple[int, int]) -> Inspection:
    module = (_built if card.task == "detection" else _shapes)(card, options)
    return inspect(describe(card, module), image)


def _parameters(network: nn.Module, pattern: str) -> int:
    globs = pattern.split("|")
    counts = [
        value.numel()
        for name, value in network.named_parameters()
        if any(fnmatch.fnmatchcase(name, glob) for glob in globs)
    ]
    if not counts:
        raise UnknownNameError("parameter", pattern, known=[name for name, _ in network.named_parameters()])
    return sum(counts)


def _initial(network: nn.Module, name: str) -> float:
    tensors = network.state_dict()
    if name not in tensors:
        raise UnknownNameError("parameter", name, known=tensors)
    low, high = tensors[name].aminmax()
    if low != high:
        raise InputError(f"{name} starts with values from {low} to {high}, which is not one number")
    return float(low)
