"""The images that scored worst, as pictures: what was true, what was told, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perimetry.metrics.mismatches import CLASSES
from perimetry.report.numbers import plain
from perimetry.report.score_pictures import (
    CLASS_COLORS,
    Color,
    label_colors,
    labels_address,
    overlay_address,
    photo_address,
    read_photo,
    shrinking,
)
from perimetry.report.score_views import images_in_order
from perimetry.report.score_words import name_of, value_text

if TYPE_CHECKING:
    from perimetry.scoring.pictures import BoundaryPicture, BoxPicture, MaskPicture
    from perimetry.scoring.results import ImageScore, Scored

MOST_PICTURES = 12  # images that are shown
MOST_BYTES = 8_000_000  # of all their pictures; from there on images are left out
MOST_BOXES = 300  # of one image: those with the highest scores
WRONG: Color = (255, 60, 60)
_PAPER: tuple[Color, Color] = ((24, 26, 30), (236, 236, 232))  # background and foreground of black and white pictures


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that lies under or over others: what it shows, and its data: address; `key` is what switches name."""

    key: str
    label: str
    address: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box of an image, in its pixels. kind: "found" and "missed" are true boxes, the others detections."""

    kind: str
    label: str
    score: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of the gallery.

    index: its place among the images that were scored; height, width: in its own pixels; shrunk: by how much its
    pictures are smaller. layers: for masks one beside the other, for boundaries one instead of the other; overlays lie
    over them. remarks: what is not shown, and why.
    """

    index: int
    name: str
    score: str
    height: int
    width: int
    shrunk: int
    layers: tuple[Layer, ...]
    overlays: tuple[Layer, ...] = ()
    boxes: tuple[DrawnBox, ...] = ()
    photo: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its pictures in the page."""
        addresses = [layer.address for layer in (*self.layers, *self.overlays)] + [self.photo or ""]
        return sum(map(len, addresses)) + 160 * len(self.boxes)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of a page, the worst image first. left_out: images that have pictures and are not shown."""

    images: tuple[Shown, ...] = ()
    left_out: int = 0
    legend: tuple[tuple[str, Color], ...] = field(default=())


def gallery(scored: Scored) -> Gallery:
    """The pictures of the worst images, at most twelve and at most eight megabytes; the first always fits."""
    candidates = [image for image in images_in_order(scored) if image.look is not None]
    places = {id(image): index for index, image in enumerate(scored.images)}
    colors = label_colors(max(len(scored.classes), 2))
    shown: list[Shown] = []
    present: set[int] = set()
    size = 0
    for image in candidates[:MOST_PICTURES]:
        drawn, labels = _shown(scored, image, places[id(image)], colors)
        size += drawn.size
        if shown and size > MOST_BYTES:
            break
        shown.append(drawn)
        present |= labels
    legend: tuple[tuple[str, Color], ...] = ()
    if scored.kind == "masks":
        legend = tuple((plain(scored.classes[index]), colors[index]) for index in sorted(present))
    if scored.kind == "boundaries":
        legend = tuple(zip(CLASSES, CLASS_COLORS, strict=True))
    return Gallery(tuple(shown), len(candidates) - len(shown), legend)


def _shown(scored: Scored, image: ImageScore, index: int, colors: Sequence[Color]) -> tuple[Shown, set[int]]:
    """One image's pictures, and the classes that are in them."""
    picture: Any = image.picture()
    common: dict[str, Any] = {
        "index": index,
        "name": plain(image.name),
        "score": f"{name_of(scored.headline)} {value_text(image.scores.get(scored.headline))}",
    }
    if scored.kind == "masks":
        return _masks(picture, image.photo, colors, len(scored.classes), common)
    if scored.kind == "boundaries":
        return _boundaries(picture, image.photo, common), set()
    return _boxes(picture, image.photo, common), set()


