"""How the compiled loops of this package are made: by numba, cached on disk, without Python's global lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def loop(function: Loop) -> Loop:
    """Compile a function at its first call; later processes load what the first one compiled."""
    made: Loop = njit(cache=True, nogil=True, boundscheck=False)(function)
    return made


def inlined(function: Loop) -> Loop:
    """The same for a small function that other loops call."""
    made: Loop = njit(cache=True, nogil=True, boundscheck=False, inline="always")(function)
    return made
