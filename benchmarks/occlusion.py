"""How long does an occlusion map take? perimetry against captum, the plain loop, and an optimised full forward.

    python benchmarks/occlusion.py [--cases resnet18-224 ...] [--repeats 3] [--threads 1] [--json FILE]

All subjects run in one process, in turns, on the same model and image with random weights; seconds per grid position,
median and range over the repeats. perimetry runs the whole grid (its cost differs from place to place), set-up
included. Whoever runs one full forward per position is timed on a share of the grid, because each position costs the
same. "folded" is a full forward with batch norms folded, channels last. "cropped" is, for a watched unit, a forward on
the part of the image that its theoretical field covers, for those positions that reach it.

`--growth` times one watched unit on images of 512, 1024 and 2048 pixels instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

# benchmarks/inspect.py must not stand in the way of the standard library's `inspect`, which others import.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

import perimetry
from perimetry.maps.program import constants, program
from perimetry.maps.replay import ancestors

PATCH, STRIDE = 16, 8


@dataclass(frozen=True, slots=True)
class Case:
    """A network, an image size, and the unit that is watched (None: all scores)."""

    name: str
    build: Callable[[], nn.Module]
    size: int
    unit: str | None = None


def vgg_fcn() -> nn.Module:
    """VGG-16 with its classifier as convolutions: fc6 (7x7), fc7 and 21 scores."""
    features = torchvision.models.vgg16(weights=None).features
    head = nn.Sequential(
        nn.Conv2d(512, 4096, 7), nn.ReLU(), nn.Conv2d(4096, 4096, 1), nn.ReLU(), nn.Conv2d(4096, 21, 1)
    )
    return nn.Sequential(features, head)


def fcn_resnet50() -> nn.Module:
    return torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)


CASES = (
    Case("resnet18-224", lambda: torchvision.models.resnet18(weights=None), 224),
    Case("resnet50-224", lambda: torchvision.models.resnet50(weights=None), 224),
    Case("vgg16-224", lambda: torchvision.models.vgg16(weights=None), 224),
    Case("resnet18-512", lambda: torchvision.models.resnet18(weights=None), 512),
    Case("fcn_resnet50-512-unit", fcn_resnet50, 512, "classifier.4:0@32,32"),
    Case("vgg_fcn-512-unit", vgg_fcn, 512, "1.4:0@5,5"),
)


def captum_seconds(
    model: nn.Module, image: Tensor, answer: Callable[[Tensor], Tensor], batch: int, places: int
) -> float:
    """Seconds per position of captum's Occlusion, on a coarser grid of about so many places.

    Its patches are as large as the grid is coarse (captum asks for that); a full forward does not mind.
    """
    from captum.attr import Occlusion

    step = image.shape[-1] // round(places**0.5)
    count = -(-(image.shape[-1] - step) // step) + 1
    explainer = Occlusion(lambda x: answer(model(x)))
    began = time.perf_counter()
    window = (3, step, step)
    explainer.attribute(image, sliding_window_shapes=window, strides=window, perturbations_per_eval=batch)
    return (time.perf_counter() - began) / count**2


def cropped_seconds(model: nn.Module, image: Tensor, found: perimetry.UnitMap, batch: int) -> float:
    """Seconds per position of a forward on the unit's field, averaged over all positions of the grid."""
    clipped = found.target.clipped
    assert clipped is not None, "a watched unit has a field"
    rows, columns = clipped.spans
    part = image[:, :, rows.low : rows.high + 1, columns.low : columns.high + 1].expand(batch, -1, -1, -1).contiguous()
    model(part)
    began = time.perf_counter()
    model(part)
    each = (time.perf_counter() - began) / batch
    return each * float(found.facts["positions_run"]) / float(found.facts["positions"])


def plain_seconds(model: nn.Module, image: Tensor, places: int) -> float:
    """Seconds per position of the definition: one forward each."""
    began = time.perf_counter()
    for _ in range(places):
        model(image)
    return (time.perf_counter() - began) / places


def folded_seconds(model: nn.Module, image: Tensor, layer: str, batch: int) -> float:
    """Seconds per position of a full forward with batch norms folded and channels last."""
    network = perimetry.trace(model, image.expand(batch, -1, -1, -1))
    nodes = ancestors(network, {network.layer(layer).value})
    ready = program(network, nodes)
    sample = image.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    fixed = constants(network, nodes, sample)
    seconds = []
    for _ in range(2):
        values = {**fixed, network.inputs[0]: sample}
        began = time.perf_counter()
        for node in ready.nodes:
            if any(index is not None and network.depends[index] for index in node.outputs):
                values.update(ready.run(node, values))
        seconds.append((time.perf_counter() - began) / batch)
    return min(seconds)


