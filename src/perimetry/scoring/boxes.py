"""Scores of detections over a set of images, and what is true, false and missed in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from perimetry.errors import FileError, InputError, PerimetryError, UnknownNameError
from perimetry.metrics import (
    BoxPrediction,
    BoxTruth,
    DetectionCurve,
    Matching,
    ProposalAccumulator,
    Score,
    ThresholdSweep,
    Unavailable,
    VocAccumulator,
    VocScores,
    coco_by_size,
    coco_scores,
)
from perimetry.metrics.averages import mean_of
from perimetry.metrics.boxes import Label
from perimetry.metrics.voc import NOTHING
from perimetry.scoring.annotations import BoxSet, Coordinates, TrueImage, read_coco, read_detections, read_voc
from perimetry.scoring.box_images import BoxImage, counts, decisions
from perimetry.scoring.intervals import draws_of, intervals_of
from perimetry.scoring.pairing import Photos, Progress, common_names, photos_by_name
from perimetry.scoring.results import ScoreCurve, Scored, Value

Metric = Literal["voc07", "voc10", "coco", "recall"]
METRICS: tuple[Metric, ...] = get_args(Metric)


def score_boxes(
    truth: str | Path | Mapping[str, BoxTruth],
    predicted: str | Path | Mapping[str, BoxPrediction],
    *,
    metrics: Sequence[Metric] | None = None,
    iou: float = 0.5,
    min_score: float | None = None,
    classes: Sequence[str] | None = None,
    coordinates: Coordinates = "truth",
    sizes: Sequence[float] = (),
    only_common: bool = False,
    names: Iterable[str] | None = None,
    photos: Photos = None,
    bootstrap: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Scored:
    """Score detections: a VOC folder or COCO's JSON against a list of detections in JSON, or boxes by image name.

    metrics: by default VOC's of 2007 and of 2010, for COCO's truth COCO's; "recall" is of class-agnostic proposals.
    iou: from which overlap on a detection is true, for all but COCO. min_score: single images, precision, recall
    and F1 are told of detections from this score on; by default the score of the largest F1. classes: names in their
    order, for VOC folders whose detections are numbered. coordinates: of the file of detections, "truth" for the same
    as the truth's, or "coco" for continuous ones from 0 (see `read_detections`). sizes: of objects, bounds in pixels
    between which COCO's recall is told apart (see `coco_by_size`). The rest as of `score_masks`.
    An image without detections is no error.

    >>> truth = {"a": BoxTruth([[0, 0, 9, 9], [20, 20, 29, 29]], ["cat", "cat"])}
    >>> seen = score_boxes(truth, {"a": BoxPrediction([[0, 0, 9, 8]], [0.9], ["cat"])})
    >>> seen.total["voc_map"], seen.total["recall"], seen.images[0].scores["missed"]
    (0.5, 0.5, 1)
    """
    draws = draws_of(bootstrap, seed)
    whole, chosen = _truth(truth, classes, metrics)
    for metric in chosen:
        if metric not in METRICS:
            raise UnknownNameError("metric", metric, known=METRICS, advice="one or more of " + ", ".join(METRICS))
    if coordinates not in get_args(Coordinates):
        raise UnknownNameError("coordinates", coordinates, known=get_args(Coordinates), advice='"truth" or "coco"')
    if len(sizes) and "coco" not in chosen:
        raise InputError(f"sizes are of COCO's scores; ask for the metric coco, or leave sizes={tuple(sizes)} out")
    if isinstance(predicted, Mapping):
        if coordinates != "truth":
            raise InputError("coordinates are of files; give boxes by name in the coordinates of the truth")
        told: Mapping[str, BoxPrediction] = predicted
    else:
        told = read_detections(Path(predicted), whole, coordinates)
    kept, notes = common_names(whole.images, told, names=names, only_common=only_common, complete=False)
    if empty := sum(name not in told for name in kept):
        notes += (f"{empty} of {len(kept)} images have no detection",)
    known = tuple(dict.fromkeys(whole.classes.values()))
    if not known:
        raise InputError("the truth holds no object; name the classes to score with --classes (classes=)")
    seen = VocAccumulator(classes=known, iou=iou)
    proposals = ProposalAccumulator()
    for number, name in enumerate(kept):
        if progress is not None:
            progress(number, len(kept))
        objects, detections = whole.images[name].truth, told.get(name, NOTHING)
        try:
            seen.update(name, objects, detections)
        except PerimetryError as error:
            error.add_note(f"(image {name})")
            raise
        if "recall" in chosen:
            true, found = objects.boxes_xyxy, detections.boxes_xyxy
            if whole.inclusive:
                true, found = _edges(true), _edges(found)
            proposals.update(true[~objects.difficult], found, detections.scores)
    voc = seen.compute()
    threshold = _best_threshold(voc) if min_score is None else float(min_score)
    shown = photos_by_name(photos)
    looked = [
        BoxImage(name, whole.images[name], told.get(name, NOTHING), threshold, iou, shown.get(name)) for name in kept
    ]
    matchings = [each.matching for each in looked]
    total: dict[str, Value] = {}
    if "voc07" in chosen:
        total |= {"voc07_map": voc.voc07_map, "voc07_ap": _by_class(voc.voc07_ap)}
    if "voc10" in chosen:
        total |= {"voc_map": voc.voc_map, "voc_ap": _by_class(voc.voc_ap)}
    if "coco" in chosen:
        total |= _coco(*_by_edges(whole, kept, told), known, sizes)
        if draws is not None:
            notes += ("COCO's scores have no interval: each draw would be a whole evaluation",)
    if "recall" in chosen:
        total |= _recalls(proposals)
    total |= {"min_score": threshold} | counts(matchings)
    records = [_Record.of(each, voc.images[each.name], known) for each in looked]
    statistics: dict[str, tuple[Sequence[Any], Callable[[Sequence[Any]], Score] | None]] = {
        "voc07_map": (records, lambda drawn: _mean_ap(drawn, "voc07_ap")),
        "voc_map": (records, lambda drawn: _mean_ap(drawn, "voc_ap")),
        "f1": (matchings, lambda drawn: decisions(drawn).f1),
    }
    return Scored(
        kind="boxes",
        settings={"metrics": [*chosen], "iou": iou, "min_score": threshold},
        images=tuple(each.score() for each in looked),
        total=total,
        classes=tuple(map(str, known)),
        curves=tuple(curve for label in known if (curve := _curve(str(label), voc.curves[label], threshold))),
        intervals=intervals_of(draws, {name: each for name, each in statistics.items() if name in total}),
        notes=notes,
    )


def _truth(
    given: str | Path | Mapping[str, BoxTruth], classes: Sequence[str] | None, metrics: Sequence[Metric] | None
) -> tuple[BoxSet, Sequence[Metric]]:
    """The truth's images, and the metrics that are usual for its kind unless others are given."""
    usual: Sequence[Metric] = ("voc07", "voc10")
    if isinstance(given, Mapping):
        if not given:
            raise InputError("the truth is empty; give one image or more")
        labels = dict.fromkeys(label for objects in given.values() for label in objects.labels)
        named: dict[Any, Label] = {label: label for label in (labels if classes is None else classes)}
        found = BoxSet({name: TrueImage(each) for name, each in given.items()}, {name: name for name in given}, named)
        return found, metrics or usual
    path = Path(given)
    if path.is_dir():
        return read_voc(path, classes), metrics or usual
    if not path.exists():
        raise FileError(f"no such file or folder: {path}")
    if classes is not None:
        raise InputError("COCO's annotations name their classes themselves; leave --classes (classes=) out")
    return read_coco(path), metrics or ("coco",)


