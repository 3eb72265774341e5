"""What the commands know of the terminal: messages and progress on stderr, width, colour."""

from __future__ import annotations

import os
import shutil
import sys

from perimetry.report.numbers import plain


def say(message: str) -> None:
    """One line on stderr, marked as ours; control characters of names and files are written out."""
    print(f"perimetry: {plain(' '.join(message.split()))}", file=sys.stderr)


def progress(message: str) -> None:
    """The same, for news that only someone at a terminal wants."""
    if sys.stderr.isatty():
        say(message)


def width() -> int:
    """Columns of the terminal (COLUMNS, if that is set), 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def color() -> bool:
    """True where stdout is a terminal that shows colours and nobody asked for none (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
