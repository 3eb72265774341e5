"""How long does a step of training take, and how much memory, beside a plain loop?

    python benchmarks/training.py [--cases fcn-resnet18 ...] [--steps 10] [--turns 2] [--threads 2] [--json FILE]

perimetry.training.fit, by its default settings, beside a loop as torchvision's references have it: the same network
with the same weights, the same images in the same order, the same rate; single precision, contiguous memory,
torchvision's transforms v2, `loss.item()` after each step. Each turn has a process of its own, which takes two steps
more than are timed, and the subjects take turns. The data are CamVid and BCCD under PERIMETRY_DATA, read from
their files by both, else drawn scenes held in memory. A step's time goes from the end of the one before: reading,
transforms, forward, backward and the optimiser. Memory is the growth of the resident set's peak over what imports, data
and the network took. The last step of perimetry also writes the checkpoint, which is in the highest time and in the
mean of processor seconds. The losses are printed too, each the mean of the last half of the steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

# benchmarks/inspect.py must not stand in the way of the standard library's `inspect`, which others import.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from perimetry.training import Recipe, Sets, fit, open_sets
from perimetry.training.batches import Batches
from perimetry.training.networks import build_network
from perimetry.training.precision import chosen_precision
from perimetry.training.seeding import seed_generators

WARM = 2  # steps that are not timed: the first one allocates and compiles

COMMON: dict[str, Any] = {"augmentation": "flip", "schedule": "constant", "evaluate_every": 0, "rate": 0.01}
MASKS: dict[str, Any] = {"task": "segmentation", "data": "camvid_half", "model": "fcn32s", "batch": 8}
BOXES: dict[str, Any] = {"task": "detection", "data": "bccd320", "model": "faster_rcnn_fpn", "batch": 4}
CASES: dict[str, dict[str, Any]] = {
    "fcn-resnet18": MASKS | {"backbone": "torchvision:resnet18"},
    "fcn-efficientnet": MASKS | {"backbone": "timm:tf_efficientnet_lite0", "weights": "default"},
    "faster-rcnn-resnet18": BOXES | {"backbone": "torchvision:resnet18", "size": (240, 320), "rate": 0.002},
}


def recipe_of(case: str, steps: int) -> Recipe:
    keys = COMMON | CASES[case] | {"steps": steps + WARM}
    return Recipe(**keys | {"data": str(data_folder() / keys["data"])})


def data_folder() -> Path:
    return Path(os.environ.get("PERIMETRY_DATA", "scenes"))


def sets_of(recipe: Recipe) -> Sets:
    """The training images; none to evaluate on."""
    if Path(recipe.data).is_dir():
        return replace(open_sets(recipe), val=None)
    from perimetry.data.scenes import scenes

    drawn = scenes(recipe.task, count=40, size=(180, 240) if recipe.task == "segmentation" else (240, 320), seed=0)
    return Sets(Held(drawn), None, drawn.classes)


class Held:
    """Samples in memory."""

    def __init__(self, samples):
        self.samples = [samples[index] for index in range(len(samples))]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def built(recipe: Recipe, classes: int):
    with torch.random.fork_rng():
        seed_generators(torch.device("cpu"), recipe.seed)
        return build_network(recipe, classes=classes)


def ours(recipe: Recipe, sets: Sets, note) -> list[float]:
    """The losses of the steps."""
    with tempfile.TemporaryDirectory() as folder:
        fit(recipe, out=folder, sets=sets, device="cpu", progress=lambda _done, _steps: note())
        rows = [line.split(",") for line in (Path(folder) / "metrics.csv").read_text().splitlines()[1:]]
        losses: dict[int, float] = {}
        for step, _epoch, split, _name, value in rows:
            losses[int(step)] = losses.get(int(step), 0.0) + (float(value) if split == "train" else 0.0)
    return list(losses.values())


class PlainData:
    """Images as a script would read and transform them: Pillow, and torchvision's transforms v2."""

    def __init__(self, sets: Sets, detects: bool, mean, std):
        from torchvision.transforms import v2

        self.samples, self.detects = sets.train, detects
        self.flip, self.mean, self.std = v2.RandomHorizontalFlip(), mean, std

    def __getitem__(self, draw):
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional as vision

        image, truth = self._read(draw.index)
        if self.detects:
            size = tuple(image.shape[1:])
            truth = {
                "boxes": tv_tensors.BoundingBoxes(truth["boxes"], format="XYXY", canvas_size=size),
                "labels": truth["labels"],
            }
        else:
            truth = tv_tensors.Mask(truth)
        image, truth = self.flip(tv_tensors.Image(image), truth)
        image = vision.to_dtype(image, torch.float32, scale=True)
        if self.detects:
            return image.as_subclass(torch.Tensor), {
                "boxes": truth["boxes"].as_subclass(torch.Tensor),
                "labels": truth["labels"],
            }
        return vision.normalize(image, self.mean, self.std).as_subclass(torch.Tensor), truth.as_subclass(torch.Tensor)

    def _read(self, index):
        import numpy as np
        from PIL import Image

        files = getattr(self.samples, "files", None)
        if files is None:
            return self.samples[index]
        sample = files.samples[index]
        image = torch.from_numpy(np.array(Image.open(sample.image).convert("RGB"))).permute(2, 0, 1)
        if sample.mask is not None:
            return image, torch.from_numpy(np.array(Image.open(sample.mask)).astype(np.int64))
        return image, {"boxes": torch.tensor(sample.objects.boxes_xyxy), "labels": torch.tensor(sample.objects.labels)}


