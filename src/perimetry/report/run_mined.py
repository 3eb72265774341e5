"""What bootstrapping found, for the page of a run: the surest false positives of each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perimetry.report.data_gallery import DrawnBox, Shown
from perimetry.report.numbers import plain
from perimetry.report.score_pictures import hex_color, label_colors, photo_address, read_photo

if TYPE_CHECKING:
    from perimetry.training.bootstrapping import Mined, Round

MOST_OF_A_ROUND = 8
MOST_BYTES = 3_000_000
_AROUND = 1.0  # what is shown on each side of a box, in sizes of it


def round_words(rounds: Sequence[Round]) -> list[str]:
    """Of each round when it was held and how much it found.

    >>> from types import SimpleNamespace
    >>> round_words([SimpleNamespace(step=50, examples=[0, 0])])
    ['after step 50: 2 false positives']
    """
    return [f"after step {each.step:,}: {_false_positives(len(each.examples))}" for each in rounds]


def _false_positives(count: int) -> str:
    return f"{count:,} false positive{'s' if count != 1 else ''}"


def mined_samples(rounds: Sequence[Round], photos: Mapping[str, Path], classes: Sequence[str]) -> list[Shown]:
    """The surest of each round, a box with what lies around it; images that are not there any more are left out."""
    found: list[Shown] = []
    for each in rounds:
        for example in sorted(each.examples, key=lambda one: -one.score)[:MOST_OF_A_ROUND]:
            shown = _drawn(example, each.step, photos, classes)
            if shown is not None:
                found.append(shown)
            if sum(one.size for one in found) > MOST_BYTES:
                return found
    return found


def _drawn(example: Mined, step: int, photos: Mapping[str, Path], classes: Sequence[str]) -> Shown | None:
    file = photos.get(example.image)
    pixels = None if file is None else read_photo(file)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    view = (0.0, 0.0, float(width), float(height))
    boxes: tuple[DrawnBox, ...] = ()
    label = f"{plain(example.label)} {example.score:.2f}"
    if example.box is not None:
        color = hex_color(label_colors(len(classes) + 1)[1 + list(classes).index(example.label)])
        x1, y1, x2, y2 = (round(each, 1) for each in example.box)
        view = _around(example.box, height, width)
        boxes = (DrawnBox(label, color, False, False, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)),)
    caption = f"{plain(example.image)}: taken for {label}, after step {step:,}"
    return Shown(plain(example.image), caption, height, width, view, photo_address(pixels), boxes=boxes)


def _around(box: Sequence[float], height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of what is shown of an image: the box and its surroundings."""
    x1, y1, x2, y2 = box
    margin = _AROUND * max(x2 - x1, y2 - y1)
    left, top = max(0.0, x1 - margin), max(0.0, y1 - margin)
    right, bottom = min(float(width), x2 + margin), min(float(height), y2 + margin)
    return round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)
