"""Intervals over images for the scores of a whole set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perimetry.errors import InputError
from perimetry.metrics import Interval, Score, Unavailable, bootstrap


@dataclass(frozen=True, slots=True)
class Draws:
    """How often images are drawn again for an interval, and from which seed."""

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise InputError(f"expected one draw or more and a seed from 0, got {self.count} and {self.seed}")


def draws_of(bootstrap: int | None, seed: int) -> Draws | None:
    """The draws asked for; None without."""
    return None if bootstrap is None else Draws(bootstrap, seed)


def intervals_of(
    draws: Draws | None, statistics: Mapping[str, tuple[Sequence[Any], Callable[[Sequence[Any]], Score] | None]]
) -> dict[str, Interval | Unavailable]:
    """An interval for each score: its records, one per image, and what tells the score of a draw (None: the mean).

    >>> intervals_of(Draws(100), {"error": ([0.5, 0.5], None)})["error"].low
    0.5
    """
    if draws is None:
        return {}
    return {
        name: bootstrap(records, statistic, seed=draws.seed, draws=draws.count)
        for name, (records, statistic) in statistics.items()
    }
