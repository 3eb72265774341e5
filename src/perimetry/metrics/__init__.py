"""Scores of predictions against truth: each a function over arrays, and an accumulator that can be merged."""

from __future__ import annotations

from perimetry.metrics.bootstrap import Interval, bootstrap
from perimetry.metrics.boundaries import (
    BoundaryMatches,
    BoundaryOverlap,
    boundary_f,
    boundary_iou,
    boundary_matches,
    boundary_overlap,
)
from perimetry.metrics.means import Mean
from perimetry.metrics.mismatches import ClassCounts, Mismatches
from perimetry.metrics.segments import (
    AdaptedRand,
    RandAndInfo,
    SegmentScores,
    adapted_rand_error,
    rand_and_info,
    segment_scores,
    variation_of_information,
)
from perimetry.metrics.surface import SurfaceScores, average_surface_distance, hausdorff_distance, surface_scores
from perimetry.metrics.unavailable import Score, Unavailable
from perimetry.metrics.warping import Warp, classify, warp
from perimetry.metrics.warping_scores import (
    WarpingScores,
    WarpingSweep,
    isbi_thresholds,
    pixel_error,
    warping_error,
    warping_scores,
    warping_sweep,
)

__all__ = [
    "AdaptedRand",
    "BoundaryMatches",
    "BoundaryOverlap",
    "ClassCounts",
    "Interval",
    "Mean",
    "Mismatches",
    "RandAndInfo",
    "Score",
    "SegmentScores",
    "SurfaceScores",
    "Unavailable",
    "Warp",
    "WarpingScores",
    "WarpingSweep",
    "adapted_rand_error",
    "average_surface_distance",
    "bootstrap",
    "boundary_f",
    "boundary_iou",
    "boundary_matches",
    "boundary_overlap",
    "classify",
    "hausdorff_distance",
    "isbi_thresholds",
    "pixel_error",
    "rand_and_info",
    "segment_scores",
    "surface_scores",
    "variation_of_information",
    "warp",
    "warping_error",
    "warping_scores",
    "warping_sweep",
]
