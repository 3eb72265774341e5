"""Scores of semantic masks: pixel accuracy, intersection over union, Dice, from one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perimetry.metrics.averages import ClassDecisions, mean_of, weighted_mean_of
from perimetry.metrics.confusion import ConfusionAccumulator, ConfusionMatrix, confusion_matrix
from perimetry.metrics.decisions import ratio
from perimetry.metrics.unavailable import Score


@dataclass(frozen=True, slots=True)
class MaskScores:
    """How well a mask's classes were told (the definitions of Long et al. 2015, and Dice), over all its pixels.

    A class that is neither in the truth nor predicted has no IoU and no Dice; means leave it out. A class that was
    only predicted has IoU 0, and counts. Nothing counted: everything is `Unavailable`.

    >>> seen = MaskScores(ConfusionMatrix([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    >>> seen.pixel_accuracy, seen.iou[:2], seen.miou
    (0.875, (0.75, 0.8), 0.775)
    >>> seen.iou[2]
    Unavailable(reason='class 2 is neither in the truth nor predicted')
    """

    confusion: ConfusionMatrix

    @property
    def per_class(self) -> ClassDecisions:
        """Each class's pixels against all others'."""
        return self.confusion.per_class

    @property
    def pixel_accuracy(self) -> Score:
        """Share of the pixels whose class is right."""
        return ratio(int(self.confusion.counts.trace()), self.confusion.total, "no pixel was counted")

    @property
    def accuracy(self) -> tuple[Score, ...]:
        """Per class: the share of its true pixels that were told (its recall)."""
        return tuple(
            ratio(seen.tp, seen.positives, f"class {index} is not in the truth")
            for index, seen in enumerate(self.per_class.each)
        )

    @property
    def mean_accuracy(self) -> Score:
        """The mean of `accuracy` over the classes that are in the truth."""
        return mean_of(self.accuracy, "no pixel was counted")

    @property
    def iou(self) -> tuple[Score, ...]:
        """Per class: intersection over union of its true and predicted pixels."""
        return tuple(
            ratio(seen.tp, seen.tp + seen.fp + seen.fn, f"class {index} is neither in the truth nor predicted")
            for index, seen in enumerate(self.per_class.each)
        )

    @property
    def miou(self) -> Score:
        """The mean of `iou` over the classes that have one."""
        return mean_of(self.iou, "no pixel was counted")

    @property
    def frequency_weighted_iou(self) -> Score:
        """The mean of `iou`, each class weighted by its true pixels."""
        return weighted_mean_of(self.iou, [seen.positives for seen in self.per_class.each], "no pixel was counted")

    @property
    def dice(self) -> tuple[Score, ...]:
        """Per class: twice the intersection over the sum of the areas (F1)."""
        return tuple(
            ratio(2 * seen.tp, 2 * seen.tp + seen.fp + seen.fn, f"class {index} is neither in the truth nor predicted")
            for index, seen in enumerate(self.per_class.each)
        )

    @property
    def mean_dice(self) -> Score:
        """The mean of `dice` over the classes that have one."""
        return mean_of(self.dice, "no pixel was counted")


def mask_scores(truth: Any, predicted: Any, *, classes: int, ignore: int | None = None) -> MaskScores:
    """Score masks of labels 0 ... classes - 1, arrays or tensors of one shape; true pixels of `ignore` are left out.

    Takes and raises what `confusion_matrix` does.

    >>> mask_scores([[0, 0], [1, 255]], [[0, 1], [1, 0]], classes=2, ignore=255).iou
    (0.5, 0.5)
    """
    return MaskScores(confusion_matrix(truth, predicted, classes=classes, ignore=ignore))


class MaskAccumulator:
    """Mask scores over batches and processes: pixels of all images are counted together, as mIoU is published.

    >>> seen = MaskAccumulator(classes=2)
    >>> seen.update([[0, 0]], [[0, 1]]); seen.update([[1, 1]], [[1, 1]])
    >>> seen.compute().pixel_accuracy
    0.75
    """

    def __init__(self, *, classes: int, ignore: int | None = None) -> None:
        self._pairs = ConfusionAccumulator(classes=classes, ignore=ignore)

    def update(self, truth: Any, predicted: Any) -> None:
        """Count masks of any one shape. On an error nothing is counted."""
        self._pairs.update(truth, predicted)

    def merge(self, other: MaskAccumulator) -> None:
        """Add what another one counted."""
        self._pairs.merge(other._pairs)

    def compute(self) -> MaskScores:
        """The scores of all that was counted."""
        return MaskScores(self._pairs.compute())
