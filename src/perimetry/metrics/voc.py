"""Average precision of detections as PASCAL VOC defines it, of 2007 and from 2010 on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError
from perimetry.metrics.averages import mean_of
from perimetry.metrics.boxes import BoxPrediction, BoxTruth, Label, check_known
from perimetry.metrics.matching import Matching, match_boxes
from perimetry.metrics.unavailable import Score, Unavailable

NOTHING = BoxPrediction((), (), ())


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCurve:
    """A class's detections from the highest score down, those that count: scores, and true and false so far, (K,) each.

    positives: the objects that are to be found (not difficult).

    >>> curve = DetectionCurve(np.array([0.9, 0.8]), np.array([1, 1]), np.array([0, 1]), positives=2)
    >>> curve.voc07_ap, curve.voc_ap
    (0.5454545454545454, 0.5)
    """

    scores: npt.NDArray[np.float64]
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]
    positives: int

    @property
    def recall(self) -> npt.NDArray[np.float64] | Unavailable:
        """Share of the objects found so far."""
        return self.tp / self.positives if self.positives else Unavailable("no object of this class")

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Share of the detections so far that are true."""
        return self.tp / (self.tp + self.fp)

    @property
    def voc07_ap(self) -> Score:
        """VOC 2007: the mean, over the recalls 0, 0.1 ... 1, of the best precision at that recall or beyond.

        Recalls are compared as fractions: 3 objects of 10 reach 0.3, where the devkit's sum of tenths may miss it.
        """
        if not self.positives:
            return Unavailable("no object of this class")
        best = self._best_from_here()
        # `tp` ascends, so that the first place which reaches k tenths is found by bisection.
        reached = np.searchsorted(10 * self.tp, np.arange(11) * self.positives)
        return float(np.append(best, 0.0)[reached].sum() / 11)

    @property
    def voc_ap(self) -> Score:
        """VOC 2010 on: the area under precision made monotonic, at every recall."""
        if not self.positives:
            return Unavailable("no object of this class")
        return float((np.diff(self.tp, prepend=0) * self._best_from_here()).sum() / self.positives)

    def _best_from_here(self) -> npt.NDArray[np.float64]:
        return np.maximum.accumulate(self.precision[::-1])[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class VocScores:
    """Detections scored class by class, and the matching of every image.

    A class without objects has no average precision, and the means leave it out.
    """

    curves: Mapping[Label, DetectionCurve]
    images: Mapping[str, Matching]

    @property
    def voc07_ap(self) -> dict[Label, Score]:
        """Per class: average precision by eleven points."""
        return {label: curve.voc07_ap for label, curve in self.curves.items()}

    @property
    def voc_ap(self) -> dict[Label, Score]:
        """Per class: average precision by area."""
        return {label: curve.voc_ap for label, curve in self.curves.items()}

    @property
    def voc07_map(self) -> Score:
        """The mean of `voc07_ap` over the classes with objects."""
        return mean_of(list(self.voc07_ap.values()), "no object of any class")

    @property
    def voc_map(self) -> Score:
        """The mean of `voc_ap` over the classes with objects."""
        return mean_of(list(self.voc_ap.values()), "no object of any class")


class VocAccumulator:
    """VOC's average precision over images and processes.

    Each image comes once, under its own name. Detections of one score are ranked by their image's name and then in
    the order given, so that no order of updates and merges changes the result.

    >>> seen = VocAccumulator(classes=["cat"])
    >>> seen.update("a.jpg", BoxTruth([[0, 0, 9, 9]], ["cat"]), BoxPrediction([[0, 0, 9, 9]], [0.9], ["cat"]))
    >>> seen.compute().voc07_map
    1.0
    """

    def __init__(self, *, classes: Iterable[Label], iou: float = 0.5, background_iou: float = 0.1) -> None:
        self.classes = tuple(classes)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(f"expected the names of one class or more, each once, got {self.classes}")
        self.iou = iou
        self.background_iou = background_iou
        self._seen: dict[str, tuple[BoxTruth, BoxPrediction, Matching]] = {}

    def update(self, image: str, truth: BoxTruth, predicted: BoxPrediction) -> None:
        """Match one image's detections; raises `InputError` for unknown classes and for an image seen before."""
        check_new([image], self._seen)
        check_known(truth.labels, self.classes, "true boxes")
        check_known(predicted.labels, self.classes, "predicted boxes")
        matching = match_boxes(truth, predicted, iou=self.iou, background_iou=self.background_iou)
        self._seen[image] = (truth, predicted, matching)

    def merge(self, other: VocAccumulator) -> None:
        """Add another one's images."""
        own, others = ((each.classes, each.iou, each.background_iou) for each in (self, other))
        if own != others:
            raise InputError(f"expected an accumulator of (classes, iou, background_iou) {own}, got {others}")
        check_new(other._seen, self._seen)
        self._seen |= other._seen

    def compute(self) -> VocScores:
        """Rank the detections of all images, class by class."""
        images = sorted(self._seen.items())
        positives = dict.fromkeys(self.classes, 0)
        ranked: dict[Label, list[tuple[float, bool]]] = {label: [] for label in self.classes}
        for _, (truth, predicted, matching) in images:
            for label, difficult in zip(truth.labels, truth.difficult, strict=True):
                positives[label] += not difficult
            for label, score, kind in zip(predicted.labels, predicted.scores.tolist(), matching.kinds, strict=True):
                if kind != "ignored":
                    ranked[label].append((score, kind == "true"))
        curves = {label: _curve(ranked[label], positives[label]) for label in self.classes}
        return VocScores(curves, {image: matching for image, (_, _, matching) in images})


def voc_scores(
    truth: Mapping[str, BoxTruth],
    predicted: Mapping[str, BoxPrediction],
    *,
    classes: Iterable[Label] | None = None,
    iou: float = 0.5,
    background_iou: float = 0.1,
) -> VocScores:
    """Score detections by image name as the VOC devkit does; `match_boxes` tells how they are matched.

    An image without an entry in `predicted` has no detections. classes: those to score; by default the truth's.

    Raises `InputError` for images and classes that the truth does not know.

    >>> truth = {"a": BoxTruth([[0, 0, 9, 9], [20, 20, 29, 29]], ["cat", "cat"])}
    >>> told = {"a": BoxPrediction([[0, 0, 9, 9], [50, 50, 59, 59]], [0.9, 0.8], ["cat", "cat"])}
    >>> scores = voc_scores(truth, told)
    >>> scores.voc07_ap["cat"], scores.voc_ap["cat"], scores.images["a"].missed
    (0.5454545454545454, 0.5, (1,))
    """
    check_images(truth, predicted)
    seen = VocAccumulator(classes=classes_of(truth, classes), iou=iou, background_iou=background_iou)
    for image, objects in truth.items():
        seen.update(image, objects, predicted.get(image, NOTHING))
    return seen.compute()


def classes_of(truth: Mapping[str, BoxTruth], classes: Iterable[Label] | None) -> tuple[Label, ...]:
    """The classes given, or those of the truth in order."""
    if classes is not None:
        return tuple(classes)
    return tuple(sorted({label for objects in truth.values() for label in objects.labels}, key=str))


def check_images(truth: Mapping[str, BoxTruth], predicted: Mapping[str, object]) -> None:
    """Raise `InputError` for predictions in images that the truth does not know."""
    if unknown := [image for image in predicted if image not in truth]:
        raise InputError(
            f"there are predictions for {len(unknown)} images that the truth does not know, such as {unknown[0]!r}; "
            "name images alike in both, and give images without objects an empty BoxTruth"
        )


def check_new(images: Iterable[str], seen: Mapping[str, object]) -> None:
    """Raise `InputError` for an image that was counted before."""
    for image in images:
        if image in seen:
            raise InputError(f"the image {image!r} was counted before; give each image once, under its own name")


def _curve(detections: Sequence[tuple[float, bool]], positives: int) -> DetectionCurve:
    """The curve of (score, whether it is true), given in the order that breaks ties."""
    ranked = sorted(detections, key=lambda each: -each[0])
    scores = np.array([score for score, _ in ranked], dtype=np.float64)
    true = np.array([right for _, right in ranked], dtype=np.int64)
    return DetectionCurve(scores, true.cumsum(), (1 - true).cumsum(), positives)
