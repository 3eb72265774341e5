"""Progress at a terminal: one line that tells how much is done, and how long the rest will take."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line at a terminal that tells how much is done and how long the rest will take; silent elsewhere."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.started = time.monotonic()
        self.first: int | None = None  # what was done at the first call: a resumed run starts with more than nothing
        self.shown = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        """Tell it, at most five times a second."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = done, now
        if not sys.stderr.isatty() or (now - self.shown < 0.2 and done < total):
            return
        self.shown = now
        fresh, spent = done - self.first, now - self.started
        left = f", about {duration(spent * (total - done) / fresh)} left" if fresh > 0 and done < total else ""
        print(f"\r\x1b[Kperimetry: {done} of {total} {self.noun}{left}", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.2), duration(75), duration(7300)
    ('5 s', '1 min 15 s', '2 h 1 min')
    """
    whole_seconds = int(-(-seconds // 1))
    minutes, rest = divmod(whole_seconds, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
