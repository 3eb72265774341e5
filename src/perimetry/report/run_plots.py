"""The curves of a run: losses and scores over its steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perimetry.report.numbers import plain
from perimetry.report.score_plots import MOST_POINTS, Line, Plot, upper_end
from perimetry.report.score_words import name_of, value_text

if TYPE_CHECKING:
    from perimetry.training.run_directory import Metrics

_LOG_FROM = 30  # times the least: from this ratio on the axis of losses is logarithmic
MOST_LINES = 12
_SMOOTH_FROM = 60  # steps from which on a mean over neighbours is drawn beside the loss itself

Floats = npt.NDArray[np.float64]


def run_plots(metrics: Metrics) -> list[Plot]:
    """Losses of training, then each score of every other split; nothing where nothing was logged.

    A long loss is drawn as the mean over a twentieth of its steps too, since that of single batches jumps.
    """
    losses, scores = [], []
    for split, name in metrics.names():
        found = metrics.of(split, name)
        steps, values = (np.array([row[at] for row in found], np.float64) for at in (0, 1))
        if not np.isfinite(values).any():
            continue
        if split == "train":
            losses += _loss_lines(plain(name.replace("_", " ")), steps, values)
        elif len(found) > 1:
            best = len(values) - 1 - int(np.nanargmax(values[::-1]))  # of equal ones the last, as training keeps it
            note = f"highest {value_text(float(values[best]))} after step {int(steps[best])}"
            scores.append(Line(plain(f"{name_of(name)}, {split}"), steps, values, steps, best, note))
    return [
        plot
        for plot in (
            _plot("losses", "Losses", "loss", losses),
            _plot("scores", "Scores while it was trained", "score", scores),
        )
        if plot is not None
    ]


def _loss_lines(name: str, steps: Floats, values: Floats) -> list[Line]:
    told = f"last {value_text(float(values[-1]))}"
    each = Line(name, steps, values, steps, None, told)
    if len(values) < _SMOOTH_FROM:
        return [each.thinned()]
    width = len(values) // 20
    kernel = np.ones(width) / width
    smooth, places = np.convolve(values, kernel, mode="valid"), np.convolve(steps, kernel, mode="valid")
    mean = Line(f"{name}, mean of {width} steps", places, smooth, places, None, f"last {value_text(float(smooth[-1]))}")
    return [mean.thinned(), each.thinned(MOST_POINTS)]


def _plot(key: str, title: str, name: str, lines: list[Line]) -> Plot | None:
    if not lines:
        return None
    kept = lines[:MOST_LINES]
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in kept])
    last = max(float(line.x.max()) for line in kept)
    low, high = float(values.min()), float(values.max())
    log = name == "loss" and 0 < _LOG_FROM * low < high
    bounds = (min(0.0, low), 1.0 if name == "score" and high <= 1 else upper_end([high]))
    if log:
        bounds = (10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)))
    return Plot(
        key=f"run-{key}",
        title=title,
        x_name="step",
        y_name=kept[0].label if len(kept) == 1 else name,
        at="",
        lines=tuple(kept),
        chosen="the highest" if name == "score" else "",
        x_range=(0.0, upper_end([last])),
        y_range=bounds,
        log=log,
        choice="Curve",
    )
