"""Detections of one image that reach a score: what is true, false and missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perimetry.metrics import BoxPrediction, BoxTruth, Decisions, Matching, match_boxes
from perimetry.metrics.matching import FALSE
from perimetry.scoring.annotations import TrueImage
from perimetry.scoring.pictures import BoxPicture
from perimetry.scoring.results import ImageScore, Value

KINDS = ("true", *FALSE, "ignored")


@dataclass(frozen=True, slots=True, eq=False)
class BoxImage:
    """One image's objects and detections, and how those detections that reach `min_score` match.

    A detection's kind does not depend on lower scores, so that leaving those out changes no other.
    """

    name: str
    true: TrueImage
    predicted: BoxPrediction
    min_score: float
    iou: float
    photo: Path | None = None
    reaching: BoxPrediction = field(init=False)
    matching: Matching = field(init=False)

    def __post_init__(self) -> None:
        kept = self.predicted.scores >= self.min_score
        labels = tuple(label for label, keep in zip(self.predicted.labels, kept, strict=True) if keep)
        reaching = BoxPrediction(self.predicted.boxes_xyxy[kept], self.predicted.scores[kept], labels)
        object.__setattr__(self, "reaching", reaching)
        object.__setattr__(self, "matching", match_boxes(self.truth, reaching, iou=self.iou))

    @property
    def truth(self) -> BoxTruth:
        """The objects."""
        return self.true.truth

    def picture(self) -> BoxPicture:
        """What there is to see."""
        return BoxPicture(self.truth, self.reaching, self.matching, self.true.height, self.true.width)

    def score(self) -> ImageScore:
        """The counts and rates of this image."""
        return ImageScore(
            name=self.name,
            scores=counts([self.matching]),
            truth=self.true.path,
            photo=self.photo or self.true.photo,
            look=self.picture,
        )


def counts(matchings: Sequence[Matching]) -> dict[str, Value]:
    """How many detections are of each kind, how many objects were missed, and the rates of both."""
    found = decisions(matchings)
    kinds: dict[str, Value] = {kind: sum(each.kinds.count(kind) for each in matchings) for kind in KINDS}
    rates: dict[str, Value] = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
    return {**kinds, "missed": found.fn, **rates}


def decisions(matchings: Sequence[Matching]) -> Decisions:
    """True, false and missed as decisions; there are no true negatives among boxes."""
    tp, fp = sum(each.true for each in matchings), sum(each.false for each in matchings)
    return Decisions(tp=tp, fp=fp, tn=0, fn=sum(len(each.missed) for each in matchings))
