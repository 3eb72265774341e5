"""A score that cannot be told, and why: never a silent 0 or NaN."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Stands in place of a score that is not defined on what was given (no positives, an empty mask, one class).

    >>> Unavailable("no positive sample")
    Unavailable(reason='no positive sample')
    """

    reason: str


Score = float | Unavailable
