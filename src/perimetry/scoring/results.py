"""What scoring a set of files tells: a record for each image, and one for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perimetry.files import encodable
from perimetry.metrics import ConfusionMatrix, Interval, Unavailable
from perimetry.scoring.pictures import Picture

SCHEMA = 1
Kind = Literal["masks", "boundaries", "boxes", "labels"]
# A score; or one by class, by component, by kind of average.
Value = float | Unavailable | Mapping[str, "Value"]

# By what images are ordered from worst to best, and whether more of it is better.
HEADLINES: Mapping[Kind, tuple[str, bool]] = {
    "masks": ("miou", True),
    "boundaries": ("warping_error", False),
    "boxes": ("f1", True),
    "labels": ("correct", True),
}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCurve:
    """A curve of one class (or of the whole set, where label is ""), and the point that was chosen on it.

    x, y: (T,), one point per threshold, of `thresholds` from the highest down (a sweep: lowest up); area: under
    it, where it has one; chosen: the index of the point of the best threshold.
    """

    kind: Literal["roc", "precision_recall", "sweep"]
    label: str
    x_name: str
    y_name: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    area: float | Unavailable
    chosen: int | None = None


@dataclass(frozen=True, slots=True)
class ImageScore:
    """The scores of one image, one slice of a stack, or one row of a table.

    scores: by DESIGN's lower-case names; facts: what is no number (the true and the predicted label).
    truth, predicted, photo: the files, where there are any. `picture()` reads them again.
    """

    name: str
    scores: Mapping[str, Value]
    facts: Mapping[str, str] = field(default_factory=dict)
    truth: Path | None = None
    predicted: Path | None = None
    photo: Path | None = None
    look: Callable[[], Picture] | None = field(default=None, repr=False, compare=False)

    def picture(self) -> Picture | None:
        """What there is to see; None for labels."""
        return None if self.look is None else self.look()

    def to_dict(self) -> dict[str, Any]:
        """The name, the facts and the scores; what is unavailable is None, with its reason under "reasons"."""
        return {"name": self.name, **self.facts, **told(self.scores)}


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything that scoring a set told.

    settings: how it was done (threshold, ignore, iou, ...); total: the scores of all images together; classes: their
    names, in the order of the confusion matrix; intervals: of scores in `total`, by name, from drawing images again.
    """

    kind: Kind
    settings: Mapping[str, Any]
    images: tuple[ImageScore, ...]
    total: Mapping[str, Value]
    classes: tuple[str, ...] = ()
    confusion: ConfusionMatrix | None = None
    curves: tuple[ScoreCurve, ...] = ()
    intervals: Mapping[str, Interval | Unavailable] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The name of the score by which images are ordered."""
        return HEADLINES[self.kind][0]

    @property
    def more_is_better(self) -> bool:
        """Whether more of the headline is better."""
        return HEADLINES[self.kind][1]

    def worst_first(self) -> list[ImageScore]:
        """The images that have the headline's score, the worst first, equals by name."""
        sign = 1 if self.more_is_better else -1
        ranked = []
        for image in self.images:
            score = image.scores.get(self.headline)
            if isinstance(score, (int, float)):
                ranked.append((sign * score, image))
        return [image for _, image in sorted(ranked, key=lambda pair: (pair[0], pair[1].name))]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, as `--json` writes it: names as in DESIGN, schema 1."""
        found: dict[str, Any] = {"schema": SCHEMA, "kind": self.kind, "settings": dict(self.settings)}
        if self.classes:
            found["classes"] = list(self.classes)
        found["images"] = [image.to_dict() for image in self.images]
        found["total"] = told(self.total)
        if self.intervals:
            found["intervals"] = {
                name: {"low": None, "high": None, "reason": each.reason}
                if isinstance(each, Unavailable)
                else asdict(each)
                for name, each in self.intervals.items()
            }
        if self.confusion is not None:
            found["confusion"] = self.confusion.counts.tolist()
        if self.notes:
            found["notes"] = list(self.notes)
        return found

    def to_json(self) -> str:
        """`to_dict` as JSON, with nothing in it that JSON does not know (NaN, infinity)."""
        return encodable(json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))

    def rows(self) -> list[dict[str, Any]]:
        """One row per image for a table: scores by class as `iou.cat`, None for what is unavailable."""
        return [
            {"name": image.name, **image.facts, **{".".join(path): value for path, value in _leaves(image.scores)}}
            for image in self.images
        ]

    def to_csv(self) -> str:
        """`rows` as CSV with a header; what is unavailable is an empty cell."""
        from perimetry.report.csv_text import csv_text

        return csv_text(self.rows())

    def to_html(self) -> str:
        """One page to look at, which needs no network."""
        from perimetry.report.score_html import score_html  # type: ignore[import-not-found, unused-ignore]

        page: str = score_html(self)
        return page


def told(scores: Mapping[str, Value]) -> dict[str, Any]:
    """Scores as plain data: None for what is unavailable, and the reasons beside, in the same nesting.

    >>> told({"miou": Unavailable("no pixel was counted"), "iou": {"cat": 0.5}})
    {'miou': None, 'iou': {'cat': 0.5}, 'reasons': {'miou': 'no pixel was counted'}}
    """
    values, reasons = _split(scores)
    return {**values, "reasons": reasons} if reasons else values


def _split(scores: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values and the reasons, each nested as the scores are."""
    values: dict[str, Any] = {}
    reasons: dict[str, Any] = {}
    for name, score in scores.items():
        if isinstance(score, Unavailable):
            values[name], reasons[name] = None, score.reason
        elif isinstance(score, Mapping):
            values[name], below = _split(score)
            if below:
                reasons[name] = below
        else:
            values[name] = score
    return values, reasons


def _leaves(scores: Mapping[str, Value]) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """Each number with the names that lead to it."""
    for name, score in scores.items():
        if isinstance(score, Mapping):
            for path, value in _leaves(score):
                yield (name, *path), value
        else:
            yield (name,), None if isinstance(score, Unavailable) else score
