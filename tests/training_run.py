"""A run of a dozen steps, as a program that tests start and kill: OUT WORKERS MODEL."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from perimetry.data.scenes import scenes
from perimetry.training import Fitted, Recipe, Sets, fit

STEPS = 12


def run(out: Path, *, workers: int = 0, model: str = "classifier", tell_steps: bool = False) -> Fitted:
    recipe = Recipe(
        task="classification",
        data="scenes",
        model=f"small_networks:{model}",
        size=(32, 32),
        steps=STEPS,
        batch=4,
        rate=0.05,
        workers=workers,
        checkpoint_every=0,
        precision="float32",
        augmentation="flip",
        decay=0.01,
    )
    progress = (lambda done, steps: print(done, steps, flush=True)) if tell_steps else None
    return fit(recipe, out=out, sets=sets(), device="cpu", progress=progress)


def sets() -> Sets:
    train, val = (scenes("classification", count=10, size=(32, 32), seed=seed) for seed in (0, 1))
    return Sets(train, val, train.classes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), workers=int(sys.argv[2]), model=sys.argv[3], tell_steps=True)
