"""When a run evaluates and writes checkpoints, and how long it still takes."""

from __future__ import annotations

import time

from perimetry.training.recipe import Recipe


class Clock:
    """Counts steps and seconds of a run that goes on from `step`.

    >>> clock = Clock(Recipe(task="detection", data="d", epochs=2, batch=4), images=8, steps=4, step=0)
    >>> [clock.evaluation_due(step) for step in (1, 2, 3, 4)]
    [False, True, False, True]
    """

    def __init__(self, recipe: Recipe, *, images: int, steps: int, step: int) -> None:
        self._recipe, self._images, self.steps = recipe, images, steps
        self._first, self._started = step, time.monotonic()
        self._saved = self._started

    def epoch(self, step: int) -> float:
        """How often the data was gone through after that many steps."""
        return step * self._recipe.batch / self._images

    def evaluation_due(self, step: int) -> bool:
        """Whether the last step passed a multiple of `evaluate_every` epochs, or the run ends; 0 is the end only."""
        every = self._recipe.evaluate_every
        passed = bool(every) and int(self.epoch(step) / every + 1e-9) > int(self.epoch(step - 1) / every + 1e-9)
        return passed or step == self.steps

    def checkpoint_due(self, step: int) -> bool:
        """Whether `checkpoint_every` seconds have passed since the last one, or an evaluation was due."""
        due = self.evaluation_due(step) or time.monotonic() - self._saved >= self._recipe.checkpoint_every
        if due:
            self._saved = time.monotonic()
        return due

    def line(self, step: int) -> str:
        """Progress for people: step, epoch, seconds a step, and the time left."""
        each = (time.monotonic() - self._started) / max(step - self._first, 1)
        left = round(each * (self.steps - step))
        time_left = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        return f"step {step} of {self.steps}, epoch {self.epoch(step):.4g}, {each:.2g} s a step, about {time_left} left"
