"""Scores of labels: one class for each name, or any number of them, told as labels or as scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError
from perimetry.metrics import label_scores, multilabel_scores, top_k
from perimetry.scoring.intervals import draws_of, intervals_of
from perimetry.scoring.label_scores import by_class, curves_of, label_statistics, multilabel_statistics
from perimetry.scoring.pairing import Progress, common_names, listed
from perimetry.scoring.results import ImageScore, ScoreCurve, Scored, Value
from perimetry.scoring.tables import GivenLabels, ToldTable, TrueTable, read_told, read_truth

Floats = npt.NDArray[np.float64]
USUAL_KS = (1, 5)


@dataclass(frozen=True, slots=True, eq=False)
class _Decided:
    """What was decided of all names: labels (N, C) of 0 and 1 each; scores (N, C), or (N, 1) of the positive class."""

    names: list[str]
    classes: tuple[str, ...]
    truth: npt.NDArray[np.int8]
    told: npt.NDArray[np.int8]
    scores: Floats | None
    threshold: float | None


def score_labels(
    truth: GivenLabels,
    predicted: GivenLabels,
    *,
    classes: Sequence[str] | None = None,
    columns: tuple[str, str] = ("name", "label"),
    positive: str | None = None,
    threshold: float | None = None,
    ks: Sequence[int] | None = None,
    only_common: bool = False,
    names: Iterable[str] | None = None,
    bootstrap: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Scored:
    """Score labels: CSV tables matched by name, or labels by name (predictions: or scores by class by name).

    truth: columns name and label; several labels as a;b, or as a column of 0 and 1 for each class. predicted: the same,
    or name and score_CLASS for each class: the class of the highest score is told, of equals the first.
    classes: in order, where the truth does not show them all. columns: what the truth calls its two.
    Of two classes, `positive` (by default the second) is the one of curves. It, and any of several labels, is told from
    the score `threshold` on (0.5; of two classes with two scores: the higher one). ks: of top-k (1 and 5). The rest as
    of `score_masks`.

    >>> seen = score_labels({"x": "cat", "y": "dog"}, {"x": {"cat": 0.9, "dog": 0.1}, "y": {"cat": 0.6, "dog": 0.4}})
    >>> seen.total["accuracy"], seen.total["roc_area"], seen.total["best_threshold"]
    (0.5, {'dog': 1.0}, {'dog': 0.4})
    """
    draws = draws_of(bootstrap, seed)
    true = read_truth(truth, columns=columns)
    order = _classes(true, classes, positive)
    told = read_told(predicted, order, several=true.several)
    several = true.several or any(len(each) > 1 for each in told.labels.values())
    if not several and (bare := [name for name, each in told.labels.items() if not each]):
        raise InputError(f"no label is told of {listed(bare)}; expected one for each name")
    kept, notes = common_names(true.labels, told.names, names=names, only_common=only_common)
    if progress is not None:
        progress(0, len(kept))
    decided = _decided(true, told, kept, order, several=several, threshold=threshold, fixed=classes is not None)
    total: dict[str, Value]
    confusion = None
    if several:
        if ks is not None:
            raise InputError("top-k is of one label for each name; leave --top-k (ks=) out")
        seen = multilabel_scores(decided.truth, decided.told)
        total = {"exact_match": seen.exact_match, "hamming_loss": seen.hamming_loss}
        per_class = seen.per_class
        correct = (decided.truth == decided.told).all(axis=1)
        statistics = multilabel_statistics(decided.truth, decided.told)
    else:
        labels = decided.truth.argmax(axis=1), decided.told.argmax(axis=1)
        found = label_scores(*labels, classes=len(decided.classes))
        confusion, per_class = found.confusion, found.per_class
        total = {"accuracy": found.accuracy, "balanced_accuracy": found.balanced_accuracy, "mcc": found.mcc}
        total |= _top(decided, labels[0], ks)
        correct = labels[0] == labels[1]
        statistics = label_statistics(*labels, len(decided.classes))
    total |= by_class(per_class, decided.classes)
    curves: tuple[ScoreCurve, ...] = ()
    areas: dict[str, Value] = {}
    if decided.scores is not None:
        # Of two classes one curve tells all.
        told_of = slice(1, 2) if not several and len(decided.classes) == 2 else slice(None)
        curves, areas, more = curves_of(
            decided.truth[:, told_of], _columns(decided.scores, told_of), decided.classes[told_of]
        )
        notes += more
    return Scored(
        kind="labels",
        settings={
            "several": several,
            "threshold": decided.threshold,
            "positive": decided.classes[-1] if not several and len(decided.classes) == 2 else None,
        },
        images=tuple(_images(decided, correct, several=several)),
        total=total | areas,
        classes=decided.classes,
        confusion=confusion,
        curves=curves,
        intervals=intervals_of(draws, statistics),
        notes=notes,
    )


def _columns(scores: Floats, of: slice) -> Floats:
    """The scores of some classes; those of the positive class alone are its own."""
    return scores if scores.shape[1] == 1 else scores[:, of]


def _classes(true: TrueTable, classes: Sequence[str] | None, positive: str | None) -> tuple[str, ...]:
    """The classes in order, of two the positive one last."""
    order = true.classes if classes is None else tuple(classes)
    if len(set(order)) < len(order):
        raise InputError(f"expected each class's name once, got {', '.join(order)}")
    if unknown := [label for label in true.classes if label not in set(order)]:
        raise InputError(f"the truth holds {listed(unknown)}, not among the classes {listed(order)}")
    if positive is None:
        return order
    if len(order) != 2 or positive not in order:
        raise InputError(f"expected the positive one of two classes, got {positive!r} and {listed(order)}")
    return tuple(sorted(order, key=lambda label: label == positive))


def _decided(
    true: TrueTable,
    told: ToldTable,
    kept: list[str],
    order: tuple[str, ...],
    *,
    several: bool,
    threshold: float | None,
    fixed: bool,
) -> _Decided:
    """The labels and scores as arrays, and what they decide. fixed: whether `order` was given, or is the truth's."""
    if len(told.scored) > 1 and not fixed:
        if lacking := [label for label in order if label not in set(told.scored)]:
            raise InputError(f"the predictions have no score for {listed(lacking)}; expected a column for each class")
        order = told.scored if len(told.scored) != len(order) else order
    number = {label: at for at, label in enumerate(order)}
    known = f"; the classes are {listed(order)}; name all with --classes (classes=)"
    if unknown := sorted(set(told.scored) - set(order)):
        raise InputError(f"the predictions have scores of {listed(unknown)}, which the truth does not know{known}")
    for name in kept:
        if wrong := [label for label in told.labels.get(name, ()) if label not in number]:
            raise InputError(f"the prediction of {name} is {wrong[0]!r}, which the truth does not know{known}")
    truth = _marks([true.labels[name] for name in kept], number)
    scores = None
    if told.scores:
        given = np.array([told.scores[name] for name in kept], np.float64)
        if several or len(order) != 2 or given.shape[1] != 1:
            if lacking := [label for label in order if label not in told.scored]:
                raise InputError(f"the predictions have no score for {listed(lacking)}; expected one for each class")
            given = given[:, [told.scored.index(label) for label in order]]
        elif told.scored[0] != order[1]:
            raise InputError(
                f"the only score is of {told.scored[0]!r}, and the positive class is {order[1]!r}; "
                f"give --positive {told.scored[0]} (positive=)"
            )
        scores = given
    decisions, used = _decide(told, kept, number, scores, several=several, threshold=threshold)
    return _Decided(kept, order, truth, decisions, scores, used)


