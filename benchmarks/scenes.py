"""On synthetic scenes: who sees a label that only the context tells, and what do image pyramids gain with tiny objects?

    python benchmarks/scenes.py [--what context-parsenet sizes ...] [--seeds 0 1 2] [--runs DIR] [--threads 1]
        [--json FILE]

"context": discs whose class is told by the colour of a corner, so far from them that no network without the mean over
the image can see it; scenes come in pairs that differ in nothing else. Printed are, of the pixels of discs that were
told to be of one, the share of the right class, of which chance is one half; how many those are; and mean IoU.

"sizes": detectors that were trained on discs of 6 to 40 pixels, tested on scenes of tiny ones (6 to 10), of medium
ones (24 to 40), and of all, at one scale, at several (an image pyramid), and mirrored. Printed are recall at an overlap
of one half, AR100, AP50, of all sizes together also the recall of tiny ones; seconds and MB of an image.
"sizes-scales" was trained at two scales, drawn for each image, "sizes-fpn" has a feature pyramid.

The networks are those of benchmarks/recipes/scene_networks.py, from random weights, on the same scenes for every seed.
A run that is finished is not run again, and one that was stopped goes on: both lie in --runs, with the scores beside
them.
"""

from __future__ import annotations

import sys
from pathlib import Path

# benchmarks/inspect.py must not stand in the way of the standard library's `inspect`, which others import; the networks
# are found beside the recipes.
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
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import torch

from perimetry.data.scenes import scenes, write_scenes
from perimetry.files import write_whole
from perimetry.prediction import Run, evaluate, load_run
from perimetry.training import Recipe, fit

# Rows of the corner's patch, and of the gap below it: more than fc6's 96 pixels and half the backbone's field.
CONTEXT: dict[str, Any] = {
    "size": (224, 96),
    "label": "corner",
    "classes": 2,
    "cue_size": 40,
    "cue_gap": 148,
    "objects": (3, 6),
    "object_size": (16, 28),
}
SIZES: dict[str, Any] = {"size": (128, 128), "classes": ("disc",), "objects": (4, 8), "distractors": 4}
DIAMETERS = {"train": (6, 40), "tiny": (6, 10), "medium": (24, 40), "mixed": (6, 40)}
BOUND = 12.0  # pixels: what is smaller is tiny in scores by size

# name -> the network, and keys of the recipe that are its own
WHAT: dict[str, tuple[str, dict[str, Any]]] = {
    "context-parsenet": ("with_context", {}),
    "context-without": ("without_context", {}),
    "context-largefov": ("large_field", {}),
    "sizes": ("one_map", {}),
    "sizes-scales": ("one_map", {"scales": (192, 128)}),
    "sizes-fpn": ("feature_pyramid", {}),
}
STEPS = {"context": 250, "sizes": 200}
# Of several scales each is scored by itself too.
PYRAMIDS: tuple[tuple[tuple[float, ...], Literal["none", "horizontal"]], ...] = (
    ((1.0, 2.0, 3.0), "none"),
    ((1.0,), "horizontal"),
)


def write_data(kind: str, runs: Path, *, images: int = 200, tests: int = 20) -> dict[str, Path]:
    """The folders of the scenes by what they are for; those that are there stay."""
    if kind == "context":
        sets = {
            "train": {
                "train": scenes("segmentation", count=images, seed=0, **CONTEXT),
                "test": scenes("segmentation", count=4 * tests, seed=1, **CONTEXT),
            }
        }
    else:
        splits = {"train": (images, 0)}, {"test": (tests, 1)}
        sets = {
            name: {
                split: scenes("detection", count=count, seed=seed, object_size=size, overlap="avoided", **SIZES)
                for split, (count, seed) in splits[name != "train"].items()
            }
            for name, size in DIAMETERS.items()
        }
    folders = {name: runs / f"{kind}-data-{name}" for name in sets}
    for name, folder in folders.items():
        if not folder.exists():
            write_scenes(folder, sets[name])
    return folders


def recipe_of(what: str, data: Path, *, seed: int, steps: int) -> Recipe:
    network, own = WHAT[what]
    shared: dict[str, Any] = {
        "data": str(data),
        "model": f"scene_networks:{network}",
        "augmentation": "flip" if what.startswith("sizes") else "none",
        "steps": steps,
        "batch": 8,
        "optimizer": "adamw",
        "rate": 2e-3,
        "decay": 0.01,
        "decay_exempt": ("biases", "norms", "scales"),
        "schedule": "cosine",
        "warmup": 20,
        "clip": 10.0,
        "evaluate_every": 0,
        "seed": seed,
    }
    return Recipe(task="detection" if what.startswith("sizes") else "segmentation", **(shared | own))


