"""Scores of outlines: the boundary F-measure with a tolerance, and boundary IoU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError
from perimetry.metrics.slices import as_foreground, as_pair
from perimetry.metrics.unavailable import Score, Unavailable

Binary = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BoundaryMatches:
    """Outline pixels of truth and proposal, and how many of each lie near the other; records of several images merge.

    >>> both = BoundaryMatches(true=4, recovered=3, proposed=5, correct=4).merge(BoundaryMatches(4, 4, 4, 4))
    >>> both.recall, round(both.precision, 4)
    (0.875, 0.8889)
    """

    true: int = 0
    recovered: int = 0
    proposed: int = 0
    correct: int = 0

    def merge(self, other: BoundaryMatches) -> BoundaryMatches:
        """The counts of both, in any order."""
        return BoundaryMatches(
            self.true + other.true,
            self.recovered + other.recovered,
            self.proposed + other.proposed,
            self.correct + other.correct,
        )

    @property
    def precision(self) -> Score:
        """The share of proposed outline that lies near true outline."""
        return self.correct / self.proposed if self.proposed else Unavailable("no outline in the proposal")

    @property
    def recall(self) -> Score:
        """The share of true outline that lies near proposed outline."""
        return self.recovered / self.true if self.true else Unavailable("no outline in the truth")

    @property
    def f_measure(self) -> Score:
        """The harmonic mean of precision and recall; 0 where only one of both images has an outline."""
        if not self.true and not self.proposed:
            return Unavailable("no outline in truth and proposal")
        precision, recall = self.precision, self.recall
        if isinstance(precision, Unavailable) or isinstance(recall, Unavailable) or not precision + recall:
            return 0.0
        return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class BoundaryOverlap:
    """Pixels in the boundary bands of both images, and of either; records of several images merge."""

    intersection: int = 0
    union: int = 0

    def merge(self, other: BoundaryOverlap) -> BoundaryOverlap:
        """The counts of both, in any order."""
        return BoundaryOverlap(self.intersection + other.intersection, self.union + other.union)

    @property
    def iou(self) -> Score:
        """Intersection over union."""
        return self.intersection / self.union if self.union else Unavailable("no foreground in truth and proposal")


def outline(mask: Binary) -> Binary:
    """The foreground pixels of (H, W) that touch background by a side; the image's frame is no background.

    >>> outline(np.array([[True, True, True, False]])).astype(int).tolist()
    [[0, 0, 1, 0]]
    """
    from scipy import ndimage

    touching: Binary = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return touching


def boundary_matches(truth: Any, proposal: Any, *, tolerance: float = 2.0) -> BoundaryMatches:
    """Match the outlines of two masks (H, W) or stacks (S, H, W) within a distance, slice by slice.

    tolerance: Euclidean, in pixels. A pixel is matched if the other outline has any pixel as near as that, by a
    distance transform; the one-to-one assignment of the BSDS benchmark is stricter where outlines are doubled.

    >>> boundary_matches([[1, 1, 0, 0, 0, 0]], [[1, 1, 1, 1, 1, 0]], tolerance=2).f_measure
    0.0
    >>> boundary_matches([[1, 1, 0, 0, 0, 0]], [[1, 1, 1, 1, 0, 0]], tolerance=2).f_measure
    1.0
    """
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 pixels or more, got {tolerance}")
    summed = BoundaryMatches()
    for one, other in zip(*_masks(truth, proposal), strict=True):
        true, proposed = outline(one), outline(other)
        summed = summed.merge(
            BoundaryMatches(
                int(true.sum()),
                int((distances_to(proposed)[true] <= tolerance).sum()),
                int(proposed.sum()),
                int((distances_to(true)[proposed] <= tolerance).sum()),
            )
        )
    return summed


def boundary_f(truth: Any, proposal: Any, *, tolerance: float = 2.0) -> Score:
    """The boundary F-measure: `boundary_matches` in one number.

    >>> boundary_f([[0, 1, 0]], [[0, 0, 0]]), boundary_f([[0, 0]], [[0, 0]])
    (0.0, Unavailable(reason='no outline in truth and proposal'))
    """
    return boundary_matches(truth, proposal, tolerance=tolerance).f_measure


def boundary_overlap(truth: Any, proposal: Any, *, width: int | None = None, share: float = 0.02) -> BoundaryOverlap:
    """The overlap of two masks' inner boundary bands (Cheng et al., "Boundary IoU", CVPR 2021), slice by slice.

    width: of the band in pixels, by 8-neighbour steps from the background or the frame; None takes the paper's share of
    the image's diagonal, rounded, at least 1. Counts sum over images; the paper averages over objects.

    >>> boundary_overlap([[1, 1, 1, 1]], [[1, 1, 1, 0]]).iou
    0.75
    """
    from scipy import ndimage

    ones, others = _masks(truth, proposal)
    if width is None:
        width = max(1, round(share * math.hypot(*ones.shape[1:])))
    if width < 1:
        raise InputError(f"expected a band of 1 pixel or more, got {width}")
    square = np.ones((1, 3, 3), bool)
    bands = [masks & ~ndimage.binary_erosion(masks, square, iterations=width) for masks in (ones, others)]
    return BoundaryOverlap(int((bands[0] & bands[1]).sum()), int((bands[0] | bands[1]).sum()))


def boundary_iou(truth: Any, proposal: Any, *, width: int | None = None) -> Score:
    """Boundary IoU: `boundary_overlap` in one number.

    >>> boundary_iou([[1, 1], [0, 0]], [[1, 1], [0, 0]])
    1.0
    """
    return boundary_overlap(truth, proposal, width=width).iou


def distances_to(places: Binary) -> npt.NDArray[np.float64]:
    """The Euclidean distance of every pixel from the nearest chosen one; infinite if none is chosen."""
    from scipy import ndimage

    if not places.any():
        return np.full(places.shape, np.inf)
    distances: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~places)
    return distances


def _masks(truth: Any, proposal: Any) -> tuple[Binary, Binary]:
    """Truth and proposal as foreground (above zero)."""
    one, other = as_pair(truth, proposal)
    return as_foreground(one), as_foreground(other)
