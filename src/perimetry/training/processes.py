"""One process or several (torchrun): who this one is, sums over all, and gradients that are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from perimetry.errors import InputError, PerimetryError
from perimetry.training.devices import device_of

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run; alone, all of it does nothing.

    >>> Processes().sum(3.0), Processes().first
    (3.0, True)
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def sum(self, value: float) -> float:
        """The sum over all processes."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return float(total)

    def gathered(self, value: Value) -> list[Value]:
        """What every process holds, in their order; any object that can be pickled, of this run's own making."""
        if self.count == 1:
            return [value]
        held: list[Value | None] = [None] * self.count
        dist.all_gather_object(held, value)
        return held  # type: ignore[return-value]  # all are filled

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[bool]:
        """What the first process does inside, told by True; where it fails in words, all fail so, after it.

        >>> with Processes().first_alone() as here:
        ...     here
        True
        """
        told = None
        try:
            yield self.first
        except PerimetryError as error:
            told = str(error)
            raise
        finally:
            said = self.gathered(told)[0]
        if said is not None:
            raise InputError(said)

    def shared(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over processes."""
        return network if self.count == 1 else DistributedDataParallel(network, find_unused_parameters=True)

    def alike(self, network: nn.Module) -> None:
        """Give every process the buffers of the first, whose checkpoints are kept: batch norms' drift apart."""
        if self.count > 1:
            with torch.no_grad():
                for buffer in network.buffers():
                    dist.broadcast(buffer, 0)

    def gradients_stay(self, network: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Averages gradients only after the last part of a batch."""
        if isinstance(network, DistributedDataParallel) and not last:
            return network.no_sync()
        return nullcontext()


@contextmanager
def running_processes(device: str = "auto") -> Iterator[tuple[Processes, torch.device]]:
    """Joins the processes that torchrun started, if it did, and says which device this one works on.

    device: "auto" takes a CUDA device for each process where there is one, the CPU otherwise. Raises `InputError` for
    one that is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available() and device in ("auto", "cuda")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device("cuda", local) if cuda else device_of("cpu" if device == "auto" else device)
    if count == 1:
        yield Processes(), chosen
        return
    if cuda:
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size()), chosen
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    """Where the processes' messages have to be."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def plain(network: nn.Module) -> nn.Module:
    """The network itself, without what shares its gradients."""
    return network.module if isinstance(network, DistributedDataParallel) else network
