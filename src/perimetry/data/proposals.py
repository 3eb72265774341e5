"""Proposals: boxes that may hold an object, made beforehand for each image and read from a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.data.dataset import Dataset
from perimetry.errors import FileError, InputError, ShapeError
from perimetry.images import SUFFIXES
from perimetry.scoring.pairing import listed

Proposals = Mapping[str, npt.NDArray[np.float32]]
_COLUMNS = ("name", "x1", "y1", "x2", "y2")


def read_proposals(path: str | Path) -> dict[str, npt.NDArray[np.float32]]:
    """Boxes (P, 4) by the name of their image, in the order of the file: x1 y1 x2 y2, as those of `Objects`.

    JSON: `{"name": [[x1, y1, x2, y2], ...]}`, or a list as COCO's results (`image_id`, `bbox` x y width height,
    `score`), which is put in the order of the scores. NPZ: one array (P, 4) for each name. CSV: a header
    name,x1,y1,x2,y2; a row with a name alone is an image without proposals.

    Raises `FileError` for what cannot be read, `InputError` and `ShapeError` for boxes that are none.
    """
    file = Path(path)
    readers = {".json": _of_json, ".npz": _of_npz, ".csv": _of_csv}
    if file.suffix.lower() not in readers:
        raise InputError(f"{path} is called {file.suffix or 'without ending'}; expected {', '.join(readers)}")
    if not file.is_file():
        raise FileError(f"no such file: {path}")
    found = readers[file.suffix.lower()](file)
    return {name: _boxes(boxes, f"{path}, {name}") for name, boxes in found.items()}


def with_proposals(dataset: Dataset, proposals: Proposals, *, needed: Collection[str] | None = None) -> Dataset:
    """The dataset with the proposals of each image, found by name with or without ending, and with or without folders.

    needed: names of the images that must have some, None for all; others may stay without.
    Raises `InputError` where an image has none in the file: one without proposals needs an empty entry; and where a
    name without its folders may be of several images.
    """
    by_form = [_by_form(proposals, form) for form in _FORMS]
    names = [_by_form((sample.name for sample in dataset.samples), form) for form in _FORMS]
    samples = []
    bare = []
    for sample in dataset.samples:
        keys = [form(sample.name) for form in _FORMS]
        place = next((place for place, key in enumerate(keys) if key in by_form[place]), None)
        if place is None:
            samples.append(sample)
            if needed is None or sample.name in needed:
                bare.append(sample.name)
            continue
        given, wanted = by_form[place][keys[place]], names[place][keys[place]]
        if len(given) > 1 or len(wanted) > 1:
            raise InputError(
                f"the proposals of {listed(given)} may be those of {listed(wanted)}; name them as the images, "
                "with their folders"
            )
        samples.append(replace(sample, proposals=proposals[given[0]]))
    if bare:
        raise InputError(
            f"{len(bare)} of {len(dataset)} images have no proposals: {listed(bare)}; an empty list is one"
        )
    return replace(dataset, samples=tuple(samples))


def _bare(name: str) -> str:
    """The name without the ending of an image; one with dots keeps what is none."""
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else name


# What an image may be called, the surest first.
_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    _bare,
    lambda name: Path(_bare(name)).name,
    lambda name: Path(name).stem,
)


def _by_form(names: Iterable[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(form(name), []).append(name)
    return found


def _of_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{file} is not JSON that can be read: {error}") from error
    if isinstance(content, dict):
        return content
    if not isinstance(content, list):
        raise InputError(
            f"{file} holds a {type(content).__name__}; expected boxes by name, or a list as COCO's results"
        )
    ranked: dict[str, list[tuple[float, list[float]]]] = {}
    for number, each in enumerate(content):
        try:
            x, y, width, height = map(float, each["bbox"])
            ranked.setdefault(str(each["image_id"]), []).append(
                (float(each.get("score", 0)), [x, y, x + width, y + height])
            )
        except (TypeError, KeyError, ValueError, AttributeError):
            raise InputError(
                f"{file}, entry {number}, is {str(each)[:80]}; expected image_id and bbox [x, y, width, height]"
            ) from None
    return {name: [box for _, box in sorted(each, key=lambda one: -one[0])] for name, each in ranked.items()}


def _of_npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # damaged archives, and arrays in them, fail with errors of every kind
        raise FileError(f"{file} cannot be read as an NPZ file: {error}") from error


def _of_csv(file: Path) -> dict[str, Any]:
    found: dict[str, list[list[str]]] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if lacking := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise InputError(f"{file} lacks the columns {', '.join(lacking)}; expected {', '.join(_COLUMNS)}")
            for row in rows:
                cells = [row[column] or "" for column in _COLUMNS[1:]]
                found.setdefault(row["name"], []).extend([cells] if any(cells) else [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{file} cannot be read as CSV: {error}") from error
    return found


def _boxes(given: Any, where: str) -> npt.NDArray[np.float32]:
    try:
        boxes = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected boxes x1 y1 x2 y2 in numbers") from None
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{where}: expected boxes (P, 4) as x1 y1 x2 y2, got the shape {boxes.shape}")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise InputError(f"{where}: holds boxes with x2 < x1 or y2 < y1, or numbers that are not finite")
    return boxes
