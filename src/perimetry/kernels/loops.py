"""How kernels are compiled, and how their tasks are shared among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit
from torch import Tensor

PIECES_A_THREAD = 4  # so that a thread that is held up leaves the rest to others


def loop(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, without Python's global lock; later processes load what that compiled."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


def share(tasks: int, run: Callable[[int, int], None]) -> None:
    """Run tasks [first, last) in pieces, on as many threads as torch may use.

    >>> done = []
    >>> share(3, lambda first, last: done.extend(range(first, last)))
    >>> sorted(done)
    [0, 1, 2]
    """
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        run(0, tasks)
        return
    pieces = min(tasks, threads * PIECES_A_THREAD)
    cuts = [piece * tasks // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, cuts[:-1], cuts[1:]))


def share_blocks(shape: Sequence[int], image: Tensor, run: Callable[[Any, Any, int, int], None], *, block: int) -> None:
    """Run tasks, each one image's block of channels, of a loop that takes the boxes by image.

    shape: of maps (N, C, ...); image: of each box, (K,); run: is given what `by_image` tells, and the tasks [first,
    last), counted image by image; block: channels of a task.
    """
    images, channels = shape[:2]
    order, starts = by_image(image, images)
    share(images * -(-channels // block), lambda first, last: run(order, starts, first, last))


def by_image(image: Tensor, images: int) -> tuple[Any, Any]:
    """The boxes in order of their images, and where each image's begin: arrays (K,) and (images + 1,).

    >>> by_image(torch.tensor([1, 0, 1]), 2)
    (array([1, 0, 2]), array([0, 1, 3]))
    """
    counts = torch.bincount(image, minlength=images)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return image.argsort(stable=True).numpy(), starts.numpy()
