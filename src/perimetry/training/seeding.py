"""Random numbers of a run: torch's own generators, borrowed, and set by the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def borrowed_generators(device: torch.device) -> Iterator[None]:
    """The generators of the CPU and of the device are as they were, afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_generators(device: torch.device, *numbers: int) -> None:
    """Set the generators of the CPU and of the device by whole numbers, which are mixed well.

    Weights, dropout, and the draws of detectors come from them. Only within `borrowed_generators`.
    """
    (mixed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    seed = int(mixed >> np.uint64(1))
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
