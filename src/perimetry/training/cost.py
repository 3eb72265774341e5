"""What a run takes: seconds over all its sittings, and the most memory."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from perimetry.files import write_whole


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What the steps of a run took up to its last checkpoint, on the first of its processes.

    seconds: of the clock, with reading, evaluations and checkpoints; what a kill lost since the last one is not in it.
    peak_bytes: on CUDA the most that its allocator held, on a CPU the most that the process ever held, Python and data
    included; None where the system does not tell. device: "cpu" or the name of the GPU; threads: of torch.
    """

    step: int
    seconds: float
    peak_bytes: int | None
    device: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def read_cost(path: Path) -> TrainingCost | None:
    """The cost in a file; None where it cannot be told, as of runs of older versions."""
    try:
        told = json.loads(path.read_bytes())["cost"]
        peak = told["peak_bytes"]
        return TrainingCost(
            step=int(told["step"]),
            seconds=float(told["seconds"]),
            peak_bytes=None if peak is None else int(peak),
            device=str(told["device"]),
            threads=int(told["threads"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Meter:
    """Measures a run that goes on from what a file tells."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._path, self._device = path, device
        self._before = read_cost(path)
        self._started = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def write(self, step: int) -> None:
        """Keep what it took until now."""
        before = self._before
        peaks = (_peak_bytes(self._device), before.peak_bytes if before else None)
        cost = TrainingCost(
            step=step,
            seconds=round((before.seconds if before else 0.0) + time.monotonic() - self._started, 3),
            peak_bytes=max((peak for peak in peaks if peak is not None), default=None),
            device=torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type,
            threads=torch.get_num_threads(),
        )
        write_whole(self._path, json.dumps({"schema": 1, "cost": cost.to_dict()}, indent=1).encode())


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
