"""Average precision and recall of detections as COCO defines them, by faster-coco-eval."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perimetry.errors import InputError, MissingExtraError
from perimetry.metrics.boxes import BoxPrediction, BoxTruth, Label, check_known
from perimetry.metrics.unavailable import Score, Unavailable
from perimetry.metrics.voc import NOTHING, check_images, check_new, classes_of

# In the evaluator's order.
PRECISIONS = ("coco_ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALLS = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


@dataclass(frozen=True, slots=True)
class CocoScores:
    """COCO's numbers. Each is `Unavailable` where there is no object that it is about.

    coco_ap: average precision at 101 recalls, averaged over classes and the overlaps 0.50, 0.55 ... 0.95; ap50, ap75:
    at one overlap; ap_small, ap_medium, ap_large: of objects below 32^2, between, above 96^2 pixels of area.
    ar1, ar10, ar100: average recall with at most so many detections per image; ar_small ... with 100.
    per_class: coco_ap of each class.
    """

    coco_ap: Score
    ap50: Score
    ap75: Score
    ap_small: Score
    ap_medium: Score
    ap_large: Score
    ar1: Score
    ar10: Score
    ar100: Score
    ar_small: Score
    ar_medium: Score
    ar_large: Score
    per_class: Mapping[Label, Score]


class CocoAccumulator:
    """COCO's average precision over images and processes: keeps the boxes, each image once, under its own name.

    Detections of one score are ranked by their image's name and then in the order given. Coordinates are edges, so that
    widths are x2 - x1; `difficult` objects are COCO's crowds. Raises `MissingExtraError` without faster-coco-eval.
    """

    def __init__(self, *, classes: Iterable[Label]) -> None:
        if importlib.util.find_spec("faster_coco_eval") is None:
            raise MissingExtraError("faster-coco-eval", needed_for="COCO's average precision", extra="coco")
        self.classes = tuple(classes)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(f"expected the names of one class or more, each once, got {self.classes}")
        self._seen: dict[str, tuple[BoxTruth, BoxPrediction]] = {}

    def update(self, image: str, truth: BoxTruth, predicted: BoxPrediction) -> None:
        """Keep one image's boxes; raises `InputError` for unknown classes and for an image seen before."""
        check_new([image], self._seen)
        check_known(truth.labels, self.classes, "true boxes")
        check_known(predicted.labels, self.classes, "predicted boxes")
        self._seen[image] = (truth, predicted)

    def merge(self, other: CocoAccumulator) -> None:
        """Add another one's images."""
        if other.classes != self.classes:
            raise InputError(f"expected an accumulator of the classes {self.classes}, got {other.classes}")
        check_new(other._seen, self._seen)
        self._seen |= other._seen

    def compute(self) -> CocoScores:
        """Evaluate all images."""
        evaluator = evaluated_by_coco(self)
        evaluator.summarize()
        averages = {
            name: score_of(value) for name, value in zip(PRECISIONS + RECALLS, evaluator.stats[:12], strict=True)
        }
        # (overlaps, recalls, classes, areas, limits of detections): all areas, and the last limit.
        precision = evaluator.eval["precision"].reshape(10, 101, len(self.classes), 4, 3)[:, :, :, 0, 2]
        each = [score_of(precision[:, :, at].mean()) for at in range(len(self.classes))]
        return CocoScores(**averages, per_class=dict(zip(self.classes, each, strict=True)))


def coco_scores(
    truth: Mapping[str, BoxTruth],
    predicted: Mapping[str, BoxPrediction],
    *,
    classes: Iterable[Label] | None = None,
) -> CocoScores:
    """Score detections by image name as COCO does; `CocoAccumulator` tells the conventions.

    An image without an entry in `predicted` has no detections. classes: those to score; by default the truth's.

    Raises `MissingExtraError` without faster-coco-eval, `InputError` for images and classes that the truth does not
    know.

    >>> truth = {"a": BoxTruth([[0, 0, 10, 10]], ["cat"])}
    >>> scores = coco_scores(truth, {"a": BoxPrediction([[0, 0, 10, 8]], [0.9], ["cat"])})
    >>> scores.ap50, round(scores.coco_ap, 3), scores.ap_large
    (1.0, 0.7, Unavailable(reason='no object that it is about'))
    """
    return accumulated(truth, predicted, classes).compute()


def accumulated(
    truth: Mapping[str, BoxTruth], predicted: Mapping[str, BoxPrediction], classes: Iterable[Label] | None
) -> CocoAccumulator:
    """All images, for what `coco_scores` and `coco_by_size` tell of them; raises as they do."""
    check_images(truth, predicted)
    known = classes_of(truth, classes)
    if not known:
        raise InputError("the truth holds no object; name the classes to score with classes=")
    seen = CocoAccumulator(classes=known)
    for image, objects in truth.items():
        seen.update(image, objects, predicted.get(image, NOTHING))
    return seen


def evaluated_by_coco(seen: CocoAccumulator, *, areas: Sequence[tuple[float, float]] | None = None) -> Any:
    """faster-coco-eval's evaluator, run. Its ids are counted from 1 (pycocotools takes 0 for none).

    areas: ranges of the objects' areas in place of COCO's; the first one is of all.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    classes, images = seen.classes, sorted(seen._seen.items())
    number = {label: at for at, label in enumerate(classes, start=1)}
    objects: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image, (_, (truth, predicted)) in enumerate(images, start=1):
        for at, (label, box) in enumerate(zip(truth.labels, _xywh(truth.boxes_xyxy), strict=True)):
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image,
                    "category_id": number[label],
                    "bbox": box,
                    "area": float(truth.areas[at]),
                    "iscrowd": int(truth.difficult[at]),
                }
            )
        for at, (label, box) in enumerate(zip(predicted.labels, _xywh(predicted.boxes_xyxy), strict=True)):
            score = float(predicted.scores[at])
            detections.append({"image_id": image, "category_id": number[label], "bbox": box, "score": score})
    truth_set = COCO(
        {
            "info": {},
            "images": [{"id": image} for image in range(1, len(images) + 1)],
            "annotations": objects,
            "categories": [{"id": at, "name": str(label)} for label, at in number.items()],
        }
    )
    evaluator = COCOeval_faster(truth_set, truth_set.loadRes(detections), iouType="bbox", print_function=_silent)
    if areas is not None:
        evaluator.params.areaRng = [list(each) for each in areas]
        evaluator.params.areaRngLbl = ["all", *map(str, range(1, len(areas)))]
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def _xywh(boxes: Any) -> list[list[float]]:
    sized: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return sized


def score_of(value: float) -> Score:
    """COCO writes -1 where nothing is to be found."""
    return Unavailable("no object that it is about") if value < 0 else float(value)


def _silent(*_: Any) -> None:
    """COCO's evaluator prints its progress; a library does not."""
