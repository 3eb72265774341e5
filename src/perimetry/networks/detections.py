"""From scores and offsets of regions to detections: one class at a time, without duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torchvision
from torch import Tensor

from perimetry.errors import InputError
from perimetry.networks.box_coding import Deviations, decode_boxes
from perimetry.networks.region_heads import RegionOutputs


@dataclass(frozen=True, slots=True)
class DetectionRule:
    """Which detections of an image are told.

    score: above which; overlap: of detections of one class that overlap (IoU) more, the one with the lower score is
    left out; count: at most, over all classes. scoring: "softmax", or "sigmoid" of each class's score by itself, as for
    classifiers that were trained one by one.
    """

    score: float = 0.05
    overlap: float = 0.3
    count: int = 100
    scoring: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        if not 0 <= self.score < 1 or not 0 <= self.overlap <= 1 or self.count < 1:
            raise InputError(f"expected a score and an overlap from 0 to 1 and a count of at least 1, got {self}")
        if self.scoring not in ("softmax", "sigmoid"):
            raise InputError(f"scoring is 'softmax' or 'sigmoid', got {self.scoring!r}")


def detections(
    outputs: RegionOutputs, boxes: Tensor, size: tuple[int, int], *, deviations: Deviations, rule: DetectionRule
) -> dict[str, Tensor]:
    """Boxes (D, 4) within the image of `size` (height, width), labels (D,) and scores (D,), the best first.

    outputs: of the regions of one image; boxes: (R, 4), those regions; deviations: of the offsets.
    """
    scores = outputs.logits.float()
    chances = (scores.softmax(1) if rule.scoring == "softmax" else scores.sigmoid())[:, 1:]
    region, place = (chances > rule.score).nonzero(as_tuple=True)
    scores = chances[region, place]
    kinds = (place + 1).clamp(max=outputs.offsets.shape[1] - 1)
    moved = decode_boxes(outputs.offsets[region, kinds].float(), boxes[region], deviations=deviations)
    moved = torchvision.ops.clip_boxes_to_image(moved, size)
    whole = (moved[:, 2:] > moved[:, :2]).all(1)
    moved, scores, labels = moved[whole], scores[whole], place[whole] + 1
    kept = torchvision.ops.batched_nms(moved, scores, labels, rule.overlap)[: rule.count]
    return {"boxes": moved[kept], "labels": labels[kept], "scores": scores[kept]}
