"""Top-k accuracy: whether the true class is among the k that score highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import as_array
from perimetry.metrics.chunks import as_labels, tensor_of
from perimetry.metrics.decisions import ratio
from perimetry.metrics.unavailable import Score


@dataclass(frozen=True, slots=True)
class TopK:
    """How many of `samples` have their true class among the k highest scores, for each k.

    >>> TopK(ks=(1, 5), hits=(6, 9), samples=10).accuracy
    (0.6, 0.9)
    """

    ks: tuple[int, ...]
    hits: tuple[int, ...]
    samples: int

    @property
    def accuracy(self) -> tuple[Score, ...]:
        """The share of the samples that are hit, for each k."""
        return tuple(ratio(hits, self.samples, "no sample was counted") for hits in self.hits)


def top_k(truth: Any, scores: Any, *, ks: Sequence[int] = (1, 5), ignore: int | None = None) -> TopK:
    """Count the samples whose true class is among the k that score highest.

    truth: labels (N,); scores: (N, C), any scale. Of classes that score the same the first is taken first, as argmax
    does, so that top-1 is the accuracy of argmax. Samples whose truth is `ignore` are left out.

    Raises `ShapeError` for other shapes, `InputError` for NaN, labels outside 0 ... C - 1 and a k outside 1 ... C.

    >>> top_k([0, 2], [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], ks=(1, 3)).accuracy
    (0.5, 1.0)
    """
    labels = np.asarray(tensor_of(as_labels(truth, "truth")).cpu()).astype(np.int64)
    floats = scores.float() if isinstance(scores, torch.Tensor) and scores.dtype == torch.bfloat16 else scores
    values = as_array(floats, "scores")
    if labels.ndim != 1 or values.ndim != 2 or len(labels) != len(values):
        raise ShapeError(
            f"expected truth (N,) and scores (N, classes), got {labels.shape} and {values.shape}; "
            "give one label and one row of scores per sample"
        )
    classes = values.shape[1]
    for k in ks:
        if not 1 <= k <= classes:
            raise InputError(f"expected k from 1 to the {classes} classes, got {k}")
    if ignore is not None:
        kept = labels != ignore
        labels, values = labels[kept], values[kept]
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise InputError(f"truth holds the label {wrong}; expected 0 ... {classes - 1}, one per column of scores")
    own = np.take_along_axis(values, labels[:, None], axis=1)
    before = (values > own) | ((values == own) & (np.arange(classes) < labels[:, None]))
    rank = before.sum(axis=1)
    return TopK(tuple(ks), tuple(int((rank < k).sum()) for k in ks), len(labels))


class TopKAccumulator:
    """Top-k accuracy over batches and processes.

    >>> seen = TopKAccumulator(ks=(1,))
    >>> seen.update([0], [[0.9, 0.1]]); seen.update([0], [[0.2, 0.8]])
    >>> seen.compute().accuracy
    (0.5,)
    """

    def __init__(self, *, ks: Sequence[int] = (1, 5), ignore: int | None = None) -> None:
        self.ignore = ignore
        self._sum = TopK(tuple(ks), (0,) * len(ks), 0)

    def update(self, truth: Any, scores: Any) -> None:
        """Count labels (N,) and scores (N, C). On an error nothing is counted."""
        self._add(top_k(truth, scores, ks=self._sum.ks, ignore=self.ignore))

    def merge(self, other: TopKAccumulator) -> None:
        """Add what another one counted."""
        if (other._sum.ks, other.ignore) != (self._sum.ks, self.ignore):
            raise InputError(
                f"expected an accumulator of k = {self._sum.ks} that ignores {self.ignore}, "
                f"got k = {other._sum.ks} that ignores {other.ignore}; build both alike"
            )
        self._add(other._sum)

    def compute(self) -> TopK:
        """The counts of all that was seen."""
        return self._sum

    def _add(self, seen: TopK) -> None:
        hits = tuple(one + other for one, other in zip(self._sum.hits, seen.hits, strict=True))
        self._sum = TopK(seen.ks, hits, self._sum.samples + seen.samples)
