"""Pixel error, warping error and classes over images and stacks, at one threshold or over a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError
from perimetry.metrics.means import Mean
from perimetry.metrics.mismatches import ClassCounts
from perimetry.metrics.slices import as_foreground, as_mask, as_pair, as_threshold, typed_proposal
from perimetry.metrics.unavailable import Score, Unavailable
from perimetry.metrics.warping import ISBI_RADIUS, classify, warp_slice


def isbi_thresholds() -> tuple[float, ...]:
    """0, .1, ... .9, added up in float64 as the challenge does, so that some are not the nearest to their decimal.

    >>> isbi_thresholds()[3], isbi_thresholds()[-1], len(isbi_thresholds())
    (0.30000000000000004, 0.8999999999999999, 10)
    """
    thresholds, threshold = [], 0.0
    while threshold <= 0.9:
        thresholds.append(threshold)
        threshold += 0.1
    return tuple(thresholds)


@dataclass(frozen=True, slots=True)
class WarpingScores:
    """Sums over slices, from which the scores of one threshold are told; records of several images merge.

    differing: pixels where truth and proposal differ; mismatches: those that remain after the warp, by class in
    `pixels`, and in connected groups in `components`.
    """

    pixel_errors: Mean = field(default_factory=Mean)
    warping_errors: Mean = field(default_factory=Mean)
    size: int = 0
    differing: int = 0
    mismatches: int = 0
    pixels: ClassCounts = field(default_factory=ClassCounts)
    components: ClassCounts = field(default_factory=ClassCounts)

    def merge(self, other: WarpingScores) -> WarpingScores:
        """The sums over the slices of both, in any order."""
        return WarpingScores(
            self.pixel_errors.merge(other.pixel_errors),
            self.warping_errors.merge(other.warping_errors),
            self.size + other.size,
            self.differing + other.differing,
            self.mismatches + other.mismatches,
            self.pixels + other.pixels,
            self.components + other.components,
        )

    @property
    def pixel_error(self) -> Score:
        """The share of pixels that differ, as the mean over slices."""
        return self.pixel_errors.value

    @property
    def warping_error(self) -> Score:
        """The share of pixels that remain mismatched after the warp, as the mean over slices."""
        return self.warping_errors.value

    @property
    def split_and_merge_error(self) -> Score:
        """Pixels of splits and merges as a share of all pixels."""
        if not self.size:
            return Unavailable("no images")
        return (self.pixels.split + self.pixels.merge) / self.size


@dataclass(frozen=True, slots=True)
class WarpingSweep:
    """The scores at each threshold of a sweep; records of the same thresholds merge."""

    by_threshold: Mapping[float, WarpingScores] = field(default_factory=dict)

    def merge(self, other: WarpingSweep) -> WarpingSweep:
        """The sums over the slices of both; raises `InputError` if they were swept at different thresholds."""
        if not self.by_threshold or not other.by_threshold:
            return self if self.by_threshold else other
        if self.by_threshold.keys() != other.by_threshold.keys():
            raise InputError(f"sweeps of different thresholds: {[*self.by_threshold]} and {[*other.by_threshold]}")
        return WarpingSweep({key: one.merge(other.by_threshold[key]) for key, one in self.by_threshold.items()})

    @property
    def best_threshold(self) -> Score:
        """The threshold with the fewest pixels of splits and merges; the lowest of equals."""
        if not self.by_threshold:
            return Unavailable("no images")
        counts = {key: one.pixels.split + one.pixels.merge for key, one in self.by_threshold.items()}
        return min(counts, key=lambda key: (counts[key], key))

    @property
    def isbi_error(self) -> Score:
        """The challenge's number: the minimum over thresholds of the share of pixels in splits and merges."""
        best = self.best_threshold
        return best if isinstance(best, Unavailable) else self.by_threshold[best].split_and_merge_error


