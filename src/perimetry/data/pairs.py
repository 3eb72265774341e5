"""Segmentation: a folder of images and a folder of masks of the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from perimetry.data.dataset import Dataset, Sample
from perimetry.data.lists import (
    by_stem,
    class_list,
    image_files,
    inside,
    is_file_or_dead_link,
    one_each,
    split_folders,
    split_lists,
    splits_of,
)
from perimetry.data.problems import Listing, Problem
from perimetry.errors import InputError
from perimetry.scoring.pages import SUFFIXES
from perimetry.scoring.pairing import listed

IMAGES = ("images", "imgs", "image")
MASKS = ("masks", "labels", "annotations", "mask", "label")
LOOKED_FOR = (
    f"a folder images and a folder masks (or {', '.join(MASKS[1:3])}) with {', '.join(SUFFIXES)} of the same names, "
    "or both in folders train, val and test, or those in both"
)
# What may stand after an image's name in the name of its mask.
_ENDINGS = ("_mask", "_label", "_gt")

Lists = Mapping[str, tuple[Path, list[str]]]


def recognise(root: Path) -> bool:
    """Whether there is a folder of images beside one of masks."""
    return bool(_places(root))


def read(root: Path, classes: Sequence[str] | None) -> Listing:
    """The images that have a mask; see `paired`. Splits: folders train, val, test, or lists train.txt and so on."""
    places = _places(root)
    if not places:
        raise InputError(f"{root} has no images beside masks; expected {LOOKED_FOR}")
    if not places[0][0]:
        return paired(root, *places[0][1:], classes, split_lists(root, named=True))
    samples: list[Sample] = []
    problems: list[Problem] = []
    splits: dict[str, tuple[str, ...]] = {}
    folders: dict[str, Path] = {}
    for split, images, masks in places:
        one_each(split, images, folders)
        folders[split] = images
        part = paired(root, images, masks, classes, {})
        renamed = [replace(sample, name=f"{split}/{sample.name}") for sample in part.dataset.samples]
        splits[split] = tuple(sample.name for sample in renamed)
        samples += renamed
        problems += [
            problem if problem.sample is None else replace(problem, sample=f"{split}/{problem.sample}")
            for problem in part.problems
        ]
    for images in _without_masks(root, folders.values()):
        told = f"left out, without a folder of masks ({len(image_files(images))} images)"
        problems.append(Problem("unlabelled", inside(images, root), told))
    known = tuple(classes or class_list(root) or ())
    return Listing(Dataset("segmentation", root.name, known, tuple(samples), splits), tuple(problems))


def paired(root: Path, images: Path, masks: Path, classes: Sequence[str] | None, lists: Lists) -> Listing:
    """The images of one folder that have a mask in another: of the same name, or with _mask, _label or _gt after it.

    Label i is the class of place i: of `classes`, or of classes.txt or class_names.txt, where a first `_background_`
    counts. Without either there are no names yet, since only the masks tell the labels.
    """
    photos, problems = by_stem(image_files(images), root)
    files = sorted(file for file in masks.iterdir() if _is_mask(file))
    found, doubled = by_stem(files, root)
    problems += doubled
    for stem in list(found):
        bare = next((stem.removesuffix(each) for each in _ENDINGS if stem.endswith(each)), stem)
        if stem not in photos and bare in photos:
            file = found.pop(stem)
            if (other := found.setdefault(bare, file)) != file:
                told = f"{other.name} is a mask of {bare}, too; keep one"
                problems.append(Problem("doubled_name", inside(file, root), told, bare))
    samples = [Sample(stem, photos[stem], mask=mask) for stem, mask in sorted(found.items()) if stem in photos]
    missing = [stem for stem in found if stem not in photos]
    for stem in missing:
        told = f"its image is not there (looked for {stem} in {inside(images, root)})"
        problems.append(Problem("missing_file", inside(found[stem], root), told, stem))
    listed_names = {Path(name).stem for _, names in lists.values() for name in names}
    # A listed image without a mask is told as an error by `splits_of`.
    if bare_images := [stem for stem in photos if stem not in found and stem not in listed_names]:
        told = f"left out, without a mask ({len(bare_images)}): {listed(bare_images)}"
        problems.append(Problem("unlabelled", inside(images, root), told))
    splits, absent = splits_of(lists, [sample.name for sample in samples], missing, root)
    known = tuple(classes or class_list(root) or ())
    return Listing(Dataset("segmentation", root.name, known, tuple(samples), splits), (*problems, *absent))


def _places(root: Path) -> list[tuple[str, Path, Path]]:
    """Each split with its folders of images and masks, "" where there is no split."""
    if pair := _pair(root):
        inner = [
            (split, folder, pair[1] / folder.name)
            for split, folder in split_folders(pair[0])
            if _holds_masks(pair[1] / folder.name)
        ]
        return inner or ([("", *pair)] if _holds_masks(pair[1]) else [])
    pairs = [(split, _pair(folder)) for split, folder in split_folders(root)]
    return [(split, *pair) for split, pair in pairs if pair is not None and _holds_masks(pair[1])]


def _pair(folder: Path) -> tuple[Path, Path] | None:
    images, masks = _images(folder), next((folder / name for name in MASKS if (folder / name).is_dir()), None)
    return None if images is None or masks is None else (images, masks)


def _images(folder: Path) -> Path | None:
    return next((folder / name for name in IMAGES if (folder / name).is_dir()), None)


def _without_masks(root: Path, read: Iterable[Path]) -> list[Path]:
    """The folders of images of splits that have no masks, as a test set's may be kept back."""
    whole, taken = _images(root), set(read)
    folders = (
        [folder for _, folder in split_folders(whole)]
        if whole
        else [_images(folder) or folder for _, folder in split_folders(root)]
    )
    return [folder for folder in folders if folder not in taken and image_files(folder)]


def _holds_masks(folder: Path) -> bool:
    return folder.is_dir() and any(_is_mask(file) for file in folder.iterdir())


def _is_mask(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and is_file_or_dead_link(file)
