"""Which images each step sees: one endless shuffled stream, the same from any step on, cut among processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from perimetry.errors import InputError


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of a step: its place in the data set, and how often the data set was gone through before."""

    index: int
    epoch: int


def steps_of(*, images: int, batch: int, epochs: float) -> int:
    """Steps that show every image `epochs` times, rounded up.

    >>> steps_of(images=367, batch=8, epochs=5)
    230
    """
    return max(1, math.ceil(images * epochs / batch))


def order(images: int, *, seed: int, epoch: int) -> list[int]:
    """The order of one pass over the images, drawn from the seed and the pass alone.

    >>> sorted(order(4, seed=0, epoch=1)), order(4, seed=0, epoch=1) == order(4, seed=0, epoch=1)
    ([0, 1, 2, 3], True)
    """
    # Two numbers become one seed without neighbours sharing theirs.
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(images, generator=generator).tolist()


class Batches(Sampler[list[Draw]]):
    """The draws of every step from `start` on, those of one process of `processes`.

    batch: images of a step on all processes together. Passes follow each other without a gap, so that all steps are of
    one size: the last of one pass and the first of the next may share a step.

    >>> [[draw.index for draw in step] for step in Batches(3, batch=2, steps=3, seed=0)]
    [[2, 0], [1, 1], [2, 0]]
    """

    def __init__(
        self, images: int, *, batch: int, steps: int, seed: int, start: int = 0, process: int = 0, processes: int = 1
    ) -> None:
        if images < 1:
            raise InputError(
                "there is no image to train on; name another split, or check the data with `perimetry data`"
            )
        if batch % processes:
            raise InputError(f"a batch of {batch} cannot be shared by {processes} processes; take a multiple")
        self.images, self.batch, self.steps, self.seed, self.start = images, batch, steps, seed, start
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        """Steps that are left."""
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        """Draws, step by step."""
        epoch, indices = -1, []
        for step in range(self.start, self.steps):
            drawn = []
            for place in range(step * self.batch, (step + 1) * self.batch):
                if place // self.images != epoch:
                    epoch = place // self.images
                    indices = order(self.images, seed=self.seed, epoch=epoch)
                drawn.append(Draw(indices[place % self.images], epoch))
            # Every n-th, so that processes together hold what one alone would.
            yield drawn[self.process :: self.processes]
