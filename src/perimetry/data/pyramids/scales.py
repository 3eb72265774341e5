"""The sizes at which an image is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perimetry.data.transforms.steps import ResizeShort
from perimetry.errors import InputError


@dataclass(frozen=True, slots=True)
class Scales:
    """The levels of an image pyramid: factors of the image's own size, or lengths of its short side.

    longest: with short sides, what the long side may not exceed.

    >>> Scales(factors=(0.5, 1.0)).sizes(90, 120), Scales(shorts=(60, 200), longest=240).sizes(90, 120)
    (((45, 60), (90, 120)), ((60, 80), (180, 240)))
    """

    factors: tuple[float, ...] = ()
    shorts: tuple[int, ...] = ()
    longest: int | None = None

    def __post_init__(self) -> None:
        if bool(self.factors) == bool(self.shorts):
            raise InputError(f"expected either factors or short sides, got {self.factors} and {self.shorts}")
        if not all(0 < each < math.inf for each in (*self.factors, *self.shorts)):
            raise InputError(f"expected scales above 0, got {self.factors or self.shorts}")
        if not all(isinstance(each, int) for each in self.shorts):
            raise InputError(f"expected short sides in whole pixels, got {self.shorts}")
        if self.longest is not None and (self.factors or self.longest < max(self.shorts)):
            raise InputError(f"longest goes with short sides that do not exceed it, got {self}")

    def sizes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """The size (H, W) of each level of an image's pyramid."""
        if self.factors:
            return tuple((max(round(height * each), 1), max(round(width * each), 1)) for each in self.factors)
        return tuple(ResizeShort((each,), self.longest).size(height, width) for each in self.shorts)
