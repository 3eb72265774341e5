"""Percentile intervals over images: how much a score moves with the choice of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from perimetry.errors import InputError
from perimetry.metrics.unavailable import Score, Unavailable

Image = TypeVar("Image")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval, and what it rests on.

    level: how much of the draws it covers; undefined: draws on which the score was not defined, and that are left out.
    """

    low: float
    high: float
    level: float
    images: int
    draws: int
    undefined: int
    seed: int


def bootstrap(
    per_image: Sequence[Image],
    statistic: Callable[[Sequence[Image]], Score] | None = None,
    *,
    seed: int,
    level: float = 0.95,
    draws: int = 1000,
) -> Interval | Unavailable:
    """A percentile bootstrap interval: images are drawn with replacement, as many as there are, and scored again.

    per_image: one number, or one record of sums, per image; statistic: what scores a draw, the mean unless given (for
    records: merge them and tell the score). Fewer than two images give no interval. Images are taken as independent:
    neighbouring slices of a stack are not, and their interval is too narrow.

    >>> bootstrap([0.2, 0.4, 0.6, 0.8], seed=0, draws=200).high <= 0.8
    True
    """
    if not 0 < level < 1:
        raise InputError(f"expected a level between 0 and 1, got {level}")
    if draws < 1:
        raise InputError(f"expected one draw or more, got {draws}")
    count = len(per_image)
    if count < 2:
        return Unavailable(f"{count} image{'' if count == 1 else 's'}: an interval needs two or more")
    random = np.random.default_rng(seed)
    chosen = random.integers(count, size=(draws, count))
    if statistic is None:
        scores = np.asarray(per_image, np.float64)[chosen].mean(axis=1)
    else:
        told = (statistic([per_image[index] for index in draw]) for draw in chosen)
        scores = np.array([score for score in told if not isinstance(score, Unavailable)], np.float64)
    if not scores.size:
        return Unavailable("the score is undefined on every draw")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, count, draws, draws - scores.size, seed)
