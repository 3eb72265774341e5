"""Training detectors: the losses that they compute themselves, and average precision."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perimetry.errors import InputError
from perimetry.metrics import BoxPrediction, BoxTruth, VocAccumulator
from perimetry.training.processes import plain
from perimetry.training.tasks import Batch, answer, check_labels, known


@dataclass(frozen=True, slots=True)
class Detection:
    """Boxes with classes; labels are 1 ... classes, 0 is the background.

    The network's forward is torchvision's: (images, targets) to losses by name in training, (images) to a list of
    {"boxes", "labels", "scores"} otherwise; one of given proposals takes them behind the images. What is marked
    difficult (VOC) or a crowd (COCO) is not learnt from, and neither helps nor harms scores.
    """

    classes: tuple[str, ...]
    best_by: str = "ap50"

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the network says its losses are; images without boxes train as background."""
        _check(batch, self.classes)
        found = answer(network, batch, *_given(network, batch), [_learnt(target) for target in batch.truth])
        if not isinstance(found, Mapping):
            raise InputError(f"expected a detector to return its losses by name, got {type(found).__name__}")
        return dict(found)

    def weight(self, batch: Batch) -> float:
        """Images."""
        return float(len(batch))

    def predict(self, network: nn.Module, batch: Batch) -> Sequence[Mapping[str, Tensor]]:
        """Boxes, labels and scores of each image."""
        found: Sequence[Mapping[str, Tensor]] = answer(network, batch, *_given(network, batch))
        return found

    def scorer(self) -> BoxScorer:
        """Average precision at an overlap of one half, as VOC defines it from 2010 on, and as of 2007."""
        return BoxScorer(self.classes)


def takes_proposals(network: nn.Module) -> bool:
    """True for a detector that is given proposals, as the second argument of its forward."""
    return list(inspect.signature(plain(network).forward).parameters)[1:2] == ["proposals"]


def _given(network: nn.Module, batch: Batch) -> tuple[Sequence[Tensor], ...]:
    if not takes_proposals(network):
        return ()
    if batch.proposals is None:
        raise InputError("this detector is given proposals, and the data has none; name their file as `proposals`")
    return (batch.proposals,)


def _check(batch: Batch, classes: Sequence[str]) -> None:
    check_labels([target["labels"] for target in batch.truth], batch.names, lowest=1, highest=len(classes))


def _learnt(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a detector learns from: the objects that are not difficult, and hard negatives where some were mined."""
    told = {name: target[name] for name in ("boxes", "labels")}
    if "difficult" in target:
        told = {name: value[~target["difficult"]] for name, value in told.items()}
    return told | {name: target[name] for name in ("hard_negatives",) if name in target}


def _inclusive(boxes: Tensor) -> Tensor:
    """Boxes by first and last pixel, as VOC measures them (x2 - x1 + 1); what is thinner than one counts as one."""
    corners = boxes.detach().cpu().double()
    return torch.cat((corners[:, :2], torch.maximum(corners[:, 2:] - 1, corners[:, :2])), dim=1)


class BoxScorer:
    """Scores of detections, summed over batches; images are told apart by name."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._boxes = VocAccumulator(classes=self._classes)

    def update(self, batch: Batch, outputs: Sequence[Mapping[str, Tensor]]) -> None:
        """Add the detections of a batch."""
        _check(batch, self._classes)
        for name, truth, told in zip(batch.names, batch.truth, outputs, strict=True):
            true_labels = [self._classes[label - 1] for label in truth["labels"].tolist()]
            difficult = truth["difficult"].cpu() if "difficult" in truth else None
            labels = [self._classes[label - 1] for label in told["labels"].tolist()]
            self._boxes.update(
                name,
                BoxTruth(_inclusive(truth["boxes"]), true_labels, difficult),
                BoxPrediction(_inclusive(told["boxes"]), told["scores"].detach().cpu().double(), labels),
            )

    def merge(self, other: BoxScorer) -> None:
        """Add what another one counted."""
        self._boxes.merge(other._boxes)

    def compute(self) -> dict[str, Any]:
        """ap50 and voc07_map, means over classes; ap50 of each class."""
        found = self._boxes.compute()
        by_class = [found.voc_ap.get(name) for name in self._classes]
        return {
            "ap50": known(found.voc_map),
            "voc07_map": known(found.voc07_map),
            "ap50_by_class": list(map(known, by_class)),
        }
