"""Partial results of a long run on disk: written atomically, taken up again by the same run only."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perimetry.errors import FileError, InputError
from perimetry.files import write_whole

SAVE_EVERY = 1.0  # seconds

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Sums:
    """What an average over images has come to: one number for each position.

    total, magnitude: sums over the finished images of the change and of its magnitude. error: their worst.
    present: the changes of the image that is under way, of which the first `done` are there.
    images: a digest of each image that was begun; finished: how many of them are done with.
    """

    total: Floats
    magnitude: Floats
    present: Floats
    done: int = 0
    finished: int = 0
    error: float = 0.0
    images: list[str] = field(default_factory=list)

    @classmethod
    def none(cls, positions: int) -> Sums:
        """Nothing yet."""
        return cls(np.zeros(positions), np.zeros(positions), np.zeros(positions))


class Checkpoint:
    """One file with the sums so far. Without a path nothing is written.

    key: tells what run they belong to, the images apart.
    """

    def __init__(self, path: str | Path | None, key: str) -> None:
        self._path = None if path is None else Path(path)
        self._key = key
        self._saved = time.monotonic()

    def load(self, positions: int) -> Sums:
        """The sums so far; those of nothing where there is no file yet.

        Raises `FileError` for a file that is no checkpoint, `InputError` for one of another run.
        """
        if self._path is None or not self._path.exists():
            return Sums.none(positions)
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                key = str(stored["key"])
                sums = Sums(
                    total=np.asarray(stored["total"], dtype=np.float64),
                    magnitude=np.asarray(stored["magnitude"], dtype=np.float64),
                    present=np.asarray(stored["present"], dtype=np.float64),
                    done=int(stored["done"]),
                    finished=int(stored["finished"]),
                    error=float(stored["error"]),
                    images=[str(each) for each in stored["images"]],
                )
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
            raise FileError(f"{self._path} is no checkpoint of an occlusion map ({error})") from error
        if key != self._key or sums.total.shape != (positions,):
            self.refuse("model, patch, fill, unit, value or memory limit")
        return sums

    def refuse(self, what: str) -> None:
        """Raise `InputError`: the file belongs to a run with something else."""
        raise InputError(f"{self._path} belongs to another run (another {what}); name another file, or delete it")

    def save(self, sums: Sums) -> None:
        """Write the sums so far, if the last time was a while ago."""
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.finish(sums)

    def finish(self, sums: Sums) -> None:
        """Write the sums now."""
        if self._path is None:
            return
        content = io.BytesIO()
        np.savez(
            content,
            key=np.array(self._key),
            total=sums.total,
            magnitude=sums.magnitude,
            present=sums.present,
            done=np.array(sums.done),
            finished=np.array(sums.finished),
            error=np.array(sums.error),
            images=np.array(sums.images, dtype="U64"),
        )
        write_whole(self._path, content.getvalue())
        self._saved = time.monotonic()
