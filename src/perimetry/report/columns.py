"""Tables of plain text: cells are folded to fit, never cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, the side its cells stand on, and how narrow it may be folded (None: never)."""

    heading: str
    align: Literal["left", "right"] = "right"
    narrowest: int | None = None


def display_width(text: str) -> int:
    """Terminal columns that a text takes: East Asian wide letters take two, combining marks none.

    >>> display_width("conv"), display_width("層")
    (4, 2)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def pad(text: str, width: int, align: Literal["left", "right"]) -> str:
    """The text filled with spaces to that many terminal columns."""
    space = " " * (width - display_width(text))
    return text + space if align == "left" else space + text


def fold(text: str, width: int, *, breaks: str = " ./×,_-") -> list[str]:
    """The text in lines of at most that width, broken after one of the letters `breaks` where possible.

    A name in CamelCase is also broken before a capital, unless `breaks` are spaces only.

    >>> fold("layer4.2.downsample.conv", 12), fold("DepthwiseSeparableConv", 20)
    (['layer4.2.', 'downsample.', 'conv'], ['DepthwiseSeparable', 'Conv'])
    """
    lines = []
    camel = breaks != " "
    while display_width(text) > width:
        taken, used, place = 0, 0, 0
        for taken, letter in enumerate(text):
            used += display_width(letter)
            if camel and taken and letter.isupper() and text[taken - 1].islower():
                place = taken
            if used > width:
                break
            if letter in breaks:
                place = taken + 1
        end = place or max(taken, 1)
        lines.append(text[:end].rstrip(" "))
        text = text[end:].lstrip(" ")
    return [*lines, text]


def wrap(text: str, width: int) -> list[str]:
    """A sentence in lines of at most that width, broken at spaces where possible."""
    return fold(text, width, breaks=" ")


def natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column is when nothing is folded."""
    return [
        max([display_width(column.heading), *(display_width(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]


def fitted_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Column widths whose sum fits, folding the columns that may be folded, widest first; None where none do."""
    widths = natural_widths(columns, rows)
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - width
    while excess > 0:
        spare = [
            (widths[index] - column.narrowest, index)
            for index, column in enumerate(columns)
            if column.narrowest is not None and widths[index] > column.narrowest
        ]
        if not spare:
            return None
        widths[max(spare)[1]] -= 1
        excess -= 1
    return widths


def table_row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    """The lines of one row, folded cells growing downwards."""
    folded = [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(len(each) for each in folded)):
        parts = [
            pad(lines_of[number] if number < len(lines_of) else "", width, column.align)
            for lines_of, column, width in zip(folded, columns, widths, strict=True)
        ]
        lines.append(GAP.join(parts).rstrip())
    return lines


def table_width(widths: Sequence[int]) -> int:
    """Terminal columns of a whole row."""
    return sum(widths) + len(GAP) * (len(widths) - 1)
