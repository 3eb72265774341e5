"""Images with what a run told of them, for its page: a few of all, and of labels those that were told wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perimetry.report.data_gallery import DrawnBox, Shown
from perimetry.report.numbers import plain
from perimetry.report.score_pictures import (
    Color,
    hex_color,
    label_colors,
    labels_address,
    photo_address,
    read_photo,
)
from perimetry.report.score_words import name_of, value_text

if TYPE_CHECKING:
    from perimetry.scoring.results import ImageScore, Scored

MOST_SAMPLES = 8
MOST_WRONG = 12
MOST_BYTES = 6_000_000
MOST_BOXES = 100
MOST_NAMES = 60  # of classes in the legend


def samples(scored: Scored, photos: Mapping[str, Path]) -> list[Shown]:
    """A few images from all over the set, with what was told of each."""
    step = max(1, -(-len(scored.images) // MOST_SAMPLES))
    return _drawn(scored, scored.images[::step], photos)


def legend(scored: Scored, images: Sequence[Shown]) -> list[tuple[str, str]]:
    """The classes of masks or boxes and their colours, where any image shows them; nothing for labels."""
    if scored.kind == "labels" or not images:
        return []
    first = scored.kind == "boxes"
    colors = label_colors(max(len(scored.classes) + first, 2))
    return [(plain(name), hex_color(colors[at + first])) for at, name in enumerate(scored.classes[:MOST_NAMES])]


def told_wrong(scored: Scored, photos: Mapping[str, Path]) -> list[Shown]:
    """Of labels the images that were told wrong, those first whose true class came last."""
    if scored.kind != "labels":
        return []
    wrong = [image for image in scored.images if not image.scores.get("correct")]
    wrong.sort(key=lambda image: (-float(image.scores.get("rank", 0)), image.name))  # type: ignore[arg-type]  # a number
    return _drawn(scored, wrong[:MOST_WRONG], photos)


def _drawn(scored: Scored, images: Sequence[ImageScore], photos: Mapping[str, Path]) -> list[Shown]:
    found: list[Shown] = []
    colors = label_colors(max(len(scored.classes) + (scored.kind == "boxes"), 2))
    for image in images:
        file = photos.get(image.name)
        pixels = None if file is None else read_photo(file)
        if pixels is None:
            continue
        height, width = pixels.shape[:2]
        picture: Any = image.picture()
        overlays: tuple[tuple[str, str], ...] = ()
        boxes: tuple[DrawnBox, ...] = ()
        if scored.kind == "masks":
            overlays = (("classes", labels_address(picture.predicted, colors)),)
        elif scored.kind == "boxes":
            boxes = _boxes(picture.predicted, scored.classes, colors)
        found.append(
            Shown(
                name=plain(image.name),
                caption=_caption(scored, image),
                height=height,
                width=width,
                view=(0.0, 0.0, float(width), float(height)),
                photo=photo_address(pixels),
                overlays=overlays,
                boxes=boxes,
            )
        )
        if sum(shown.size for shown in found) > MOST_BYTES:
            break
    return found


def _caption(scored: Scored, image: ImageScore) -> str:
    if scored.kind == "labels":
        truth, told = (plain(image.facts[name]) for name in ("truth", "predicted"))
        return f"{plain(image.name)}: {told}" + ("" if truth == told else f", in truth {truth}")
    return f"{plain(image.name)}: {name_of(scored.headline)} {value_text(image.scores.get(scored.headline))}"


def _boxes(told: Any, classes: Sequence[str], colors: Sequence[Color]) -> tuple[DrawnBox, ...]:
    best = told.scores.argsort()[::-1][:MOST_BOXES]
    found = []
    for at in best.tolist():
        x1, y1, x2, y2 = (round(float(each), 1) for each in told.boxes_xyxy[at])
        label = str(told.labels[at])
        color = hex_color(colors[1 + list(classes).index(label)])
        text = f"{plain(label)} {told.scores[at]:.2f}"
        found.append(DrawnBox(text, color, False, False, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)))
    return tuple(found)
