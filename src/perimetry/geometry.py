"""Spans, boxes and fields: closed integer intervals on image axes, and exact fractions.

Pixels are counted from 0 at the top left. A span is closed: `Span(0, 2)` holds the pixels 0, 1 and 2. Spans may be
negative or lie beyond the image, because an unclipped field reaches into the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Span:
    """The closed interval of pixels from `low` to `high` on one axis; empty where `high < low`.

    >>> Span(-1, 3).clip(3), Span(-1, 3).size
    (Span(low=0, high=2), 5)
    """

    low: int
    high: int

    @property
    def size(self) -> int:
        """The number of pixels inside."""
        return max(0, self.high - self.low + 1)

    @property
    def empty(self) -> bool:
        """True where no pixel is inside."""
        return self.high < self.low

    def clip(self, extent: int) -> Span:
        """The part inside an axis of `extent` pixels."""
        return Span(max(self.low, 0), min(self.high, extent - 1))

    def hull(self, other: Span) -> Span:
        """The smallest span that holds both; an empty span adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Span(min(self.low, other.low), max(self.high, other.high))

    def contains(self, other: Span) -> bool:
        """True where every pixel of `other` lies inside."""
        return other.empty or (self.low <= other.low and other.high <= self.high)


@dataclass(frozen=True, slots=True)
class Box:
    """One span per image axis (rows, then columns, for a photo): the hull of what one unit sees."""

    spans: tuple[Span, ...]

    @property
    def empty(self) -> bool:
        """True where the box holds no pixel."""
        return any(span.empty for span in self.spans)

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(span.size for span in self.spans)

    def clip(self, extents: Sequence[int]) -> Box:
        """The part inside an image of those extents."""
        return Box(tuple(span.clip(extent) for span, extent in zip(self.spans, extents, strict=True)))


class Rows(Protocol):
    """Rows of integers, by index: a list of tuples or an integer array (units, 4)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class AxisField:
    """What a layer's units see along one image axis.

    size: pixels that the largest unit's span holds, unclipped; None where every unit sees the whole axis.
    stride: pixels from one unit's span to the next, a fraction (1/2 after doubling; 0 where all see the same).
    start: the first pixel of the first unit's span, negative in the padding.
    uniform: False where neighbouring units differ in size or step.
    bounds: one row per unit, (low, high, clipped low, clipped high); a list of tuples or an integer array.
    """

    size: int | None
    stride: Fraction
    start: int
    uniform: bool
    bounds: Rows = field(repr=False, compare=False)

    @property
    def units(self) -> int:
        """How many units stand along this axis."""
        return len(self.bounds)

    def span(self, unit: int) -> Span:
        """The unclipped span of one unit."""
        row = self.bounds[unit]
        return Span(int(row[0]), int(row[1]))

    def clipped(self, unit: int) -> Span:
        """The hull of the image's own pixels that one unit sees (exact at borders, not merely cut off)."""
        row = self.bounds[unit]
        return Span(int(row[2]), int(row[3]))


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive field of a layer's units: one `AxisField` per image axis (rows, columns).

    Each property is a tuple with one entry per axis. A field is a hull: where the network has dilation there can be
    holes inside it, which `perimetry.support` shows.
    """

    axes: tuple[AxisField, ...]

    @property
    def size(self) -> tuple[int | None, ...]:
        """Pixels per axis, unclipped; None along an axis where every unit sees the whole image."""
        return tuple(axis.size for axis in self.axes)

    @property
    def stride(self) -> tuple[Fraction, ...]:
        """Pixels between neighbouring units' fields."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def start(self) -> tuple[int, ...]:
        """First pixel of the first unit's field."""
        return tuple(axis.start for axis in self.axes)

    @property
    def uniform(self) -> bool:
        """True where all units have the same size and step, on every axis."""
        return all(axis.uniform for axis in self.axes)

    @property
    def units(self) -> tuple[int, ...]:
        """How many units stand along each axis."""
        return tuple(axis.units for axis in self.axes)

    @property
    def whole_image(self) -> bool:
        """True where every unit sees the whole image."""
        return all(axis.size is None for axis in self.axes)

    def box(self, unit: Sequence[int]) -> Box:
        """The unclipped field of the unit at that position (row, column)."""
        return Box(tuple(axis.span(index) for axis, index in zip(self.axes, unit, strict=True)))

    def clipped(self, unit: Sequence[int]) -> Box:
        """The unit's field inside the image."""
        return Box(tuple(axis.clipped(index) for axis, index in zip(self.axes, unit, strict=True)))
