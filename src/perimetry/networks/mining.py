"""Hard examples: the regions of the largest losses (online), and false positives of an earlier round (bootstrapped)."""

from __future__ import annotations

from collections.abc import Mapping

import torchvision
from torch import Tensor

from perimetry.networks.sampling import best_matches


def hardest(boxes: Tensor, losses: Tensor, labels: Tensor, *, count: int, overlap: float | None = 0.7) -> Tensor:
    """Indices of the regions of one image with the largest losses, the largest first (OHEM, Shrivastava et al. 2016).

    boxes: (K, 4); losses, labels: (K,); overlap: of two regions with one label that overlap (IoU) more, the one with
    the smaller loss is left out first, so that one hard place is not counted many times; None keeps all (R-FCN). There
    is no share of objects: what is hard, is taken.

    >>> import torch
    >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [8, 8, 9, 9]])
    >>> hardest(boxes, torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 0]), count=2)
    tensor([1, 2])
    """
    if overlap is None:
        return losses.topk(min(count, len(losses))).indices
    kept: Tensor = torchvision.ops.batched_nms(boxes.float(), losses.float(), labels, overlap)
    return kept[:count]


def false_positives(
    detection: Mapping[str, Tensor], target: Mapping[str, Tensor], *, overlap: float = 0.3, score: float = 0.0
) -> Tensor:
    """The detections that are no object, to be learnt from as background in the next round (bootstrapping).

    As `are_false_positives` tells them. Returns boxes (H, 4), for a target's "hard_negatives".

    >>> import torch
    >>> found = {"boxes": torch.tensor([[0.0, 0, 4, 4], [9, 9, 12, 12]]), "labels": torch.tensor([1, 1]),
    ...          "scores": torch.tensor([0.9, 0.8])}
    >>> false_positives(found, {"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([1])})
    tensor([[ 9.,  9., 12., 12.]])
    """
    return detection["boxes"][are_false_positives(detection, target, overlap=overlap, score=score)]


def are_false_positives(
    detection: Mapping[str, Tensor], target: Mapping[str, Tensor], *, overlap: float = 0.3, score: float = 0.0
) -> Tensor:
    """Which detections are no object: (K,) of truth values.

    detection: what a detector answers for an image; target: its truth. A detection is a false positive where it
    overlaps (IoU) every object of its class by at most `overlap` (SPP-net: 0.3) and scores more than `score`.
    """
    boxes, labels = detection["boxes"], detection["labels"]
    wrong = detection["scores"] > score
    for label in set(labels.tolist()):
        of_class = labels == label
        truth = target["boxes"][target["labels"] == label].to(boxes)
        wrong[of_class] &= best_matches(boxes[of_class], truth)[0] <= overlap
    return wrong