def _best_threshold(voc: VocScores) -> float:
    """The score from which on the detections of all classes have the largest F1; 0 where there is none to choose."""
    curves = [curve for curve in voc.curves.values() if len(curve.scores)]
    positives = sum(curve.positives for curve in voc.curves.values())
    if not curves or not positives:
        return 0.0
    scores = np.concatenate([curve.scores for curve in curves])
    is_true = np.concatenate([np.diff(curve.tp, prepend=0) for curve in curves])
    order = np.argsort(-scores, kind="stable")
    scores, tp = scores[order], np.cumsum(is_true[order])
    last = np.append(scores[1:] != scores[:-1], True)  # of equal scores all are taken
    fp = np.arange(1, len(scores) + 1) - tp
    best = ThresholdSweep(scores[last], tp[last], fp[last], positives, int(fp[-1])).best_f()
    assert not isinstance(best, Unavailable)  # there are positives
    return best.threshold


def _by_class(scores: Mapping[Label, Score]) -> dict[str, Value]:
    return {str(label): score for label, score in scores.items()}


def _edges(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Boxes whose widths are x2 - x1, as COCO measures them, of those that VOC tells by first and last pixel."""
    edges: npt.NDArray[np.float64] = boxes + np.array([0, 0, 1, 1])
    return edges


def _by_edges(
    whole: BoxSet, names: Sequence[str], told: Mapping[str, BoxPrediction]
) -> tuple[dict[str, BoxTruth], dict[str, BoxPrediction]]:
    """The truth and the detections of these images, in coordinates that are edges."""
    if not whole.inclusive:
        return {name: whole.images[name].truth for name in names}, {name: told[name] for name in names if name in told}
    truth, found = {}, {}
    for name in names:
        given = whole.images[name].truth
        truth[name] = BoxTruth(_edges(given.boxes_xyxy), given.labels, given.difficult)
        if name in told:
            boxes = _edges(told[name].boxes_xyxy)
            found[name] = BoxPrediction(boxes, told[name].scores, told[name].labels)
    return truth, found


def _coco(
    truth: Mapping[str, BoxTruth], told: Mapping[str, BoxPrediction], classes: Sequence[Label], sizes: Sequence[float]
) -> dict[str, Value]:
    seen = coco_scores(truth, told, classes=classes)
    found: dict[str, Value] = {each.name: getattr(seen, each.name) for each in fields(seen) if each.name != "per_class"}
    found["coco_ap_by_class"] = _by_class(seen.per_class)
    if len(sizes):
        by_size = coco_by_size(truth, told, sizes=sizes, classes=classes)
        found["by_size"] = {
            name: {part.name: getattr(each, part.name) for part in fields(each)} for name, each in by_size.items()
        }
    return found


def _recalls(proposals: ProposalAccumulator) -> dict[str, Value]:
    """By number of proposals: the mean recall over overlaps, and the recall at each."""
    seen = proposals.compute()
    counts = [str(count) for count in seen.counts]
    return {
        "average_recall": dict(zip(counts, seen.average_recall, strict=True)),
        "proposal_recall": {
            count: dict(zip(map(str, seen.ious), row, strict=True))
            for count, row in zip(counts, seen.recall, strict=True)
        },
    }


def _curve(label: str, curve: DetectionCurve, threshold: float) -> ScoreCurve | None:
    """Precision against recall; None for a class without objects or detections."""
    recall = curve.recall
    if isinstance(recall, Unavailable) or not len(recall):
        return None
    at = int(np.searchsorted(-curve.scores, -threshold, side="right")) - 1
    chosen = at if at >= 0 else None
    return ScoreCurve(
        "precision_recall", label, "recall", "precision", recall, curve.precision, curve.scores, curve.voc_ap, chosen
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """What average precision takes of one image: class, score and truth of each detection, and objects by class."""

    classes: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    true: npt.NDArray[np.bool_]
    positives: npt.NDArray[np.int64]

    @classmethod
    def of(cls, image: BoxImage, matching: Matching, known: Sequence[Label]) -> _Record:
        kept = np.array([kind != "ignored" for kind in matching.kinds], bool)
        number = {label: at for at, label in enumerate(known)}
        labels = np.array([number[label] for label in image.predicted.labels], np.int64)
        objects = [
            number[label] for label, skip in zip(image.truth.labels, image.truth.difficult, strict=True) if not skip
        ]
        return cls(
            labels[kept],
            image.predicted.scores[kept],
            np.array([kind == "true" for kind in matching.kinds], bool)[kept],
            np.bincount(np.array(objects, np.int64), minlength=len(known)),
        )


def _mean_ap(drawn: Sequence[_Record], name: str) -> Score:
    """The mean average precision of images that may come several times."""
    classes, scores = (np.concatenate([getattr(each, key) for each in drawn]) for key in ("classes", "scores"))
    true, positives = np.concatenate([each.true for each in drawn]), np.sum([each.positives for each in drawn], axis=0)
    order = np.argsort(-scores, kind="stable")
    classes, scores, true = classes[order], scores[order], true[order]
    found: list[Score] = []
    for label, count in enumerate(positives.tolist()):
        own = classes == label
        tp = np.cumsum(true[own])
        curve = DetectionCurve(scores[own], tp, np.arange(1, len(tp) + 1) - tp, count)
        found.append(getattr(curve, name))
    return mean_of(found, "no object of any class")
