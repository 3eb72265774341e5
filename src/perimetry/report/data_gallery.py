"""Pictures of a dataset: the images that something is wrong with, the worst first, and examples of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from perimetry.report.numbers import plain
from perimetry.report.score_gallery import WRONG
from perimetry.report.score_pictures import (
    Color,
    hex_color,
    label_colors,
    labels_address,
    overlay_address,
    photo_address,
)

if TYPE_CHECKING:
    from perimetry.data import DataReport, Sample
    from perimetry.data.pictures import SamplePicture

MOST_WRONG = 12
MOST_EXAMPLES = 12
MOST_BYTES = 8_000_000  # of all pictures; from there on images are left out
MOST_BOXES = 200  # of one image
_BEYOND = 0.25  # how much of its size a picture shows beside an image whose boxes reach outside


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box in the pixels of its image; color: of its class, as markup writes it."""

    label: str
    color: str
    difficult: bool
    outside: bool
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One image: its photo, what lies over it, and what is wrong with it.

    view: left, top, width, height of what is shown, in pixels of the image; mask: labels beside the photo, where their
    size differs; overlays: masks over it.
    """

    name: str
    caption: str
    height: int
    width: int
    view: tuple[float, float, float, float]
    photo: str
    overlays: tuple[tuple[str, str], ...] = ()
    mask: str | None = None
    boxes: tuple[DrawnBox, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def unit(self) -> float:
        """What is one pixel of a picture of usual size."""
        return max(self.view[2:]) / 640

    @property
    def size(self) -> int:
        """Bytes of its pictures in the page."""
        addresses = (self.photo, self.mask or "", *(address for _, address in self.overlays))
        return sum(map(len, addresses)) + 300 * len(self.boxes)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of a page. left_out: images with problems that are not shown; legend: classes and their colours."""

    wrong: tuple[Shown, ...]
    examples: tuple[Shown, ...]
    left_out: int
    legend: tuple[tuple[str, Color], ...]


def gallery(report: DataReport) -> Gallery:
    """At most twelve images with problems and twelve others, in at most eight megabytes."""
    samples = {sample.name: sample for sample in report.dataset.samples}
    remarks: dict[str, list[str]] = defaultdict(list)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for problem in report.problems:
        if problem.sample in samples:
            remarks[problem.sample].append(plain(problem.sentence))
            by_kind[problem.kind].append(problem.sample)
    colors = label_colors(max(len(report.dataset.label_names), 2))
    if report.dataset.task == "detection":
        # Thin lines need to be brighter than areas, over photos of any kind.
        colors = tuple((_bright(red), _bright(green), _bright(blue)) for red, green, blue in colors)
    used = 0

    def drawn(names: Iterable[str], most: int) -> list[Shown]:
        nonlocal used
        found: list[Shown] = []
        for name in names:
            shown = _shown(samples[name], report, colors, remarks.get(name, ()))
            if len(found) == most or used > MOST_BYTES:
                break
            if shown is not None:
                used += shown.size
                found.append(shown)
        return found

    # One of each kind in turn, so that a kind that fills a folder leaves room for the others.
    turns = (name for each in zip_longest(*by_kind.values()) for name in each if name is not None)
    wrong = drawn(dict.fromkeys(turns), MOST_WRONG)
    examples = drawn(_examples([each for name, each in samples.items() if name not in remarks]), MOST_EXAMPLES)
    legend: tuple[tuple[str, Color], ...] = ()
    if report.dataset.task != "classification":
        legend = tuple((plain(each.name), colors[each.label]) for each in report.classes if each.images)
    return Gallery(tuple(wrong), tuple(examples), len(remarks) - len(wrong), legend)


def _bright(level: int) -> int:
    return level + round(0.4 * (255 - level))


def _examples(samples: Sequence[Sample]) -> list[str]:
    """Names to choose from: of each class in turn, else from all over the set."""
    by_label: dict[int | None, list[str]] = defaultdict(list)
    for sample in samples:
        by_label[sample.label].append(sample.name)
    if len(by_label) > 1:
        return [name for each in zip_longest(*by_label.values()) for name in each if name is not None]
    step = max(1, len(samples) // MOST_EXAMPLES)
    return [sample.name for sample in samples[::step]]


def _shown(sample: Sample, report: DataReport, colors: Sequence[Color], remarks: Sequence[str]) -> Shown | None:
    """One image, None where it cannot be read."""
    from perimetry.data.pictures import picture_of

    picture = picture_of(sample)
    if picture.pixels is None:
        return None
    height, width = picture.pixels.shape[:2]
    names = report.dataset.label_names
    caption = [plain(sample.name)]
    if sample.label is not None:
        caption.append(plain(names[sample.label]))
    boxes = _boxes(picture, names, colors)
    over, beside = _masks(picture, len(names), colors)
    return Shown(
        name=plain(sample.name),
        caption=": ".join(caption),
        height=height,
        width=width,
        view=_view(height, width, boxes),
        photo=photo_address(picture.pixels),
        overlays=over,
        mask=beside,
        boxes=boxes,
        remarks=tuple(remarks[:3]) + ((f"and {len(remarks) - 3} more",) if len(remarks) > 3 else ()),
    )


def _masks(
    picture: SamplePicture, count: int, colors: Sequence[Color]
) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """What lies over the photo: the mask, and its pixels out of range; or the mask beside it, where sizes differ."""
    if picture.mask is None or picture.pixels is None:
        return (), None
    ignored = picture.mask == 255
    address = labels_address(np.maximum(picture.mask, 0), colors, ignored=ignored)
    if picture.mask.shape != picture.pixels.shape[:2]:
        return (), address
    beyond = ((picture.mask < 0) | (picture.mask >= count)) & ~ignored
    over = (("classes", address),)
    return (*over, ("beyond", overlay_address(beyond, WRONG))) if beyond.any() else over, None


def _boxes(picture: SamplePicture, names: Sequence[str], colors: Sequence[Color]) -> tuple[DrawnBox, ...]:
    if picture.objects is None or picture.pixels is None:
        return ()
    height, width = picture.pixels.shape[:2]
    found = []
    told = zip(picture.objects.boxes_xyxy, picture.objects.labels, picture.objects.difficult, strict=True)
    for (x1, y1, x2, y2), label, difficult in list(told)[:MOST_BOXES]:
        outside = min(x1, y1) < -1 or x2 > width + 1 or y2 > height + 1
        color = hex_color(WRONG if outside else colors[label])
        corners = (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
        found.append(DrawnBox(plain(names[label]), color, difficult, outside, *corners))
    return tuple(found)


def _view(height: int, width: int, boxes: Sequence[DrawnBox]) -> tuple[float, float, float, float]:
    """The image, and some of what is beside it where boxes reach there."""
    wide, high = _BEYOND * width, _BEYOND * height
    outside = [box for box in boxes if box.outside]
    left = max(-wide, min([0.0, *(box.left for box in outside)]))
    top = max(-high, min([0.0, *(box.top for box in outside)]))
    right = min(width + wide, max([float(width), *(box.left + box.width for box in outside)]))
    bottom = min(height + high, max([float(height), *(box.top + box.height for box in outside)]))
    return left, top, right - left, bottom - top
