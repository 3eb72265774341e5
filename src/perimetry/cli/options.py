"""Reading options: an argparse parser that raises our errors, with suggestions, in place of exiting."""

from __future__ import annotations

import argparse
import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from perimetry.errors import InputError, UnknownNameError

LARGEST_SIDE = 16384


class Options(argparse.ArgumentParser):
    """A command's options; names are never abbreviated, and positional words may stand between options."""

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"perimetry {command}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # main() reads it, wherever it stands; here it is for --help.
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def format_help(self) -> str:
        """The text of --help, what stands below the options wrapped to the terminal too."""
        before, epilog = super().format_help(), self.epilog or ""
        width = max(shutil.get_terminal_size().columns, 40)
        return before.replace(epilog, _wrapped(epilog, width)) if epilog else before

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values; raises `InputError`, or `UnknownNameError` for an option that does not exist."""
        values, left = self.parse_known_intermixed_args(list(words))
        if not left:
            return values
        advice = f"see `{self.prog} --help`"
        if left[0].startswith("-"):
            name = left[0].partition("=")[0]
            raise UnknownNameError("option", name, known=self._option_string_actions, advice=advice)
        raise InputError(f"unexpected argument {left[0]!r}; {advice}")

    def error(self, message: str) -> NoReturn:
        """Called by argparse where it would print and exit."""
        raise InputError(f"{message}; see `{self.prog} --help`")


def _wrapped(text: str, width: int) -> str:
    r"""Paragraphs filled anew, indented lines each by itself.

    >>> print(_wrapped("one two\nthree\n\nkeys:\n  a: one two three\n  b: four", 14))
    one two three
    <BLANKLINE>
    keys:
      a: one two
         three
      b: four
    """
    parts: list[str] = []
    for line in text.split("\n"):
        if parts and parts[-1] and line and not line.startswith(" ") and not parts[-1].startswith(" "):
            parts[-1] += f" {line}"
        else:
            parts.append(line)
    filled = []
    for part in parts:
        indent = part[: len(part) - len(part.lstrip())]
        hanging = indent + "   " if indent else ""
        filled.append(textwrap.fill(part, width, subsequent_indent=hanging, break_on_hyphens=False))
    return "\n".join(filled)


def image_size(text: str) -> tuple[int, int]:
    """A size from the command line: (H, W) from "HxW", or a square from one number.

    >>> image_size("224"), image_size("320x480")
    ((224, 224), (320, 480))
    """
    parts: Any = text.lower().replace("×", "x").split("x")
    if len(parts) in (1, 2) and all(part.isascii() and part.isdigit() for part in parts):
        height, width = int(parts[0][:9]), int(parts[-1][:9])
        if min(height, width) >= 1 and max(height, width) <= LARGEST_SIDE:
            return height, width
    raise argparse.ArgumentTypeError(
        f"expected HxW in pixels, like 224 or 320x480, up to {LARGEST_SIDE} a side, got {text!r}"
    )


def positive(text: str) -> int:
    """A whole number from 1.

    >>> positive("3")
    3
    """
    if text.isascii() and text.isdigit() and int(text[:9]) > 0:
        return int(text[:9])
    raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")


def region(text: str) -> tuple[int, int, int, int]:
    """A part of the image: top, left, bottom, right, in pixels from 0.

    >>> region("0,32,64,96")
    (0, 32, 64, 96)
    """
    parts = text.split(",")
    if len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts):
        top, left, bottom, right = (int(part[:9]) for part in parts)
        if top < bottom and left < right:
            return top, left, bottom, right
    raise argparse.ArgumentTypeError(
        f"expected TOP,LEFT,BOTTOM,RIGHT in pixels with TOP < BOTTOM and LEFT < RIGHT, like 0,32,64,96, got {text!r}"
    )


def share(text: str) -> float:
    """A share of one, from 0 to below 1, or as a percentage.

    >>> share("0.1"), share("5%")
    (0.1, 0.05)
    """
    match = re.fullmatch(r"(\d{0,3}\.?\d{1,9})(%?)", text, re.ASCII)
    value = float(match[1]) / (100 if match[2] else 1) if match else 1.0
    if value < 1:
        return value
    raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, like 0.1, got {text!r}")


_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for ending, base in (("b", 1000), ("ib", 1024))
}


def byte_count(text: str) -> int:
    """A number of bytes: "2GiB" (2 x 1024^3), "500MB" (500 x 1000^2), or a plain number.

    >>> byte_count("2GiB"), byte_count("1.5 kB"), byte_count("4096")
    (2147483648, 1500, 4096)
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([a-z]*)", text.strip().lower(), re.ASCII)
    count = float(match[1]) * _UNITS.get(match[2], 0) if match else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a number of bytes like 2GiB or 500MB, got {text!r}")
    return int(count)


def whole(text: str) -> int:
    """A whole number from 0.

    >>> whole("0")
    0
    """
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")


def number(text: str) -> float:
    """A finite number.

    >>> number("0.5"), number("1e-3")
    (0.5, 0.001)
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")


def numbers(text: str) -> tuple[float, ...]:
    """Finite numbers with commas between.

    >>> numbers("0.75,1")
    (0.75, 1.0)
    """
    try:
        return tuple(number(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between, got {text!r}") from None
