"""Which detection belongs to which object of one image, and what is wrong with the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perimetry.errors import InputError
from perimetry.metrics.boxes import BoxPrediction, BoxTruth, overlaps

Kind = Literal["true", "duplicate", "badly_localised", "background", "ignored"]
FALSE: tuple[Kind, ...] = ("duplicate", "badly_localised", "background")


@dataclass(frozen=True, slots=True)
class Matching:
    """What each detection of an image is, in the order given, and which objects were missed.

    kinds: "true"; or false: "duplicate" (its object has been found by a higher score), "badly_localised" (it overlaps
    an object of its class, but not enough), "background" (it hardly overlaps any of its class); or "ignored" (its
    object is difficult).
    nearest: the index of the true box of its class that it overlaps most, None where there is none; ious: how much.
    missed: the indices of true boxes that are not difficult and that nothing found.
    """

    kinds: tuple[Kind, ...]
    nearest: tuple[int | None, ...]
    ious: tuple[float, ...]
    missed: tuple[int, ...]

    @property
    def true(self) -> int:
        """How many detections are true."""
        return self.kinds.count("true")

    @property
    def false(self) -> int:
        """How many detections are false, of whatever kind."""
        return sum(self.kinds.count(kind) for kind in FALSE)


def match_boxes(
    truth: BoxTruth, predicted: BoxPrediction, *, iou: float = 0.5, background_iou: float = 0.1
) -> Matching:
    """Match one image's detections with its objects as the VOC devkit does (VOCevaldet.m).

    Class by class, from the highest score down (ties in the order given), a detection is held against the true box
    that it overlaps most (ties: the first), whether that has been found already or not. From an overlap of `iou` on it
    is true, the first time; a duplicate later; ignored where the box is difficult. Coordinates are the first and last
    pixel, so that widths are x2 - x1 + 1. Of the false ones, those that overlap by at least `background_iou` are badly
    localised and the rest is background (0.1 as Hoiem et al. 2012); other classes' objects are not looked at.

    Raises `InputError` unless 0 <= background_iou <= iou <= 1, with iou above 0.

    >>> truth = BoxTruth([[0, 0, 9, 9], [20, 20, 29, 29]], ["cat", "cat"])
    >>> told = BoxPrediction([[0, 0, 9, 8], [0, 0, 9, 9], [0, 5, 9, 14]], [0.6, 0.9, 0.8], ["cat", "cat", "cat"])
    >>> found = match_boxes(truth, told)
    >>> found.kinds, found.missed
    (('duplicate', 'true', 'badly_localised'), (1,))
    """
    if not (0 <= background_iou <= iou <= 1 and iou > 0):
        raise InputError(f"expected 0 <= background_iou <= iou <= 1 and iou > 0, got {background_iou} and {iou}")
    pairs = overlaps(predicted.boxes_xyxy, truth.boxes_xyxy, pixels=1)
    kinds: list[Kind] = ["background"] * len(predicted)
    nearest: list[int | None] = [None] * len(predicted)
    ious = [0.0] * len(predicted)
    found: set[int] = set()
    for index in np.argsort(-predicted.scores, kind="stable").tolist():
        same = [other for other, label in enumerate(truth.labels) if label == predicted.labels[index]]
        if not same:
            continue
        best = same[int(pairs[index, same].argmax())]
        overlap = float(pairs[index, best])
        if overlap > 0:
            nearest[index], ious[index] = best, overlap
        if overlap < iou:
            kinds[index] = "badly_localised" if overlap > 0 and overlap >= background_iou else "background"
        elif truth.difficult[best]:
            kinds[index] = "ignored"
        else:
            kinds[index] = "duplicate" if best in found else "true"
            found.add(best)
    missed = tuple(index for index in range(len(truth)) if index not in found and not truth.difficult[index])
    return Matching(tuple(kinds), tuple(nearest), tuple(ious), missed)
