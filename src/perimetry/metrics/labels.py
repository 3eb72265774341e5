"""Scores of labels: one class per sample (multi-class), or any number of them (multi-label)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.averages import ClassDecisions, mean_of
from perimetry.metrics.chunks import DEVICE_PIECE, HOST_PIECE, as_labels, same_shape, tensor_of
from perimetry.metrics.confusion import ConfusionAccumulator, ConfusionMatrix, confusion_matrix
from perimetry.metrics.decisions import Decisions, ratio
from perimetry.metrics.unavailable import Score, Unavailable


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How well samples of one class each were told.

    `per_class` holds each class against all others, with its micro, macro and weighted averages.

    >>> seen = label_scores([0, 0, 1, 2], [0, 1, 1, 2], classes=3)
    >>> seen.accuracy, seen.per_class.macro("recall")
    (0.75, 0.8333333333333334)
    """

    confusion: ConfusionMatrix

    @property
    def per_class(self) -> ClassDecisions:
        """Each class's decisions, and their averages."""
        return self.confusion.per_class

    @property
    def accuracy(self) -> Score:
        """Share of the samples whose class is right."""
        return ratio(int(self.confusion.counts.trace()), self.confusion.total, "no sample was counted")

    @property
    def balanced_accuracy(self) -> Score:
        """The mean recall over the classes that are in the truth."""
        return mean_of(self.per_class.rates("recall"), "no sample was counted")

    @property
    def mcc(self) -> Score:
        """Matthews correlation coefficient of many classes (Gorodkin's R_K, 2004), at most 1."""
        counts = self.confusion.counts
        # Python's integers do not overflow.
        true = [int(each) for each in counts.sum(axis=1)]
        told = [int(each) for each in counts.sum(axis=0)]
        total, right = self.confusion.total, int(counts.trace())
        spread = total**2 - sum(each**2 for each in true), total**2 - sum(each**2 for each in told)
        if 0 in spread:
            return Unavailable("truth or prediction holds one class only" if total else "no sample was counted")
        covariance = right * total - sum(one * other for one, other in zip(true, told, strict=True))
        return covariance / (math.sqrt(spread[0]) * math.sqrt(spread[1]))


def label_scores(truth: Any, predicted: Any, *, classes: int, ignore: int | None = None) -> LabelScores:
    """Score labels 0 ... classes - 1, one per sample; samples whose truth is `ignore` are left out.

    Takes and raises what `confusion_matrix` does.

    >>> label_scores([0, 1, 1], [0, 1, 0], classes=2).per_class[1].precision
    1.0
    """
    return LabelScores(confusion_matrix(truth, predicted, classes=classes, ignore=ignore))


class LabelAccumulator:
    """Label scores over batches and processes.

    >>> seen = LabelAccumulator(classes=2)
    >>> seen.update([0, 1], [0, 1]); seen.update([1], [0])
    >>> seen.compute().per_class[1].recall
    0.5
    """

    def __init__(self, *, classes: int, ignore: int | None = None) -> None:
        self._pairs = ConfusionAccumulator(classes=classes, ignore=ignore)

    def update(self, truth: Any, predicted: Any) -> None:
        """Count labels of any one shape. On an error nothing is counted."""
        self._pairs.update(truth, predicted)

    def merge(self, other: LabelAccumulator) -> None:
        """Add what another one counted."""
        self._pairs.merge(other._pairs)

    def compute(self) -> LabelScores:
        """The scores of all that was counted."""
        return LabelScores(self._pairs.compute())


@dataclass(frozen=True, slots=True)
class MultilabelScores:
    """How well samples of any number of labels were told.

    samples: how many there are; exact: how many have every label right that is not ignored.

    >>> seen = multilabel_scores([[1, 0], [1, 1]], [[1, 0], [0, 1]])
    >>> seen.per_class.micro("recall"), seen.exact_match
    (0.6666666666666666, 0.5)
    """

    per_class: ClassDecisions
    samples: int
    exact: int

    @property
    def exact_match(self) -> Score:
        """Share of the samples with every label right (subset accuracy)."""
        return ratio(self.exact, self.samples, "no sample was counted")

    @property
    def hamming_loss(self) -> Score:
        """Share of the single decisions that are wrong."""
        seen = self.per_class.pooled
        return ratio(seen.fp + seen.fn, seen.total, "no label was counted")