def _masks(
    picture: MaskPicture, path: Path | None, colors: Sequence[Color], classes: int, common: dict[str, Any]
) -> tuple[Shown, set[int]]:
    height, width = picture.truth.shape
    photo, remarks = _photo(path, height, width)
    layers = [
        Layer("truth", "truth", labels_address(picture.truth, colors, ignored=picture.ignored)),
        Layer("prediction", "prediction", labels_address(picture.predicted, colors)),
    ]
    count = int(picture.wrong.sum())
    counted = picture.wrong.size - int(picture.ignored.sum())
    facts = [("wrong pixels", f"{value_text(count)} of {value_text(counted)}")]
    if picture.ignored.any():
        facts.append(("ignored pixels", value_text(int(picture.ignored.sum()))))
    found = set(np.unique(picture.truth[~picture.ignored]).tolist()) | set(np.unique(picture.predicted).tolist())
    shown = Shown(
        height=height,
        width=width,
        shrunk=shrinking(height, width),
        layers=tuple(layers),
        overlays=(Layer("wrong", "difference", overlay_address(picture.wrong, WRONG), count),),
        photo=photo,
        facts=tuple(facts),
        remarks=tuple(remarks),
        **common,
    )
    return shown, {int(label) for label in found if 0 <= label < classes}


def _boundaries(picture: BoundaryPicture, path: Path | None, common: dict[str, Any]) -> Shown:
    height, width = picture.truth.shape
    photo, remarks = _photo(path, height, width)
    layers = [Layer("photo", "photo", photo)] if photo else []
    for key, label, pixels in (
        ("truth", "truth", picture.truth),
        ("prediction", "prediction", picture.predicted),
        ("warped", "truth, warped", picture.warped),
    ):
        layers.append(Layer(key, label, labels_address(pixels.astype(np.uint8), _PAPER)))
    overlays = []
    for index, (name, color) in enumerate(zip(CLASSES, CLASS_COLORS, strict=True)):
        marked = picture.classes == index + 1
        if marked.any():
            key = name.replace(" ", "-")
            overlays.append(Layer(key, name, overlay_address(marked, color), int(marked.sum())))
    return Shown(
        height=height,
        width=width,
        shrunk=shrinking(height, width),
        layers=tuple(layers),
        overlays=tuple(overlays),
        facts=(("threshold", value_text(float(picture.threshold))),),
        remarks=tuple(remarks),
        **common,
    )


def _boxes(picture: BoxPicture, path: Path | None, common: dict[str, Any]) -> Shown:
    told, truth, matching = picture.predicted, picture.truth, picture.matching
    every = np.concatenate((told.boxes_xyxy, truth.boxes_xyxy))
    furthest = every.max(axis=0) if len(every) else np.zeros(4)
    # Where the truth does not tell the size, the photo does.
    known = read_photo(path) if path is not None and not (picture.height and picture.width) else None
    size = known.shape[:2] if known is not None else (max(1, int(furthest[3]) + 1), max(1, int(furthest[2]) + 1))
    height, width = picture.height or int(size[0]), picture.width or int(size[1])
    photo, remarks = _photo(path, height, width)
    boxes = []
    for index in range(len(truth)):
        kind = "difficult" if truth.difficult[index] else "missed" if index in matching.missed else "found"
        boxes.append(_box(kind, truth.labels[index], None, truth.boxes_xyxy[index]))
    order = np.argsort(-told.scores, kind="stable").tolist()
    for index in order[:MOST_BOXES]:
        boxes.append(_box(matching.kinds[index], told.labels[index], told.scores[index], told.boxes_xyxy[index]))
    if len(order) > MOST_BOXES:
        remarks.append(f"the {MOST_BOXES} detections of the highest scores are drawn, of {len(order)}")
    counts = [(name_of(kind), value_text(matching.kinds.count(kind))) for kind in dict.fromkeys(matching.kinds)]
    return Shown(
        height=height,
        width=width,
        shrunk=shrinking(height, width),
        layers=(),
        boxes=tuple(boxes),
        photo=photo,
        facts=(*counts, ("missed", value_text(len(matching.missed)))),
        remarks=tuple(remarks),
        **common,
    )


def _box(kind: str, label: object, score: float | None, corners: Any) -> DrawnBox:
    x1, y1, x2, y2 = (round(float(each), 1) for each in corners)
    text = "" if score is None else f"{score:.2f}"
    return DrawnBox(kind, plain(str(label)), text, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1))


def _photo(path: Path | None, height: int, width: int) -> tuple[str | None, list[str]]:
    """The photo's address, or None and why it is not shown."""
    if path is None:
        return None, []
    pixels = read_photo(path)
    if pixels is None:
        return None, [f"the photo {plain(path.name)} could not be read"]
    if abs(pixels.shape[0] * width - pixels.shape[1] * height) > 0.02 * pixels.shape[0] * width:
        return None, [
            f"the photo {plain(path.name)} is not shown: it has {pixels.shape[1]}×{pixels.shape[0]} pixels, "
            f"the image {width}×{height}"
        ]
    return photo_address(pixels), []