def plain(recipe: Recipe, sets: Sets, note) -> list[float]:
    """The losses of the steps."""
    made = built(recipe, len(sets.classes))
    network, detects = made.network, recipe.task == "detection"
    data = PlainData(sets, detects, made.mean, made.std)
    order = Batches(len(sets.train), batch=recipe.batch, steps=recipe.steps, seed=recipe.seed)
    collate = (lambda drawn: tuple(zip(*drawn, strict=True))) if detects else None
    loader = DataLoader(data, batch_sampler=order, collate_fn=collate)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay
    )
    network.train()
    losses = []
    for images, truth in loader:
        if detects:
            found = network(list(images), list(truth))
            loss = sum(found.values())
        else:
            loss = functional.cross_entropy(network(images)["out"], truth, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        note()
    return losses


SUBJECTS = {"perimetry": ours, "plain": plain}


def peak_mib() -> float:
    """The resident set's highest mark so far."""
    try:
        line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> None:
    """Begin the mark again from what is resident now, where Linux lets one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def one(case: str, subject: str, steps: int, threads: int) -> dict[str, Any]:
    """Time one subject, in this process."""
    torch.set_num_threads(threads)
    recipe = recipe_of(case, steps)
    sets = sets_of(recipe)
    built(recipe, len(sets.classes))  # its imports and its allocations are not the loop's
    forget_peak()
    before, ends, processor = peak_mib(), [], []

    def note() -> None:
        ends.append(time.perf_counter())
        processor.append(time.process_time())

    losses = SUBJECTS[subject](recipe, sets, note)
    return {
        "seconds": [after - first for first, after in zip(ends[WARM - 1 :], ends[WARM:], strict=False)],
        "processor_s": (processor[-1] - processor[WARM - 1]) / steps,
        "growth_mib": peak_mib() - before,
        "losses": losses,
    }


def environment(threads: int) -> dict[str, Any]:
    processor = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": threads,
        "precision": chosen_precision("auto", torch.device("cpu")),
        "data": "files" if data_folder().is_dir() else "scenes",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm")},
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The turns of one subject together."""
    seconds = [each for run in runs for each in run["seconds"]]
    losses = runs[0]["losses"]
    return {
        "median_s": statistics.median(seconds),
        "lowest_s": min(seconds),
        "highest_s": max(seconds),
        "steps": len(seconds),
        "processor_s": statistics.median(run["processor_s"] for run in runs),
        "growth_mib": max(run["growth_mib"] for run in runs),
        "loss": statistics.mean(losses[len(losses) // 2 :]),
        "losses": losses,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SUBJECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one, options.steps, options.threads)))
        return 0
    told: dict[str, Any] = {"environment": environment(options.threads), "cases": {}}
    print(json.dumps(told["environment"], indent=2))
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    for case in options.cases:
        runs: dict[str, list[dict[str, Any]]] = {subject: [] for subject in SUBJECTS}
        for _ in range(options.turns):
            for subject in SUBJECTS:
                command = [sys.executable, __file__, "--steps", str(options.steps), "--threads", str(options.threads)]
                run = subprocess.run(
                    [*command, "--one", case, subject],
                    capture_output=True,
                    text=True,
                    env=os.environ | threads,
                    check=False,
                )
                if run.returncode:
                    raise SystemExit(f"{case}, {subject} failed: {run.stderr}")
                runs[subject].append(json.loads(run.stdout.splitlines()[-1]))
        rows = told["cases"][case] = {subject: summary(found) for subject, found in runs.items()}
        for subject, row in rows.items():
            times = f"{row['median_s']:.3f} ({row['lowest_s']:.3f} ... {row['highest_s']:.3f}; {row['steps']})"
            rest = f"{row['processor_s']:.3f} | {row['growth_mib']:.0f} MiB | loss {row['loss']:.3f}"
            print(f"| {case} | {subject} | {times} | {rest} |")
        ratio = rows["plain"]["median_s"] / rows["perimetry"]["median_s"]
        print(f"{case}: a plain step takes {ratio:.2f} times as long", flush=True)
    if options.json:
        options.json.write_text(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
