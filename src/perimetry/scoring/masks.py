"""Scores of a set of semantic masks: pixels of all images counted together, and each image by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from perimetry.errors import InputError
from perimetry.metrics import ConfusionMatrix, MaskScores, Score, Unavailable, confusion_matrix
from perimetry.metrics.decisions import ratio
from perimetry.scoring.intervals import draws_of, intervals_of
from perimetry.scoring.pages import Array
from perimetry.scoring.pairing import Given, Photos, Progress, Slice, paired
from perimetry.scoring.pictures import MaskPicture
from perimetry.scoring.results import ImageScore, Scored, Value
from perimetry.scoring.running import each

# Labels that are mostly no class are not guessed at: beyond this, how many classes there are must be said.
MOST_CLASSES_UNTOLD = 255
MOST_CLASSES = 4096  # every image has a matrix of their square while it is counted
MEANS = ("pixel_accuracy", "mean_accuracy", "miou", "frequency_weighted_iou", "mean_dice")
BY_CLASS = ("iou", "dice", "accuracy")


def score_masks(
    truth: Given,
    predicted: Given,
    *,
    classes: int | Sequence[str] | None = None,
    ignore: int | None = None,
    foreground: bool = False,
    only_common: bool = False,
    names: Iterable[str] | None = None,
    photos: Photos = None,
    bootstrap: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> Scored:
    """Score masks of labels against the truth: folders or files (PNG, TIFF, NPY), or arrays and files by name.

    classes: their names from label 0 on, or how many; by default as many as the truth has. ignore: the label of the
    truth that stands for no class. foreground: every label above zero is one class. only_common: leave out what does
    not fit, with a note; names: score these images only; photos: a folder, or files by name, for pictures; bootstrap:
    draws for intervals.
    Raises `UnmatchedError` (an `InputError`) before anything is computed, `FileError` for a file that is damaged.

    >>> seen = score_masks({"a": [[0, 1], [1, 255]]}, {"a": [[0, 1], [0, 0]]}, ignore=255)
    >>> seen.total["iou"], seen.total["miou"]
    ({'0': 0.5, '1': 0.5}, 0.5)
    """
    draws = draws_of(bootstrap, seed)
    slices, notes = paired(truth, predicted, only_common=only_common, names=names, photos=photos)
    read = _binary if foreground else _labels
    if foreground and classes is None:
        classes = ("background", "foreground")
    if classes is None:
        count = _classes_in(slices, ignore)
        labels = tuple(str(label) for label in range(count))
    else:
        labels = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        count = len(labels)
    if len(set(labels)) < count:
        raise InputError(f"expected each class's name once, got {', '.join(labels)}")

    if not 1 <= count <= MOST_CLASSES:
        raise InputError(f"expected 1 to {MOST_CLASSES} classes, got {count}; are these numbers of objects?")
    counts = np.zeros((count, count), np.int64)
    ignored = 0
    lock = threading.Lock()

    def work(one: Slice) -> tuple[ImageScore, Array]:
        nonlocal ignored
        seen = confusion_matrix(read(one.truth(), ignore), read(one.predicted(), None), classes=count, ignore=ignore)
        with lock:
            counts[...] += seen.counts
            ignored += seen.ignored
        return _image(one, MaskScores(seen), labels, look=_look(one, read, ignore)), _margins(seen)

    found = each(slices, work, workers=workers, progress=progress)
    confusion = ConfusionMatrix(counts, ignored)
    margins = [margin for _, margin in found]
    return Scored(
        kind="masks",
        settings={"ignore": ignore, "foreground": foreground},
        images=tuple(image for image, _ in found),
        total=_scores(MaskScores(confusion), labels),
        classes=labels,
        confusion=confusion,
        intervals=intervals_of(draws, {name: (margins, statistic) for name, statistic in STATISTICS.items()}),
        notes=notes,
    )


def _labels(labels: Array, _ignore: int | None) -> Array:
    """The labels as they are."""
    return labels


def _binary(labels: Array, ignore: int | None) -> Array:
    """1 above zero, 0 elsewhere, what is ignored kept."""
    if labels.dtype.kind == "f":
        raise InputError(f"expected labels (whole numbers), got {labels.dtype}; compare with a threshold first")
    above = (labels > 0).astype(np.int64)
    return above if ignore is None else np.where(labels == ignore, ignore, above)


def _classes_in(slices: Sequence[Slice], ignore: int | None) -> int:
    """One more than the largest label of the truth; raises `InputError` where that is hardly a class."""
    largest, where = 0, ""
    for one in slices:
        labels = one.truth()
        if labels.dtype.kind == "f":
            raise InputError(f"the truth {one.name} holds {labels.dtype}; expected labels (whole numbers)")
        kept = labels if ignore is None else labels[labels != ignore]
        if kept.size and int(kept.max()) > largest:
            largest, where = int(kept.max()), one.name
    if largest >= MOST_CLASSES_UNTOLD:
        raise InputError(
            f"the truth {where} holds the label {largest}; leave it out with --ignore {largest} (ignore={largest}) "
            "if it stands for no class, take all above 0 as one with --foreground, or say how many classes there are"
        )
    return largest + 1


def _scores(seen: MaskScores, labels: Sequence[str], *, present: bool = False) -> dict[str, Value]:
    """The scores by name; present: only of classes that are in the truth or predicted."""
    scores: dict[str, Value] = {name: getattr(seen, name) for name in MEANS}
    by_class = {name: getattr(seen, name) for name in BY_CLASS}
    kept = [at for at, iou in enumerate(by_class["iou"]) if not (present and isinstance(iou, Unavailable))]
    for name, values in by_class.items():
        scores[name] = {labels[at]: values[at] for at in kept}
    return scores | {"pixels": seen.confusion.total, "ignored": seen.confusion.ignored}


def _image(one: Slice, seen: MaskScores, labels: Sequence[str], look: Callable[[], MaskPicture]) -> ImageScore:
    return ImageScore(
        name=one.name,
        scores=_scores(seen, labels, present=True),
        truth=one.truth_path,
        predicted=one.predicted_path,
        photo=one.photo,
        look=look,
    )


def _look(one: Slice, read: Callable[[Array, int | None], Array], ignore: int | None) -> Callable[[], MaskPicture]:
    def look() -> MaskPicture:
        truth, predicted = read(one.truth(), ignore), read(one.predicted(), None)
        ignored = np.zeros(truth.shape, bool) if ignore is None else truth == ignore
        return MaskPicture(truth, predicted, (truth != predicted) & ~ignored, ignored)

    return look


def _margins(seen: ConfusionMatrix) -> Array:
    """Per class: pixels told right, true pixels, predicted pixels; (3, C), all that the means below need."""
    return np.stack((seen.counts.diagonal(), seen.counts.sum(axis=1), seen.counts.sum(axis=0)))


def _pixel_accuracy(margins: Sequence[Array]) -> Score:
    right, true, _ = np.sum(margins, axis=0)
    return ratio(int(right.sum()), int(true.sum()), "no pixel was counted")


def _mean_accuracy(margins: Sequence[Array]) -> Score:
    right, true, _ = np.sum(margins, axis=0)
    return _mean(right, true)


def _miou(margins: Sequence[Array]) -> Score:
    right, true, told = np.sum(margins, axis=0)
    return _mean(right, true + told - right)


def _mean_dice(margins: Sequence[Array]) -> Score:
    right, true, told = np.sum(margins, axis=0)
    return _mean(2 * right, true + told)


def _mean(part: Array, whole: Array) -> Score:
    """The mean of the quotients over the classes that have one."""
    kept = whole > 0
    return float((part[kept] / whole[kept]).mean()) if kept.any() else Unavailable("no pixel was counted")


STATISTICS: dict[str, Callable[[Sequence[Array]], Score]] = {
    "pixel_accuracy": _pixel_accuracy,
    "mean_accuracy": _mean_accuracy,
    "miou": _miou,
    "mean_dice": _mean_dice,
}
