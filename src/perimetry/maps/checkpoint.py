"""Partial results of a long run on disk: written atomically, taken up again by the same run only."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from perimetry.errors import FileError, InputError
from perimetry.files import write_whole

SAVE_EVERY = 5.0  # seconds


class Checkpoint:
    """One file with the results so far. Without a path nothing is written.

    key: tells what run the results belong to; done: how many rows are there.
    """

    def __init__(self, path: str | Path | None, key: str) -> None:
        self._path = None if path is None else Path(path)
        self._key = key
        self._saved = time.monotonic()
        self.done = 0

    def load(self, shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The results so far, zeros where there are none yet.

        Raises `FileError` for a file that is no checkpoint, `InputError` for one of another run.
        """
        results = np.zeros(shape, dtype=np.float32)
        if self._path is None or not self._path.exists():
            return results
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                key, done, rows = str(stored["key"]), int(stored["done"]), stored["results"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise FileError(f"{self._path} is no checkpoint of an occlusion map ({error})") from error
        if key != self._key or rows.shape != shape:
            raise InputError(
                f"{self._path} belongs to another run (another model, image, patch, unit or memory limit); "
                "name another file, or delete it"
            )
        self.done = done
        results[:] = rows
        return results

    def save(self, results: np.ndarray[Any, np.dtype[np.float32]], done: int) -> None:
        """Write the results so far, if the last time was a while ago."""
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.finish(results, done)

    def finish(self, results: np.ndarray[Any, np.dtype[np.float32]], done: int) -> None:
        """Write the results now."""
        if self._path is None:
            return
        content = io.BytesIO()
        np.savez(content, key=np.array(self._key), done=np.array(done), results=results)
        write_whole(self._path, content.getvalue())
        self._saved = time.monotonic()
