"""What stays the same during a run: recipe, data, task, network as it was built, directory, processes and device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from perimetry.errors import InputError
from perimetry.training.batches import steps_of
from perimetry.training.detection import takes_proposals
from perimetry.training.networks import Built, build_network
from perimetry.training.precision import chosen_format, chosen_precision
from perimetry.training.processes import Processes
from perimetry.training.recipe import Precision, Recipe
from perimetry.training.run_directory import RunDirectory
from perimetry.training.samples import names_of
from perimetry.training.sets import Sets, open_sets, task_of
from perimetry.training.tasks import Task


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """A run, made ready.

    steps: of the whole run; precision, layout: those chosen for the device; tell: takes lines for people.
    """

    recipe: Recipe
    sets: Sets
    task: Task
    built: Built
    run: RunDirectory
    processes: Processes
    device: torch.device
    steps: int
    precision: Precision
    layout: torch.memory_format
    tell: Callable[[str], None]


def set_up(
    recipe: Recipe,
    *,
    out: str | Path,
    sets: Sets | None,
    processes: Processes,
    device: torch.device,
    tell: Callable[[str], None] | None,
) -> Setup:
    """Open the data, build the network, make the directory or find it again; the caller seeds torch."""
    tell = tell if tell is not None and processes.first else _silent
    sets = sets or open_sets(recipe, tell=tell)
    built = build_network(recipe, classes=len(sets.classes))
    if recipe.proposals and not takes_proposals(built.network):
        raise InputError(
            f"{recipe.model} finds its own proposals, and would not look at {recipe.proposals}; leave it out"
        )
    if built.transfer is not None:
        tell(f"weights of {recipe.weights}: {built.transfer}")
    return Setup(
        recipe=recipe,
        sets=sets,
        task=task_of(recipe, sets.classes),
        built=built,
        processes=processes,
        device=device,
        steps=recipe.steps or steps_of(images=len(sets.train), batch=recipe.batch, epochs=recipe.epochs),
        precision=chosen_precision(recipe.precision, device),
        layout=chosen_format(recipe.memory_format, built.network),
        run=_directory(Path(out), recipe, sets, built, processes),
        tell=tell,
    )


def _directory(path: Path, recipe: Recipe, sets: Sets, built: Built, processes: Processes) -> RunDirectory:
    """Made, or taken up again, by the first process; the others wait for it."""
    run = RunDirectory(path)
    images = {"train": len(sets.train), "val": 0 if sets.val is None else len(sets.val)}
    facts = {"classes": list(sets.classes), "images": images, "names": _digest(sets), **built.facts}
    with processes.first_alone() as here:
        if here:
            run.begin(recipe, facts)
    return run


def _digest(sets: Sets) -> str:
    """Of what the images are called, which tells other data from that of the run."""
    names = json.dumps([names_of(part) for part in (sets.train, sets.val) if part is not None])
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _silent(_line: str) -> None:
    """Nobody listens."""
