"""How long does it take to pool boxes and maps, and in how much memory?

    python benchmarks/parts.py [--only pyramid] [--turns 15] [--threads 1 2] [--no-memory] [--json FILE]

perimetry beside torchvision's nearest operator on the CPU: 2,000 boxes on maps of 38 x 63 cells, an image of 600 x 1000
at stride 16. Both take turns within one process, so that a busy machine hurts them alike, in changing order, until
the turns are done or a minute has passed; the first run of each (imports, caches, compiled loops) is left out.
Memory is measured apart, each subject in a child process: how far a forward and a backward pass (or a forward pass,
where there is no other) raise the peak of the resident set over what one small run, the inputs and the imports took.
Where both define the same result, it is compared. The exit status is 1 where a result differs.
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
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
import torchvision
from torch import Tensor

from perimetry import ops

BOXES, ROWS, COLUMNS, STRIDE = 2000, 38, 63, 16
LEVELS = (6, 3, 2, 1)
SIDES = {"small": (16, 96), "mixed": (16, 600), "large": (300, 600)}  # pixels, evenly spread in their logarithm
ENOUGH_S, ENOUGH_TURNS = 60.0, 5

Outputs = Tensor | list[Tensor]


@dataclass(frozen=True)
class Case:
    """What is timed: one input, and subjects that take it, the first of which is perimetry's.

    `make(small)` gives the input and the subjects, from one seed; small: a run that costs nothing. passes: "forward"
    and, where the input gets a gradient, "forward + backward". same: whether all define the same result.
    """

    name: str
    make: Callable[[bool], tuple[Tensor, dict[str, Callable[[Tensor], Outputs]]]]
    passes: tuple[str, ...] = ("forward", "forward + backward")
    same: bool = True


def boxes_of(kind: str, count: int) -> Tensor:
    """Boxes (K, 5) of (image, x1, y1, x2, y2), whole pixels inside the image, the last one included."""
    generator = torch.Generator().manual_seed(1)
    low, high = SIDES[kind]
    image = torch.tensor([COLUMNS, ROWS]) * float(STRIDE)
    sides = low * (high / low) ** torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (image - sides).clamp(min=0)
    return torch.cat([torch.zeros(count, 1), corner, (corner + sides).minimum(image) - 1], 1).round()


def maps(*shape: int) -> Tensor:
    """Random maps that want a gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def position_sensitive(channels: int, kind: str) -> Case:
    def make(small: bool):
        boxes = boxes_of(kind, 300 if small else BOXES)
        return maps(1, channels, ROWS, COLUMNS), {
            "perimetry": lambda x: ops.position_sensitive_roi_pool(x, boxes, size=7, scale=1 / STRIDE),
            "torchvision": lambda x: torchvision.ops.ps_roi_pool(x, boxes, 7, 1 / STRIDE),
        }

    # torchvision rounds otherwise, and so gives other numbers.
    return Case(f"position-sensitive, {channels} channels, {kind}", make, same=False)


def roi_pyramid(reduction: str, kind: str) -> Case:
    def make(small: bool):
        cells = ops.spp_cells(boxes_of(kind, 20 if small else BOXES), height=ROWS, width=COLUMNS, step=STRIDE)
        return maps(1, 256, ROWS, COLUMNS), {
            "perimetry": lambda x: ops.roi_pyramid_pool(x, cells, levels=LEVELS, reduction=reduction),
            "torchvision": lambda x: [torchvision.ops.roi_pool(x, cells.float(), bins, 1.0) for bins in LEVELS],
        }

    # torchvision has no such means: beside them stand its maxima, its nearest operator.
    return Case(f"RoI pyramid, {reduction}, 256 channels, {kind}", make, same=reduction == "max")


def whole_map_pyramid(images: int, rows: int, columns: int) -> Case:
    def make(small: bool):  # noqa: ARG001 - it is small already
        whole = torch.tensor([[image, 0, 0, columns - 1, rows - 1.0] for image in range(images)])
        return maps(images, 256, rows, columns), {
            "perimetry": lambda x: ops.pyramid_pool(x, levels=LEVELS),
            "torchvision": lambda x: [torchvision.ops.roi_pool(x, whole, bins, 1.0) for bins in LEVELS],
        }

    return Case(f"SPP, {images} x 256 x {rows} x {columns}", make)


def faster_rcnn_fpn(height: int, width: int) -> Case:
    """Faster R-CNN on ResNet-50 with a pyramid: the same weights and anchors, 1000 proposals, images as they are."""

    def make(small: bool):
        from torchvision.models.detection import fasterrcnn_resnet50_fpn

        from perimetry.networks import faster_rcnn_fpn as ours_of
        from perimetry.networks import torchvision_anchors, torchvision_weights

        torch.manual_seed(0)
        size = (128, 192) if small else (height, width)
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).eval()
        theirs.transform.min_size, theirs.transform.max_size = (min(size),), max(size)
        image = torch.rand(3, *size)
        with torch.inference_mode():
            spread(theirs, image)
        ours = ours_of(classes=90, grids=torchvision_anchors(), short_side=min(size), long_side=max(size)).eval()
        ours.load_state_dict(torchvision_weights(theirs.state_dict()))
        return image, {
            "perimetry": lambda x: [ours([x])[0]["boxes"]],
            "torchvision": lambda x: [theirs([x])[0]["boxes"]],
        }

    # The tests compare what they find, on images whose sides are multiples of 64 as torchvision's p6 asks.
    return Case(f"Faster R-CNN R50-FPN, {height} x {width}", make, passes=("forward",), same=False)


