"""The confusion matrix: how often each true class was told as each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perimetry.errors import InputError
from perimetry.metrics.averages import ClassDecisions
from perimetry.metrics.chunks import as_labels, pieces, same_shape
from perimetry.metrics.decisions import Decisions

MOST_CLASSES = 30_000  # the square must fit in the 32 bits of a pair's code, and in memory


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """Counts (C, C): rows are true classes, columns predicted ones; `ignored` elements were left out.

    >>> ConfusionMatrix(np.array([[3, 1], [0, 2]])).of_class(1)
    Decisions(tp=2, fp=1, tn=3, fn=0)
    """

    counts: npt.NDArray[np.int64]
    ignored: int = 0

    def __post_init__(self) -> None:
        counts = np.array(self.counts)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iu":
            raise InputError(f"expected counts (C, C) of whole numbers, got {counts.dtype} {counts.shape}")
        if (counts < 0).any():
            raise InputError(f"expected counts from 0, got {counts.min()}")
        counts = counts.astype(np.int64)
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        return self.ignored == other.ignored and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.counts.tobytes(), self.ignored))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """How many elements were counted."""
        return int(self.counts.sum())

    @property
    def per_class(self) -> ClassDecisions:
        """Each class against all others."""
        right, true, predicted = self.counts.diagonal(), self.counts.sum(axis=1), self.counts.sum(axis=0)
        columns = (right, predicted - right, self.total - true - predicted + right, true - right)
        return ClassDecisions(tuple(Decisions(*each) for each in np.stack(columns, axis=1).tolist()))

    def of_class(self, index: int) -> Decisions:
        """One class against all others."""
        return self.per_class[index]


class ConfusionAccumulator:
    """Sums a confusion matrix over batches and processes; `compute` agrees with `confusion_matrix` on all of it.

    >>> seen = ConfusionAccumulator(classes=2)
    >>> seen.update([0, 1], [0, 0]); seen.update([1], [1])
    >>> seen.compute().counts.tolist()
    [[1, 0], [1, 1]]
    """

    def __init__(self, *, classes: int, ignore: int | None = None) -> None:
        if not 1 <= classes <= MOST_CLASSES:
            raise InputError(f"expected 1 to {MOST_CLASSES} classes, got {classes}")
        self.classes = classes
        self.ignore = ignore
        self._counts = np.zeros((classes, classes), dtype=np.int64)
        self._ignored = 0

    def update(self, truth: Any, predicted: Any) -> None:
        """Count labels of any one shape. On an error nothing is counted."""
        seen = confusion_matrix(truth, predicted, classes=self.classes, ignore=self.ignore)
        self._counts += seen.counts
        self._ignored += seen.ignored

    def merge(self, other: ConfusionAccumulator) -> None:
        """Add what another one counted."""
        if (other.classes, other.ignore) != (self.classes, self.ignore):
            raise InputError(
                f"expected an accumulator of {self.classes} classes that ignores {self.ignore}, "
                f"got {other.classes} classes that ignores {other.ignore}; build both alike"
            )
        self._counts += other._counts
        self._ignored += other._ignored

    def compute(self) -> ConfusionMatrix:
        """The matrix of all that was counted."""
        return ConfusionMatrix(self._counts.copy(), self._ignored)


def confusion_matrix(truth: Any, predicted: Any, *, classes: int, ignore: int | None = None) -> ConfusionMatrix:
    """Count pairs of labels 0 ... classes - 1.

    truth, predicted: arrays or tensors of one shape, any integer type, on any device. Elements whose *truth* is
    `ignore` are left out, whatever was predicted there. Memory beyond the inputs is bounded; `ignore` itself may not be
    predicted elsewhere.

    Raises `InputError` for labels that are out of range or not whole numbers, `ShapeError` for shapes that differ or
    look like colour images.

    >>> confusion_matrix([0, 1, 1, 255], [0, 1, 0, 1], classes=2, ignore=255)
    ConfusionMatrix(counts=array([[1, 0],
           [1, 1]]), ignored=1)
    """
    true, told = as_labels(truth, "truth"), as_labels(predicted, "predicted")
    same_shape(true, told, "predicted")
    if not 1 <= classes <= MOST_CLASSES:
        raise InputError(f"expected 1 to {MOST_CLASSES} classes, got {classes}")
    counted = torch.zeros(classes * classes, dtype=torch.int64)
    ignored = 0
    for true_piece, told_piece in pieces(true, told):
        if ignore is not None:
            kept = true_piece != ignore
            left_out = kept.numel() - int(kept.count_nonzero())
            if left_out:
                # Multiplying is many times faster than selecting: what is left out becomes the pair (0, 0) ...
                true_piece, told_piece = true_piece * kept, told_piece * kept
                ignored += left_out
        counted += torch.bincount(_codes(true_piece, told_piece, classes, ignore), minlength=len(counted)).cpu()
    counted[0] -= ignored  # ... and is taken off here
    return ConfusionMatrix(counted.numpy().reshape(classes, classes), ignored)


def _codes(truth: Tensor, predicted: Tensor, classes: int, ignore: int | None) -> Tensor:
    """One number per pair, row by row, in 16 bits where they suffice."""
    for labels, name in ((truth, "truth"), (predicted, "predicted")):
        _check_range(labels, name, classes, ignore)
    narrow = torch.int16 if classes * classes < 1 << 15 else torch.int32
    return truth.to(narrow) * classes + predicted.to(narrow)


def _check_range(labels: Tensor, name: str, classes: int, ignore: int | None) -> None:
    low, high = (int(end) for end in (labels.byte() if labels.dtype == torch.bool else labels).aminmax())
    if low >= 0 and high < classes:
        return
    wrong = low if low < 0 else high
    how = f" (only {ignore} is ignored, and only in truth)" if ignore is not None else ""
    raise InputError(
        f"{name} holds the label {wrong}; expected 0 ... {classes - 1}{how}; "
        "give more classes, or ignore= for the label that stands for no class"
    )
