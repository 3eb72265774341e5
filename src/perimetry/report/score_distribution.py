"""How scores are distributed over images: the numbers that the page's plot draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from perimetry.report.numbers import plain
from perimetry.report.score_views import leaves
from perimetry.report.score_words import path_name

if TYPE_CHECKING:
    from perimetry.scoring.results import Scored

MOST_NUMBERS = 60_000  # in the page: with many images only the first scores can be chosen


def distribution(scored: Scored) -> dict[str, Any] | None:
    """The images' names and, per score, a value for each (None where it is unavailable).

    The score by which images are ordered comes first, those by class or group last. Scores that are the same for all
    images are left out; None where that leaves none, or there are fewer than two images.
    """
    if len(scored.images) < 2:
        return None
    found: dict[tuple[str, ...], list[float | None]] = {}
    for index, image in enumerate(scored.images):
        for path, value in leaves(image.scores):
            column = found.setdefault(path, [None] * len(scored.images))
            column[index] = float(f"{value:.6g}") if isinstance(value, (int, float)) and math.isfinite(value) else None
    totals = {
        path: value
        for path, value in leaves(scored.total)
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
    varied = [path for path, column in found.items() if _varies(column)]
    varied.sort(key=lambda path: (path != (scored.headline,), len(path) > 1))
    kept = varied[: max(1, MOST_NUMBERS // len(scored.images))]
    if not kept:
        return None
    return {
        "images": [plain(image.name) for image in scored.images],
        "left_out": len(varied) - len(kept),
        "scores": [
            {"name": path_name(path), "values": found[path], "total": totals.get(path)}
            for path in kept
        ],
    }


def _varies(values: list[float | None]) -> bool:
    """Whether there is more to tell than how many are 0 and how many 1."""
    distinct = {value for value in values if value is not None}
    return len(distinct) > 1 and not distinct <= {0.0, 1.0}

