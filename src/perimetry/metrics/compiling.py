"""How the compiled loops of this package are made: by numba, cached on disk, without Python's global lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def loop(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call; later processes load what the first one compiled."""
    return njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a small function that other loops call."""
    return njit(cache=True, nogil=True, inline="always")(function)
