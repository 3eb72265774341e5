"""The published networks, each a function with its fidelity card; `CARDS` has them by name."""

from __future__ import annotations

from perimetry.networks.alexnet import ALEXNET, alexnet
from perimetry.networks.backbones import Backbone, backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result
from perimetry.networks.classifier import Classifier, classification_losses
from perimetry.networks.dilation import dilate

CARDS: dict[str, Card] = {card.name: card for card in (ALEXNET,)}

__all__ = [
    "CARDS",
    "Backbone",
    "Card",
    "Classifier",
    "Difference",
    "Quantity",
    "Result",
    "alexnet",
    "backbone",
    "classification_losses",
    "dilate",
]
