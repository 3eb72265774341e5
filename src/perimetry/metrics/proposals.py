"""Recall of class-agnostic proposals: how many objects the best N boxes of each image cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import as_array
from perimetry.metrics.averages import mean_of
from perimetry.metrics.boxes import Floats, as_boxes, overlaps
from perimetry.metrics.decisions import ratio
from perimetry.metrics.unavailable import Score

COCO_IOUS = tuple(round(0.5 + step / 20, 2) for step in range(10))


@dataclass(frozen=True, slots=True)
class ProposalRecall:
    """How many of `objects` are covered: hits[n][t] with the counts[n] best proposals, at the overlap ious[t].

    >>> seen = ProposalRecall(counts=(10,), ious=(0.5, 0.7), hits=((3, 1),), objects=4)
    >>> seen.recall, seen.average_recall
    (((0.75, 0.25),), (0.5,))
    """

    counts: tuple[int, ...]
    ious: tuple[float, ...]
    hits: tuple[tuple[int, ...], ...]
    objects: int

    @property
    def recall(self) -> tuple[tuple[Score, ...], ...]:
        """The share of the objects covered, for each count and each overlap."""
        return tuple(tuple(ratio(each, self.objects, "no object") for each in row) for row in self.hits)

    @property
    def average_recall(self) -> tuple[Score, ...]:
        """The mean recall over the overlaps, for each count."""
        return tuple(mean_of(row, "no object") for row in self.recall)


def proposal_recall(
    truth_xyxy: Any,
    proposals_xyxy: Any,
    scores: Any,
    *,
    counts: Sequence[int] = (10, 100, 1000),
    ious: Sequence[float] = COCO_IOUS,
) -> ProposalRecall:
    """Count the objects of one image that its best proposals cover.

    truth_xyxy: (K, 4); proposals_xyxy: (P, 4), whose coordinates are edges; scores: (P,). For each count N the N
    highest scores are taken (ties in the order given), and objects and proposals are paired one to one: the pair
    that overlaps most first, then the most among the rest. An object is covered at `iou` by a partner of at least that.

    Raises `ShapeError` and `InputError` for boxes, scores, counts and overlaps that mean nothing.

    >>> boxes, scores = [[50, 50, 60, 60], [0, 0, 10, 8]], [0.9, 0.4]
    >>> proposal_recall([[0, 0, 10, 10]], boxes, scores, counts=(1, 2), ious=(0.5,)).hits
    ((0,), (1,))
    """
    _check_limits(counts, ious)
    truth, proposals = as_boxes(truth_xyxy, "true boxes"), as_boxes(proposals_xyxy, "proposals")
    values = as_array(scores, "scores").astype(np.float64)
    if values.shape != (len(proposals),):
        raise ShapeError(f"expected {len(proposals)} scores, one per proposal, got shape {values.shape}")
    ranked = proposals[np.argsort(-values, kind="stable")]
    pairs = overlaps(truth, ranked)
    hits = []
    for count in counts:
        covered = _partners(pairs[:, :count])
        hits.append(tuple(int((covered >= iou).sum()) for iou in ious))
    return ProposalRecall(tuple(counts), tuple(ious), tuple(hits), len(truth))


def _partners(pairs: Floats) -> Floats:
    """The overlap of each object with its own proposal, (K,); 0 without one."""
    left = pairs.copy()
    found = np.zeros(len(pairs))
    for _ in range(min(pairs.shape)):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        if left[row, column] <= 0:
            break
        found[row] = left[row, column]
        left[row], left[:, column] = -1, -1
    return found


class ProposalAccumulator:
    """Recall of proposals over images and processes.

    >>> seen = ProposalAccumulator(counts=(1,), ious=(0.5,))
    >>> seen.update([[0, 0, 10, 10]], [[0, 0, 10, 8]], [0.9])
    >>> seen.update([[0, 0, 10, 10]], [], [])
    >>> seen.compute().recall
    ((0.5,),)
    """

    def __init__(self, *, counts: Sequence[int] = (10, 100, 1000), ious: Sequence[float] = COCO_IOUS) -> None:
        _check_limits(counts, ious)
        self._sum = ProposalRecall(tuple(counts), tuple(ious), ((0,) * len(ious),) * len(counts), 0)

    def update(self, truth_xyxy: Any, proposals_xyxy: Any, scores: Any) -> None:
        """Count one image. On an error nothing is counted."""
        own = self._sum
        self._add(proposal_recall(truth_xyxy, proposals_xyxy, scores, counts=own.counts, ious=own.ious))

    def merge(self, other: ProposalAccumulator) -> None:
        """Add what another one counted."""
        own, others = ((each._sum.counts, each._sum.ious) for each in (self, other))
        if own != others:
            raise InputError(f"expected an accumulator of (counts, ious) {own}, got {others}; build both alike")
        self._add(other._sum)

    def compute(self) -> ProposalRecall:
        """The counts of all that was seen."""
        return self._sum

    def _add(self, seen: ProposalRecall) -> None:
        hits = np.asarray(self._sum.hits, dtype=object) + np.asarray(seen.hits, dtype=object)
        objects = self._sum.objects + seen.objects
        self._sum = ProposalRecall(seen.counts, seen.ious, tuple(tuple(row) for row in hits), objects)


def _check_limits(counts: Sequence[int], ious: Sequence[float]) -> None:
    if not counts or min(counts) < 1:
        raise InputError(f"expected numbers of proposals from 1, got {tuple(counts)}")
    if not ious or not all(0 < iou <= 1 for iou in ious):
        raise InputError(f"expected overlaps above 0 and up to 1, got {tuple(ious)}")
