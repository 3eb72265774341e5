"""What one run of a model costs: seconds, and the most memory that its results take at once."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the model alone on one view of an image.

    size: (H, W) of the view; flipped: whether it was mirrored; seconds: of the clock. peak_bytes: the most that the
    tensors the run made took at once, beside weights and image: on CUDA as its allocator counts, on a CPU the sum over
    the results of operators that are alive (not what an operator needs inside); None on other devices.
    """

    size: tuple[int, int]
    flipped: bool
    seconds: float
    peak_bytes: int | None


_counting = ContextVar("counting", default=True)


@contextmanager
def bytes_uncounted() -> Iterator[None]:
    """While open, `run_measured` counts no bytes on a CPU, which of a small image take a third of the time."""
    token = _counting.set(False)
    try:
        yield
    finally:
        _counting.reset(token)


def run_measured(
    run: Callable[[], Result], *, size: tuple[int, int], flipped: bool, device: torch.device
) -> tuple[Result, Cost]:
    """Run, and say what it cost. On a CPU counting takes some 30 microseconds an operator, which `seconds` holds.

    >>> result, cost = run_measured(lambda: torch.ones(10) + 1, size=(1, 10), flipped=False, device=torch.device("cpu"))
    >>> cost.peak_bytes
    80
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    counts = device.type == "cpu" and _counting.get()
    counter = _LiveBytes()
    start = time.perf_counter()
    with counter if counts else nullcontext():
        result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    peak = {
        "cpu": lambda: counter.peak if counts else None,
        "cuda": lambda: torch.cuda.max_memory_allocated(device) - before,
    }
    return result, Cost(size, flipped, seconds, peak.get(device.type, lambda: None)())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operators make, from their making until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        # By the storage's identity: a reference that tells when it is freed. What stood before is there, with no bytes.
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for given in _tensors((*args, *(kwargs or {}).values())):
            self._see(given, counted=False)
        result = func(*args, **(kwargs or {}))
        for made in _tensors((result,)):
            self._see(made, counted=True)
        self.peak = max(self.peak, self._now)
        return result

    def _see(self, value: Tensor, *, counted: bool) -> None:
        storage = value.untyped_storage()
        identity = storage._cdata
        if identity in self._alive:
            return
        size = storage.nbytes() if counted else 0

        def freed(_: Any) -> None:
            self._alive.pop(identity, None)
            self._now -= size

        self._alive[identity] = weakref.ref(storage, freed)
        self._now += size


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among what an operator takes or gives; torch's own walk over nested values takes far longer."""
    for value in values:
        if isinstance(value, Tensor):
            if value.layout == torch.strided:
                yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
