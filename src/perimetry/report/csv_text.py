"""Tables as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from perimetry.report.numbers import plain


def csv_text(rows: list[dict[str, Any]]) -> str:
    r"""The rows as CSV with a header; texts that a spreadsheet would run as a formula get an apostrophe in front.

    >>> csv_text([{"layer": "=cmd", "start": -3}])
    "layer,start\r\n'=cmd,-3\r\n"
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="")
    writer.writeheader()
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain(value)  # no control characters, which a terminal would obey
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text
