"""COCO's recall and precision by the size of the objects, at bounds of one's own: recall of tiny objects, say."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perimetry.errors import InputError, MissingExtraError
from perimetry.metrics.boxes import BoxPrediction, BoxTruth, Label, check_known
from perimetry.metrics.coco import evaluated_by_coco, score_of
from perimetry.metrics.unavailable import Score
from perimetry.metrics.voc import NOTHING, check_images, classes_of


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

    Raises `MissingExtraError` without faster-coco-eval, `InputError` for bounds that do not rise.

    >>> truth = {"a": BoxTruth([[0, 0, 8, 8], [20, 20, 60, 60]], ["cat", "cat"])}
    >>> seen = coco_by_size(truth, {"a": BoxPrediction([[20, 20, 60, 60]], [0.9], ["cat"])}, sizes=(16,))
    >>> {name: (each.objects, each.recall50) for name, each in seen.items()}
    {'all': (2, 0.5), '0-16': (1, 0.0), '16+': (1, 1.0)}
    """
    bounds = (0.0, *map(float, sizes))
    if len(bounds) < 2 or not all(low < high for low, high in pairwise(bounds)) or not np.isfinite(bounds).all():
        raise InputError(f"expected bounds of sizes above 0 that rise, as 16,48, in pixels; got {tuple(sizes)}")
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise MissingExtraError("faster-coco-eval", needed_for="recall by size", extra="coco")
    check_images(truth, predicted)
    known = classes_of(truth, classes)
    if not known:
        raise InputError("the truth holds no object; name the classes to score with classes=")
    for name, objects in truth.items():
        check_known(objects.labels, known, "true boxes")
        check_known(predicted.get(name, NOTHING).labels, known, "predicted boxes")
    names = [f"{low:g}-{high:g}" for low, high in pairwise(bounds)] + [f"{bounds[-1]:g}+"]
    # Areas; nothing is larger than the last bound, as in COCO's own.
    ranges = [(low**2, high**2) for low, high in pairwise((*bounds, 1e5))]
    images = [(name, (truth[name], predicted.get(name, NOTHING))) for name in sorted(truth)]
    evaluator = evaluated_by_coco(known, images, areas=[(0.0, 1e10), *ranges])
    # (overlaps, classes, areas), and with recalls behind overlaps, of the largest number of detections.
    recall = evaluator.eval["recall"].reshape(10, len(known), -1, 3)[..., 2]
    precision = evaluator.eval["precision"].reshape(10, 101, len(known), -1, 3)[0, ..., 2]
    areas = np.concatenate([each.areas[~each.difficult] for each in truth.values()])
    found = {}
    for place, (name, (low, high)) in enumerate(zip(("all", *names), ((0.0, 1e10), *ranges), strict=True)):
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
