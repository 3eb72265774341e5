"""The mean of an occlusion map over images: one image at a time, position by position, and resumable at any place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import torch

from perimetry.errors import InputError
from perimetry.maps.changes import Change, changes
from perimetry.maps.checkpoint import Checkpoint, Sums

Position = tuple[int, int]


class Covering(Protocol):
    """Runs one unit on one image after another, covered at any of its positions.

    positions: those whose patch can change the unit, in the order in which they run. batches: which run together.
    """

    positions: list[Position]
    batches: list[range]

    def begin(self, image: torch.Tensor) -> torch.Tensor:
        """Go on to an image (1, C, H, W); the unit's elements (E,) on it, uncovered."""
        ...

    def outputs(self, positions: Sequence[Position]) -> torch.Tensor:
        """The unit's elements (N, E) with the image covered at each position of a batch."""
        ...

    def plain(self, position: Position) -> torch.Tensor:
        """The same for one position, (1, E), by a full pass."""
        ...


def summed(
    covering: Covering,
    images: Iterable[torch.Tensor],
    count: int,
    kind: Change,
    kept: Checkpoint,
    progress: Callable[[int, int], None] | None,
) -> Sums:
    """The changes at each of the covering's positions, summed over `count` images, and their worst error.

    The error is the largest difference of a change from that by a full pass: where the change is largest, and on the
    first image at the first and the last position, too.

    Raises `InputError` for a checkpoint of other images, and where the unit is NaN or infinite.
    """
    positions = covering.positions
    sums = kept.load(len(positions))
    if len(sums.images) > count:
        kept.refuse("set of images")
    for number, image in enumerate(images):
        digest = _digest(image)
        if number == len(sums.images):
            sums.images.append(digest)
        elif sums.images[number] != digest:
            kept.refuse("image")
        if number < sums.finished:
            continue
        base = covering.begin(image)
        if not bool(torch.isfinite(base).all()):
            raise InputError(f"the unit is NaN or infinite on image {number + 1} as it is; no change can be told")
        for batch in covering.batches:
            if batch.stop <= sums.done:
                continue
            chosen = [positions[place] for place in batch]
            found = changes(covering.outputs(chosen), base, kind)
            if not np.isfinite(found).all():
                raise InputError(f"the unit becomes NaN or infinite where image {number + 1} is covered")
            sums.present[batch.start : batch.stop] = found
            sums.done = batch.stop
            kept.save(sums)
            if progress is not None:
                progress(number * len(positions) + sums.done, count * len(positions))
        sums.error = max(sums.error, _error(covering, sums, base, kind, thorough=number == 0))
        sums.total += sums.present
        sums.magnitude += np.abs(sums.present)
        sums.done, sums.finished = 0, number + 1
        kept.save(sums)
    kept.finish(sums)
    return sums


def _error(covering: Covering, sums: Sums, base: torch.Tensor, kind: Change, *, thorough: bool) -> float:
    if not covering.positions:
        return 0.0
    most = int(np.abs(sums.present).argmax())
    worst = 0.0
    for place in {most, 0, len(covering.positions) - 1} if thorough else {most}:
        full = changes(covering.plain(covering.positions[place]), base, kind)
        worst = max(worst, float(abs(full[0] - sums.present[place])))
    return worst


def _digest(image: torch.Tensor) -> str:
    plain = image.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()
