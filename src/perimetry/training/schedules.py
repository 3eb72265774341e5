"""Learning-rate schedules: the factor of the base rate at each step, as plain functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perimetry.errors import InputError, UnknownNameError
from perimetry.training.recipe import SCHEDULES, ScheduleName


def rate_factor(
    step: int,
    *,
    steps: int,
    schedule: ScheduleName = "constant",
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
    power: float = 0.9,
    warmup: int = 0,
    warmup_factor: float = 0.001,
) -> float:
    """What the base rate is multiplied by at a step, counted from 0, of `steps`.

    "step": by `gamma` at each milestone, a share of `steps` below 1, or a step's number; "poly": (1 - step / steps) **
    power, as in DeepLab and ParseNet; "cosine": half a cosine down to 0. The first `warmup` steps rise from
    `warmup_factor` in a straight line, and multiply what the schedule says.

    >>> [rate_factor(step, steps=4, schedule="step", milestones=(0.5,)) for step in range(4)]
    [1.0, 1.0, 0.1, 0.1]
    >>> round(rate_factor(5, steps=10, schedule="poly", power=0.9), 4)
    0.5359
    """
    if not 0 <= step < max(steps, 1):
        raise InputError(f"step {step} is none of the {steps} steps; they are counted from 0")
    if any(milestone <= 0 for milestone in milestones):
        raise InputError(f"milestones are shares of the steps or numbers of steps, above 0; got {tuple(milestones)}")
    rising = 1.0 if step >= warmup else warmup_factor + (1 - warmup_factor) * step / warmup
    if schedule == "constant":
        return rising
    if schedule == "step":
        # Half a step of tolerance: 0.7 of 10 steps is 7, whatever 0.7 * 10 is in binary.
        passed = sum(step + 1e-6 >= (at * steps if at < 1 else at) for at in milestones)
        return rising * gamma**passed
    if schedule == "poly":
        return float(rising * (1 - step / steps) ** power)
    if schedule == "cosine":
        return rising * 0.5 * (1 + math.cos(math.pi * step / steps))
    raise UnknownNameError("schedule", schedule, known=SCHEDULES, advice=", ".join(SCHEDULES))
