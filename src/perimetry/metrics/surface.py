"""Distances between the outlines of two masks: Hausdorff, and the average (symmetric) surface distance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perimetry.metrics.boundaries import distances_to, outline
from perimetry.metrics.means import Mean
from perimetry.metrics.slices import as_foreground, as_pair
from perimetry.metrics.unavailable import Score, Unavailable


@dataclass(frozen=True, slots=True)
class SurfaceScores:
    """Means over slices of the distances between outlines, in pixels; records of several images merge."""

    hausdorffs: Mean = field(default_factory=Mean)
    averages: Mean = field(default_factory=Mean)

    def merge(self, other: SurfaceScores) -> SurfaceScores:
        """The means over the slices of both, in any order."""
        return SurfaceScores(self.hausdorffs.merge(other.hausdorffs), self.averages.merge(other.averages))

    @property
    def hausdorff(self) -> Score:
        """The mean over slices of the largest distance."""
        return self.hausdorffs.value

    @property
    def average_surface_distance(self) -> Score:
        """The mean over slices of the average distance."""
        return self.averages.value


def surface_scores(truth: Any, proposal: Any) -> SurfaceScores:
    """The distances between the outlines of two masks (H, W), or slice by slice of stacks (S, H, W).

    From each outline pixel to the nearest of the other outline, by SciPy's exact Euclidean distance transform:
    Hausdorff is the largest, the average surface distance is the mean over the pixels of both outlines. An outline
    pixel is foreground (above zero) that touches background by a side. A slice in which an outline is missing has no
    distance.

    >>> scores = surface_scores([[1, 1, 0, 0, 0]], [[1, 1, 1, 1, 0]])
    >>> scores.hausdorff, scores.average_surface_distance
    (2.0, 2.0)
    """
    ones, others = as_pair(truth, proposal)
    summed = SurfaceScores()
    for one, other in zip(as_foreground(ones), as_foreground(others), strict=True):
        true, proposed = outline(one), outline(other)
        if not (true.any() and proposed.any()):
            missing = Unavailable("no outline in the truth" if not true.any() else "no outline in the proposal")
            scores: tuple[Score, Score] = (missing, missing)
        else:
            distances = np.concatenate((distances_to(proposed)[true], distances_to(true)[proposed]))
            scores = (float(distances.max()), float(distances.mean()))
        summed = summed.merge(SurfaceScores(Mean.of(scores[0]), Mean.of(scores[1])))
    return summed


def hausdorff_distance(truth: Any, proposal: Any) -> Score:
    """The Hausdorff distance between outlines in pixels (`surface_scores`).

    >>> hausdorff_distance([[1, 0, 0]], [[0, 0, 1]])
    2.0
    """
    return surface_scores(truth, proposal).hausdorff


def average_surface_distance(truth: Any, proposal: Any) -> Score:
    """The average symmetric surface distance in pixels (`surface_scores`).

    >>> average_surface_distance([[1, 0, 0]], [[0, 0, 0]])
    Unavailable(reason='undefined on each image')
    """
    return surface_scores(truth, proposal).average_surface_distance
