"""One step of training, for the loop here or for one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from perimetry.errors import InputError
from perimetry.training.optimizers import clip_gradients
from perimetry.training.precision import autocast
from perimetry.training.processes import Processes
from perimetry.training.recipe import Precision
from perimetry.training.tasks import Batch, Task, is_out_of_memory, too_large


class NotFiniteError(InputError):
    """A loss that is NaN or infinite. names: the images of the batch; losses: each loss by name."""

    def __init__(self, names: tuple[str, ...], losses: Mapping[str, float], *, what: str = "the loss is") -> None:
        told = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        super().__init__(
            f"{what} not finite ({told}) on the images {', '.join(names) or 'of this batch'}; lower the rate, warm "
            "up, clip gradients, or look at those images"
        )
        self.names, self.losses = names, dict(losses)


def train_step(
    network: nn.Module,
    batch: Batch,
    optimizer: Optimizer,
    *,
    task: Task,
    accumulate: int = 1,
    clip: float = 0.0,
    precision: Precision = "float32",
    processes: Processes | None = None,
) -> dict[str, float]:
    """Gradients of the batch's mean loss, then one step of the optimiser; returns the losses by name.

    batch: on the network's device, this process's share of the step's images. accumulate: parts that are run one after
    the other, their gradients summed with their weights, so that the step is that of the whole batch wherever a loss is
    a mean. clip: largest L2 norm of all gradients, 0 for none. Raises `NotFiniteError`, and `InputError` where memory
    does not suffice, before any parameter is changed.

    >>> from perimetry.training.classification import Classification
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batch = Batch(torch.ones(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))
    >>> list(train_step(network, batch, torch.optim.SGD(network.parameters(), lr=0.1), task=Classification(2)))
    ['loss_logits']
    """
    processes = processes or Processes()
    optimizer.zero_grad(set_to_none=True)
    device = next(network.parameters()).device
    parts = batch.parts(accumulate)
    weights = [float(task.weight(part)) for part in parts]
    total = processes.sum(sum(weights))
    told: dict[str, float] = {}
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
        # Processes' gradients are averaged, so each share counts as often as there are processes.
        share = weight * processes.count / total if total else 0.0
        with processes.gradients_stay(network, last=number == len(parts)):
            with autocast(precision, device):
                losses = task.losses(network, part)
            values = torch.stack([value.detach().float() for value in losses.values()]).tolist()
            # All processes stop, or none: one that went on alone would wait for the others for ever.
            if processes.sum(float(not all(map(math.isfinite, values)))):
                found = processes.gathered((part.names, values))
                broken = [each for each in found if not all(map(math.isfinite, each[1]))]
                names = tuple(name for part_names, _ in broken for name in part_names)
                raise NotFiniteError(names, dict(zip(losses, broken[0][1], strict=True)))
            for name, value in zip(losses, values, strict=True):
                told[name] = told.get(name, 0.0) + value * share / processes.count
            loss: Tensor = torch.stack([value.float() for value in losses.values()]).sum() * share
            try:
                loss.backward()  # type: ignore[no-untyped-call]
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise too_large(part, error) from error
                raise
    if clip:
        clip_gradients(network, norm=clip)
    optimizer.step()
    return {name: processes.sum(value) for name, value in told.items()}
