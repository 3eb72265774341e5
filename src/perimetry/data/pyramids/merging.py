"""Merging what was detected in several views of one image."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torchvision import ops

from perimetry.errors import InputError, UnknownNameError

Merge = Literal["nms", "vote"]


def merge_boxes(
    boxes_xyxy: Tensor, labels: Tensor, scores: Tensor, *, iou: float = 0.5, merge: Merge = "nms"
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (K, 4), labels (K,) and scores (K,) of all views as one set, the best score first.

    In each class, a box that overlaps a better one by more than `iou` goes (non-maximum suppression). merge: "vote"
    then moves each box that stays to the mean of all boxes of its class that overlap it by 0.5 or more, weighted by
    their scores (Gidaris and Komodakis 2015, section 4); scores stay.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10]])
    >>> merge_boxes(boxes, torch.tensor([1, 1, 2]), torch.tensor([0.6, 0.2, 0.5]), merge="vote")[0]
    tensor([[ 0.0000,  0.0000, 10.0000,  9.5000],
            [ 0.0000,  0.0000, 10.0000, 10.0000]])
    """
    if merge not in get_args(Merge):
        raise UnknownNameError("merge", merge, known=get_args(Merge), advice='"nms" or "vote"')
    if not 0 <= iou <= 1:
        raise InputError(f"expected an overlap from 0 to 1, got iou={iou}")
    # torchvision moves each class away by the largest coordinate, which parts them only where none is below zero.
    least = boxes_xyxy.amin().clamp(max=0) if len(boxes_xyxy) else 0
    kept = ops.batched_nms(boxes_xyxy - least, scores, labels, iou)
    found = boxes_xyxy[kept]
    if merge == "vote" and len(kept):
        together = (ops.box_iou(found, boxes_xyxy) >= 0.5) & (labels[kept][:, None] == labels[None, :])
        # A box without area overlaps not even itself.
        together[torch.arange(len(kept), device=kept.device), kept] = True
        weights = together * scores.clamp(min=torch.finfo(scores.dtype).tiny)
        found = (weights @ boxes_xyxy) / weights.sum(dim=1, keepdim=True)
    return found, labels[kept], scores[kept]
