"""Classification: a table (CSV) with the path of each image and its label."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from perimetry.data.dataset import Dataset, Sample, split_name
from perimetry.data.lists import SPLITS, class_list, inside
from perimetry.data.problems import Listing, Problem
from perimetry.errors import FileError, InputError
from perimetry.scoring.pairing import listed

PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "image_id")
INDICES = ("class_index", "label_index", "class_id", "index")
NAMES = ("label", "class", "class_name", "category", "name", "wnid")
LOOKED_FOR = (
    f"a CSV with a header: {PATHS[0]} (or {', '.join(PATHS[1:])}) and {NAMES[0]} (or {', '.join(NAMES[1:])}) or "
    f"{INDICES[0]} (or {', '.join(INDICES[1:])})"
)

Row = Mapping[str, str]


def recognise(root: Path) -> bool:
    """Whether there is a table with a column of paths and one of labels."""
    return bool(_tables(root))


def read(root: Path, classes: Sequence[str] | None) -> Listing:
    """The rows of a table, or of one for each split (train.csv, val.csv); paths are relative to the table.

    A label is the name of a class, or its place in the list from 0 where there is a column of indices or all labels
    are whole numbers; names beside indices name the classes. A column `split` gives the splits.
    classes: in which order; by default that of classes.txt, or of the names.
    """
    tables = _tables(root)
    if not tables:
        raise InputError(f"{root} holds no table of labels; expected {LOOKED_FOR}")
    if len(tables) > 1 and not all(file.stem.lower() in SPLITS for file in tables):
        names = listed(file.name for file in tables)
        raise InputError(f"{root} holds several tables of labels: {names}; give one of them (DIR/FILE.csv)")
    rows = [(file, row) for file in tables for row in _rows(file)]
    known = classes or class_list(tables[0].parent)
    labels, known = _labels([row for _, row in rows], known, tables[0])
    samples: dict[str, Sample] = {}
    splits: dict[str, dict[str, None]] = {}
    problems = []
    bare = []
    folder = root if root.is_dir() else root.parent
    columns = {file: _column(_header(file), PATHS) for file in tables}
    places = {file: inside(file, folder) for file in tables}
    for (file, row), label in zip(rows, labels, strict=True):
        name, where = row[columns[file]], places[file]
        if label is None:
            bare.append(name)
            continue
        if isinstance(label, str) or not 0 <= label < len(known):
            kind = "unknown_class" if isinstance(label, str) else "label_range"
            told = f"{name} has the label {label!r}, which is none of the {len(known)} classes"
            problems.append(Problem(kind, where, told, name))
            continue
        sample = Sample(name, file.parent / name, label=label)
        if samples.setdefault(name, sample).label != label:
            problems.append(Problem("doubled_name", where, f"{name} stands twice, with two labels", name))
            continue
        split = row.get("split", "").strip() or (file.stem if len(tables) > 1 else "")
        if split:
            splits.setdefault(split_name(split), {})[name] = None
    if bare:
        told = f"left out, without a label ({len(bare)}): {listed(bare)}"
        problems.append(Problem("unlabelled", inside(tables[0], folder), told))
    held_in = {split: tuple(names) for split, names in splits.items()}
    dataset = Dataset("classification", folder.name, tuple(known), tuple(samples.values()), held_in)
    return Listing(dataset, tuple(problems))


def _labels(
    rows: Sequence[Row], classes: Sequence[str] | None, file: Path
) -> tuple[list[int | str | None], Sequence[str]]:
    """The label of each row, None where it is empty and a name where it is unknown, and the classes in order."""
    index = next((each for each in INDICES if each in rows[0]), None)
    column = _column(list(rows[0]), NAMES) if index is None else index
    texts = [row[column].strip() for row in rows]
    if index is None and not (all(text.isdecimal() for text in texts if text) and not set(texts) <= set(classes or ())):
        known = tuple(classes or sorted(set(texts) - {""}))
        places = {name: place for place, name in enumerate(known)}
        return [None if not text else places.get(text, text) for text in texts], known
    labels = [None if not text else int(text) if text.isdecimal() and len(text) < 10 else text for text in texts]
    named = _named(rows, labels, column, file)
    if classes is not None:
        return labels, classes
    numbers = [label for label in labels if isinstance(label, int)]
    if (most := max(numbers, default=0)) >= 1_000_000:
        raise InputError(f"{file} gives the index {most}, as of a million classes or more; expected places from 0")
    return labels, tuple(named.get(place, str(place)) for place in range(most + 1))


def _named(rows: Sequence[Row], labels: Sequence[int | str | None], column: str, file: Path) -> dict[int, str]:
    """The name that stands beside each index; raises `InputError` where the two columns contradict one another."""
    name = next((each for each in NAMES if each in rows[0] and each != column), None)
    named: dict[int, str] = {}
    for label, row in zip(labels, rows, strict=True):
        text = "" if name is None else row[name].strip()
        if isinstance(label, int) and text and named.setdefault(label, text) != text:
            raise InputError(f"{file} calls the class {label} {named[label]!r} and {text!r}; each needs one name")
    # Two classes may share a name (ImageNet's cranes); but "index" is also what tables call the numbers of their rows.
    if column == "index" and len(set(named.values())) < len(named):
        raise InputError(
            f"{file} gives one {name} several values of index, as if they numbered its rows; take that column out, "
            f"or call it {INDICES[0]}"
        )
    return named


def _tables(root: Path) -> list[Path]:
    """The tables with a column of paths and one of labels: the file itself, or those in the folder."""
    files = [root] if root.is_file() else sorted(root.glob("*.csv"))
    found = []
    for file in files:
        header = _header(file)
        if any(name in header for name in PATHS) and any(name in header for name in (*INDICES, *NAMES)):
            found.append(file)
    return found


def _header(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip().lower() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{file} cannot be read as CSV: {error}") from error


def _rows(file: Path) -> list[Row]:
    header = _header(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(row)][1:]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{file} cannot be read as CSV: {error}") from error
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise InputError(f"{file} has two columns {twice!r}; take one out, or call it something else")
    if not rows:
        raise InputError(f"{file} has a header and no row; expected one row for each image")
    if odd := next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None):
        raise InputError(f"{file}, line {odd}, has {len(rows[odd - 2])} cells; its header has {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _column(header: Sequence[str], names: Sequence[str]) -> str:
    return next(name for name in names if name in header)
