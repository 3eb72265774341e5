"""Working through images in order, on several threads, with the name of the image in every error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from perimetry.errors import InputError, PerimetryError
from perimetry.scoring.pairing import Progress, Slice

Result = TypeVar("Result")


def each(
    slices: Sequence[Slice], work: Callable[[Slice], Result], *, workers: int = 1, progress: Progress | None = None
) -> list[Result]:
    """What `work` tells of each image, in their order; progress is called with (done, of how many), from 0 on."""
    if workers < 1:
        raise InputError(f"expected one worker or more, got {workers}")

    def named(one: Slice) -> Result:
        try:
            return work(one)
        except PerimetryError as error:
            error.add_note(f"(image {one.name})")
            raise

    tell = progress or (lambda _done, _all: None)
    tell(0, len(slices))
    found = []
    # Images are small: torch's own threads would cost many times what they bring.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for result in map(named, slices) if workers == 1 else pool.map(named, slices):
                    found.append(result)
                    tell(len(found), len(slices))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
    return found