def multilabel_scores(truth: Any, predicted: Any, *, ignore: int | None = None) -> MultilabelScores:
    """Score labels (N, L): 1 or True where sample n has label l, 0 or False where it has not.

    Entries whose truth is `ignore` (-1, say, for "not known") are left out. For scores, compare with a threshold first.

    Raises `ShapeError` for other shapes, `InputError` for other values.

    >>> multilabel_scores([[1, -1], [0, 1]], [[1, 1], [1, 1]], ignore=-1).per_class[0].precision
    0.5
    """
    true, told = as_labels(truth, "truth"), as_labels(predicted, "predicted")
    same_shape(true, told, "predicted")
    if true.ndim != 2 or not true.shape[1]:
        raise ShapeError(f"expected labels (samples, labels), got shape {tuple(true.shape)}; add the missing axis")
    samples, labels = (int(extent) for extent in true.shape)
    totals = torch.zeros(4, labels, dtype=torch.int64)
    exact = 0
    rows = max(1, (DEVICE_PIECE if isinstance(true, Tensor) and true.is_cuda else HOST_PIECE) // labels)
    for start in range(0, samples, rows):
        true_piece = tensor_of(true[start : start + rows])
        told_piece = tensor_of(told[start : start + rows]).to(true_piece.device)
        counts, right = _counts(true_piece, told_piece, ignore)
        totals += counts.cpu()
        exact += right
    each = tuple(Decisions(*(int(count) for count in column)) for column in totals.T)
    return MultilabelScores(ClassDecisions(each), samples, exact)


def _counts(truth: Tensor, predicted: Tensor, ignore: int | None) -> tuple[Tensor, int]:
    """TP, FP, TN and FN (4, L) of a piece, and how many samples are all right."""
    kept = torch.ones_like(truth, dtype=torch.bool) if ignore is None else truth != ignore
    for labels, name in ((truth, "truth"), (predicted, "predicted")):
        wrong = kept & (labels != 0) & (labels != 1)
        if wrong.any():
            raise InputError(
                f"{name} holds the value {int(labels[wrong][0])}; expected 0 and 1 (one column per label); "
                "give ignore= for the value that stands for not known"
            )
    true, told = truth == 1, predicted == 1
    kinds = (kept & true & told, kept & ~true & told, kept & ~true & ~told, kept & true & ~told)
    right = ((true == told) | ~kept).all(dim=1)
    return torch.stack([kind.sum(dim=0) for kind in kinds]), int(right.sum())


class MultilabelAccumulator:
    """Multi-label scores over batches and processes.

    >>> seen = MultilabelAccumulator(labels=2)
    >>> seen.update([[1, 0]], [[1, 0]]); seen.update([[1, 1]], [[0, 1]])
    >>> seen.compute().per_class.micro("recall")
    0.6666666666666666
    """

    def __init__(self, *, labels: int, ignore: int | None = None) -> None:
        if labels < 1:
            raise InputError(f"expected one label or more, got {labels}")
        self.labels = labels
        self.ignore = ignore
        self._sum = MultilabelScores(ClassDecisions((Decisions(0, 0, 0, 0),) * labels), 0, 0)

    def update(self, truth: Any, predicted: Any) -> None:
        """Count labels (N, L). On an error nothing is counted."""
        self._add(multilabel_scores(truth, predicted, ignore=self.ignore))

    def merge(self, other: MultilabelAccumulator) -> None:
        """Add what another one counted."""
        if other.ignore != self.ignore:
            raise InputError(f"expected an accumulator that ignores {self.ignore}, got one that ignores {other.ignore}")
        self._add(other._sum)

    def compute(self) -> MultilabelScores:
        """The scores of all that was counted."""
        return self._sum

    def _add(self, seen: MultilabelScores) -> None:
        if len(seen.per_class) != self.labels:
            raise ShapeError(f"expected {self.labels} labels per sample, got {len(seen.per_class)}")
        each = tuple(one + other for one, other in zip(self._sum.per_class.each, seen.per_class.each, strict=True))
        self._sum = MultilabelScores(
            ClassDecisions(each), self._sum.samples + seen.samples, self._sum.exact + seen.exact
        )
