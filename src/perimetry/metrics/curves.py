"""What each threshold on a score decides: ROC and precision-recall curves, their areas, and the best threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError
from perimetry.metrics.decisions import Decisions, check_beta
from perimetry.metrics.unavailable import Score, Unavailable

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """One point (x, y) per threshold, from the highest threshold to the lowest. Each array is (T,)."""

    x: Floats
    y: Floats
    thresholds: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """The threshold whose decisions score best, what they score, and the decisions."""

    threshold: float
    score: float
    decisions: Decisions


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdSweep:
    """The decisions "score >= threshold" for every threshold that changes any of them, highest first.

    thresholds, tp, fp: (T,) each; positives, negatives: how many samples there are.
    resolution: 0 where every score was kept; else the step at which scores were counted. The counts at the thresholds
    listed are exact in either case.

    >>> seen = ThresholdSweep(np.array([0.9, 0.6, 0.2]), np.array([1, 1, 2]), np.array([0, 1, 1]), 2, 1)
    >>> seen.roc_area, seen.average_precision, seen.at(0.5)
    (0.5, 0.8333333333333333, Decisions(tp=1, fp=1, tn=0, fn=1))
    """

    thresholds: npt.NDArray[Any]
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]
    positives: int
    negatives: int
    resolution: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.thresholds) == len(self.tp) == len(self.fp):
            raise InputError(
                f"expected as many counts as thresholds, got {len(self.thresholds)} thresholds, "
                f"{len(self.tp)} and {len(self.fp)} counts"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ThresholdSweep):
            return NotImplemented
        facts = [(each.positives, each.negatives, each.resolution) for each in (self, other)]
        arrays = [(each.thresholds, each.tp, each.fp) for each in (self, other)]
        return facts[0] == facts[1] and all(np.array_equal(one, two) for one, two in zip(*arrays, strict=True))

    def __hash__(self) -> int:
        return hash((self.positives, self.negatives, self.resolution, self.tp.tobytes()))

    def at(self, threshold: float) -> Decisions:
        """The decisions "score >= threshold".

        Raises `InputError` for a threshold between two steps of the resolution, where the counts are not known.
        """
        if math.isnan(threshold):
            raise InputError("expected a number as threshold, got NaN")
        if self.resolution and 0 < threshold <= 1 and not (threshold / self.resolution).is_integer():
            raise InputError(
                f"scores were counted in steps of {self.resolution}, and {threshold} lies between two; "
                "round it to a step, or keep all scores (SweepAccumulator)"
            )
        return self._decisions(int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1)

    @property
    def roc(self) -> Curve | Unavailable:
        """False positive rate (x) and true positive rate (y), from the point (0, 0) at an infinite threshold on."""
        if missing := self._missing(both=True):
            return missing
        return Curve(
            x=np.concatenate(([0.0], self.fp / self.negatives)),
            y=np.concatenate(([0.0], self.tp / self.positives)),
            thresholds=np.concatenate(([math.inf], self.thresholds)),
        )

    @property
    def precision_recall(self) -> Curve | Unavailable:
        """Recall (x) and precision (y); where nothing is predicted there is no precision, and no point."""
        if missing := self._missing():
            return missing
        return Curve(self.tp / self.positives, self._precision(), self.thresholds)

    @property
    def roc_area(self) -> Score:
        """Area under the ROC curve (trapezoids): how likely a positive scores higher than a negative, ties half."""
        if missing := self._missing(both=True):
            return missing
        below = np.diff(self.fp, prepend=0)
        heights = self.tp + np.concatenate(([0], self.tp[:-1]))
        return _sum_of_products(below, heights, 2 * self.positives * self.negatives)

    @property
    def roc_area_within(self) -> Score:
        """How far `roc_area` may lie from that of all scores: half the pairs that share a step; 0 if all were kept."""
        if not self.resolution:
            return 0.0
        if missing := self._missing(both=True):
            return missing
        steps = np.diff(self.tp, prepend=0), np.diff(self.fp, prepend=0)
        return _sum_of_products(*steps, 2 * self.positives * self.negatives)

    @property
    def average_precision(self) -> Score:
        """Sum of precision times growth of recall over the thresholds; no interpolation (as scikit-learn)."""
        if missing := self._missing():
            return missing
        return float(np.sum(np.diff(self.tp, prepend=0) * self._precision()) / self.positives)

    @property
    def precision_recall_area(self) -> Score:
        """Area under the precision-recall curve by trapezoids, begun at recall 0 with precision 1: optimistic."""
        if missing := self._missing():
            return missing
        precision = np.concatenate(([1.0], self._precision()))
        growth = np.diff(self.tp, prepend=0)
        return float(np.sum(growth * (precision[1:] + precision[:-1])) / (2 * self.positives))

    def f_beta(self, beta: float = 1) -> Floats | Unavailable:
        """F at each threshold, (T,)."""
        check_beta(beta)
        if missing := self._missing():
            return missing
        square = beta * beta
        found: Floats = (1 + square) * self.tp / (self.tp + self.fp + square * self.positives)
        return found

    def best_f(self, beta: float = 1) -> BestThreshold | Unavailable:
        """The threshold of the largest F; of equal ones the highest."""
        scores = self.f_beta(beta)
        if isinstance(scores, Unavailable):
            return scores
        best = int(scores.argmax())
        return BestThreshold(float(self.thresholds[best]), float(scores[best]), self._decisions(best))

    def _precision(self) -> Floats:
        return self.tp / (self.tp + self.fp)

    def _decisions(self, index: int) -> Decisions:
        tp, fp = (int(self.tp[index]), int(self.fp[index])) if index >= 0 else (0, 0)
        return Decisions(tp=tp, fp=fp, tn=self.negatives - fp, fn=self.positives - tp)

    def _missing(self, *, both: bool = False) -> Unavailable | None:
        if not self.positives + self.negatives:
            return Unavailable("no sample was counted")
        if not self.positives:
            return Unavailable("no positive sample")
        return Unavailable("no negative sample") if both and not self.negatives else None


def _sum_of_products(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], whole: int) -> float:
    """The sum over `whole`, which bounds it: in integers, which have no order of summation, while they suffice."""
    if whole < 1 << 63:
        return int(np.dot(one, other)) / whole
    return float(np.dot(one.astype(np.float64), other.astype(np.float64)) / whole)
