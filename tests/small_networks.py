"""Networks of a few layers, named as `small_networks:classifier` in recipes of tests."""

from __future__ import annotations

import torch
from torch import nn

from perimetry.networks import ProposalRule, fast_rcnn, faster_rcnn
from perimetry.networks.anchors import AnchorGrid


def classifier(classes: int) -> nn.Module:
    """With dropout and a batch norm, so that a run's random numbers and buffers count."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, classes),
    )


def plain_classifier(classes: int) -> nn.Module:
    """Nothing that couples the images of a batch, and nothing drawn."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def normed_classifier(classes: int) -> nn.Module:
    """What it says hangs on the statistics of its last layer, a batch norm that forgets at once."""
    return nn.Sequential(
        nn.Conv2d(3, classes, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(classes, momentum=1.0),
    )


class Segmenter(nn.Module):
    """Scores of pixels, with an auxiliary head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.score, self.auxiliary = nn.Conv2d(16, classes, 1), nn.Conv2d(16, classes, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.body(images)
        return {"out": self.score(features), "aux": self.auxiliary(features)}


def segmenter(classes: int) -> nn.Module:
    return Segmenter(classes)


class Body(nn.Module):
    """A map of stride 16."""

    channels, strides = {"map": 16}, {"map": 16}

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=4, padding=1), nn.ReLU()
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"map": self.layers(images)}


def proposing_detector(classes: int) -> nn.Module:
    boxes = ((-8.0, -8.0, 8.0, 8.0), (-5.0, -5.0, 5.0, 5.0))
    return faster_rcnn(
        backbone=Body(),
        classes=classes,
        grid=AnchorGrid(16, boxes),
        proposals=ProposalRule(before=100, count=20, min_size=2),
        training_proposals=ProposalRule(before=100, count=20, min_size=2),
        short_side=None,
    )


def given_detector(classes: int) -> nn.Module:
    return fast_rcnn(backbone=Body(), classes=classes, short_side=None)


def nothing(classes: int) -> int:
    """No network."""
    return classes
