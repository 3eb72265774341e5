"""The networks of perimetry itself, by the names of their cards."""

from __future__ import annotations

from torch import nn

from perimetry.models.loaded import LoadedModel
from perimetry.networks import CARDS, Card

PREFIX = "perimetry:"


def names() -> tuple[str, ...]:
    """Every name that has a card, without the prefix."""
    return tuple(CARDS)


def build(name: str) -> LoadedModel:
    """Build one of `names()` with its default arguments and random weights."""
    card = CARDS[name]
    return describe(card, card.build())


def describe(card: Card, module: nn.Module) -> LoadedModel:
    """The input that a network of that card is made for.

    >>> describe(CARDS["alexnet"], nn.Identity()).input_size
    (227, 227)
    """
    name = PREFIX + card.name
    return LoadedModel(
        name=name,
        resolved=name,
        module=module.eval(),
        input_size=card.image,
        takes="list" if card.task == "detection" else "batch",
    )
