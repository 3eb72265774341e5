"""Detection: COCO's JSON (`images`, `annotations`, `categories`), one for all images or one for each split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from perimetry.data.dataset import FARTHEST, Dataset, Objects, Sample, split_name
from perimetry.data.lists import image_files, inside, is_file, split_folders
from perimetry.data.problems import Listing, Problem
from perimetry.errors import FileError, InputError
from perimetry.scoring.pairing import listed

LOOKED_FOR = "COCO's JSON (images, annotations, categories), in the folder, in annotations, or in train, val and test"
_KEYS = ("images", "annotations", "categories")
_FOLDERS = ("images", "JPEGImages", ".")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Annotation:
    image: Any
    category: Any
    box: Box
    crowd: bool
    area: float


def recognise(root: Path) -> bool:
    """Whether there is a JSON with COCO's three keys."""
    return bool(_files(root))


def read(root: Path, classes: Sequence[str] | None) -> Listing:
    """Every image of the JSON, with its objects; x y width height become x, y, x + width, y + height.

    Images are named by their file's stem, or by its path with its ending where two share one, with the split before it
    where each split has its JSON. They are looked for beside the JSON, in images, and in folders called as the split.
    classes: in which order; by default that of the category ids.
    """
    files = _files(root)
    if not files:
        raise InputError(f"{root} holds no annotations of COCO's form; expected {LOOKED_FOR}")
    if len(files) > 1 and "" in files.values():
        raise InputError(f"{root} holds several JSON of COCO's form: {listed(str(each) for each in files)}; give one")
    folder = root if root.is_dir() else root.parent
    contents = {file: _content(file) for file in files}
    categories: dict[str, None] = {}
    for file, content in contents.items():
        ordered = sorted(content["categories"], key=lambda each: _order(each.get("id")))
        categories |= dict.fromkeys(_category_name(each, file) for each in ordered)
    known = tuple(classes or categories)
    samples: list[Sample] = []
    problems: list[Problem] = []
    splits: dict[str, tuple[str, ...]] = {}
    for file, split in files.items():
        found, wrong = _samples(file, contents[file], known, folder, split if len(files) > 1 else "")
        samples += found
        problems += wrong
        if split:
            splits[split] = splits.get(split, ()) + tuple(sample.name for sample in found)
    problems += _unlabelled(samples, files, folder)
    return Listing(Dataset("detection", folder.name, known, tuple(samples), splits), tuple(problems))


def _samples(
    file: Path, content: Mapping[str, Any], known: tuple[str, ...], root: Path, split: str
) -> tuple[list[Sample], list[Problem]]:
    where = inside(file, root)
    listed_images, problems = _images(content["images"], where)
    names: dict[Any, str] = {}
    for number, each in enumerate(content["categories"]):
        key, name = _key(each.get("id")), _category_name(each, file)
        if names.setdefault(key, name) != name:
            told = f"categories[{number}] ({name}) has the id {key!r} of another category ({names[key]})"
            problems.append(Problem("annotation", where, told))
    paths = {key: Path(record["file_name"]) for key, record in listed_images.items()}
    doubled = len({path.stem for path in paths.values()}) < len(paths)
    prefix = f"{split}/" if split else ""
    sample_names = {key: prefix + (path.as_posix() if doubled else path.stem) for key, path in paths.items()}
    objects: dict[Any, list[_Annotation]] = {key: [] for key in paths}
    for number, record in enumerate(content["annotations"]):
        found = _annotation(record, number, where)
        if isinstance(found, Problem):
            problems.append(replace(found, sample=sample_names.get(_key(record.get("image_id")))))
        elif found.image not in objects:
            told = f"annotations[{number}] has the image_id {found.image!r}, which is no image"
            problems.append(Problem("annotation", where, told))
        elif names.get(found.category) not in known:
            told = f"annotations[{number}] has the category_id {found.category!r} ({names.get(found.category)}), "
            told += f"which is none of {', '.join(known[:20])}"
            problems.append(Problem("unknown_class", where, told, sample_names[found.image]))
        else:
            objects[found.image].append(found)
    places = _places(file, root)
    samples = []
    for key, path in paths.items():
        name = sample_names[key]
        image = next((place / path for place in places if is_file(place / path)), None)
        if image is None:
            problems.append(Problem("missing_file", where, f"its image {path.as_posix()} is not there", name))
            continue
        held = objects[key]
        truth = Objects(
            tuple(each.box for each in held),
            tuple(known.index(names[each.category]) + 1 for each in held),
            tuple(each.crowd for each in held),
            tuple(each.area for each in held),
            _size(listed_images[key]),
        )
        samples.append(Sample(name, image, objects=truth))
    return samples, problems