def run(what: str, *, seed: int, runs: Path, steps: int = 0, **data: int) -> dict[str, Any]:
    """Train, or go on, and score; what is done is read again. steps: 0 for those that are published."""
    kind = what.partition("-")[0]
    steps = steps or STEPS[kind]
    out, result = runs / f"{what}-{steps}-{seed}", runs / f"{what}-{steps}-{seed}.json"
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    folders = write_data(kind, runs, **data)
    fresh = not out.exists()
    began, processor = time.perf_counter(), time.process_time()
    recipe = recipe_of(what, folders["train"], seed=seed, steps=steps)
    fit(recipe, out=out, device="cpu", tell=lambda line: print(f"  {line}", flush=True))
    seconds, processor_s = time.perf_counter() - began, time.process_time() - processor
    trained = load_run(out, checkpoint="last")
    told = {
        "what": what,
        "seed": seed,
        "steps": steps,
        # Of a run that went on nobody knows how long the first part took.
        "seconds": seconds if fresh else None,
        "processor_s": processor_s if fresh else None,
        "rows": context_rows(trained) if kind == "context" else size_rows(trained, folders),
        "environment": environment(),
    }
    write_whole(result, json.dumps(told, indent=1).encode())
    return told


def context_rows(trained: Run) -> list[dict[str, Any]]:
    """told: of the pixels of discs that were told to be of one, the share of the right class; found: their share."""
    scored = evaluate(trained, split="test").scored
    assert scored.confusion is not None  # of masks there is one
    discs = scored.confusion.counts[1:, 1:]
    return [
        {
            "test": "context",
            "told": float(discs.trace() / max(discs.sum(), 1)),
            "found": float(discs.sum() / scored.confusion.counts[1:].sum()),
            "miou": scored.total["miou"],
        }
    ]


def size_rows(trained: Run, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Each test, and each choice of scales and flip, with its scores and what it cost."""
    rows = []
    for test in ("tiny", "medium", "mixed"):
        for scales, flip in PYRAMIDS:
            seen = evaluate(trained, folders[test], scales=scales, flip=flip, boxes="coco", sizes=(BOUND,))
            for choice in seen.choices:
                rows.append(
                    {
                        "test": test,
                        "scales": list(choice.scales),
                        "flip": choice.flip,
                        "by_size": choice.by_size(),
                        "seconds": choice.seconds,
                        "peak_bytes": choice.peak_bytes,
                    }
                )
    return rows


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
        "versions": {name: version(name) for name in ("torch", "torchvision", "faster-coco-eval")},
    }


def table(what: str, found: Sequence[dict[str, Any]]) -> str:
    """The rows of one network, each the mean of the seeds (lowest ... highest)."""
    lines = []
    for rows in zip(*(each["rows"] for each in found), strict=True):
        first = rows[0]
        if first["test"] == "context":
            names = ("told", "found", "miou")
            lines.append(f"| {what} | " + " | ".join(spread([row[name] for row in rows]) for name in names) + " |")
            continue
        scales = " ".join(f"×{scale:g}" for scale in first["scales"]) + (
            ", mirrored too" if first["flip"] != "none" else ""
        )
        cells = [spread([row["by_size"]["all"][name] for row in rows]) for name in ("recall50", "ar100", "ap50")]
        if first["test"] == "mixed":
            cells += [spread([row["by_size"][f"0-{BOUND:g}"]["recall50"] for row in rows])]
        else:
            cells += [""]
        seconds = statistics.median(row["seconds"] for row in rows)
        lines.append(
            f"| {what} | {first['test']} | {scales} | " + " | ".join(cells) + f" | {seconds:.3f} | "
            f"{first['peak_bytes'] / 1e6:.1f} |"
        )
    took = [each["seconds"] for each in found if each["seconds"] is not None]
    worked = [each["processor_s"] for each in found if each["processor_s"] is not None]
    told = f"{statistics.median(took):.0f} s ({statistics.median(worked):.0f} of the processor)" if took else "unknown"
    return "\n".join([*lines, f"{what}: training took {told}, the median; seeds {[each['seed'] for each in found]}"])


def spread(values: Sequence[float]) -> str:
    """The mean, lowest and highest.

    >>> spread([0.5, 0.75])
    '0.625 (0.500 ... 0.750)'
    """
    return f"{statistics.mean(values):.3f} ({min(values):.3f} ... {max(values):.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("scenes_runs"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    print(json.dumps(environment()))
    told = []
    for what in options.what:
        found = []
        for seed in options.seeds:
            print(f"{what}, seed {seed}", flush=True)
            found.append(run(what, seed=seed, runs=options.runs))
            if options.json:
                options.json.write_text(json.dumps({"schema": 1, "runs": told + found}, indent=1))
        told += found
        print(table(what, found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
