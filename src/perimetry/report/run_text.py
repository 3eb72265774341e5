"""The evaluation of a run for a terminal: what it is, what each choice of scales told and cost, and the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimetry.report.columns import Column, fitted_widths, natural_widths, table_row, wrap
from perimetry.report.run_words import abstract, choice_rows
from perimetry.report.score_text import score_text

if TYPE_CHECKING:
    from perimetry.prediction.evaluating import Evaluated

_NARROWEST = 40


def run_text(evaluated: Evaluated, *, width: int, color: bool = False) -> str:
    """Lines of at most `width` columns (no less than 40), without a newline at the end; color: bold, for terminals."""
    width = max(width, _NARROWEST)
    headings, rows = choice_rows(evaluated)
    columns = [Column(headings[0], "left", 10)]
    for place, name in enumerate(headings[1:], start=1):  # of numbers only the headings are folded
        columns.append(Column(name, "right", max(6, *(len(row[place]) for row in rows))))
    widths = fitted_widths(columns, rows, width) or natural_widths(columns, rows)
    table = [line for row in (headings, *rows) for line in table_row(row, columns, widths)]
    parts = ["\n".join(wrap(abstract(evaluated), width)), "\n".join(table)]
    return "\n\n".join([*parts, score_text(evaluated.scored, width=width, color=color)])
