"""The numbers of a run, as they come: CSV always, TensorBoard where it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from perimetry.errors import InputError
from perimetry.training.run_directory import RunDirectory


class Log:
    """Rows for metrics.csv, written with each checkpoint, and events for TensorBoard.

    after: the step that the run goes on from; what was noted of later ones is dropped. writes: one process of several
    does.
    """

    def __init__(self, run: RunDirectory, *, after: int, writes: bool = True) -> None:
        self._metrics = run.metrics()
        self._metrics.forget_after(after)
        self._events = _events(run, after) if writes else None

    def add(self, step: int, epoch: float, split: str, numbers: Mapping[str, Any]) -> None:
        """The losses of a step ("train") or the scores of an evaluation ("val")."""
        self._metrics.add(step, epoch, split, numbers)
        with _words():
            for name, value in numbers.items():
                if self._events is not None and isinstance(value, int | float):
                    self._events.add_scalar(f"{split}/{name}", value, step)

    def write(self) -> None:
        """Bring everything to the disk."""
        self._metrics.write()
        if self._events is not None:
            with _words():
                self._events.flush()

    def close(self) -> None:
        """End the thread that writes events."""
        if self._events is not None:
            with _words():
                self._events.close()


@contextmanager
def _words() -> Iterator[None]:
    """An error of the disk, which TensorBoard's own thread had and its next call tells, in words."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write events for TensorBoard: {error.strerror or error}") from error


def _events(run: RunDirectory, after: int) -> Any:
    """TensorBoard's writer, None where that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    with _words():
        return SummaryWriter(str(run.path / "tensorboard"), purge_step=after + 1)