def spread(detector: torch.nn.Module, image: Tensor) -> None:
    """Make random weights tell proposals and classes apart, so that both have 1000 proposals and 100 detections."""
    batch = detector.transform([image])[0]
    maps = detector.backbone(batch.tensors)
    head = detector.rpn.head
    for layer, wanted, outputs in zip(
        (head.cls_logits, head.bbox_pred), (2, 0.3), head(list(maps.values())), strict=True
    ):
        layer.weight.mul_(wanted / torch.cat([each.flatten() for each in outputs]).std())
    proposals = detector.rpn(batch, maps)[0]
    heads = detector.roi_heads
    regions = heads.box_head(heads.box_roi_pool(maps, proposals, batch.image_sizes))
    heads.box_predictor.cls_score.weight.mul_(2 / heads.box_predictor.cls_score(regions).std())
    heads.box_predictor.bbox_pred.weight.mul_(1 / heads.box_predictor.bbox_pred(regions).std())


CASES = (
    *(position_sensitive(channels, kind) for channels in (1029, 392) for kind in SIDES),
    *(roi_pyramid(reduction, kind) for reduction in ("max", "mean") for kind in SIDES),
    whole_map_pyramid(1, ROWS, COLUMNS),
    whole_map_pyramid(32, 13, 13),
    faster_rcnn_fpn(480, 640),
    faster_rcnn_fpn(800, 1088),
)


def flat(outputs: Outputs) -> Tensor:
    return torch.cat([each.flatten(1) for each in ([outputs] if isinstance(outputs, Tensor) else outputs)], 1)


def passing(which: str, subject: Callable[[Tensor], Outputs], given: Tensor) -> Callable[[], object]:
    """One pass as a function without arguments; a backward pass starts from ready gradients."""
    if which == "forward":

        def forward():
            with torch.inference_mode():
                return subject(given)

        return forward
    first = subject(given)
    whole = [torch.ones_like(each) for each in ([first] if isinstance(first, Tensor) else first)]
    del first

    def both():
        outputs = subject(given)
        return torch.autograd.grad([outputs] if isinstance(outputs, Tensor) else outputs, given, whole)

    return both


def timed(case: Case, which: str, turns: int) -> dict[str, list[float]]:
    """Seconds of each subject, turn by turn."""
    given, subjects = case.make(False)
    runs = {name: passing(which, subject, given) for name, subject in subjects.items()}
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    began = time.perf_counter()
    for turn in range(turns):
        if turn >= ENOUGH_TURNS and time.perf_counter() - began > ENOUGH_S:
            break
        for name in list(runs) if turn % 2 else reversed(runs):
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
    return times


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


def growth(case: Case, which: str, name: str) -> float:
    """MiB that a pass needs at its peak, in this process; the gradients it starts from are among them."""
    for small in (True, False):
        given, subjects = case.make(small)
        if small:
            passing(which, subjects[name], given)()
    forget_peak()
    before = peak_mib()
    subject = subjects[name]
    if which == "forward":
        with torch.inference_mode():
            subject(given)
    else:
        outputs = subject(given)
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        torch.autograd.grad(outputs, given, [torch.ones_like(each) for each in outputs])
    return peak_mib() - before


def growth_apart(case: Case, which: str, name: str) -> float | None:
    command = [sys.executable, __file__, "--one", case.name, which, name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        print(f"no memory of {name}: {run.stderr.strip().splitlines()[-1:]}")
        return None
    return float(run.stdout)


def environment() -> dict[str, object]:
    processor = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "numba")},
    }


def told(seconds: list[float]) -> str:
    middle, low, high = (1e3 * each for each in (statistics.median(seconds), min(seconds), max(seconds)))
    digits = 1 if middle < 10 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} ... {high:.{digits}f})"


def agree(case: Case) -> bool:
    """Whether all subjects give the same values and gradients, to what sums in another order may differ by."""
    given, subjects = case.make(True)
    values = [flat(subject(given)) for subject in subjects.values()]
    # Torch's whole-map pooling and torchvision's both take the first of equal cells, and random maps have none.
    slopes = [torch.autograd.grad(each, given, torch.ones_like(each))[0] for each in values]
    return all(
        torch.equal(value, values[0]) and torch.allclose(slope, slopes[0], atol=1e-4)
        for value, slope in zip(values[1:], slopes[1:], strict=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases whose name contains this")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("CASE", "PASS", "SUBJECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, which, subject = options.one
        torch.set_num_threads(1)
        print(growth(next(case for case in CASES if case.name == name), which, subject))
        return 0
    results: dict[str, object] = {"environment": environment(), "rows": (rows := [])}
    print(json.dumps(results["environment"], indent=2))
    print("\n| case | pass | threads | perimetry, ms | torchvision, ms | ratio | MiB |\n|---|---|" + "---:|" * 5)
    right = True
    for case in (case for case in CASES if options.only in case.name):
        if case.same and not agree(case):
            right = False
            print(f"{case.name}: the results differ")
        for which in case.passes:
            memory: dict[str, float | None] = {}
            for threads in options.threads:
                torch.set_num_threads(threads)
                times = timed(case, which, options.turns)
                if not memory and not options.no_memory:
                    memory = {name: growth_apart(case, which, name) for name in times}
                ours, *others = (statistics.median(each) for each in times.values())
                ratio = min(others) / ours
                mib = " / ".join("?" if each is None else f"{each:.0f}" for each in memory.values())
                cells = [case.name, which, str(threads), *(told(each) for each in times.values()), f"{ratio:.2f}", mib]
                print("| " + " | ".join(cells) + (" | slower" if ratio < 1 else " |"), flush=True)
                rows.append({"case": case.name, "pass": which, "threads": threads, "seconds": times, "mib": memory})
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
