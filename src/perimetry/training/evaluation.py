"""Scoring a network on a set: every image once, shared among processes, scores merged."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from perimetry.data.transforms import TestTransform
from perimetry.training.precision import autocast, chosen_format
from perimetry.training.processes import Processes
from perimetry.training.recipe import MemoryFormat, Precision
from perimetry.training.samples import Samples, testing_batches
from perimetry.training.tasks import Task


def evaluate_network(
    network: nn.Module,
    samples: Samples,
    *,
    task: Task,
    transform: TestTransform,
    batch: int = 1,
    workers: int = 0,
    precision: Precision = "float32",
    memory_format: MemoryFormat = "auto",
    processes: Processes | None = None,
) -> dict[str, Any]:
    """The scores of the task over all samples; the network is left in eval mode.

    batch: images at a time, 1 where they differ in size. Every process takes its share of the images, and all return
    the scores of all.
    """
    processes = processes or Processes()
    network.eval()
    device = next(network.parameters()).device
    layout = chosen_format(memory_format, network)
    scorer = task.scorer()
    share = range(processes.rank, len(samples), processes.count)
    with torch.inference_mode():
        for each in testing_batches(samples, transform, batch=batch, workers=workers, indices=share):
            moved = each.to(device, layout)
            with autocast(precision, device):
                scorer.update(moved, task.predict(network, moved))
    gathered = processes.gathered(scorer)
    for other in gathered[1:]:
        gathered[0].merge(other)
    return gathered[0].compute()
