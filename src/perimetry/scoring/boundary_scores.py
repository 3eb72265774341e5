"""The scores of one boundary image, and those of many together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perimetry.metrics import (
    BoundaryMatches,
    BoundaryOverlap,
    Score,
    Unavailable,
    WarpingScores,
    adapted_rand_error,
    boundary_matches,
    boundary_overlap,
    rand_and_info,
    surface_scores,
    variation_of_information,
)
from perimetry.metrics.means import Mean
from perimetry.metrics.segments import objects, thinned_objects
from perimetry.scoring.results import Value

Borders = Literal["given", "thinned"]
Binary = npt.NDArray[np.bool_]
# Scores of a set that are the mean over its images; the others come from sums of counts.
MEANS = (
    "pixel_error",
    "warping_error",
    "v_rand",
    "v_info",
    "rand_error",
    "rand_f_error",
    "adapted_rand_error",
    "variation_of_information_split",
    "variation_of_information_merge",
    "hausdorff",
    "average_surface_distance",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on one image: scores by name, and the counts that sum over images; None: not asked for."""

    scores: Mapping[str, Score] = field(default_factory=dict)
    warping: WarpingScores | None = None
    matches: BoundaryMatches | None = None
    overlap: BoundaryOverlap | None = None

    def told(self) -> dict[str, Value]:
        """All scores by name."""
        return {**_counts(self.warping), **self.scores, **_outlines(self.matches, self.overlap)}


def together(images: Sequence[Measured]) -> dict[str, Value]:
    """The scores of all images: means over them, or from the sums of counts."""
    sums: dict[str, Value] = {}
    first = images[0]
    if first.warping is not None:
        sums |= _counts(_merged([each.warping for each in images if each.warping is not None]))
    for name in first.scores:
        sums[name] = mean_of_images([each.scores[name] for each in images])
    if first.matches is not None:
        matches = _merged([each.matches for each in images if each.matches is not None])
        sums |= _outlines(matches, _merged([each.overlap for each in images if each.overlap is not None]))
    return sums


def mean_of_images(scores: Sequence[Score]) -> Score:
    """The mean over the images that have the score; the reason of the first where none has.

    >>> mean_of_images([0.5, Unavailable("no foreground in the truth"), 1.0])
    0.75
    """
    summed = Mean()
    for score in scores:
        summed = summed.merge(Mean.of(score))
    if summed.count or not scores:
        return summed.value
    first = scores[0]
    return Unavailable(f"{first.reason if isinstance(first, Unavailable) else ''} (no image has this score)")


def statistics(images: Sequence[Measured]) -> dict[str, tuple[Sequence[Any], Callable[[Sequence[Any]], Score] | None]]:
    """The scores that intervals are told of, each with its records and what tells it from a draw of them."""
    found: dict[str, tuple[Sequence[Any], Callable[[Sequence[Any]], Score] | None]] = {
        name: ([each.scores[name] for each in images], mean_of_images) for name in images[0].scores if name in MEANS
    }
    if images[0].matches is not None:
        found["boundary_f"] = ([each.matches for each in images], lambda drawn: _merged(drawn).f_measure)
        found["boundary_iou"] = ([each.overlap for each in images], lambda drawn: _merged(drawn).iou)
    return found


def segments_of(label: Binary, foreground: Binary, borders: Borders) -> dict[str, Score]:
    """The scores of segments: foreground-restricted ones, and scikit-image's under their own names."""
    true, found = objects(label), (thinned_objects if borders == "thinned" else objects)(foreground)
    told, adapted = rand_and_info(true, found), adapted_rand_error(true, found)
    splits, merges = variation_of_information(true, found)
    return {
        "v_rand": told.v_rand,
        "v_info": told.v_info,
        "rand_error": told.rand_error,
        "rand_f_error": told.rand_f_error,
        "adapted_rand_error": adapted if isinstance(adapted, Unavailable) else adapted.error,
        "variation_of_information_split": splits,
        "variation_of_information_merge": merges,
    }


def outlines_of(
    label: Binary, foreground: Binary, tolerance: float
) -> tuple[dict[str, Score], BoundaryMatches, BoundaryOverlap]:
    """The scores of outlines: distances, and the counts of F and of boundary IoU."""
    matches = boundary_matches(label, foreground, tolerance=tolerance)
    surface = surface_scores(label, foreground)
    distances: dict[str, Score] = {
        "hausdorff": surface.hausdorff,
        "average_surface_distance": surface.average_surface_distance,
    }
    if not (matches.true and matches.proposed):
        missing = Unavailable("no outline in the truth" if not matches.true else "no outline in the proposal")
        distances = dict.fromkeys(distances, missing)
    return distances, matches, boundary_overlap(label, foreground)


def _counts(warping: WarpingScores | None) -> dict[str, Value]:
    """The counts of what differs and of what the warp left, by class."""
    if warping is None:
        return {}
    return {
        "pixel_error": warping.pixel_error,
        "warping_error": warping.warping_error,
        "differing": warping.differing,
        "mismatches": warping.mismatches,
        **warping.pixels.as_dict(),
        "components": dict(warping.components.as_dict()),
    }


def _outlines(matches: BoundaryMatches | None, overlap: BoundaryOverlap | None) -> dict[str, Value]:
    if matches is None or overlap is None:
        return {}
    return {
        "boundary_f": matches.f_measure,
        "boundary_precision": matches.precision,
        "boundary_recall": matches.recall,
        "boundary_iou": overlap.iou,
    }


def _merged(records: Sequence[Any]) -> Any:
    """The records of all images as one."""
    summed = records[0]
    for record in records[1:]:
        summed = summed.merge(record)
    return summed
