"""Scores of a set of boundary images and stacks: pixels, topology, segments and outlines, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from perimetry.errors import InputError, UnknownNameError
from perimetry.metrics import Score, Unavailable, WarpingSweep, classify, pixel_error, warp, warping_sweep
from perimetry.metrics.slices import above, as_foreground, as_pair, as_proposal, as_threshold
from perimetry.metrics.warping import ISBI_RADIUS
from perimetry.scoring.boundary_scores import (
    Binary,
    Borders,
    Measured,
    outlines_of,
    segments_of,
    statistics,
    together,
)
from perimetry.scoring.intervals import draws_of, intervals_of
from perimetry.scoring.pages import Array
from perimetry.scoring.pairing import Given, Progress, Slice, paired
from perimetry.scoring.pictures import BoundaryPicture
from perimetry.scoring.results import ImageScore, ScoreCurve, Scored
from perimetry.scoring.running import each

Part = Literal["warping", "segments", "outlines"]
PARTS: tuple[Part, ...] = get_args(Part)


def score_boundaries(
    truth: Given,
    predicted: Given,
    *,
    threshold: float = 0.5,
    sweep: Sequence[float] | None = None,
    parts: Sequence[Part] = PARTS,
    masks: Given | None = None,
    radius: int = ISBI_RADIUS,
    borders: Borders = "given",
    tolerance: float = 2.0,
    only_common: bool = False,
    names: Iterable[str] | None = None,
    photos: str | Path | None = None,
    bootstrap: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> Scored:
    """Score boundary images against the truth: folders or files (PNG, TIFF, NPY), matched by name, or arrays by name.

    truth: above zero is foreground (the inside of cells). predicted: foreground above the threshold; one bit, 8 bits
    (v / 255), 16 bits (v / 65535) or probabilities. Slices of stacks are images of their own.
    sweep: thresholds to try (`isbi_thresholds()`); the one with the fewest pixels of splits and merges over all images
    takes the place of `threshold`. parts: what to tell besides the pixel error. masks: where pixels may be warped;
    radius, borders, tolerance: as of `classify`, `segment_scores`, `boundary_matches`. The rest as of `score_masks`.

    >>> seen = score_boundaries({"a": [[1, 0, 1], [0, 0, 0]]}, {"a": [[1, 1, 1], [0, 0, 1]]}, parts=["warping"])
    >>> seen.total["mismatches"], seen.total["merge"], seen.images[0].picture().classes.tolist()
    (1, 1, [[0, 6, 0], [0, 0, 0]])
    """
    as_threshold(threshold)
    for part in parts:
        if part not in PARTS:
            raise UnknownNameError("part", part, known=PARTS, advice="one or more of " + ", ".join(PARTS))
    if sweep is not None and "warping" not in parts:
        raise InputError("a sweep looks for the best warping; ask for the part 'warping' too")
    if masks is not None and "warping" not in parts:
        raise InputError("masks restrict the warp only; ask for the part 'warping' too, or leave them out")
    draws = draws_of(bootstrap, seed)
    slices, notes = paired(truth, predicted, only_common=only_common, names=names, masks=masks, photos=photos)
    tried: list[WarpingSweep] = []
    if sweep is not None:
        tried = each(slices, lambda one: _swept(one, sweep, radius), workers=workers, progress=progress)
    summed = WarpingSweep()
    for found in tried:
        summed = summed.merge(found)
    chosen = _best(summed) if tried else float(threshold)
    ready = {one.name: found.by_threshold[chosen] for one, found in zip(slices, tried, strict=False)}

    def measure(one: Slice) -> Measured:
        warping = ready.get(one.name)
        if warping is None and "warping" in parts:
            warping = _swept(one, (chosen,), radius).by_threshold[chosen]
        label, foreground = _foregrounds(one, chosen)
        scores: dict[str, Score] = (
            {"pixel_error": pixel_error(label, foreground)}
            if warping is None
            else {"pixel_error": warping.pixel_error, "warping_error": warping.warping_error}
        )
        if "segments" in parts:
            scores |= segments_of(label, foreground, borders)
        if "outlines" not in parts:
            return Measured(scores, warping)
        distances, matches, overlap = outlines_of(label, foreground, tolerance)
        return Measured(scores | distances, warping, matches, overlap)

    measured = each(slices, measure, workers=workers, progress=progress)
    own = [{"isbi_error": found.isbi_error} for found in tried] or [{}] * len(slices)
    total = together(measured)
    if tried:
        total = {"isbi_error": summed.isbi_error, "isbi_threshold": chosen} | total
    if masks is not None:
        notes += ("the mask restricts the warp and its classes; all other scores are of whole images",)
    return Scored(
        kind="boundaries",
        settings={
            "threshold": chosen,
            "sweep": None if sweep is None else [*summed.by_threshold],
            "parts": [part for part in PARTS if part in parts],
            "radius": radius,
            "borders": borders,
            "tolerance": tolerance,
            "mask": masks is not None,
        },
        images=tuple(
            ImageScore(
                name=one.name,
                scores={**alone, **found.told()},
                truth=one.truth_path,
                predicted=one.predicted_path,
                photo=one.photo,
                look=_look(one, chosen, radius),
            )
            for one, found, alone in zip(slices, measured, own, strict=True)
        ),
        total=total,
        curves=_curves(summed, chosen),
        intervals=intervals_of(draws, {} if draws is None else statistics(measured)),
        notes=notes,
    )


def _swept(one: Slice, thresholds: Sequence[float], radius: int) -> WarpingSweep:
    """The warps of one image at each threshold."""
    mask = None if one.mask is None else one.mask()
    return warping_sweep(one.truth(), _levels(one), thresholds=thresholds, mask=mask, radius=radius)


def _levels(one: Slice) -> Array:
    """The prediction as `warp` takes it; raises `InputError` for what a file can hold besides levels."""
    if one.palette:
        raise InputError(
            f"the prediction {one.predicted_path} holds indices of a palette, which are no levels; save it as gray"
        )
    levels = one.predicted()
    if levels.dtype == np.uint16 and levels.max() > 1:
        return levels.astype(np.float32) / np.float32(65535)
    if levels.dtype == np.uint8 and levels.max() == 1:
        raise InputError(
            "the 8-bit prediction holds 0 and 1 only, where 255 is expected for certain; "
            "save 255 in place of 1, or one bit per pixel (arrays: as bool)"
        )
    return levels


def _foregrounds(one: Slice, threshold: float) -> tuple[Binary, Binary]:
    """Where the truth is above zero, and the prediction above the threshold."""
    label, proposal = as_pair(one.truth(), _levels(one))
    return as_foreground(label)[0], above(as_proposal(proposal), threshold)[0]


def _best(summed: WarpingSweep) -> float:
    """The threshold with the fewest pixels of splits and merges."""
    best = summed.best_threshold
    assert isinstance(best, float)  # there is an image
    return best


def _curves(summed: WarpingSweep, chosen: float) -> tuple[ScoreCurve, ...]:
    """Errors against the threshold; none without a sweep."""
    if not summed.by_threshold:
        return ()
    thresholds = np.array(sorted(summed.by_threshold))
    found = []
    for name in ("split_and_merge_error", "warping_error", "pixel_error"):
        errors = np.array([getattr(summed.by_threshold[float(each)], name) for each in thresholds])
        area = Unavailable("a sweep of thresholds has no area")
        at = int(np.flatnonzero(thresholds == chosen)[0])
        found.append(ScoreCurve("sweep", name, "threshold", name, thresholds, errors, thresholds, area, at))
    return tuple(found)


def _look(one: Slice, threshold: float, radius: int) -> Callable[[], BoundaryPicture]:
    def look() -> BoundaryPicture:
        label, foreground = _foregrounds(one, threshold)
        mask = None if one.mask is None else one.mask()
        found = warp(one.truth(), _levels(one), threshold=threshold, mask=mask)
        classes = classify(found, radius=radius).image(*label.shape)
        return BoundaryPicture(label, foreground, found.warped, classes, threshold)

    return look
