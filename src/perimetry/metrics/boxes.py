"""Boxes with labels: what is there, what was detected, and how far two boxes overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import as_array

Floats = npt.NDArray[np.float64]
Label = str | int


@dataclass(frozen=True, slots=True, eq=False)
class BoxTruth:
    """The objects of one image.

    boxes_xyxy: (K, 4), x1 y1 x2 y2 with x2 >= x1 and y2 >= y1; labels: one class (name or number) per box;
    difficult: per box, whether it counts neither as found nor as missed (VOC's `difficult`, COCO's `iscrowd`);
    areas: per box, the object's own area in pixels, by which COCO calls it small or large; by default the box's.

    >>> BoxTruth([[48, 240, 195, 371]], ["dog"]).difficult
    array([False])
    """

    boxes_xyxy: Any
    labels: Any
    difficult: Any = None
    areas: Any = None

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes_xyxy, "true boxes")
        difficult = np.zeros(len(boxes)) if self.difficult is None else as_array(self.difficult, "difficult")
        if difficult.shape != (len(boxes),) or not np.isin(difficult, (0, 1)).all():
            raise InputError(f"expected difficult as {len(boxes)} truth values, one per box, got {self.difficult!r}")
        if self.areas is None:
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        else:
            areas = as_array(self.areas, "areas").astype(np.float64)
        if areas.shape != (len(boxes),) or (areas < 0).any():
            raise InputError(f"expected {len(boxes)} areas from 0, one per box, got {self.areas!r}")
        object.__setattr__(self, "areas", areas)
        object.__setattr__(self, "boxes_xyxy", boxes)
        object.__setattr__(self, "labels", _as_classes(self.labels, len(boxes), "true boxes"))
        object.__setattr__(self, "difficult", difficult.astype(bool))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class BoxPrediction:
    """What was detected in one image: boxes_xyxy (K, 4) as in `BoxTruth`, scores (K,), one label per box.

    >>> len(BoxPrediction([[8, 12, 352, 498]], [0.9], ["person"]))
    1
    """

    boxes_xyxy: Any
    scores: Any
    labels: Any

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes_xyxy, "predicted boxes")
        scores = as_array(self.scores, "scores").astype(np.float64)
        if scores.shape != (len(boxes),):
            raise ShapeError(f"expected {len(boxes)} scores, one per box, got shape {scores.shape}")
        object.__setattr__(self, "boxes_xyxy", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", _as_classes(self.labels, len(boxes), "predicted boxes"))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


def as_boxes(given: Any, name: str) -> Floats:
    """Boxes as (K, 4) float64; an empty list is no box.

    Raises `ShapeError` for other shapes, `InputError` for what is not finite and for corners the wrong way round.

    >>> as_boxes([[0, 0, 9, 4]], "boxes")
    array([[0., 0., 9., 4.]])
    """
    boxes = as_array(given, name).astype(np.float64)
    if not boxes.size:
        return np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"expected {name} as (K, 4), x1 y1 x2 y2 each, got shape {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise InputError(f"{name} hold infinite coordinates; clean them first")
    turned = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(turned):
        raise InputError(
            f"{name}[{turned[0]}] is {boxes[turned[0]].tolist()}, with x2 < x1 or y2 < y1; "
            "expected x1 y1 x2 y2: if these are x y width height, add the first two to the last two"
        )
    return boxes


def overlaps(boxes: Floats, others: Floats, *, pixels: int = 0) -> Floats:
    """Intersection over union of each pair, (K, M).

    pixels: what is added to each side's difference of coordinates: 0 where coordinates are edges (COCO), 1 where they
    are the first and last pixel inside (VOC). Two boxes without area overlap by 0.

    >>> overlaps(np.array([[0.0, 0, 9, 9]]), np.array([[0.0, 0, 9, 4]]), pixels=1)
    array([[0.5]])
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low + pixels, 0, None).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2] + pixels).prod(axis=1) for each in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def check_known(labels: Sequence[Label], classes: Sequence[Label], name: str) -> None:
    """Raise `InputError` for a label that is none of the classes."""
    if unknown := sorted({label for label in labels if label not in set(classes)}, key=str):
        listed = ", ".join(repr(label) for label in list(classes)[:20]) + (", ..." if len(classes) > 20 else "")
        raise InputError(
            f"{name} hold the class {unknown[0]!r}, which is unknown; expected one of {listed}; "
            "name all classes with classes=, or leave these boxes out"
        )


def _as_classes(given: Any, count: int, name: str) -> tuple[Label, ...]:
    labels = tuple(given.tolist() if hasattr(given, "tolist") else given)
    if len(labels) != count:
        raise ShapeError(f"expected {count} labels for the {name}, one each, got {len(labels)}")
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            raise InputError(f"expected the labels of the {name} as names or whole numbers, got {label!r}")
    return labels
