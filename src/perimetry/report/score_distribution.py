"""How scores are distributed over images: the numbers that the page's plot draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from perimetry.report.numbers import plain
from perimetry.report.score_views import images_in_order, leaves
from perimetry.report.score_words import path_name

if TYPE_CHECKING:
    from perimetry.scoring.results import Scored

MOST_NUMBERS = 60_000  # in the page: with many images only the first scores can be chosen
MOST_IMAGES = 20_000  # in the plot: of more the worst ones, and from there on every second, third ...
WORST_KEPT = 50


def distribution(scored: Scored) -> dict[str, Any] | None:
    """The images' names and, per score, a value for each (None where it is unavailable); places: in the result.

    The score by which images are ordered comes first, those by class or group last. Scores that are the same for all
    images are left out; None where that leaves none, or there are fewer than two images.
    """
    if len(scored.images) < 2:
        return None
    places = _places(scored)
    images = [scored.images[place] for place in places]
    found: dict[tuple[str, ...], list[float | None]] = {}
    for index, image in enumerate(images):
        for path, value in leaves(image.scores):
            column = found.setdefault(path, [None] * len(images))
            column[index] = float(f"{value:.6g}") if isinstance(value, (int, float)) and math.isfinite(value) else None
    totals = {
        path: value for path, value in leaves(scored.total) if isinstance(value, (int, float)) and math.isfinite(value)
    }
    varied = [path for path, column in found.items() if _varies(column)]
    varied.sort(key=lambda path: (path != (scored.headline,), len(path) > 1))
    kept = varied[: max(1, MOST_NUMBERS // len(images))]
    if not kept:
        return None
    return {
        "images": [plain(image.name) for image in images],
        "places": places,
        "left_out": len(varied) - len(kept),
        "scores": [{"name": path_name(path), "values": found[path], "total": totals.get(path)} for path in kept],
    }


def _places(scored: Scored) -> list[int]:
    """Which images are drawn, by their places in the result."""
    count = len(scored.images)
    if count <= MOST_IMAGES:
        return list(range(count))
    number = {id(image): place for place, image in enumerate(scored.images)}
    ranked = [number[id(image)] for image in images_in_order(scored)]
    step = -(-count // (MOST_IMAGES - WORST_KEPT))
    return sorted({*ranked[:WORST_KEPT], *ranked[::step]})


def _varies(values: list[float | None]) -> bool:
    """Whether there is more to tell than how many are 0 and how many 1."""
    distinct = {value for value in values if value is not None}
    return len(distinct) > 1 and not distinct <= {0.0, 1.0}
