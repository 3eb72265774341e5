"""Shapes inside a disc: which points are inside, what share of a pixel is covered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

_SIDE = 0.5**0.5  # half the side of a square inside the unit disc
_SAMPLES = 4  # points a pixel side, for the share that is covered


def _disc(u: Floats, v: Floats) -> Truths:
    return u * u + v * v <= 1


def _square(u: Floats, v: Floats) -> Truths:
    return np.maximum(abs(u), abs(v)) <= _SIDE


def _triangle(u: Floats, v: Floats) -> Truths:
    return (v <= 0.5) & (abs(u) * 3**0.5 <= v + 1)


def _ring(u: Floats, v: Floats) -> Truths:
    return _disc(u, v) & (u * u + v * v >= 0.55 * 0.55)


def _cross(u: Floats, v: Floats) -> Truths:
    narrow, wide = np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
    return (narrow <= 0.3) & (wide <= 0.95)


def _frame(u: Floats, v: Floats) -> Truths:
    return _square(u, v) & (np.maximum(abs(u), abs(v)) >= 0.42)


def _half(u: Floats, v: Floats) -> Truths:
    return _disc(u, v) & (v >= 0)


def _bow(u: Floats, v: Floats) -> Truths:
    return (abs(u) <= abs(v)) & (abs(v) <= _SIDE)


def _bar(u: Floats, v: Floats) -> Truths:
    return (abs(u) <= 0.12) & (abs(v) <= 0.95)


# What the classes of a scene can be, in this order.
SHAPES: Mapping[str, Callable[[Floats, Floats], Truths]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "frame": _frame,
    "half": _half,
    "bow": _bow,
}
_DRAWN = {**SHAPES, "bar": _bar}


@dataclass(frozen=True, slots=True)
class Placed:
    """A shape in a scene: where, how large, how turned, and of which colour.

    row, column: its centre in pixels of the scene, where pixel 0 spans 0 to 1; size: the diameter of the disc that
    holds it; turn: cosine and sine; color: red, green and blue; label: its class from 1, or 0 for a distractor.
    """

    shape: str
    row: float
    column: float
    size: float
    turn: tuple[float, float]
    color: tuple[int, int, int]
    label: int

    def pixels(self) -> tuple[int, int, int, int]:
        """The rows and columns of pixels it may touch: first row, first column, and one past the last of each."""
        reach = self.size / 2
        low = (int(np.floor(self.row - reach)), int(np.floor(self.column - reach)))
        return *low, int(np.ceil(self.row + reach)), int(np.ceil(self.column + reach))

    def contains(self, rows: Floats, columns: Floats) -> Truths:
        """Whether points are inside: rows (H,) and columns (W,) of the scene; returns (H, W).

        >>> Placed("square", 2.0, 2.0, 3.0, (1.0, 0.0), (0, 0, 0), 1).contains(np.array([2.0, 3.5]), np.array([2.0]))
        array([[ True],
               [False]])
        """
        down, right = (rows[:, None] - self.row) * (2 / self.size), (columns[None, :] - self.column) * (2 / self.size)
        cosine, sine = self.turn
        return _DRAWN[self.shape](right * cosine + down * sine, down * cosine - right * sine)

    def coverage(self, top: int, left: int, bottom: int, right: int) -> Floats:
        """The share of each pixel of a window that is inside, of 4 x 4 points a pixel: (bottom - top, right - left)."""
        height, width = bottom - top, right - left
        points = self.contains(_between(top, bottom), _between(left, right))
        shares: Floats = points.reshape(height, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3))
        return shares


def _between(first: int, last: int) -> Floats:
    points: Floats = first + (np.arange((last - first) * _SAMPLES) + 0.5) / _SAMPLES
    return points
