"""Values as colours: a lightness scale for what has one sign, blue over white to red for what has two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    Floats = npt.NDArray[np.float64]

# Lightness grows by about the same at each step, so that what looks brighter is more, in gray print too.
SEQUENTIAL = ((22, 11, 58), (92, 22, 112), (182, 54, 98), (238, 122, 62), (253, 232, 150))
DIVERGING = ((18, 62, 150), (96, 158, 224), (250, 250, 250), (232, 118, 96), (158, 10, 34))
_MIDDLE_GRAY = 0.5


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become colours, from `low` at the bottom of the bar to `high` at its top.

    signed: blue below zero and red above, which stands in the middle. root: places go with the square root of the
    value, because most of a gradient lies far below its maximum.
    """

    low: float
    high: float
    signed: bool = False
    root: bool = False

    @classmethod
    def of(cls, values: Floats, *, root: bool = False) -> Scale:
        """The scale that fits: around zero where any value is below, else from zero to the largest; NaN is left out.

        >>> Scale.of(np.array([-1.0, 3.0]))
        Scale(low=-3.0, high=3.0, signed=True, root=False)
        """
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        if low < 0:
            largest = max(-low, high)
            return cls(-largest, largest, signed=True)
        return cls(0.0, high, root=root)

    def places(self, values: Floats) -> Floats:
        """Where values stand on the bar, from 0 to 1."""
        if self.high <= self.low:
            return np.zeros_like(values)
        shares: Floats = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        return np.sqrt(shares) if self.root else shares

    def ticks(self) -> tuple[float, ...]:
        """The values that get a number beside the bar, from low to high: the ends, and round ones between.

        >>> Scale(0.0, 653.0, root=True).ticks()
        (0.0, 40.0, 150.0, 400.0, 653.0)
        """
        if self.high <= self.low:
            return (self.low,)
        inner = self.values(np.array((0.25, 0.5, 0.75))).tolist()
        return (self.low, *map(_rounded, inner), self.high)

    def values(self, places: Floats) -> Floats:
        """The values at places on the bar: the other way round."""
        shares = places**2 if self.root else places
        found: Floats = self.low + shares * (self.high - self.low)
        return found


def _rounded(value: float) -> float:
    """The nearest number with one digit, or 1.5 or 2.5 times a power of ten."""
    if value == 0:
        return 0.0
    power = math.floor(math.log10(abs(value)))
    digits = min((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10), key=lambda digit: abs(digit - abs(value) / 10.0**power))
    return math.copysign(float(f"{digits}e{power}"), value)


def blend(values: Floats, gray: Floats, scale: Scale) -> npt.NDArray[np.uint8]:
    """Values (H, W) as colours over a gray photo (H, W) in 0..1: (H, W, 3) bytes; gray alone where a value is NaN.

    The larger a value, the more of the photo it hides.
    """
    known = np.isfinite(values)
    places = scale.places(np.where(known, values, 0.0))
    anchors = np.array(DIVERGING if scale.signed else SEQUENTIAL, dtype=np.float64)
    at = np.linspace(0, 1, len(anchors))
    colors = np.stack([np.interp(places, at, anchors[:, channel]) for channel in range(3)], axis=-1)
    strength = 0.3 + 0.6 * np.abs(2 * places - 1) if scale.signed else 0.6 + 0.3 * places
    strength = np.where(known, strength, 0.0)[..., None]
    mixed = strength * colors + (1 - strength) * 255 * gray[..., None]
    blended: npt.NDArray[np.uint8] = np.round(mixed).astype(np.uint8)
    return blended


def bar(height: int, width: int, scale: Scale) -> npt.NDArray[np.uint8]:
    """The colour bar, (height, width, 3) bytes, the largest value on top: its colours stand over middle gray."""
    column = np.broadcast_to(scale.values(np.linspace(1, 0, height))[:, None], (height, width))
    return blend(column, np.full(column.shape, _MIDDLE_GRAY), scale)
