"""Files that commands write: checked before the work starts, and replaced in one step when it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from perimetry.errors import InputError
from perimetry.files import write_whole

STDOUT = "-"


def check(targets: Iterable[str | None]) -> None:
    """Raise `InputError` where a target could not be written, or two are the same; "-" is stdout."""
    named = [target for target in targets if target is not None]
    seen: set[str] = set()
    for target in named:
        place = target if target == STDOUT else os.path.realpath(target)
        if place in seen:
            raise InputError(f"two results would go to {'stdout' if target == STDOUT else target}; name two places")
        seen.add(place)
        if target == STDOUT:
            continue
        path = Path(place)
        if path.is_dir():
            raise InputError(f"cannot write {target}: it is a directory")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {target}: there is no directory {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(f"cannot write {target}: permission denied")


def numbered(target: str | None, count: int) -> list[str | None]:
    """A name for each of several results: the name itself for one, else with a number before its ending.

    >>> numbered("map.png", 2), numbered("map.png", 1), numbered(None, 2)
    (['map-1.png', 'map-2.png'], ['map.png'], [None, None])
    """
    if target is None or count == 1:
        return [target] * count
    path = Path(target)
    return [str(path.with_name(f"{path.stem}-{number}{path.suffix}")) for number in range(1, count + 1)]


def write(target: str, text: str) -> None:
    """Write the text to stdout or to a file, which holds the old content or all of the new, never a part."""
    if target == STDOUT:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    else:
        write_whole(target, text.encode("utf-8"))
