"""Being told to stop: Ctrl-C and SIGTERM wait for the end of a step, so that a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# A terminal and a launcher (torchrun) both pass on one Ctrl-C; what comes this much later is another one, in seconds.
_ECHO = 1.0


class Stopped(KeyboardInterrupt):
    """A run was told to stop, and wrote a checkpoint from which it goes on."""


@dataclass(slots=True)
class Wish:
    """Whether someone asked to stop, and when first (seconds of the monotonic clock)."""

    asked: bool = False
    since: float = 0.0


@contextmanager
def stop_signals() -> Iterator[Wish]:
    """While open, the first SIGINT or SIGTERM only sets `asked`; one that comes later interrupts at once, as ever.

    Outside of the main thread, which alone is told of signals, nothing changes.
    """
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(_number: int, _frame: FrameType | None) -> None:
        if not wish.asked:
            wish.asked, wish.since = True, time.monotonic()
        elif time.monotonic() - wish.since > _ECHO:
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