def _unlabelled(samples: Sequence[Sample], files: Iterable[Path], root: Path) -> Iterator[Problem]:
    """The images beside those of the samples that no file lists: several may share a folder."""
    taken = {sample.image for sample in samples}
    names = " or ".join(file.name for file in files)
    for folder in sorted({sample.image.parent for sample in samples}):
        if bare := [each.name for each in image_files(folder) if each not in taken]:
            yield Problem("unlabelled", inside(folder, root), f"left out, not in {names} ({len(bare)}): {listed(bare)}")


def _key(value: Any) -> int | str | None:
    """An id that may be one."""
    return value if isinstance(value, (int, str)) else None


def _images(records: Sequence[Mapping[str, Any]], where: Path) -> tuple[dict[Any, Mapping[str, Any]], list[Problem]]:
    """The records of images by id, and those that share one, or a file."""
    found: dict[Any, Mapping[str, Any]] = {}
    problems = []
    files = set()
    for number, record in enumerate(records):
        key, file = record.get("id"), record.get("file_name")
        if not isinstance(key, (int, str)) or not isinstance(file, str) or not Path(file).name:
            told = f"images[{number}] has the id {key!r} and the file_name {file!r}; expected a number and a name"
            problems.append(Problem("annotation", where, told))
            continue
        if key in found or file in files:
            told = f"images[{number}] ({file}) has the id or the file_name of another image"
            problems.append(Problem("doubled_name", where, told))
            continue
        found[key] = record
        files.add(file)
    return found, problems


def _annotation(record: Mapping[str, Any], number: int, where: Path) -> _Annotation | Problem:
    box = record.get("bbox")
    numbers = [each for each in box if _in_reach(each)] if isinstance(box, list) else []
    if len(numbers) != 4 or not isinstance(record.get("image_id"), (int, str)):
        told = f"annotations[{number}] has the bbox {box!r}; expected [x, y, width, height] and an image_id"
        return Problem("annotation", where, told)
    x, y, width, height = map(float, numbers)
    if width <= 0 or height <= 0:
        told = f"annotations[{number}] of the image {record['image_id']} has the width {width:g}, height {height:g}"
        return Problem("degenerate_box", where, told)
    area = record.get("area")
    return _Annotation(
        record["image_id"],
        record.get("category_id") if isinstance(record.get("category_id"), (int, str)) else None,
        (x, y, x + width, y + height),
        bool(record.get("iscrowd", 0)),
        float(area) if _in_reach(area) and area > 0 else width * height,
    )


def _size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = record.get("height"), record.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None


def _in_reach(value: Any) -> TypeGuard[float]:
    """Whether it is a number that fits into single precision, and so does the square of it."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FARTHEST


def _order(key: Any) -> tuple[bool, int, str]:
    """Category ids in their order, whatever they are."""
    return (not isinstance(key, int), key if isinstance(key, int) else 0, str(key))


def _category_name(record: Mapping[str, Any], file: Path) -> str:
    if not isinstance(record.get("name"), str) or not record["name"]:
        raise InputError(f"{file}: the category {record.get('id')!r} has no name; expected an id and a name of each")
    return str(record["name"])


def _places(file: Path, root: Path) -> list[Path]:
    """The folders in which the images of a JSON may be."""
    stem = file.stem.removeprefix("instances_")
    parents = dict.fromkeys((file.parent, root))
    folders = (*_FOLDERS, stem, f"images/{stem}", split_name(stem), f"images/{split_name(stem)}")
    places = dict.fromkeys(parent / folder for parent in parents for folder in folders)
    return [place for place in places if place.is_dir()]


def _files(root: Path) -> dict[Path, str]:
    """The JSON of COCO's form and the split of each, "" where its name is none."""
    if root.is_file():
        return {root: ""} if _is_coco(root) else {}
    found = [*root.glob("*.json"), *(root / "annotations").glob("*.json")]
    if instances := [file for file in found if file.name.startswith("instances_")]:
        found = instances  # beside those of captions and keypoints
    files = {file: _split(file.stem) for file in sorted(found) if _is_coco(file)}
    if files:
        return files
    return {
        file: split for split, folder in split_folders(root) for file in sorted(folder.glob("*.json")) if _is_coco(file)
    }


def _split(stem: str) -> str:
    """The split that a file is called after: instances_train2017 is train."""
    name = split_name(stem.removeprefix("instances_").rstrip("0123456789").rstrip("_-"))
    return name if name in ("train", "val", "test", "trainval") else ""


def _is_coco(file: Path) -> bool:
    # Looking for the keys is many times quicker than parsing, which for COCO itself takes ten seconds.
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}") from error
    return all(f'"{key}"'.encode() in content for key in _KEYS)


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{file} is not JSON that can be read: {error}") from error
    for key in _KEYS:
        records = content.get(key) if isinstance(content, dict) else None
        if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
            raise InputError(f"{file} is not COCO's annotations: expected {key} as a list of records")
    return dict(content)
