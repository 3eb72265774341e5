"""Means over images that can be gathered in any order: the sum is exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from perimetry.metrics.unavailable import Score, Unavailable


@dataclass(frozen=True, slots=True)
class Mean:
    """The sum of a score over images, and how many had one.

    total: exact, so that no order of merging changes it; count: images with a score; undefined: images without.

    >>> Mean.of(0.5).merge(Mean.of(0.25)).merge(Mean.of(Unavailable("empty")))
    Mean(total=Fraction(3, 4), count=2, undefined=1)
    """

    total: Fraction = Fraction(0)
    count: int = 0
    undefined: int = 0

    @classmethod
    def of(cls, score: Score | Fraction) -> Mean:
        """The mean of one image."""
        return cls(undefined=1) if isinstance(score, Unavailable) else cls(Fraction(score), 1)

    def merge(self, other: Mean) -> Mean:
        """The mean over the images of both."""
        return Mean(self.total + other.total, self.count + other.count, self.undefined + other.undefined)

    @property
    def value(self) -> Score:
        """The mean over the images that have a score; unavailable if none has."""
        if self.count:
            return float(self.total / self.count)
        return Unavailable("undefined on each image" if self.undefined else "no images")
