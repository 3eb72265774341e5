"""The published networks, each a function with its fidelity card; `CARDS` has them by name."""

from __future__ import annotations

from perimetry.networks.alexnet import ALEXNET, alexnet
from perimetry.networks.backbones import Backbone, backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result
from perimetry.networks.dilation import dilate
from perimetry.networks.classifier import AuxiliaryHead, Classifier, classification_losses
from perimetry.networks.resnet import (
    RESNETS,
    resnet50,
    resnet50_v1_5,
    resnet101,
    resnet101_v1_5,
    resnet152,
    resnet152_v1_5,
)
from perimetry.networks.vgg import VGG16, VGG19, vgg16, vgg19
from perimetry.networks.weights import translate_weights

CARDS: dict[str, Card] = {card.name: card for card in (ALEXNET, VGG16, VGG19, *RESNETS)}

__all__ = [
    "CARDS",
    "Backbone",
    "AuxiliaryHead",
    "Card",
    "Classifier",
    "Difference",
    "Quantity",
    "Result",
    "alexnet",
    "backbone",
    "classification_losses",
    "dilate",
    "resnet50",
    "resnet50_v1_5",
    "resnet101",
    "resnet101_v1_5",
    "resnet152",
    "resnet152_v1_5",
    "translate_weights",
    "vgg16",
    "vgg19",
]
