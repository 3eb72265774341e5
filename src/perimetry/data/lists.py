"""Lists that stand beside images: names of classes, one a line, and names of the images of each split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from perimetry.data.dataset import split_name
from perimetry.data.problems import Problem
from perimetry.errors import FileError, InputError
from perimetry.images import SUFFIXES

CLASS_LISTS = ("classes.txt", "class_names.txt")
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "trainval")
_MARKS = (["-1"], ["0"], ["1"])


def lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty; raises `FileError`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file} cannot be read as a list of names: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def class_list(folder: Path) -> tuple[str, ...] | None:
    """The names in classes.txt or class_names.txt, in their order; None where there is no such file."""
    for name in CLASS_LISTS:
        if (folder / name).is_file():
            return distinct(lines(folder / name), str(folder / name))
    return None


def distinct(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The names, where there are any and none stands twice; raises `InputError`."""
    if not names:
        raise InputError(f"{where} names no class; expected one name or more")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where} names the class {twice!r} twice; labels could not be told apart")
    return tuple(names)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder (not below), hidden files aside, in the order of their names."""
    return sorted(each for each in folder.iterdir() if is_image(each)) if folder.is_dir() else []


def image_files_below(folder: Path) -> list[Path]:
    """The images in a folder and its folders, hidden ones aside, in the order of their paths."""
    found = []
    for below, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = map(Path(below).joinpath, files)
        found += [path for path in paths if is_image(path)]
    return sorted(found)


def is_image(file: Path) -> bool:
    """Whether a file is called as an image, and not hidden."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and is_file_or_dead_link(file)


def is_file(file: Path) -> bool:
    """Whether it is a file; not, where its name is none that a file can have, as one of thousands of letters."""
    try:
        return file.is_file()
    except OSError:
        return False


def is_file_or_dead_link(file: Path) -> bool:
    """Whether it is a file, or a link to nothing, which is to be told as missing."""
    return file.is_file() or (file.is_symlink() and not file.exists())


def by_stem(files: Iterable[Path], root: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Files by name without ending, and those that share one."""
    found: dict[str, Path] = {}
    problems = []
    for file in files:
        other = found.setdefault(file.stem, file)
        if other != file:
            told = f"{other.name} has the same name; keep one"
            problems.append(Problem("doubled_name", inside(file, root), told, file.stem))
    return found, problems


def inside(file: Path, root: Path) -> Path:
    """The path as the dataset's owner sees it: relative to its folder where it is inside."""
    try:
        return file.relative_to(root)
    except ValueError:
        return file


def split_lists(folder: Path, *, named: bool = False) -> dict[str, tuple[Path, list[str]]]:
    """The lists of names in a folder by split, `train.txt` as train, and their files.

    Lists with a mark beside each name, as VOC has them for single classes (cat_train.txt), are left aside. named: only
    lists that are called as a split, where other texts may stand beside.
    """
    found: dict[str, tuple[Path, list[str]]] = {}
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else []:
        called_so = file.stem.lower() in SPLITS
        if named and not called_so:
            continue
        names = lines(file)
        # "img 1" may also be an image: a list that is called as a split is one.
        if names and not called_so and all(name.rsplit(maxsplit=1)[1:] in _MARKS for name in names):
            continue
        one_each(split_name(file.stem), file, {split: other for split, (other, _) in found.items()})
        found[split_name(file.stem)] = (file, list(dict.fromkeys(names)))
    return found


def one_each(split: str, place: Path, others: Mapping[str, Path]) -> None:
    """Raise `InputError` where a split has two lists or folders, as val and validation: one would take its place."""
    if split in others:
        raise InputError(f"{others[split]} and {place} are both of the split {split}; keep one, or join them")


def splits_of(
    lists: Mapping[str, tuple[Path, list[str]]], known: Iterable[str], missing: Iterable[str], root: Path
) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The names of each list that are known, with or without ending, and those that are not there.

    missing: names whose problem is told elsewhere.
    """
    names, told_elsewhere = set(known), set(missing)
    splits, problems = {}, []
    for split, (file, listed) in lists.items():
        held = dict.fromkeys(name if name in names else Path(name).stem for name in listed)
        splits[split] = tuple(name for name in held if name in names)
        for name in held:
            if name not in names and name not in told_elsewhere:
                told = f"{name} has no image, or no label"
                problems.append(Problem("missing_file", inside(file, root), told, name))
    return splits, problems


def split_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """The folders of a folder that are called as a split."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name.lower() in SPLITS:
            yield split_name(folder.name), folder
