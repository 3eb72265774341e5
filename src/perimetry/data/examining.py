"""Looking at one sample closely: does its image decode, does its truth fit it, and what is in it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from perimetry.data.dataset import IGNORED, Dataset, Sample
from perimetry.data.lists import inside, is_file
from perimetry.data.problems import Problem
from perimetry.data.reading import read_mask
from perimetry.errors import FileError, InputError, PerimetryError
from perimetry.images import read_pixels

# How far a corner may lie outside, in pixels: annotation tools disagree about where a pixel ends.
ROUNDING = 1.0


@dataclass(frozen=True, slots=True)
class Examined:
    """What one sample is.

    size: (H, W) of its image, None where it cannot be read; digest: of its bytes; pixels: how many of each label its
    mask holds, 255 included.
    """

    size: tuple[int, int] | None = None
    digest: bytes | None = None
    pixels: Mapping[int, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def examine(sample: Sample, dataset: Dataset, root: Path) -> Examined:
    """Decode the image and the mask, and hold the truth against them; `root` is left out of the names of files."""
    problems: list[Problem] = []

    def tell(kind: str, file: Path, sentence: str) -> None:
        problems.append(Problem(kind, inside(file, root), sentence, sample.name))

    size, digest = None, None
    try:
        _, height, width = read_pixels(sample.image).shape
        size = (height, width)
        digest = hashlib.blake2b(sample.image.read_bytes(), digest_size=16).digest()
    except PerimetryError as error:
        kind = "broken_file" if is_file(sample.image) else "missing_file"
        tell(kind, sample.image, _without(error, sample.image))
    except OSError as error:
        tell("broken_file", sample.image, f"cannot be read: {error.strerror}")
    if size is not None and dataset.task != "classification" and (turn := _orientation(sample.image)) != 1:
        tell("turned_image", sample.image, f"has the EXIF orientation {turn}; its truth must fit the upright image")
    pixels = {} if sample.mask is None else _mask(sample.mask, size, dataset, tell)
    if sample.objects is not None and size is not None:
        _objects(sample, size, tell)
    return Examined(size, digest, pixels, tuple(problems))


Tell = Callable[[str, Path, str], None]


def _mask(path: Path, size: tuple[int, int] | None, dataset: Dataset, tell: Tell) -> dict[int, int]:
    """How many pixels have each label."""
    try:
        mask = read_mask(path)
    except FileError as error:
        tell("broken_file" if path.is_file() else "missing_file", path, _without(error, path))
        return {}
    except InputError as error:
        tell("mask_values", path, _without(error, path))
        return {}
    if size is not None and mask.shape != size:
        told = f"has {mask.shape[0]}×{mask.shape[1]} pixels, its image {size[0]}×{size[1]}"
        tell("mask_size", path, told)
    labels, counts = np.unique(mask, return_counts=True)
    pixels = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    if set(pixels) == {IGNORED}:
        tell("all_ignored", path, f"every pixel is {IGNORED}, which is ignored")
    # Without names of classes any label of eight bits may be one.
    most = len(dataset.classes) or IGNORED
    if beyond := {label: count for label, count in pixels.items() if label != IGNORED and not 0 <= label < most}:
        told = ", ".join(f"{label} ({count} px)" for label, count in list(beyond.items())[:5])
        more = f" and {len(beyond) - 5} more" if len(beyond) > 5 else ""
        tell("label_range", path, f"holds the labels {told}{more}; there are {most} classes, from 0 to {most - 1}")
    return pixels


def _objects(sample: Sample, size: tuple[int, int], tell: Tell) -> None:
    """Whether the boxes of an image of that size (H, W) lie inside."""
    assert sample.objects is not None
    height, width = size
    told_size = sample.objects.image_size
    if told_size is not None and told_size == (width, height) != size and _orientation(sample.image) > 4:
        told = f"its annotation says {width}×{height}, as before the EXIF orientation turns it to {height}×{width}; "
        tell("turned_boxes", sample.image, f"{told}its boxes lie elsewhere: turn them, or take the tag out")
    elif told_size is not None and told_size != size:
        told = "×".join(map(str, told_size))
        tell("image_size", sample.image, f"has {height}×{width} pixels, its annotation says {told}")
    for number, (x1, y1, x2, y2) in enumerate(sample.objects.boxes_xyxy, start=1):
        text = f"box {number} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            tell("box_beyond", sample.image, f"{text} lies wholly outside the {height}×{width} pixels")
        elif min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            tell("box_outside", sample.image, f"{text} reaches outside the {height}×{width} pixels")


def _orientation(path: Path) -> int:
    """The EXIF orientation of an image that can be read, 1 where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _without(error: PerimetryError, path: Path) -> str:
    """The message without the file, which the problem names itself."""
    return str(error).replace(f"{path} ", "", 1).replace(f": {path}", "", 1)
