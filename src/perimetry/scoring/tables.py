"""Reading tables of labels: what is true and what was told of each name, from CSV or from Python."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perimetry.errors import FileError, InputError

GivenLabels = str | Path | Mapping[str, Any]
SCORE = "score_"


@dataclass(frozen=True, slots=True)
class TrueTable:
    """The labels of each name; classes: in order; several: whether a name may have any number of labels."""

    labels: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...]
    several: bool


@dataclass(frozen=True, slots=True)
class ToldTable:
    """What was told of each name: labels, or a score for each of `scored`, or both."""

    labels: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float, ...]]
    scored: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """All names."""
        return list(self.labels or self.scores)


def read_truth(given: GivenLabels, *, columns: tuple[str, str] = ("name", "label")) -> TrueTable:
    """The truth from a table with a name and a label in each row, or a name and a column of 0 and 1 for each class.

    columns: what the table calls the name and the label. `a;b` are two labels; then no label at all may be empty.

    >>> read_truth({"x.jpg": "cat", "y.jpg": "dog"}).classes
    ('cat', 'dog')
    """
    if isinstance(given, Mapping):
        several = any(not isinstance(each, (str, int)) for each in given.values())
        labels = {str(name): _labels_of(each) for name, each in given.items()}
        return TrueTable(labels, in_order({label for each in labels.values() for label in each}), several)
    rows = _rows(Path(given), columns[0])
    header = rows.header
    if columns[1] in header:
        texts = {name: row[columns[1]] for name, row in rows.by_name.items()}
        several = any(";" in text for text in texts.values())
        if not several and (bare := next((name for name, text in texts.items() if not text.strip()), None)):
            raise InputError(f"{given}: {bare} has no {columns[1]}; several labels are written a;b")
        labels = {name: _split(text) for name, text in texts.items()}
        return TrueTable(labels, in_order({label for each in labels.values() for label in each}), several)
    classes = tuple(column for column in header if column != columns[0])
    return TrueTable(_marked(rows, classes, Path(given)), classes, several=True)


def read_told(given: GivenLabels, classes: Sequence[str], *, several: bool) -> ToldTable:
    """What was told, from a table with a name and a label (with its score, of two classes) or `score_CLASS` columns.

    With several labels: `a;b`, or a column of 0 and 1 for each class. Raises `InputError` for scores that are none.
    """
    if isinstance(given, Mapping):
        if any(isinstance(each, Mapping) for each in given.values()):
            scored = tuple(dict.fromkeys(str(key) for each in given.values() for key in each))
            scores = {
                str(name): tuple(_number(each.get(key), f"the score of {name}, {key}") for key in scored)
                for name, each in given.items()
            }
            return ToldTable({}, scores, scored)
        return ToldTable({str(name): _labels_of(each) for name, each in given.items()}, {}, ())
    rows = _rows(Path(given), "name")
    if columns := [column for column in rows.header if column.startswith(SCORE)]:
        if other := [column for column in rows.header if column not in (*columns, "name", "label")]:
            raise InputError(
                f"{given} has the column {other[0]!r} beside its scores; expected name and score_CLASS only"
            )
        scores = {
            name: tuple(_number(row[column], f"{given}: the {column} of {name}") for column in columns)
            for name, row in rows.by_name.items()
        }
        return ToldTable({}, scores, tuple(column.removeprefix(SCORE) for column in columns))
    if "label" not in rows.header:
        marks = tuple(column for column in rows.header if column != "name")
        if several and set(marks) <= set(classes):
            return ToldTable(_marked(rows, marks, Path(given)), {}, ())
        raise InputError(
            f"{given} has the columns {', '.join(rows.header)}; expected name and label, or name and score_CLASS for "
            "each class" + (", or name and a column of 0 and 1 for each class" if several else "")
        )
    labels = {name: _split(row["label"]) for name, row in rows.by_name.items()}
    if "score" not in rows.header:
        return ToldTable(labels, {}, ())
    if several or len(classes) != 2:
        raise InputError(f"{given}: one score beside the label serves two classes; give score_CLASS columns for more")
    positive = classes[1]
    told: dict[str, tuple[float, ...]] = {}
    for name, row in rows.by_name.items():
        value = _number(row["score"], f"{given}: the score of {name}")
        if not 0 <= value <= 1:
            raise InputError(f"{given}: the score of {name} is {value}; expected the label's probability, 0 to 1")
        told[name] = (value if labels[name] == (positive,) else 1 - value,)
    return ToldTable(labels, told, (positive,))


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels in the order of their names; by number where all are numbers.

    >>> in_order({"10", "9"}), in_order({"b", "a", "1"})
    (('9', '10'), ('1', 'a', 'b'))
    """
    if all(label.isascii() and label.isdigit() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


@dataclass(frozen=True, slots=True)
class _Rows:
    header: tuple[str, ...]
    by_name: Mapping[str, Mapping[str, str]]


def _rows(file: Path, name_column: str) -> _Rows:
    """The rows of a CSV by name; each name once."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = list(_checked(csv.reader(stream, strict=True), file))
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{file} is not a table that can be read (CSV in UTF-8): {error}") from error
    columns = tuple(column.strip() for column in header)
    if name_column not in columns:
        raise InputError(f"{file} has the columns {', '.join(columns)}; expected one called {name_column!r}")
    if len(set(columns)) < len(columns) or len(columns) < 2:
        raise InputError(f"{file} has the columns {', '.join(columns)}; expected two or more, of different names")
    by_name: dict[str, dict[str, str]] = {}
    for row in rows:
        record = dict(zip(columns, row, strict=True))
        name = record[name_column].strip()
        if name in by_name:
            raise InputError(f"{file} holds {name!r} twice; keep one row for each name")
        by_name[name] = record
    if not by_name:
        raise InputError(f"{file} has a header and no rows")
    return _Rows(columns, by_name)


def _checked(reader: Any, file: Path) -> Iterator[list[str]]:
    """The rows that are not empty, all as long as the header."""
    width = 0
    for row in reader:
        if not row:
            continue
        width = width or len(row)
        if len(row) != width:
            raise InputError(f"{file}, line {reader.line_num}: {len(row)} cells, and the header has {width}")
        yield row
    if not width:
        raise InputError(f"{file} is empty; expected a table with a header")


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


def _labels_of(given: Any) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, (str, int)) else tuple(dict.fromkeys(str(each) for each in given))


def _marked(rows: _Rows, classes: Sequence[str], file: Path) -> dict[str, tuple[str, ...]]:
    """The classes whose column holds 1."""
    for name, row in rows.by_name.items():
        for label in classes:
            if row[label].strip() not in ("0", "1"):
                raise InputError(
                    f"{file}: the column {label!r} of {name} holds {row[label]!r}; expected 0 or 1 in the column of a "
                    "class, or a column called label"
                )
    return {name: tuple(label for label in classes if row[label].strip() == "1") for name, row in rows.by_name.items()}


def _number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} is {value!r}; expected a number") from None
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; expected a finite number")
    return number
