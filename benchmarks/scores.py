"""How long do a confusion matrix and a threshold sweep over 10^8 elements take, and in how much memory?

    python benchmarks/scores.py [--elements 100000000] [--repeats 3] [--threads 1] [--json FILE]

perimetry beside torchmetrics and scikit-learn. Each subject has a process of its own, which makes the same data from
one seed, runs once on a hundredth of it (imports, caches), and is then timed on all of it, until the repeats are done
or a minute has passed. Memory is the growth of the resident set's peak over what the data and the imports took.
The results are compared: counts must be equal, areas to 1e-6 (steps: to what they say themselves).
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
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

CLASSES = 21
PIECE = 1 << 22
ENOUGH_S = 60.0


def masks(elements: int, dtype: str):
    """Truth and a prediction that is right four times in five, in runs of 8 pixels as labels have."""
    generator = np.random.default_rng(0)
    truth, predicted = np.empty(elements, dtype), np.empty(elements, dtype)
    for start in range(0, elements, PIECE):
        count = min(PIECE, elements - start)
        runs = generator.integers(0, CLASSES, (2, -(-count // 8)), dtype=np.uint8).repeat(8, axis=1)[:, :count]
        right = generator.random(count, dtype=np.float32) < 0.8
        truth[start : start + count] = runs[0]
        predicted[start : start + count] = np.where(right, runs[0], runs[1])
    return truth, predicted


def scored(elements: int):
    """Truth with 30 positives in 100, and the sigmoid of a normal variable that is higher for positives."""
    generator = np.random.default_rng(0)
    truth, scores = np.empty(elements, bool), np.empty(elements, np.float32)
    for start in range(0, elements, PIECE):
        count = min(PIECE, elements - start)
        true = generator.random(count, dtype=np.float32) < 0.3
        raw = generator.standard_normal(count, dtype=np.float32) + 1.5 * true
        truth[start : start + count] = true
        scores[start : start + count] = 1 / (1 + np.exp(-raw, dtype=np.float32))
    return truth, scores


def perimetry_confusion(truth, predicted):
    from perimetry.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, classes=CLASSES).counts.tolist()


def torchmetrics_confusion(truth, predicted):
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    true, told = torch.from_numpy(truth), torch.from_numpy(predicted)
    return multiclass_confusion_matrix(told, true, CLASSES).tolist()


def sklearn_confusion(truth, predicted):
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, labels=range(CLASSES)).tolist()


def perimetry_exact(truth, scores):
    from perimetry.metrics import threshold_sweep

    return threshold_sweep(truth, scores).roc_area


def perimetry_steps(bins):
    def area(truth, scores):
        from perimetry.metrics import binned_threshold_sweep

        return binned_threshold_sweep(truth, scores, bins=bins).roc_area

    return area


def torchmetrics_area(thresholds):
    def area(truth, scores):
        from torchmetrics.functional.classification import binary_auroc

        return float(binary_auroc(torch.from_numpy(scores), torch.from_numpy(truth).long(), thresholds=thresholds))

    return area


def sklearn_area(truth, scores):
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores))


# task -> (how its data are made, its subjects)
TASKS = {
    "confusion matrix, 21 classes, uint8": (
        lambda elements: masks(elements, "uint8"),
        {"perimetry": perimetry_confusion, "torchmetrics": torchmetrics_confusion, "scikit-learn": sklearn_confusion},
    ),
    "confusion matrix, 21 classes, int64": (
        lambda elements: masks(elements, "int64"),
        {"perimetry": perimetry_confusion, "torchmetrics": torchmetrics_confusion, "scikit-learn": sklearn_confusion},
    ),
    "ROC area, every score": (
        scored,
        {"perimetry": perimetry_exact, "torchmetrics": torchmetrics_area(None), "scikit-learn": sklearn_area},
    ),
    "ROC area, 256 steps": (scored, {"perimetry": perimetry_steps(256), "torchmetrics": torchmetrics_area(257)}),
    "ROC area, 4096 steps": (scored, {"perimetry": perimetry_steps(4096)}),
}


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


def one(task: str, subject: str, elements: int, repeats: int, threads: int) -> dict[str, Any]:
    """Time one subject, in this process."""
    torch.set_num_threads(threads)
    make, subjects = TASKS[task]
    function = subjects[subject]
    given = make(elements)
    function(*(array[: max(1000, elements // 100)] for array in given))
    forget_peak()
    before, times, result = peak_mib(), [], None
    while len(times) < repeats and (sum(times) < ENOUGH_S or not times):
        began = time.perf_counter()
        result = function(*given)
        times.append(time.perf_counter() - began)
    return {
        "median_s": statistics.median(times),
        "lowest_s": min(times),
        "highest_s": max(times),
        "repeats": len(times),
        "growth_mib": peak_mib() - before,
        "result": result,
    }


def environment(threads: int) -> dict[str, Any]:
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = [name for name in ("torch", "numpy", "torchmetrics", "scikit-learn") if _installed(name)]
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _installed(name: str) -> bool:
    return importlib.util.find_spec({"scikit-learn": "sklearn"}.get(name, name)) is not None


def agree(task: str, results: list[Any]) -> bool:
    """Whether all subjects found the same."""
    if task.startswith("confusion"):
        return all(each == results[0] for each in results)
    return max(results) - min(results) <= 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=10**8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("TASK", "SUBJECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = (options.elements, options.repeats, options.threads)
    if options.one:
        print(json.dumps(one(*options.one, *numbers)))
        return 0
    told: dict[str, Any] = {"environment": environment(options.threads), "elements": options.elements, "tasks": {}}
    print(json.dumps(told["environment"], indent=2))
    right = True
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    for task, (_, subjects) in TASKS.items():
        rows = {}
        for subject in subjects:
            if not _installed(subject):
                print(f"{subject} is not installed, and left out")
                continue
            command = [sys.executable, __file__, "--elements", str(options.elements), "--repeats", str(options.repeats)]
            command += ["--threads", str(options.threads), "--one", task, subject]
            run = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
            if run.returncode:
                print(f"| {task} | {subject} | failed: {run.stderr.strip().splitlines()[-1:]} |")
                continue
            row = rows[subject] = json.loads(run.stdout)
            times = f"{row['median_s']:.2f} ({row['lowest_s']:.2f} ... {row['highest_s']:.2f}; {row['repeats']})"
            print(f"| {task} | {subject} | {times} | {row['growth_mib']:.0f} MiB |", flush=True)
        found = [row.pop("result") for row in rows.values()]
        if found and not agree(task, found):
            right = False
            print(f"{task}: the results differ: {[each for each in found if isinstance(each, float)]}")
        told["tasks"][task] = rows
    if options.json:
        options.json.write_text(json.dumps(told, indent=2))
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
