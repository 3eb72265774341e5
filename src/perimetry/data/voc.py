"""PASCAL VOC's layout: JPEGImages beside SegmentationClass (masks) or Annotations (XML), splits in ImageSets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perimetry.data.dataset import BACKGROUND, FARTHEST, Dataset, Objects, Sample
from perimetry.data.lists import by_stem, class_list, image_files, inside, split_lists, splits_of
from perimetry.data.pairs import paired
from perimetry.data.problems import Listing, Problem
from perimetry.errors import FileError, PerimetryError
from perimetry.scoring.pairing import listed
from perimetry.scoring.xml_tree import Node, read_xml

MASKS_LOOKED_FOR = "PASCAL VOC: JPEGImages and SegmentationClass with masks of the same names"
BOXES_LOOKED_FOR = "PASCAL VOC: Annotations with XML files, and JPEGImages (or XML files beside the images)"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def recognise_masks(root: Path) -> bool:
    """Whether there are images and masks in VOC's folders."""
    return (root / "SegmentationClass").is_dir() and (root / "JPEGImages").is_dir()


def recognise_boxes(root: Path) -> bool:
    """Whether there are annotations in VOC's folder, or beside the images."""
    return bool(_annotations(root))


def read_masks(root: Path, classes: Sequence[str] | None) -> Listing:
    """The images that have a mask; see `perimetry.data.pairs.paired`. Splits: the lists in ImageSets/Segmentation."""
    lists = split_lists(root / "ImageSets" / "Segmentation") or split_lists(root, named=True)
    return paired(root, root / "JPEGImages", root / "SegmentationClass", classes, lists)


def read_boxes(root: Path, classes: Sequence[str] | None) -> Listing:
    """The images that have an annotation, with its objects. Splits: the lists in ImageSets/Main.

    VOC counts pixels from 1 and its corners are inside: xmin, ymin, xmax, ymax become xmin - 1, ymin - 1, xmax, ymax.
    classes: in which order; by default that of classes.txt or class_names.txt (a first `_background_` is none), or of
    their names.
    """
    given = classes or class_list(root)
    if given is not None and given[0] in (BACKGROUND, "__background__", "background"):
        given = given[1:]
    folder = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root / "images"
    images, problems = by_stem(image_files(folder if folder.is_dir() else root), root)
    files, doubled = by_stem(_annotations(root), root)
    problems += doubled
    parsed: dict[str, _Found] = {}
    missing: list[str] = []
    for stem, file in files.items():
        try:
            found = _parse(file, root, stem)
        except PerimetryError as error:
            problems.append(Problem("broken_file", inside(file, root), str(error).replace(f"{file} ", ""), stem))
            missing.append(stem)
            continue
        problems += found.problems
        if stem not in images and (named := images.get(Path(found.image).stem)) is not None:
            images[stem] = named
        if stem in images:
            parsed[stem] = found
        else:
            told = f"its image is not there (looked for {stem} in {inside(folder, root)})"
            problems.append(Problem("missing_file", inside(file, root), told, stem))
            missing.append(stem)
    names = {name for found in parsed.values() for name, *_ in found.objects}
    known = tuple(given or sorted(names))
    samples = []
    for stem, found in parsed.items():
        kept = [each for each in found.objects if each[0] in known]
        for name in sorted({name for name, *_ in found.objects} - set(known)):
            told = f"the class {name!r} is none of {', '.join(known[:20])}"
            problems.append(Problem("unknown_class", inside(files[stem], root), told, stem))
        objects = Objects(
            tuple(box for _, box, _ in kept),
            tuple(known.index(name) + 1 for name, _, _ in kept),
            tuple(difficult for _, _, difficult in kept),
            tuple((x2 - x1) * (y2 - y1) for _, (x1, y1, x2, y2), _ in kept),
            found.image_size,
        )
        samples.append(Sample(stem, images[stem], objects=objects))
    lists = split_lists(root / "ImageSets" / "Main") or split_lists(root, named=True)
    splits, absent = splits_of(lists, parsed, missing, root)
    taken = {sample.image for sample in samples}
    named_in_lists = {
        Path(name).stem for _, held in lists.values() for name in held
    }  # an error, which `splits_of` has found
    bare = [
        stem
        for stem, image in images.items()
        if stem not in files and image not in taken and stem not in named_in_lists
    ]
    if bare:
        told = f"left out, without an annotation ({len(bare)}): {listed(bare)}"
        problems.append(Problem("unlabelled", inside(folder, root), told))
    return Listing(Dataset("detection", root.name, known, tuple(samples), splits), (*problems, *absent))


@dataclass(slots=True)
class _Found:
    """What one annotation holds: (class, box, difficult) of each object, and what is wrong with others.

    Filled while the file is read, and only read later; image: the file name it gives.
    """

    image: str
    image_size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, float, float, float], bool]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def _parse(file: Path, root: Path, stem: str) -> _Found:
    tree = read_xml(file)
    if tree.tag != "annotation" and tree.first("object") is None:
        raise FileError(f"{file} is no VOC annotation: it holds <{tree.tag}>, and no object")
    found = _Found(tree.text("filename"), _size(tree.first("size")))
    for number, each in enumerate(tree.all("object"), start=1):
        name, corners = each.text("name"), _corners(each)
        if not name or corners is None:
            told = f"object {number} has no {'name' if not name else 'box of four numbers'}"
            found.problems.append(Problem("annotation", inside(file, root), told, stem))
            continue
        left, top, right, bottom = corners
        if right < left or bottom < top:
            told = (
                f"object {number} ({name}) has xmax < xmin or ymax < ymin: {', '.join(f'{each:g}' for each in corners)}"
            )
            found.problems.append(Problem("degenerate_box", inside(file, root), told, stem))
            continue
        difficult = each.text("difficult") not in ("", "0")
        found.objects.append((name, (left - 1, top - 1, right, bottom), difficult))
    return found


def _size(found: Node | None) -> tuple[int, int] | None:
    """(H, W) as the annotation tells it, None where it tells none; some tools write 0."""
    texts = () if found is None else (found.text("height"), found.text("width"))
    sides = tuple(int(text) for text in texts if text.isdecimal() and len(text) < 10)
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None


def _corners(found: Node) -> list[float] | None:
    """The corners xmin ymin xmax ymax as they stand, None where they are not four numbers, or beyond all sense."""
    box = found.first("bndbox")
    try:
        numbers = [] if box is None else [float(box.text(corner)) for corner in _CORNERS]
    except ValueError:
        return None
    return numbers if numbers and all(abs(number) <= FARTHEST for number in numbers) else None


def _annotations(root: Path) -> list[Path]:
    """The annotations in VOC's folder, or beside the images."""
    folder = root / "Annotations" if (root / "Annotations").is_dir() else root
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".xml" and not file.name.startswith("."))
