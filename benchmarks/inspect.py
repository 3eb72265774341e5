"""How long, and how much memory, to say what a model sees and costs: perimetry beside its peers.

Models are built once, before anything is timed. Subjects run in one process, interleaved (one repeat of each, in
turn, so that a busy machine hurts all alike); the medians and the spread (lowest and highest) are printed. Peak memory
is measured apart: each subject once in a child process of its own, as the largest growth of the resident set over what
the process held with its libraries imported and the model built (Linux only).

What is compared is not the same work: torchinfo prints parameters, shapes and multiply-adds per module; fvcore and
thop count operations; perimetry adds fields of every layer. One forward pass is the yardstick.

    python benchmarks/inspect.py [--models resnet50 ...] [--repeats 7] [--threads 1] [--json FILE] [--no-memory]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# A script of this name must not stand in the way of the standard library's `inspect`, which others import.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import contextlib
import gc
import importlib.util
import io
import json
import platform
import resource
import statistics
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

SIZES = {"inception_v3": 299}
MODELS = ("resnet50", "resnet152", "inception_v3", "convnext_tiny", "vit_b_16")
Subject = Callable[[Any, Any], object]


def build(name: str) -> tuple[Any, Any]:
    """The torchvision model in eval mode, and a random image batch of one."""
    import torch
    import torchvision

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    size = SIZES.get(name, 224)
    return model, torch.rand(1, 3, size, size)


def run_perimetry(model: Any, image: Any) -> object:
    """Capture, the fields of every layer, and costs."""
    import perimetry

    return perimetry.inspect(model, image)


def run_torchinfo(model: Any, image: Any) -> object:
    import torchinfo

    return torchinfo.summary(model, input_data=image, verbose=0, depth=10)


def run_fvcore(model: Any, image: Any) -> object:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, image)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    return analysis.by_module()


def run_thop(model: Any, image: Any) -> object:
    import thop

    return thop.profile(model, inputs=(image,), verbose=False)


def run_forward(model: Any, image: Any) -> object:
    import torch

    with torch.no_grad():
        return model(image)


SUBJECTS: dict[str, Subject] = {
    "perimetry": run_perimetry,
    "torchinfo": run_torchinfo,
    "fvcore": run_fvcore,
    "thop": run_thop,
    "forward": run_forward,
}
PACKAGES = {"perimetry": "perimetry", "torchinfo": "torchinfo", "fvcore": "fvcore", "thop": "thop"}


def available() -> list[str]:
    """The subjects whose package is installed."""
    return [name for name in SUBJECTS if name not in PACKAGES or importlib.util.find_spec(PACKAGES[name])]


def quietly(subject: Subject, model: Any, image: Any) -> None:
    """Run a subject without its prints and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        subject(model, image)


def environment(threads: int) -> dict[str, Any]:
    """What the numbers were made with."""
    import torch

    versions = {"torch": torch.__version__, "torchvision": version("torchvision"), "python": platform.python_version()}
    for name, package in PACKAGES.items():
        if name in available():
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(package)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def times(name: str, subjects: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds per subject on one model: the first run apart, then median, lowest and highest of the repeats."""
    model, image = build(name)
    first: dict[str, float] = {}
    seen: dict[str, list[float]] = {subject: [] for subject in subjects}
    for repeat in range(repeats + 1):
        for subject in subjects:
            began = time.perf_counter()
            quietly(SUBJECTS[subject], model, image)
            seconds = time.perf_counter() - began
            if repeat:
                seen[subject].append(seconds)
            else:
                first[subject] = seconds  # imports and caches
    return {
        subject: {
            "first_s": first[subject],
            "median_s": statistics.median(seen[subject]),
            "lowest_s": min(seen[subject]),
            "highest_s": max(seen[subject]),
        }
        for subject in subjects
    }


def resident_bytes() -> int:
    """The process's resident set now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class PeakWatch:
    """The largest resident set while the block runs, in bytes over what was resident before.

    A thread looks every half millisecond. `ru_maxrss` would not do: Linux hands a new process the peak of the one that
    started it, so that a small child of a large benchmark always reports the parent's.
    """

    def __enter__(self) -> PeakWatch:
        gc.collect()
        self.before = self.peak = resident_bytes()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.done.wait(0.0005):
            self.peak = max(self.peak, resident_bytes())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, resident_bytes())

    @property
    def growth(self) -> int:
        """Bytes that the block needed at most."""
        return self.peak - self.before


def measure_memory_here(name: str, subject: str) -> int:
    """Growth of the resident set over what imports, the built model and a run on a tiny model already took."""
    import torch

    small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3)).eval()
    quietly(SUBJECTS[subject], small, torch.rand(1, 3, 16, 16))  # its imports are not the model's memory
    model, image = build(name)
    with PeakWatch() as watch:
        quietly(SUBJECTS[subject], model, image)
    return watch.growth


def memory(name: str, subject: str, threads: int) -> int | None:
    """`measure_memory_here` in a child process; None where the child failed or the system has no /proc."""
    command = [sys.executable, __file__, "--child", name, subject, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else None


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| model | subject | median | lowest ... highest | first | peak memory |", "|---|---|---:|---:|---:|---:|"]
    for name, subjects in results.items():
        for subject, row in subjects.items():
            peak = row.get("peak_bytes")
            told = "" if peak is None else f"{peak / 2**20:.0f} MiB"
            spread = f"{row['lowest_s']:.3f} ... {row['highest_s']:.3f} s"
            lines.append(
                f"| {name} | {subject} | {row['median_s']:.3f} s | {spread} | {row['first_s']:.2f} s | {told} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "SUBJECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.child:
        print(measure_memory_here(*options.child))
        return
    subjects = available()
    report: dict[str, Any] = {"environment": environment(options.threads), "repeats": options.repeats, "results": {}}
    print(json.dumps(report["environment"], indent=1))
    for name in options.models:
        print(f"{name} ...", file=sys.stderr)
        rows: dict[str, dict[str, Any]] = dict(times(name, subjects, options.repeats))
        if not options.no_memory:
            for subject in subjects:
                rows[subject]["peak_bytes"] = memory(name, subject, options.threads)
        report["results"][name] = rows
    print(table(report["results"]))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