def warping_scores(
    truth: Any,
    proposal: Any,
    *,
    threshold: float = 0.5,
    mask: Any = None,
    radius: int = ISBI_RADIUS,
    threads: int = 1,
) -> WarpingScores:
    """Pixel error, warping error and classes of an image (H, W) or a stack (S, H, W), warped slice by slice.

    Arguments as of `warp` and `classify`; threads: slices are worked on at the same time.

    >>> scores = warping_scores([[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [0, 0, 1]])
    >>> scores.differing, scores.mismatches, scores.pixels.merge
    (2, 1, 1)
    """
    swept = warping_sweep(truth, proposal, thresholds=(threshold,), mask=mask, radius=radius, threads=threads)
    return swept.by_threshold[float(threshold)]


def warping_error(truth: Any, proposal: Any, *, threshold: float = 0.5, mask: Any = None) -> float:
    """The warping error of an image, or the mean over the slices of a stack (arguments as of `warp`).

    >>> warping_error([[1, 1, 0, 0]], [[1, 1, 1, 0]]), warping_error([[1, 0, 1, 0]], [[1, 1, 1, 0]])
    (0.0, 0.25)
    """
    slices, proposals, allowed = _read(truth, proposal, mask)
    warps = [
        warp_slice(label, one, as_threshold(threshold), permitted)
        for label, one, permitted in zip(slices, proposals, allowed, strict=True)
    ]
    return float(sum(Fraction(len(each.places), each.warped.size) for each in warps) / len(warps))


def pixel_error(truth: Any, proposal: Any, *, threshold: float = 0.5) -> float:
    """The fraction of pixels whose truth (above zero) differs from the proposal (above the threshold).

    >>> pixel_error([[1, 1, 0, 0]], [[1, 1, 1, 0]])
    0.25
    """
    from perimetry.metrics.slices import above, as_proposal

    slices, proposals = as_pair(truth, proposal)
    return float((as_foreground(slices) != above(as_proposal(proposals), as_threshold(threshold))).mean())


def warping_sweep(
    truth: Any,
    proposal: Any,
    *,
    thresholds: Iterable[float] | None = None,
    mask: Any = None,
    radius: int = ISBI_RADIUS,
    threads: int = 1,
) -> WarpingSweep:
    """The same at several thresholds, those of the challenge unless others are given; its number is `isbi_error`.

    >>> warping_sweep([[1, 0, 1], [0, 0, 0]], [[1.0, 0.65, 1.0], [0, 0, 0]]).best_threshold
    0.7
    """
    chosen = [as_threshold(each) for each in (isbi_thresholds() if thresholds is None else thresholds)]
    if not chosen:
        raise InputError("expected at least one threshold")
    if threads < 1:
        raise InputError(f"expected one thread or more, got {threads}")
    slices, proposals, allowed = _read(truth, proposal, mask)

    def score(job: tuple[float, int]) -> WarpingScores:
        threshold, index = job
        return _score_slice(slices[index], proposals[index], threshold, allowed[index], radius)

    jobs = [(threshold, index) for threshold in dict.fromkeys(chosen) for index in range(len(slices))]
    if threads == 1:
        scores = [score(job) for job in jobs]
    else:
        with ThreadPoolExecutor(threads) as pool:
            scores = list(pool.map(score, jobs))
    summed: dict[float, WarpingScores] = {}
    for (threshold, _), one in zip(jobs, scores, strict=True):
        summed[threshold] = summed.get(threshold, WarpingScores()).merge(one)
    return WarpingSweep(summed)


def _read(
    truth: Any, proposal: Any, mask: Any
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any], list[npt.NDArray[np.bool_] | None]]:
    """Labels and proposals slice by slice, and what the mask allows in each."""
    slices, proposals = as_pair(truth, proposal)
    allowed = as_mask(mask, slices)
    return as_foreground(slices), typed_proposal(proposals), [None] * len(slices) if allowed is None else [*allowed]


def _score_slice(
    label: npt.NDArray[np.bool_],
    proposal: npt.NDArray[Any],
    threshold: float,
    mask: npt.NDArray[np.bool_] | None,
    radius: int,
) -> WarpingScores:
    """The scores of one slice at one threshold."""
    found = warp_slice(label, proposal, threshold, mask)
    told = classify(found, radius=radius)
    return WarpingScores(
        Mean.of(Fraction(found.differing, label.size)),
        Mean.of(Fraction(len(found.places), label.size)),
        label.size,
        found.differing,
        len(found.places),
        told.pixels,
        told.components,
    )
