"""Threshold sweeps from scores: exact with all scores kept, or counted in steps within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perimetry.errors import InputError
from perimetry.metrics.chunks import as_labels, as_scores, pieces, same_shape
from perimetry.metrics.curves import ThresholdSweep

BINS = 4096
Array = npt.NDArray[Any]


def threshold_sweep(truth: Any, scores: Any, *, ignore: int | None = None) -> ThresholdSweep:
    """Sweep a threshold over scores (any scale, the higher the more positive), exactly.

    truth: 1 or True where positive, 0 or False where not, in the shape of scores; elements whose truth is `ignore` are
    left out. For one class of many: `threshold_sweep(truth == c, scores[:, c])`. Memory: each score is kept
    (integers as float64), and sorting takes about 20 bytes more for each; the sweep 20 bytes per different score.

    Raises `InputError` for NaN and for truth other than 0 and 1, `ShapeError` for shapes that differ.

    >>> seen = threshold_sweep([1, 0, 1, 0], [0.9, 0.6, 0.6, 0.1])
    >>> seen.roc_area, seen.best_f().threshold
    (0.875, 0.6)
    """
    seen = SweepAccumulator(ignore=ignore)
    seen.update(truth, scores)
    return seen.compute()


def binned_threshold_sweep(truth: Any, scores: Any, *, bins: int = BINS, ignore: int | None = None) -> ThresholdSweep:
    """Sweep the thresholds k / bins over scores from 0 to 1, in memory that does not depend on how many there are.

    bins: a power of two, so that no rounding moves a score over a threshold. Counts at those thresholds are exact; the
    area's uncertainty is `roc_area_within`. Takes and raises what `threshold_sweep` does, and `InputError` for scores
    outside 0 ... 1 (apply the sigmoid or softmax first).

    >>> seen = binned_threshold_sweep([1, 0, 1, 0], [0.9, 0.6, 0.6, 0.1], bins=4)
    >>> seen.thresholds, seen.roc_area, seen.roc_area_within
    (array([0.75, 0.5 , 0.  ]), 0.875, 0.125)
    """
    seen = BinnedSweepAccumulator(bins=bins, ignore=ignore)
    seen.update(truth, scores)
    return seen.compute()


class SweepAccumulator:
    """An exact sweep over batches and processes: keeps every score.

    >>> seen = SweepAccumulator()
    >>> seen.update([1, 0], [0.9, 0.6]); seen.update([1, 0], [0.6, 0.1])
    >>> seen.compute().roc_area
    0.875
    """

    def __init__(self, *, ignore: int | None = None) -> None:
        self.ignore = ignore
        self._positive: list[Array] = []
        self._negative: list[Array] = []

    def update(self, truth: Any, scores: Any) -> None:
        """Keep the scores of elements of any one shape. On an error nothing is kept."""
        positive: list[Array] = []
        negative: list[Array] = []
        for true, values, kept in _checked(truth, scores, self.ignore):
            score, is_positive = values.cpu().numpy(), true.cpu().numpy()
            is_negative = ~is_positive if kept is None else kept.cpu().numpy() & ~is_positive
            positive.append(score.compress(is_positive))
            negative.append(score.compress(is_negative))
        self._positive += [np.concatenate(positive)] if positive else []
        self._negative += [np.concatenate(negative)] if negative else []

    def merge(self, other: SweepAccumulator) -> None:
        """Add the scores of another one."""
        _alike(self.ignore, other.ignore)
        # Copies of the lists, so that one merged with itself ends.
        self._positive += list(other._positive)
        self._negative += list(other._negative)

    def compute(self) -> ThresholdSweep:
        """Sort what was kept, and count."""
        positives, negatives = (sum(len(part) for part in parts) for parts in (self._positive, self._negative))
        if not positives + negatives:
            empty = np.empty(0, dtype=np.int64)
            return ThresholdSweep(np.empty(0), empty, empty, 0, 0)
        scores = np.concatenate(self._positive + self._negative)
        scores[:positives].sort()
        scores[positives:].sort()
        # A stable sort of two sorted runs is a merge, in linear time. What is done with is dropped: it is large.
        order = np.argsort(scores, kind="stable")
        scores = scores[order]
        from_positive = order < positives
        del order
        first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
        thresholds = scores[first][::-1] + scores.dtype.type(0)  # -0 becomes 0, whichever came first
        del scores
        positives_upto = np.cumsum(from_positive, dtype=np.int32 if positives < 1 << 31 else np.int64)
        positives_below = np.zeros(len(first), dtype=np.int64)
        positives_below[1:] = positives_upto[first[1:] - 1]
        del positives_upto
        tp, fp = positives - positives_below, negatives - (first - positives_below)
        return ThresholdSweep(thresholds, tp[::-1].copy(), fp[::-1].copy(), positives, negatives)


class BinnedSweepAccumulator:
    """A sweep over batches and processes that counts scores in steps of 1 / bins: 16 bytes per bin, whatever comes.

    >>> seen = BinnedSweepAccumulator(bins=256)
    >>> seen.update([1, 0], [0.9, 0.6]); seen.update([1, 0], [0.6, 0.1])
    >>> seen.compute().resolution
    0.00390625
    """

    def __init__(self, *, bins: int = BINS, ignore: int | None = None) -> None:
        if bins < 2 or bins & (bins - 1) or bins > 1 << 23:
            raise InputError(f"expected a power of two from 2 to 2^23 as bins, got {bins}")
        self.bins = bins
        self.ignore = ignore
        # Row 0 counts negatives, row 1 positives; a score of exactly 1 has the last column.
        self._counts = np.zeros((2, bins + 1), dtype=np.int64)

    def update(self, truth: Any, scores: Any) -> None:
        """Count the scores of elements of any one shape. On an error nothing is counted."""
        columns = self.bins + 1
        counts = torch.zeros(3 * columns, dtype=torch.int64)
        for true, values, kept in _checked(truth, scores, self.ignore):
            low, high = (float(end) for end in values.aminmax())
            if low < 0 or high > 1:
                outside = values if kept is None else values[kept]
                low, high = (float(end) for end in outside.aminmax()) if outside.numel() else (0.0, 0.0)
            if low < 0 or high > 1:
                raise InputError(
                    f"expected scores from 0 to 1, got {low if low < 0 else high}; "
                    "apply the sigmoid or softmax first, or keep all scores (threshold_sweep)"
                )
            codes = (values.clamp(0, 1) * self.bins if kept is not None else values * self.bins).to(torch.int32)
            codes.add_(true, alpha=columns)
            if kept is not None:
                codes.masked_fill_(~kept, 2 * columns)
            counts += torch.bincount(codes, minlength=len(counts)).cpu()
        self._counts += counts.numpy()[: 2 * columns].reshape(2, columns)

    def merge(self, other: BinnedSweepAccumulator) -> None:
        """Add what another one counted."""
        _alike(self.ignore, other.ignore)
        if other.bins != self.bins:
            raise InputError(f"expected an accumulator of {self.bins} bins, got {other.bins}; build both alike")
        self._counts += other._counts

    def compute(self) -> ThresholdSweep:
        """The sweep over the steps that hold a score."""
        held = np.flatnonzero(self._counts.any(axis=0))[::-1]
        fp, tp = np.cumsum(self._counts[:, held], axis=1)
        negatives, positives = (int(count) for count in self._counts.sum(axis=1))
        return ThresholdSweep(held / self.bins, tp, fp, positives, negatives, 1 / self.bins)


def _checked(truth: Any, scores: Any, ignore: int | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """(which are positive, scores as floats, which are kept or None for all) for each piece."""
    true, given = as_labels(truth, "truth"), as_scores(scores, "scores")
    same_shape(true, given, "scores")
    seen = 0
    for labels, values in pieces(true, given):
        if not values.is_floating_point():
            values = values.double()
        elif values.dtype in (torch.bfloat16, torch.float16):
            values = values.float()
        kept = None
        if ignore is not None:
            kept = labels != ignore
            if bool(kept.all()):
                kept = None
        counted = labels if kept is None else labels * kept
        if counted.dtype != torch.bool:
            low, high = (int(end) for end in counted.aminmax())
            if low < 0 or high > 1:
                raise InputError(
                    f"truth holds the label {low if low < 0 else high}; expected 0 and 1; compare with the positive "
                    "class first (truth == c), or give ignore= for the label that is not known"
                )
            counted = counted == 1
        if kept is not None:
            counted = counted & kept
        if bool(values.sum().isnan()) and bool(values.isnan().any()):
            first = seen + int(values.isnan().nonzero()[0])
            raise InputError(f"scores hold NaN, first as element {first} in reading order; clean them first")
        seen += len(values)
        yield counted, values, kept


def _alike(own: int | None, other: int | None) -> None:
    if own != other:
        raise InputError(f"expected an accumulator that ignores {own}, got one that ignores {other}; build both alike")
