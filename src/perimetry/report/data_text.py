"""What a dataset holds, for a terminal: splits, classes, sizes, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from perimetry.report.columns import Column, fitted_widths, table_row, wrap
from perimetry.report.data_words import abstract, class_rows, facts, heading, kind_of, splits_to_show
from perimetry.report.numbers import plain

if TYPE_CHECKING:
    from perimetry.data import DataReport

MOST_CLASSES = 40
MOST_PROBLEMS = 5  # of each kind
_NARROWEST = 40


def data_text(report: DataReport, *, width: int, color: bool = False) -> str:
    """The report as lines of at most `width` columns (no less than 40), without a newline at the end.

    color: bold, for terminals.

    >>> from pathlib import Path
    >>> from perimetry.data import DataReport, Dataset
    >>> empty = Dataset("classification", "pets", ("cat", "dog"), ())
    >>> print(data_text(DataReport(empty, "folders", Path(), (), {}, ()), width=80))
    pets · classification by class folders · 0 images · 2 classes
    <BLANKLINE>
    no problem was found
    """
    width = max(width, _NARROWEST)
    bold, end = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    parts = [[f"{bold}{line}{end}" for line in wrap(abstract(report), width)]]
    parts.append(_pairs([(split, f"{len(held):,}") for split, held in report.dataset.splits.items()], width))
    parts.append(_classes(report, width))
    parts.append(_pairs(facts(report), width))
    parts.append([f"{bold}{line}{end}" for line in wrap(heading(report), width)])
    for kind, group in groupby(report.problems, key=lambda problem: problem.kind):
        found = list(group)
        lines = wrap(f"{found[0].severity}: {kind_of(kind)} ({len(found):,})", width)
        for problem in found[:MOST_PROBLEMS]:
            first, *others = wrap(plain(str(problem)), width - 4)
            lines += [f"  {first}", *(f"    {line}" for line in others)]
        if len(found) > MOST_PROBLEMS:
            lines.append(f"  and {len(found) - MOST_PROBLEMS:,} more; --json has all")
        parts.append(lines)
    return "\n\n".join("\n".join(part) for part in parts if part)


def _pairs(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names and what is told of them, folded beside."""
    longest = max((len(plain(name)) for name, _ in pairs), default=0)
    if longest > width // 2:
        return [line for name, text in pairs for line in wrap(f"{plain(name)}: {text}", width)]
    lines = []
    for name, text in pairs:
        first, *others = wrap(text, width - longest - 2)
        lines += [f"{plain(name):{longest}}  {first}", *(" " * (longest + 2) + line for line in others)]
    return lines


def _classes(report: DataReport, width: int) -> list[str]:
    """The classes with an example, a row each; where it is too narrow without the splits, then the last columns."""
    lines: list[str] | None = None
    for splits in (splits_to_show(report), []):
        headings, rows = class_rows(report, splits)
        shown = [row for row, each in zip(rows, report.classes, strict=True) if each.images]
        lines = _table(headings, shown[:MOST_CLASSES], width)
        if lines is not None:
            break
    while lines is None and len(headings) > 2:
        headings, shown = headings[:-1], [row[:-1] for row in shown]
        lines = _table(headings, shown[:MOST_CLASSES], width)
    if len(shown) > MOST_CLASSES:
        return [*(lines or ()), f"and {len(shown) - MOST_CLASSES} more classes; --json and --html have all"]
    return lines or []


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str] | None:
    """The lines of a table, none without rows; None where it does not fit."""
    if not rows:
        return []
    columns = [Column(name, "left", 8) if name == "class" else Column(name) for name in headings]
    widths = fitted_widths(columns, rows, width)
    if widths is None:
        return None
    return [line for row in (headings, *rows) for line in table_row(row, columns, widths)]
