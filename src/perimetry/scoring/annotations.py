"""Reading objects and detections: PASCAL VOC's XML, COCO's JSON, and lists of detections as COCO's results."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perimetry.errors import FileError, InputError
from perimetry.metrics import BoxPrediction, BoxTruth
from perimetry.metrics.boxes import Label
from perimetry.scoring.xml_tree import read_xml

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
Coordinates = Literal["truth", "coco"]


@dataclass(frozen=True, slots=True, eq=False)
class TrueImage:
    """The objects of one image; its size in pixels, its photo and its file, where the truth tells them."""

    truth: BoxTruth
    height: int | None = None
    width: int | None = None
    photo: Path | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class BoxSet:
    """The truth of a set: images by name, and how results call images and classes.

    image_names: by the id that results give; classes: by the id that results give. inclusive: whether corners are
    pixels counted from 1 that are inside, as VOC's, and not places on a continuous scale from 0.
    """

    images: Mapping[str, TrueImage]
    image_names: Mapping[Any, str]
    classes: Mapping[Any, Label]
    inclusive: bool = False


def inclusive_corners(box: Sequence[float]) -> list[float]:
    """Continuous corners from 0 as VOC counts them: the pixels from 1 that are inside, at least one.

    >>> inclusive_corners([0.0, 0.0, 10.0, 20.0]), inclusive_corners([3.0, 3.0, 3.5, 9.0])
    ([1.0, 1.0, 10.0, 20.0], [4.0, 4.0, 4.0, 9.0])
    """
    x1, y1, x2, y2 = box
    return [x1 + 1, y1 + 1, max(x2, x1 + 1), max(y2, y1 + 1)]


def read_voc(folder: Path, classes: Sequence[str] | None) -> BoxSet:
    """A folder of PASCAL VOC: `Annotations/*.xml` (or the XML itself), and photos in `JPEGImages` beside, if there.

    Images are called by their file's stem, classes by name, or by index where `classes` names them in order.
    """
    below = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = sorted(file for file in below.iterdir() if file.suffix.lower() == ".xml" and not file.name.startswith("."))
    if not files:
        raise InputError(f"there is no annotation in {below} (looked for *.xml, and for a folder Annotations)")
    photos = below.parent / "JPEGImages"
    by_stem = {each.stem: each for each in photos.iterdir()} if photos.is_dir() else {}
    images = {file.stem: _voc_image(file, by_stem.get(file.stem)) for file in files}
    found = sorted({label for image in images.values() for label in image.truth.labels})
    if classes is not None and (unknown := [label for label in found if label not in classes]):
        raise InputError(f"the truth holds the class {unknown[0]!r}, which is none of {', '.join(classes)}")
    names: dict[Any, Label] = {label: label for label in classes or found}
    # COCO's results call classes by number: the place in the list of classes, from 0.
    return BoxSet(images, {stem: stem for stem in images}, names | dict(enumerate(classes or ())), inclusive=True)


def _voc_image(file: Path, photo: Path | None) -> TrueImage:
    tree = read_xml(file)
    boxes, labels, difficult = [], [], []
    for number, found in enumerate(tree.all("object"), start=1):
        where = f"{file}, object {number}"
        name, corners = found.text("name"), found.first("bndbox")
        if not name or corners is None:
            raise InputError(f"{where}, has no {'bndbox' if name else 'name'}; expected both")
        boxes.append([_number(corners.text(corner), f"{where}, {corner}") for corner in _CORNERS])
        if boxes[-1][2] < boxes[-1][0] or boxes[-1][3] < boxes[-1][1]:
            raise InputError(f"{where}, is {boxes[-1]}, with xmax < xmin or ymax < ymin")
        labels.append(name)
        # Annotation tools leave <difficult/> empty for no.
        difficult.append(_number(found.text("difficult") or "0", f"{where}, difficult") != 0)
    size = tree.first("size")
    height, width = (None if size is None else _whole(size.text(side)) for side in ("height", "width"))
    return TrueImage(BoxTruth(boxes, labels, difficult), height, width, photo, file)


def read_coco(file: Path) -> BoxSet:
    """COCO's instances JSON: `images`, `annotations` (boxes x y width height) and `categories`.

    Images are called by the stem of their `file_name`, or by their id where there is none or two share it.
    """
    content = _json(file)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise InputError(f"{file} is not COCO's annotations: expected images, annotations and categories in it")
    classes: dict[Any, Label] = {
        each.get("id"): str(each.get("name")) for each in _records(content, "categories", file)
    }
    listed = _records(content, "images", file)
    stems = [Path(str(each.get("file_name", each.get("id")))).stem for each in listed]
    doubled = len(set(stems)) < len(stems)
    names = {each.get("id"): str(each.get("id")) if doubled else stem for each, stem in zip(listed, stems, strict=True)}
    if len(names) < len(listed):
        raise InputError(f"{file} holds two images of one id")
    parts: dict[Any, tuple[list[Any], list[Label], list[bool], list[float]]] = {key: ([], [], [], []) for key in names}
    for number, each in enumerate(_records(content, "annotations", file)):
        where = f"{file}, annotations[{number}]"
        boxes, labels, crowd, areas = parts[_known(each.get("image_id"), parts, f"{where}: image_id")]
        boxes.append(_corners(each.get("bbox"), where))
        labels.append(classes[_known(each.get("category_id"), classes, f"{where}: category_id")])
        crowd.append(bool(each.get("iscrowd", 0)))
        x1, y1, x2, y2 = boxes[-1]
        areas.append(_number(each.get("area", (x2 - x1) * (y2 - y1)), f"{where}: area"))
    images = {
        names[record.get("id")]: TrueImage(
            BoxTruth(*parts[record.get("id")]), _whole(record.get("height")), _whole(record.get("width")), None, file
        )
        for record in listed
    }
    # Results may call images and classes by name too, where no id is the same.
    called = names | {name: name for name in names.values() if name not in names}
    return BoxSet(images, called, classes | {name: name for name in classes.values() if name not in classes})


def read_detections(file: Path, truth: BoxSet, coordinates: Coordinates = "truth") -> dict[str, BoxPrediction]:
    """A list of detections as COCO's results: `image_id`, `category_id`, `bbox` (x y width height) and `score` each.

    Ids are those of the truth, or names: of an image with or without ending, of VOC's class its name or index.
    coordinates: "truth" where boxes are in the coordinates of the truth, "coco" where they are continuous from 0.
    Raises `InputError` for boxes of negative size and scores that are no numbers, and for classes that are unknown;
    images that are unknown are kept under their own id, to be told with what does not match.
    """
    content = _json(file)
    if not isinstance(content, list):
        raise InputError(f"{file} holds a {type(content).__name__}; expected a list of detections, as COCO's results")
    parts: dict[str, tuple[list[Any], list[float], list[Label]]] = {}
    for number, each in enumerate(content):
        where = f"{file}, detection {number}"
        if not isinstance(each, dict):
            raise InputError(f"{where} is {each!r}; expected image_id, category_id, bbox and score")
        if lacking := [key for key in ("image_id", "category_id", "bbox", "score") if key not in each]:
            raise InputError(f"{where} lacks {', '.join(lacking)}; expected image_id, category_id, bbox and score")
        image = each["image_id"]
        name = truth.image_names.get(image) if isinstance(image, (str, int)) else None
        if name is None and isinstance(image, str):
            name = truth.image_names.get(Path(image).stem)
        boxes, scores, labels = parts.setdefault(str(image) if name is None else name, ([], [], []))
        box = _corners(each["bbox"], where)
        boxes.append(inclusive_corners(box) if coordinates == "coco" and truth.inclusive else box)
        scores.append(_number(each["score"], f"{where}: score"))
        category = each["category_id"]
        if isinstance(category, int) and not any(isinstance(key, int) for key in truth.classes):
            raise InputError(
                f"{where}: category_id is the number {category}, and the truth has names only; name the classes in "
                "their order with --classes (classes=), or give names"
            )
        labels.append(truth.classes[_known(category, truth.classes, f"{where}: category_id")])
    return {name: BoxPrediction(*part) for name, part in parts.items()}


def _corners(box: Any, where: str) -> list[float]:
    """x1 y1 x2 y2 of x y width height."""
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}: bbox is {box!r}; expected [x, y, width, height]")
    x, y, width, height = (_number(each, f"{where}: bbox") for each in box)
    if width < 0 or height < 0:
        raise InputError(
            f"{where}: bbox is {box}, with a width or height below 0 (x2 < x1 or y2 < y1); "
            "expected [x, y, width, height]"
        )
    return [x, y, x + width, y + height]


def _known(key: Any, known: Collection[Any], what: str) -> Any:
    if isinstance(key, bool) or not isinstance(key, (str, int)) or key not in known:
        some = ", ".join(repr(each) for each in list(known)[:10]) + (", ..." if len(known) > 10 else "")
        raise InputError(f"{what} is {key!r}, which the truth does not know; expected one of {some}")
    return key


def _number(value: Any, what: str) -> float:
    """A finite number, as JSON and XML write it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} is {value!r}; expected a number") from None
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; expected a finite number")
    return number


def _whole(value: Any) -> int | None:
    """A size in pixels, None where there is none."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) else None


def _records(content: Mapping[str, Any], key: str, file: Path) -> list[Mapping[str, Any]]:
    records = content[key]
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise InputError(f"{file}: {key} is not a list of records, as COCO's annotations have it")
    return records


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{file} is not JSON that can be read: {error}") from error
