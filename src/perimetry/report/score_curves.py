"""Which curves a page of scores shows, and over which axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from perimetry.metrics.unavailable import Unavailable
from perimetry.report.numbers import plain
from perimetry.report.score_plots import MOST_POINTS, Line, Plot, upper_end
from perimetry.report.score_words import name_of, value_text

if TYPE_CHECKING:
    from perimetry.scoring.results import ScoreCurve, Scored

MOST_LINES = 100  # curves of one plot: of more classes those with the smallest areas
MOST_POINTS_OF_PLOT = 12_000
_LOG_FROM = 30  # times the least: from this ratio on an axis of errors is logarithmic

_RATES = {"roc": "ROC", "precision_recall": "Precision and recall"}
_CHOSEN = {"labels": "the threshold of the largest F1", "boxes": "the score from which on detections are shown"}


def plots(scored: Scored) -> list[Plot]:
    """A plot for each kind of curve with a line for each class, and one for each score of a sweep."""
    found = []
    for kind, title in _RATES.items():
        curves = [curve for curve in scored.curves if curve.kind == kind and _has_points(curve)]
        if curves:
            found.append(_rates(kind, title, curves, _CHOSEN.get(scored.kind, "the chosen threshold")))
    sweeps = [curve for curve in scored.curves if curve.kind == "sweep" and _has_points(curve)]
    return found + [_sweep(curve, index) for index, curve in enumerate(sweeps)]


def _rates(kind: str, title: str, curves: list[ScoreCurve], chosen: str) -> Plot:
    kept = _kept(curves)
    most = max(40, min(MOST_POINTS, MOST_POINTS_OF_PLOT // len(kept)))
    lines = tuple(_line(curve, _area_text(curve)).thinned(most) for curve in kept)
    return Plot(
        key=kind.replace("_", "-"),
        title=title,
        x_name=name_of(curves[0].x_name),
        y_name=name_of(curves[0].y_name),
        at="threshold",
        lines=lines,
        chosen=chosen if any(line.chosen is not None for line in lines) else "",
        diagonal=kind == "roc",
        left_out=len(curves) - len(kept),
    )


def _sweep(curve: ScoreCurve, index: int) -> Plot:
    line = _line(curve, "").thinned()
    known = line.y[np.isfinite(line.y)]
    log = len(known) > 0 and 0 < _LOG_FROM * float(known.min()) < float(known.max())
    y_range = (0.0, upper_end(known.tolist()))
    if log:
        y_range = (10.0 ** math.floor(math.log10(known.min())), 10.0 ** math.ceil(math.log10(known.max())))
    name = name_of(curve.y_name)
    return Plot(
        key=f"sweep-{index}",
        title=name[:1].upper() + name[1:],
        x_name=name_of(curve.x_name),
        y_name=name,
        at="",
        lines=(line,),
        chosen="" if line.chosen is None else "the chosen threshold",
        x_range=_reach(line),
        y_range=y_range,
        log=log,
    )


def _has_points(curve: ScoreCurve) -> bool:
    return bool((np.isfinite(curve.x) & np.isfinite(curve.y)).any())


def _kept(curves: list[ScoreCurve]) -> list[ScoreCurve]:
    if len(curves) <= MOST_LINES:
        return curves
    worst = sorted(range(len(curves)), key=lambda index: _area(curves[index]))[:MOST_LINES]
    return [curves[index] for index in sorted(worst)]


def _area(curve: ScoreCurve) -> float:
    return 2.0 if isinstance(curve.area, Unavailable) else float(curve.area)


def _area_text(curve: ScoreCurve) -> str:
    if isinstance(curve.area, Unavailable):
        return f"no area: {plain(curve.area.reason)}"
    return f"{'AP' if curve.kind == 'precision_recall' else 'area'} {value_text(float(curve.area))}"


def _line(curve: ScoreCurve, note: str) -> Line:
    x, y, at = (np.asarray(each, dtype=np.float64) for each in (curve.x, curve.y, curve.thresholds))
    return Line(plain(curve.label), x, y, at, curve.chosen, note)


def _reach(line: Line) -> tuple[float, float]:
    """From 0 to 1 where thresholds lie there, else from the lowest to the highest."""
    low, high = float(line.x.min()), float(line.x.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)
