"""The scores of decided labels: rates by class, curves of classes with scores, and what intervals are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perimetry.metrics import (
    BestThreshold,
    ClassDecisions,
    ConfusionMatrix,
    Curve,
    LabelScores,
    Score,
    Unavailable,
    threshold_sweep,
)
from perimetry.metrics.averages import Rate
from perimetry.scoring.results import ScoreCurve, Value

RATES: tuple[Rate, ...] = ("precision", "recall", "f1", "tpr", "fpr", "tnr", "fnr", "npv")
AVERAGED: tuple[Rate, ...] = ("precision", "recall", "f1")
MOST_CURVES = 20  # of more classes only the areas are kept
Statistics = dict[str, tuple[Sequence[Any], Callable[[Sequence[Any]], Score] | None]]
Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


def by_class(seen: ClassDecisions, classes: Sequence[str]) -> dict[str, Value]:
    """Each rate of each class, and the three averages of those that are usual."""
    found: dict[str, Value] = {rate: dict(zip(classes, seen.rates(rate), strict=True)) for rate in RATES}
    found["macro"] = {rate: seen.macro(rate) for rate in AVERAGED}
    found["micro"] = {rate: seen.micro(rate) for rate in AVERAGED}
    found["weighted"] = {rate: seen.weighted(rate) for rate in AVERAGED}
    return found


def curves_of(
    truth: Labels, scores: Floats, classes: Sequence[str]
) -> tuple[tuple[ScoreCurve, ...], dict[str, Value], tuple[str, ...]]:
    """ROC and precision-recall of each class, (N, C) both; their areas, the threshold of the largest F1; and notes."""
    curves: list[ScoreCurve] = []
    areas: dict[str, dict[str, Value]] = {
        name: {} for name in ("roc_area", "average_precision", "best_threshold", "best_f1")
    }
    for at, label in enumerate(classes):
        sweep = threshold_sweep(truth[:, at], scores[:, at])
        best = sweep.best_f()
        areas["roc_area"][label] = sweep.roc_area
        areas["average_precision"][label] = sweep.average_precision
        areas["best_threshold"][label] = best if isinstance(best, Unavailable) else best.threshold
        areas["best_f1"][label] = best if isinstance(best, Unavailable) else best.score
        if len(classes) > MOST_CURVES:
            continue
        found = _curve("roc", label, ("fpr", "tpr"), sweep.roc, sweep.roc_area, best)
        found += _curve(
            "precision_recall", label, ("recall", "precision"), sweep.precision_recall, sweep.average_precision, best
        )
        curves += found
    notes: tuple[str, ...] = ()
    if len(classes) > MOST_CURVES:
        notes = (f"curves are kept for up to {MOST_CURVES} classes; of these {len(classes)} only the areas are",)
    return tuple(curves), dict(areas), notes


def _curve(
    kind: Literal["roc", "precision_recall"],
    label: str,
    axes: tuple[str, str],
    curve: Curve | Unavailable,
    area: Score,
    best: BestThreshold | Unavailable,
) -> list[ScoreCurve]:
    """The curve with its best threshold; nothing where there is none."""
    if isinstance(curve, Unavailable):
        return []
    thresholds = np.asarray(curve.thresholds, np.float64)
    chosen = None if isinstance(best, Unavailable) else int(np.flatnonzero(thresholds == best.threshold)[0])
    return [ScoreCurve(kind, label, *axes, curve.x, curve.y, thresholds, area, chosen)]


def label_statistics(truth: Labels, told: Labels, classes: int) -> Statistics:
    """Accuracy, balanced accuracy and the Matthews coefficient, from pairs of labels."""
    pairs = list(zip(truth.tolist(), told.tolist(), strict=True))

    def scored(drawn: Sequence[tuple[int, int]]) -> LabelScores:
        codes = np.array(drawn) @ (classes, 1)
        return LabelScores(ConfusionMatrix(np.bincount(codes, minlength=classes**2).reshape(classes, classes)))

    return {
        "accuracy": ([float(one == other) for one, other in pairs], None),
        "balanced_accuracy": (pairs, lambda drawn: scored(drawn).balanced_accuracy),
        "mcc": (pairs, lambda drawn: scored(drawn).mcc),
    }


def multilabel_statistics(truth: Labels, told: Labels) -> Statistics:
    """Exact match and Hamming loss, which are means over names."""
    return {
        "exact_match": ((truth == told).all(axis=1).astype(float).tolist(), None),
        "hamming_loss": ((truth != told).mean(axis=1).tolist(), None),
    }
