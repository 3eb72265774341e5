"""The random numbers of one sample: fixed by seed, epoch and index, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from perimetry.errors import InputError

Value = TypeVar("Value")


class Draws:
    """A stream of random numbers from its own `torch.Generator`; torch's global ones are neither read nor moved.

    So a sample is the same in any order, in any loader worker, and after a run was resumed.

    >>> Draws(seed=0, epoch=3, index=7).uniform(0, 1) == Draws(seed=0, epoch=3, index=7).uniform(0, 1)
    True
    """

    def __init__(self, *, seed: int, epoch: int, index: int) -> None:
        if min(seed, epoch, index) < 0:
            raise InputError(f"expected seed, epoch and index from 0, got {seed}, {epoch} and {index}")
        self.epoch = epoch
        # Mixed by numpy's SeedSequence: sums or products of the three would give many samples the same numbers.
        (mixed,) = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
        self.generator = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))

    def uniform(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def choice(self, values: Sequence[Value]) -> Value:
        """One of the values, each as likely."""
        return values[self.whole(0, len(values) - 1)]

    def happens(self, probability: float) -> bool:
        """True with a probability."""
        return self.uniform(0, 1) < probability

    def order(self, count: int) -> list[int]:
        """The numbers below a count in random order."""
        shuffled: list[int] = torch.randperm(count, generator=self.generator).tolist()
        return shuffled

    def normal(self, count: int) -> Tensor:
        """Normal numbers of mean 0 and deviation 1: (count,) float64."""
        return torch.randn(count, generator=self.generator, dtype=torch.float64)
