"""How long a gradient field takes: perimetry beside openerf, per layer and for all layers of a network.

openerf (pip install openerf) is called as it works: for each layer and each image one forward pass of the whole model
with a hook, and one backward pass to the image; only its reading of image files is left out. Where the package is not
installed, the same few lines stand in for it and are named "openerf (as it works)". perimetry's calls are whole: its
capture of the model, its check against the model, its measurements. Both compute the same maps (openerf's convention);
the largest difference is printed.

Subjects run in one process, in turns; medians, lowest and highest are printed, with multiply-adds (counted by PyTorch)
of both, which are the limit of what a ratio can be.

    python benchmarks/effective.py [--model resnet50] [--images 4] [--repeats 5] [--threads 1] [--json F]
"""

from __future__ import annotations

import sys
from pathlib import Path

# `inspect.py`, which stands beside this script, must not be taken for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from perimetry import fields, trace
from perimetry.maps.effective import effective_field, effective_fields


def openerf_map(model: Any, images: torch.Tensor, layer: str) -> torch.Tensor:
    """One layer's field as openerf computes it, divided by its sum."""
    module = model.get_submodule(layer)
    gradient = openerf_gradient()
    total = 0
    for image in images.split(1):
        total = total + gradient(model, image.clone().requires_grad_(), module, layer)
    return total / total.sum()


def openerf_gradient() -> Callable[..., torch.Tensor]:
    """The package's own function for one image, or the same lines where it is not there."""
    if importlib.util.find_spec("openerf"):
        from openerf.erf import _compute_positive_input_gradients_from_layer

        return _compute_positive_input_gradients_from_layer
    return as_openerf_works


def as_openerf_works(model: Any, image: torch.Tensor, module: Any, _: str) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        model(image)
        centre = kept[-1][0, :, kept[-1].shape[2] // 2, kept[-1].shape[3] // 2].mean()
        (gradient,) = torch.autograd.grad(centre, image)
    finally:
        handle.remove()
    return gradient.mean((0, 1)).clamp(min=0)


def environment(threads: int) -> dict[str, Any]:
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = [name for name in ("torch", "torchvision", "openerf") if importlib.util.find_spec(name)]
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def in_turns(
    subjects: dict[str, Callable[[], object]], repeats: int, *, warm: bool = True
) -> dict[str, dict[str, float]]:
    """Seconds of each: one run of each that is not counted (where it is to be warmed up), then `repeats` rounds."""
    seen: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(0 if warm else 1, repeats + 1):
        for name, subject in subjects.items():
            began = time.perf_counter()
            subject()
            if turn:
                seen[name].append(time.perf_counter() - began)
    return {
        name: {"median_s": statistics.median(times), "lowest_s": min(times), "highest_s": max(times)}
        for name, times in seen.items()
    }


class Counter(TorchDispatchMode):
    """Multiply-adds of what really runs (capture runs on tensors without contents), by PyTorch's formulas."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None and args[0].device.type != "meta":
            self.count += formula(*args, **(kwargs or {}), out_val=result) // 2
        return result


def multiply_adds(subject: Callable[[], object]) -> float:
    """In thousand millions."""
    with Counter() as counter:
        subject()
    return counter.count / 1e9


def layer_sets(model: Any, names: list[str], image: torch.Tensor) -> dict[str, list[str]]:
    """Maps only: openerf knows no score vectors."""
    shapes: dict[str, int] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: output.ndim}))
        for name, module in model.named_modules()
        if name in names
    ]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    maps = [name for name in names if shapes.get(name) == 4]
    convolutions = [name for name in maps if isinstance(model.get_submodule(name), torch.nn.Conv2d)]
    blocks = [name for name in maps if "Block" in type(model.get_submodule(name)).__name__]
    blocks += [name for name in maps if "Bottleneck" in type(model.get_submodule(name)).__name__]
    return {"blocks": blocks, "convolutions": convolutions, "modules with a map": maps}


def told(row: dict[str, float]) -> str:
    return f"{row['median_s']:.3f} ({row['lowest_s']:.3f} ... {row['highest_s']:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peer-repeats", type=int, default=1, help="rounds of the peer for sets of layers: they take long"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = torchvision.models.get_model(options.model, weights=None).eval()
    images = torch.randn(options.images, 3, options.size, options.size)
    names = list(fields(trace(model, images[:1])))
    sets = layer_sets(model, names, images[:1])
    peer = "openerf" if importlib.util.find_spec("openerf") else "openerf (as it works)"
    report: dict[str, Any] = {"environment": environment(options.threads), "layers": {}, "sets": {}}
    print(json.dumps(report["environment"], indent=1))
    blocks = sets["blocks"] or sets["convolutions"]
    chosen = [sets["convolutions"][0], *(blocks[len(blocks) * part // 4 - 1] for part in (1, 2, 3, 4))]

    print(f"\n| {options.model}, {options.images} images, one layer | {peer} | perimetry | ratio | multiply-adds |")
    print("|---|---:|---:|---:|---:|")
    for layer in chosen:
        subjects: dict[str, Callable[[], object]] = {
            peer: lambda layer=layer: openerf_map(model, images, layer),
            "perimetry": lambda layer=layer: effective_field(model, images, layer, convention="openerf"),
        }
        rows: dict[str, Any] = in_turns(subjects, options.repeats)
        work = {name: multiply_adds(subject) for name, subject in subjects.items()}
        expected = openerf_map(model, images, layer)
        found = torch.from_numpy(effective_field(model, images, layer, convention="openerf").map)
        rows["difference"] = float((found - expected).abs().max() / expected.max())
        ratio = rows[peer]["median_s"] / rows["perimetry"]["median_s"]
        print(
            f"| {layer} | {told(rows[peer])} s | {told(rows['perimetry'])} s | {ratio:.1f}x | "
            f"{work[peer] / work['perimetry']:.1f}x; maps differ by {rows['difference']:.0e} |",
            flush=True,
        )
        report["layers"][layer] = rows | {"multiply_adds": work, "ratio": ratio}

    last = chosen[-1]
    print(f"\n| all layers, 1 image | {peer}, one by one | perimetry | ratio | times its last layer | multiply-adds |")
    print("|---|---:|---:|---:|---:|---:|")
    one = images[:1]
    for title, layers in sets.items():
        print(f"{title} ({len(layers)}) ...", file=sys.stderr)
        subjects = {
            "last": lambda: effective_field(model, one, last, convention="openerf"),
            "perimetry": lambda layers=layers: effective_fields(model, one, layers, convention="openerf"),
        }
        slow = {peer: lambda layers=layers: [openerf_map(model, one, layer) for layer in layers]}
        rows = in_turns(subjects, options.repeats) | in_turns(slow, options.peer_repeats, warm=False)
        work = {name: multiply_adds(subjects[name]) for name in ("last", "perimetry")}
        ratio = rows[peer]["median_s"] / rows["perimetry"]["median_s"]
        times = rows["perimetry"]["median_s"] / rows["last"]["median_s"]
        print(
            f"| {title} ({len(layers)}) | {told(rows[peer])} s | {told(rows['perimetry'])} s | {ratio:.1f}x | "
            f"{times:.1f}x | {work['perimetry'] / work['last']:.1f}x of the last layer's |",
            flush=True,
        )
        report["sets"][title] = rows | {"multiply_adds": work, "ratio": ratio, "times_last": times}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
