"""COCO's recall and precision by the size of the objects, at bounds of one's own: recall of tiny objects, say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perimetry.errors import InputError
from perimetry.metrics.boxes import BoxPrediction, BoxTruth, Label
from perimetry.metrics.coco import accumulated, evaluated_by_coco, score_of
from perimetry.metrics.unavailable import Score

_LARGEST = 1e5  # pixels: nothing is larger, as in COCO's own ranges


@dataclass(frozen=True, slots=True)
class SizeScores:
    """Of the objects of one range of sizes: how many there are, and how well they were found.

    ap50: average precision at an overlap of 0.50; ar100: recall averaged over the overlaps 0.50 to 0.95, recall50: at
    0.50, both with at most 100 detections of a class per image. `Unavailable` where there is no object.
    """

    objects: int
    ap50: Score
    ar100: Score
    recall50: Score


def coco_by_size(
    truth: Mapping[str, BoxTruth],
    predicted: Mapping[str, BoxPrediction],
    *,
    sizes: Sequence[float],
    classes: Iterable[Label] | None = None,
) -> dict[str, SizeScores]:
    """Score detections as `coco_scores` does, "all" and in each range of sizes: "0-16", "16-48", "48+".

    sizes: the bounds in pixels, from small to large; an object's size is the side of the square that has its area
    (COCO's own bounds are 32 and 96). As with COCO's, an object of a bound belongs to both ranges, and a detection
    that is of another range and finds nothing harms no precision.

    Raises `MissingExtraError` without faster-coco-eval, `InputError` for bounds that do not rise, and for images and
    classes that the truth does not know.

    >>> truth = {"a": BoxTruth([[0, 0, 8, 8], [20, 20, 60, 60]], ["cat", "cat"])}
    >>> seen = coco_by_size(truth, {"a": BoxPrediction([[20, 20, 60, 60]], [0.9], ["cat"])}, sizes=(16,))
    >>> {name: (each.objects, each.recall50) for name, each in seen.items()}
    {'all': (2, 0.5), '0-16': (1, 0.0), '16+': (1, 1.0)}
    """
    bounds = (0.0, *map(float, sizes), _LARGEST)
    if len(bounds) < 3 or not all(low < high for low, high in pairwise(bounds)):
        raise InputError(
            f"expected bounds of sizes that rise, above 0 and below {_LARGEST:g}, as 16,48, in pixels; got "
            f"{tuple(sizes)}"
        )
    seen = accumulated(truth, predicted, classes)
    names = ["all", *(f"{low:g}-{high:g}" for low, high in pairwise(bounds[:-1])), f"{bounds[-2]:g}+"]
    ranges = [(0.0, _LARGEST**2), *((low**2, high**2) for low, high in pairwise(bounds))]
    evaluator = evaluated_by_coco(seen, areas=ranges)
    # (overlaps, classes, areas), and with recalls behind overlaps, of the largest number of detections.
    recall = evaluator.eval["recall"].reshape(10, len(seen.classes), -1, 3)[..., 2]
    precision = evaluator.eval["precision"].reshape(10, 101, len(seen.classes), -1, 3)[0, ..., 2]
    areas = np.concatenate([each.areas[~each.difficult] for each in truth.values()])
    found = {}
    for place, (name, (low, high)) in enumerate(zip(names, ranges, strict=True)):
        found[name] = SizeScores(
            objects=int(((areas >= low) & (areas <= high)).sum()),
            ap50=_mean(precision[:, :, place]),
            ar100=_mean(recall[:, :, place]),
            recall50=_mean(recall[0, :, place]),
        )
    return found


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Score:
    """Over classes that have an object; COCO writes -1 for the others."""
    told = values[values > -1]
    return score_of(float(told.mean()) if len(told) else -1.0)