def answer_of(case: Case) -> Callable[[Tensor], Tensor]:
    """One number per sample, for captum: the first score, or the watched unit's."""
    if case.unit is None:
        return lambda output: output[:, 0]
    row, column = (int(part) for part in case.unit.partition("@")[2].split(","))
    return lambda output: (output["out"] if isinstance(output, dict) else output)[:, 0, row, column]


def watched_model(case: Case, model: nn.Module) -> nn.Module:
    """The model up to the watched layer, so that no subject computes more than it has to."""
    if case.name.startswith("fcn"):
        return nn.Sequential(_Out(model.backbone), model.classifier)
    return model


class _Out(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)["out"]


def run_case(case: Case, repeats: int) -> dict[str, object]:
    """Every subject in turns; seconds per grid position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = watched_model(case, case.build()).eval()
    image = torch.rand(1, 3, case.size, case.size)
    unit = None if case.unit is None else case.unit.replace("classifier.4", "1.4")
    layer = "output" if unit is None else unit.partition(":")[0]
    heavy = case.size > 300
    times: dict[str, list[float]] = {}
    facts: dict[str, object] = {}
    for turn in range(repeats):
        print(f"{case.name}: turn {turn + 1} of {repeats}", file=sys.stderr)
        began = time.perf_counter()
        found = perimetry.occlude(model, image, unit or layer, patch=PATCH, stride=STRIDE)
        seconds = time.perf_counter() - began
        facts = dict(found.facts)
        times.setdefault("perimetry", []).append(seconds / facts["positions"])  # type: ignore[operator]
        times.setdefault("plain loop", []).append(plain_seconds(model, image, 2 if heavy else 5))
        times.setdefault("folded", []).append(folded_seconds(model, image, layer, 2 if heavy else 16))
        if unit is not None:
            times.setdefault("cropped", []).append(cropped_seconds(model, image, found, 2))
        for batch in (1, 8) if heavy else (8, 32):
            each = captum_seconds(model, image, answer_of(case), batch, 9 if heavy else 49)
            times.setdefault(f"captum, batch {batch}", []).append(each)
    return {"case": case.name, "seconds_per_position": times, "facts": facts}


def growth(repeats: int) -> list[dict[str, object]]:
    """Seconds for one unit of VGG-16's conv5_3 in the middle of ever larger images, with the whole grid and set-up."""
    torch.manual_seed(0)
    model = vgg_fcn().eval()
    results: list[dict[str, object]] = []
    for size in (512, 1024, 2048):
        image, seconds = torch.rand(1, 3, size, size), []
        for _ in range(repeats):
            began = time.perf_counter()
            found = perimetry.occlude(model, image, f"0.28:0@{size // 32},{size // 32}", patch=PATCH, stride=STRIDE)
            seconds.append(time.perf_counter() - began)
        facts = found.facts
        results.append({"size": size, "seconds": seconds, "facts": dict(facts)})
        print(
            f"{size} px: {statistics.median(seconds):.2f} s ({min(seconds):.2f} ... {max(seconds):.2f}), "
            f"{facts['positions']} positions, of which {facts['positions_run']} reach the unit"
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--growth", action="store_true", help="one unit on ever larger images")
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(environment))
    results: list[dict[str, object]] = []
    with torch.no_grad():
        if options.growth:
            results = growth(options.repeats)
        for case in () if options.growth else CASES:
            if case.name in options.cases:
                results.append(run_case(case, options.repeats))
                print_case(results[-1])
    if options.json:
        told = json.dumps({"environment": environment, "results": results}, indent=1, default=str)
        Path(options.json).write_text(told, encoding="utf-8")


def print_case(result: dict[str, object]) -> None:
    """A row per subject: median, range, and how many times slower than perimetry; beside it the limit."""
    times: dict[str, list[float]] = result["seconds_per_position"]  # type: ignore[assignment]
    facts: dict[str, float] = result["facts"]  # type: ignore[assignment]
    ours = statistics.median(times["perimetry"])
    print(f"\n{result['case']}: limit by multiply-adds {facts['saving_limit']:.2f}, batch {facts['batch']},")
    print(f"  error of the difference {facts['error_of_largest_change']:.1e} of the largest change")
    for subject, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds) * 1e3:8.1f} ... {max(seconds) * 1e3:8.1f}"
        print(f"  {subject:20} {middle * 1e3:8.1f} ms ({spread})  x{middle / ours:.2f}")


if __name__ == "__main__":
    main()
