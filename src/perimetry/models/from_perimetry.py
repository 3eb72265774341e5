"""The networks of perimetry itself, by the names of their cards."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from perimetry.models.loaded import LoadedModel
from perimetry.models.weights import without_prefix
from perimetry.networks import CARDS, Card, translate_weights
from perimetry.networks.weights import names_elsewhere

PREFIX = "perimetry:"


def names() -> tuple[str, ...]:
    """Every name that has a card, without the prefix."""
    return tuple(CARDS)


def build(name: str) -> LoadedModel:
    """Build one of `names()` with its default arguments and random weights."""
    card = CARDS[name]
    return describe(card, card.build())


def translate(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchvision's or timm's network of the kind, or of the module's own, under the module's names."""
    known = [*module.state_dict(), *names_elsewhere(module)]
    return translate_weights(module, without_prefix(tensors, dict.fromkeys(known)))


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
