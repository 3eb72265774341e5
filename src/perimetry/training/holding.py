"""One run in a directory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perimetry.errors import InputError

_HANDLES: set[int] = set()  # open in this process, and not in its children, which would hold on after it


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder; raises `InputError` where another process of this machine holds it.

    The hold ends with the process, however that ends. Where there are no such locks (Windows, some shares) all pass.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    _HANDLES.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process trains in {folder}; wait until it ends, or name another directory"
            ) from None
        except OSError:  # a share without locks
            pass
        yield
    finally:
        _HANDLES.discard(handle)
        os.close(handle)


def _let_go() -> None:
    """In a child: what it was born with is its parent's to hold."""
    for handle in _HANDLES:
        os.close(handle)
    _HANDLES.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