def _decide(
    told: ToldTable,
    kept: list[str],
    number: Mapping[str, int],
    scores: Floats | None,
    *,
    several: bool,
    threshold: float | None,
) -> tuple[npt.NDArray[np.int8], float | None]:
    """What is told of each name, (N, C) of 0 and 1, and the threshold that it took."""
    classes = len(number)
    if threshold is not None and (scores is None or not (several or classes == 2)):
        raise InputError(
            "a threshold needs scores of two classes, or of several labels; leave --threshold (threshold=) out"
        )
    if told.labels and threshold is None:
        return _marks([told.labels[name] for name in kept], number), None
    assert scores is not None  # a table without labels has scores
    single = not several and scores.shape[1] == 1
    limit = threshold
    if limit is None and (several or single):
        if scores.min() < 0 or scores.max() > 1:
            raise InputError(
                f"the scores run from {scores.min():.4g} to {scores.max():.4g}; expected 0 to 1, or give that from "
                "which on a label is told with --threshold (threshold=)"
            )
        limit = 0.5
    if limit is None:
        return np.eye(classes, dtype=np.int8)[scores.argmax(axis=1)], None
    if several:
        return (scores >= limit).astype(np.int8), limit
    positive = (scores[:, -1] >= limit).astype(np.int8)
    return np.stack((1 - positive, positive), axis=1), limit


def _marks(labels: Sequence[Sequence[str]], number: Mapping[str, int]) -> npt.NDArray[np.int8]:
    """(N, C): 1 where a name has the class."""
    marked = np.zeros((len(labels), len(number)), np.int8)
    for row, each in zip(marked, labels, strict=True):
        for label in each:
            row[number[label]] = 1
    return marked


def _top(decided: _Decided, truth: npt.NDArray[np.intp], ks: Sequence[int] | None) -> dict[str, Value]:
    """Top-k accuracies, where every class has a score."""
    classes = len(decided.classes)
    if decided.scores is None or decided.scores.shape[1] != classes:
        if ks is not None:
            raise InputError("top-k needs a score for each class; leave --top-k (ks=) out")
        return {}
    chosen = [k for k in USUAL_KS if k <= classes] if ks is None else list(ks)
    found = top_k(truth, decided.scores, ks=chosen)
    return {f"top{k}": accuracy for k, accuracy in zip(chosen, found.accuracy, strict=True)}


def _images(decided: _Decided, correct: npt.NDArray[np.bool_], *, several: bool) -> Iterator[ImageScore]:
    """One record for each name; of scores by class, where the true one stands."""
    ranks = None
    if decided.scores is not None and not several and decided.scores.shape[1] == len(decided.classes):
        own = decided.scores[decided.truth.astype(bool)][:, None]
        ties = (decided.scores == own) & (np.arange(len(decided.classes)) < decided.truth.argmax(axis=1)[:, None])
        ranks = 1 + ((decided.scores > own) | ties).sum(axis=1)
    for at, name in enumerate(decided.names):
        scores: dict[str, Value] = {"correct": int(correct[at])}
        if ranks is not None:
            scores["rank"] = int(ranks[at])
        facts = {
            what: ";".join(decided.classes[each] for each in np.flatnonzero(marks[at]))
            for what, marks in (("truth", decided.truth), ("predicted", decided.told))
        }
        yield ImageScore(name=name, scores=scores, facts=facts)
