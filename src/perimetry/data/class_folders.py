"""Classification: a folder of images for each class, in folders for the splits or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perimetry.data.dataset import Dataset, Sample
from perimetry.data.lists import SPLITS, class_list, image_files, image_files_below, inside, split_folders
from perimetry.data.problems import Listing, Problem
from perimetry.errors import InputError
from perimetry.scoring.pairing import listed

LOOKED_FOR = "folders of images, one for each class, as cat/1.jpg or train/cat/1.jpg"
# What other layouts call their folders; no class is called that.
_NO_CLASS = {"images", "masks", "labels", "annotations", "imagesets", "jpegimages", "segmentationclass"}
_NO_CLASS |= {"segmentationobject", "segmentationclassraw"}


def recognise(root: Path) -> bool:
    """Whether a folder, or a folder of a split in it, has folders with images."""
    found = [folder for _, place in _places(root) for folder in _classes(place)]
    # Folders that are all called as splits (train2017, val2017) hold the images of another layout.
    classes = [folder for folder in found if folder.name.lower().rstrip("0123456789") not in SPLITS]
    return any(image_files_below(folder) for folder in classes)


def read(root: Path, classes: Sequence[str] | None) -> Listing:
    """Every image below the folder of its class; named by its path. Folders without an image are classes too.

    classes: in which order; by default that of classes.txt, or of the folders' names.
    """
    parts = _places(root)
    places = [(split, _classes(place)) for split, place in parts]
    found = sorted({folder.name for _, folders in places for folder in folders})
    known = tuple(classes or class_list(root) or found)
    if not known:
        raise InputError(f"{root} has no folder for a class; expected {LOOKED_FOR}")
    samples, problems = [], []
    splits: dict[str, tuple[str, ...]] = {}
    for split, folders in places:
        names = []
        for folder in folders:
            files = image_files_below(folder)
            if folder.name not in known:
                told = f"the folder with {len(files)} images is none of the classes {', '.join(known[:20])}"
                problems.append(Problem("unknown_class", inside(folder, root), told))
                continue
            label = known.index(folder.name)
            held = [Sample(inside(file, root).as_posix(), file, label=label) for file in files]
            samples += held
            names += [sample.name for sample in held]
        if split:
            splits[split] = splits.get(split, ()) + tuple(names)
    if loose := [inside(file, root).as_posix() for file in _loose(root, [place for _, place in parts])]:
        told = f"left out, in no folder of a class ({len(loose)}): {listed(loose)}"
        problems.append(Problem("unlabelled", None, told))
    return Listing(Dataset("classification", root.name, known, tuple(samples), splits), tuple(problems))


def _places(root: Path) -> list[tuple[str, Path]]:
    """The folders that hold those of the classes, and their splits; "" where there is none.

    A folder train with images in it is a class, of vehicles perhaps; unless it has folders with more images, and no
    other class stands beside it.
    """
    splits = [(split, folder) for split, folder in split_folders(root) if _classes(folder)]
    return [(split, folder) for split, folder in splits if not _is_class(folder)] or [("", root)]


def _is_class(folder: Path) -> bool:
    """Whether a folder that is called as a split, and has folders in it, is yet one of a class."""
    own = len(image_files(folder))
    if not own:
        return False
    beside = (other for other in _classes(folder.parent) if other.name.lower() not in SPLITS)
    return 2 * own >= len(image_files_below(folder)) or any(image_files_below(other) for other in beside)


def _loose(root: Path, places: list[Path]) -> list[Path]:
    """The images that are in no folder of a class: in the folders that hold those, or beside the splits."""
    beside = [] if root in places else [folder for folder in _classes(root) if folder not in places]
    found = {file for place in (root, *places) for file in image_files(place)}
    return sorted(found.union(*map(image_files_below, beside)))


def _classes(place: Path) -> list[Path]:
    return sorted(
        folder
        for folder in place.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name.lower() not in _NO_CLASS
    )
