"""What do networks of each task reach on real data in a few epochs, and in how many seconds?

    PERIMETRY_DATA=DIR python benchmarks/real_data.py [--what camvid-fcn ...] [--seeds 0 1 2] [--epochs 5]
        [--runs DIR] [--threads 2] [--json FILE]

Each is a recipe of benchmarks/recipes, which `perimetry train --recipe` runs too, with another seed and number of
epochs: CamVid (mean IoU on the validation split), BCCD (AP50 on the test split), and a subset of CIFAR-10 (top-1 on the
test split), always of the last checkpoint. "-scratch" are the same from random weights. Fast R-CNN is given windows of
five sizes that slide over the image, the same for all images. A run that is finished is not run again, and one that was
stopped goes on: both lie in --runs, with the scores beside them.
"""

from __future__ import annotations

import sys
from pathlib import Path

# benchmarks/inspect.py must not stand in the way of the standard library's `inspect`, which others import; the recipes'
# own network is found beside them.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path.append(str(_HERE / "recipes"))

# ruff: noqa: E402  the imports must come after
import argparse
import contextlib
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from perimetry.data import open_dataset
from perimetry.errors import InputError
from perimetry.files import write_whole
from perimetry.prediction import evaluate, load_run
from perimetry.training import Recipe, fit, read_recipe

# name -> recipe, and what differs from it
WHAT: dict[str, tuple[str, dict[str, str]]] = {
    "camvid-fcn": ("camvid_fcn", {}),
    "camvid-fcn-scratch": ("camvid_fcn", {"weights": "none"}),
    "camvid-parsenet": ("camvid_parsenet", {}),
    "camvid-largefov": ("camvid_largefov", {}),
    "bccd-faster": ("bccd_faster", {}),
    "bccd-faster-scratch": ("bccd_faster", {"weights": "none", "freeze_norms": "false"}),
    "bccd-rfcn": ("bccd_rfcn", {}),
    "bccd-fast": ("bccd_fast", {}),
    "cifar-finetune": ("cifar_finetune", {}),
    "cifar-scratch": ("cifar_scratch", {}),
}
SCORES = {"segmentation": "miou", "detection": "ap50", "classification": "top1"}
WINDOWS = (20, 32, 48, 72, 108)  # pixels a side


def data_folder() -> Path:
    folder = os.environ.get("PERIMETRY_DATA", "")
    if not Path(folder or "?").is_dir():
        raise InputError(f"PERIMETRY_DATA names no directory ({folder!r}); set it to the folder of the data sets")
    return Path(folder)


def recipe_of(what: str, *, seed: int, epochs: float, proposals: Path | None = None) -> Recipe:
    name, changes = WHAT[what]
    file = _HERE / "recipes" / f"{name}.toml"
    changes = {"seed": str(seed), "epochs": str(epochs), **changes}
    if what == "cifar-finetune":
        changes["weights"] = str(data_folder() / "weights" / "resnet20_cifar10.safetensors")
    if what == "bccd-fast":
        changes["proposals"] = str(proposals)
    recipe = read_recipe(file, [f"{key}={value}" for key, value in changes.items()])
    return recipe.with_settings([f"data={data_folder() / Path(recipe.data).name}"])


def write_windows(file: Path) -> Path:
    """Squares that slide over every image of BCCD in steps of a third of their side."""
    boxes = [
        (x, y, x + side, y + side)
        for side in WINDOWS
        for y in range(0, 240 - side + 1, side // 3)
        for x in range(0, 320 - side + 1, side // 3)
    ]
    given = np.array(boxes, np.float32)
    dataset = open_dataset(data_folder() / "bccd320", task="detection")
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **{sample.name: given for sample in dataset.samples})
    return file


def run(what: str, *, seed: int, epochs: float, runs: Path) -> dict[str, Any]:
    """Train, or go on, and score; what is done is read again."""
    out = runs / f"{what}-{epochs:g}-{seed}"
    result = runs / f"{what}-{epochs:g}-{seed}.json"
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    proposals = write_windows(runs / "windows.npz") if what == "bccd-fast" else None
    recipe = recipe_of(what, seed=seed, epochs=epochs, proposals=proposals)
    fresh = not out.exists()
    began, processor = time.perf_counter(), time.process_time()
    fitted = fit(recipe, out=out, device="cpu", tell=lambda line: print(f"  {line}", flush=True))
    seconds, processor_s = time.perf_counter() - began, time.process_time() - processor
    told: dict[str, Any] = {
        "what": what,
        "seed": seed,
        "epochs": epochs,
        "score": SCORES[recipe.task],
        "val": fitted.scores,
        # Of a run that went on nobody knows how long the first part took.
        "seconds": seconds if fresh else None,
        "processor_s": processor_s if fresh else None,
        "environment": environment(),
    }
    if recipe.task == "segmentation":
        told["value"], told["split"] = fitted.scores["miou"], "val"
    else:
        evaluated = evaluate(load_run(out, checkpoint="last"), split="test", proposals=proposals)
        told["test"] = evaluated.choice.headlines()
        names = {"detection": "voc_map", "classification": "accuracy"}
        told["value"], told["split"] = told["test"][names[recipe.task]], "test"
    write_whole(result, json.dumps(told, indent=1).encode())
    return told


def environment() -> dict[str, Any]:
    processor = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm")},
    }


def line(what: str, found: list[dict[str, Any]]) -> str:
    """A row of the table: the mean of the seeds, lowest ... highest, and seconds."""
    values = [each["value"] for each in found]
    score = f"{statistics.mean(values):.3f} ({min(values):.3f} ... {max(values):.3f})"
    seconds = [each["seconds"] for each in found if each["seconds"] is not None]
    took = f"{statistics.median(seconds):.0f}" if seconds else "unknown, it was stopped"
    seeds = ", ".join(str(each["seed"]) for each in found)
    return f"| {what} | {found[0]['split']} {found[0]['score']} | {score} | {seeds} | {took} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--runs", type=Path, default=Path("real_data_runs"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    told = []
    for what in options.what:
        found = []
        for seed in options.seeds:
            print(f"{what}, seed {seed}", flush=True)
            found.append(run(what, seed=seed, epochs=options.epochs, runs=options.runs))
            if options.json:
                options.json.write_text(json.dumps({"schema": 1, "runs": told + found}, indent=1))
        told += found
        print(line(what, found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
