"""Curves of scores as plots: thinned to what a page can hold, and drawn as paths before any script runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_POINTS = 300  # of one curve in the page
_WIDTH, _HEIGHT = 460, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 12, 48


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One curve: points (x, y) with the threshold of each, (T,) each, and which point was chosen."""

    label: str
    x: Floats
    y: Floats
    at: Floats
    chosen: int | None = None
    note: str = ""

    def thinned(self, most: int = MOST_POINTS) -> Line:
        """At most about that many of the points, evenly along the curve; its ends and the chosen point are kept."""
        known = np.flatnonzero(np.isfinite(self.x) & np.isfinite(self.y))
        chosen = self.chosen if self.chosen is not None and self.chosen in known else None
        kept = known
        if len(known) > most:
            spans = [np.ptp(each[known]) or 1.0 for each in (self.x, self.y)]
            steps = sum(np.abs(np.diff(each[known])) / span for each, span in zip((self.x, self.y), spans, strict=True))
            way = np.concatenate(([0.0], np.cumsum(steps)))
            wanted = np.linspace(0, way[-1], most)
            picked = np.searchsorted(way, wanted).clip(0, len(known) - 1)
            kept = known[np.unique(np.append(picked, np.searchsorted(known, [] if chosen is None else [chosen])))]
        place = None if chosen is None else int(np.searchsorted(kept, chosen))
        return Line(self.label, self.x[kept], self.y[kept], self.at[kept], place, self.note)


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """Curves over the same axes, which run from 0 to 1 unless told otherwise.

    diagonal: whether the line of chance is drawn; log: whether the y axis is logarithmic; at: what the third number of
    each point is called ("threshold"), empty where it is x itself; chosen: what the mark stands for; left_out: curves
    that are not drawn, because there are too many; choice: what a line is chosen by.
    """

    key: str
    title: str
    x_name: str
    y_name: str
    at: str
    lines: tuple[Line, ...]
    chosen: str = ""
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    diagonal: bool = False
    log: bool = False
    left_out: int = 0
    choice: str = "Class"

    @property
    def frame(self) -> dict[str, float]:
        """The plot's rectangle, in the units of its drawing."""
        return {
            "width": _WIDTH,
            "height": _HEIGHT,
            "left": _LEFT,
            "right": _WIDTH - _RIGHT,
            "top": _TOP,
            "bottom": _HEIGHT - _BOTTOM,
        }

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        low, high, y = (math.log(each) if self.log else each for each in (*self.y_range, y))
        up = (y - low) / (high - low)
        frame = self.frame
        return (
            round(frame["left"] + across * (frame["right"] - frame["left"]), 2),
            round(frame["bottom"] - up * (frame["bottom"] - frame["top"]), 2),
        )

    def path(self, line: Line) -> str:
        """The curve as the `d` of a path."""
        places = [self.place(float(x), float(y)) for x, y in zip(line.x, line.y, strict=True)]
        if not places:
            return ""
        pieces = [f"M{places[0][0]:g} {places[0][1]:g}"]
        pieces += [f"L{x:g} {y:g}" for x, y in places[1:]]
        return "".join(pieces)

    def ticks(self) -> dict[str, list[tuple[float, str]]]:
        """Places and texts of the numbers along each axis."""
        return {
            "x": [(self.place(value, self.y_range[0])[0], text) for value, text in _ticks(*self.x_range)],
            "y": [
                (self.place(self.x_range[0], value)[1], text)
                for value, text in (_decades(*self.y_range) if self.log else _ticks(*self.y_range))
            ],
        }

    def marks(self) -> list[tuple[int, float, float]]:
        """The chosen points: index of the line, and where."""
        return [
            (index, *self.place(float(line.x[line.chosen]), float(line.y[line.chosen])))
            for index, line in enumerate(self.lines)
            if line.chosen is not None
        ]

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "key": self.key,
            "names": [self.x_name, self.y_name, self.at],
            "chosen": self.chosen,
            "frame": self.frame,
            "ranges": [list(self.x_range), list(self.y_range)],
            "log": self.log,
            "lines": [
                {
                    "label": line.label,
                    "chosen": line.chosen,
                    "note": line.note,
                    "points": [
                        [_short(x), _short(y), _short(at)] for x, y, at in zip(line.x, line.y, line.at, strict=True)
                    ],
                }
                for line in self.lines
            ],
        }


def upper_end(values: Sequence[float]) -> float:
    """A round number at or above the largest value, for the end of an axis.

    >>> upper_end([0.013, 0.002]), upper_end([])
    (0.015, 1.0)
    """
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(float(f"{step * power:.6g}") for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= largest)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    return [(value, f"{value:.4g}".replace("-", "−")) for value in np.linspace(low, high, 6).tolist()]


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    """The powers of ten from low to high, which are some."""
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return [(10.0**power, f"1e{power}".replace("-", "−") if power < -3 else f"{10.0**power:g}") for power in powers]


def _short(value: float) -> float | str | None:
    """The number to six digits; an infinite threshold as text, because JSON has none."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("∞" if value > 0 else "−∞")
