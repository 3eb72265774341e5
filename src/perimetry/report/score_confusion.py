"""The confusion matrix as a heat table: shares of each true class, or counts, readable up to a hundred classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perimetry.report.numbers import plain, quantity, share

if TYPE_CHECKING:
    from perimetry.metrics import ConfusionMatrix

Counts = npt.NDArray[np.int64]

MOST_CLASSES = 100  # what a table can show; the rest are added up
MOST_WRITTEN = 16  # classes up to which numbers stand in the cells
LEVELS = 20  # of colour
OTHERS = "all others"


@dataclass(frozen=True, slots=True, eq=False)
class HeatTable:
    """One form of the matrix: per true class a list of (level of colour from 0 to 20, text) per predicted class."""

    key: str
    title: str
    rows: list[list[tuple[int, str]]]


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionView:
    """The matrix as it is shown: the classes that have a row, and both forms of the table.

    pooled: how many classes were added up in the last row, 0 where all are shown.
    """

    classes: tuple[str, ...]
    counts: Counts
    pooled: int
    tables: tuple[HeatTable, ...]
    worst: tuple[tuple[str, str, str, str], ...]

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {"classes": list(self.classes), "counts": self.counts.tolist()}


def confusion_view(matrix: ConfusionMatrix, names: Sequence[str]) -> ConfusionView:
    """The matrix of these classes; of more than a hundred those with most errors, the others added up."""
    labels = [plain(name) for name in names] or [str(index) for index in range(matrix.classes)]
    counts, kept = pooled(matrix.counts)
    shown = tuple(labels[index] for index in kept) + ((OTHERS,) if len(kept) < matrix.classes else ())
    true = counts.sum(axis=1, keepdims=True)
    written = len(counts) <= MOST_WRITTEN
    shares = counts / np.maximum(true, 1)
    largest = max(int(counts.max()), 1)
    forms = (
        ("shares", "share of the true class", shares, [[_percent(part) for part in row] for row in shares.tolist()]),
        ("counts", "counts", np.sqrt(counts / largest), [[_count(count) for count in row] for row in counts.tolist()]),
    )
    tables = []
    for key, title, strength, texts in forms:
        levels = np.ceil(strength * LEVELS - 1e-9).clip(0, LEVELS).astype(int).tolist()
        rows = [
            [(level, text if written else "") for level, text in zip(*line, strict=True)]
            for line in zip(levels, texts, strict=True)
        ]
        tables.append(HeatTable(key, title, rows))
    return ConfusionView(
        shown, counts, matrix.classes - len(kept), tuple(tables), _worst(matrix.counts, labels, most=8)
    )


def pooled(counts: Counts, *, most: int = MOST_CLASSES) -> tuple[Counts, list[int]]:
    """The counts of the classes with most errors, the others added up in a last row and column; and which were kept.

    >>> pooled(np.array([[5, 2, 0], [1, 7, 0], [0, 0, 9]]), most=2)[0].tolist()
    [[5, 2], [1, 16]]
    """
    if len(counts) <= most:
        return counts, list(range(len(counts)))
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    kept = sorted(np.argsort(-errors, kind="stable")[: most - 1].tolist())
    group = np.full(len(counts), most - 1)
    group[kept] = np.arange(most - 1)
    rows = np.zeros((most, len(counts)), np.int64)
    np.add.at(rows, group, counts)
    found = np.zeros((most, most), np.int64)
    np.add.at(found.T, group, rows.T)
    return found, kept


def _worst(counts: Counts, labels: Sequence[str], *, most: int) -> tuple[tuple[str, str, str, str], ...]:
    """The pairs that were confused most often: true, told as, how often, share of the true class."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    found = np.flatnonzero(wrong)
    order = found[np.argsort(-wrong.ravel()[found], kind="stable")][:most]
    pairs = [divmod(place, len(counts)) for place in order.tolist()]
    return tuple(
        (labels[row], labels[column], _count(int(wrong[row, column])), share(wrong[row, column], counts[row].sum()))
        for row, column in pairs
    )


def _percent(part: float) -> str:
    if part == 0:
        return ""
    return "<1" if part < 0.005 else f"{100 * part:.0f}"


def _count(count: int) -> str:
    return quantity(count).strip() if count else ""
