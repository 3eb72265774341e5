"""Decisions: true and false positives and negatives, and the rates that come from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perimetry.errors import InputError
from perimetry.metrics.unavailable import Score, Unavailable


@dataclass(frozen=True, slots=True)
class Decisions:
    """Counts of yes-or-no decisions: true and false positives, true and false negatives.

    A rate whose denominator is zero is `Unavailable`, with the reason.

    >>> seen = Decisions(tp=6, fp=2, tn=10, fn=2)
    >>> seen.precision, seen.recall, seen.f1
    (0.75, 0.75, 0.75)
    """

    tp: int
    fp: int
    tn: int
    fn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.tn, self.fn) < 0:
            raise InputError(f"expected counts from 0, got {self}")

    def __add__(self, other: Decisions) -> Decisions:
        return Decisions(self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn)

    @property
    def positives(self) -> int:
        """How many are truly positive: the support."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """How many are truly negative."""
        return self.tn + self.fp

    @property
    def total(self) -> int:
        """How many decisions there are."""
        return self.positives + self.negatives

    @property
    def tpr(self) -> Score:
        """True positive rate (recall, sensitivity): TP / (TP + FN)."""
        return ratio(self.tp, self.positives, "no positive in the truth")

    @property
    def recall(self) -> Score:
        """The true positive rate."""
        return self.tpr

    @property
    def fnr(self) -> Score:
        """False negative rate (miss rate): FN / (TP + FN)."""
        return ratio(self.fn, self.positives, "no positive in the truth")

    @property
    def fpr(self) -> Score:
        """False positive rate (fall-out): FP / (FP + TN)."""
        return ratio(self.fp, self.negatives, "no negative in the truth")

    @property
    def tnr(self) -> Score:
        """True negative rate (specificity): TN / (FP + TN)."""
        return ratio(self.tn, self.negatives, "no negative in the truth")

    @property
    def precision(self) -> Score:
        """Share of the predicted positives that are right: TP / (TP + FP)."""
        return ratio(self.tp, self.tp + self.fp, "nothing was predicted positive")

    @property
    def npv(self) -> Score:
        """Negative predictive value: TN / (TN + FN)."""
        return ratio(self.tn, self.tn + self.fn, "nothing was predicted negative")

    @property
    def accuracy(self) -> Score:
        """Share of right decisions."""
        return ratio(self.tp + self.tn, self.total, "no decision was counted")

    @property
    def balanced_accuracy(self) -> Score:
        """The mean of the true positive and the true negative rate."""
        rates = (self.tpr, self.tnr)
        for rate in rates:
            if isinstance(rate, Unavailable):
                return rate
        return (self.tp / self.positives + self.tn / self.negatives) / 2

    @property
    def iou(self) -> Score:
        """Intersection over union (Jaccard): TP / (TP + FP + FN)."""
        return ratio(self.tp, self.tp + self.fp + self.fn, "neither in the truth nor predicted")

    @property
    def f1(self) -> Score:
        """The harmonic mean of precision and recall (Dice): 2 TP / (2 TP + FP + FN)."""
        return self.f_beta(1)

    def f_beta(self, beta: float) -> Score:
        """The weighted harmonic mean, recall counting `beta` times as much as precision; beta > 0.

        From counts, so that it is 0 where nothing was predicted though something was there (van Rijsbergen 1979).
        """
        check_beta(beta)
        square = beta * beta
        hits = (1 + square) * self.tp
        return ratio(hits, hits + square * self.fn + self.fp, "neither in the truth nor predicted")

    @property
    def mcc(self) -> Score:
        """Matthews correlation coefficient, -1 ... 1: TP TN - FP FN over the root of the four margins' product."""
        margins = (self.tp + self.fp, self.positives, self.negatives, self.tn + self.fn)
        if 0 in margins:
            return Unavailable("truth or prediction holds one class only")
        # Integers are exact and may exceed 64 bits: one root of each pair keeps the floats in range.
        return (self.tp * self.tn - self.fp * self.fn) / (
            math.sqrt(margins[0] * margins[1]) * math.sqrt(margins[2] * margins[3])
        )


def ratio(part: float, whole: float, otherwise: str) -> Score:
    """Part over whole, or why there is none.

    >>> ratio(1, 4, ""), ratio(0, 0, "no pixel was counted")
    (0.25, Unavailable(reason='no pixel was counted'))
    """
    return part / whole if whole else Unavailable(otherwise)


def check_beta(beta: float) -> None:
    """Raise `InputError` unless beta weighs recall by something."""
    if not 0 < beta < math.inf:
        raise InputError(f"expected beta above 0 (1 weighs precision and recall alike), got {beta}")
