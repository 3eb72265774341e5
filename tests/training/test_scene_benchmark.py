"""benchmarks/scenes.py: who sees what only the context tells, and what a pyramid gains, in few steps."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from perimetry.data import open_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module; the folder of its networks is on the path while a test runs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("scenes_benchmark", BENCHMARKS / "scenes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)


def test_every_network_can_be_built(benchmark):
    import scene_networks

    with torch.device("meta"):
        for network, _ in benchmark.WHAT.values():
            assert isinstance(getattr(scene_networks, network)(), torch.nn.Module)


def test_the_cue_is_out_of_sight_without_the_context(benchmark):
    """No unit that scores a pixel of a disc sees the patch, in whatever row the discs lie; with the mean all do."""
    import scene_networks

    height, width = benchmark.CONTEXT["size"]
    images = torch.rand(1, 3, height, width).requires_grad_()
    discs = benchmark.CONTEXT["cue_size"] + benchmark.CONTEXT["cue_gap"]
    for network, sees in (("with_context", True), ("without_context", False), ("large_field", False)):
        built = getattr(scene_networks, network)().eval()
        (gradient,) = torch.autograd.grad(built(images)["out"][..., discs:, :].sum(), images)
        patch = gradient[..., : benchmark.CONTEXT["cue_size"], :]
        assert bool(patch.abs().sum() > 0) == sees, network
        assert gradient[..., discs:, :].abs().sum() > 0


def test_scenes_of_tiny_objects_hold_no_others(benchmark, tmp_path):
    folders = benchmark.write_data("sizes", tmp_path, images=2, tests=4)
    for name, (least, most) in benchmark.DIAMETERS.items():
        boxes = [
            box for each in open_dataset(folders[name], task="detection").samples for box in each.objects.boxes_xyxy
        ]
        sides = [max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
        assert len(sides) > 10 or name == "train"
        assert least - 2 <= min(sides) <= max(sides) <= most + 2
    assert benchmark.DIAMETERS["tiny"][1] < benchmark.BOUND < benchmark.DIAMETERS["medium"][0]


@pytest.mark.slow
def test_only_the_context_tells_the_label(benchmark, tmp_path):
    """What does not see the patch is at chance exactly; ParseNet is far above it."""
    blind, seeing = (
        benchmark.run(what, seed=0, runs=tmp_path)["rows"][0] for what in ("context-without", "context-parsenet")
    )
    assert min(blind["found"], seeing["found"]) > 0.4  # both learn where discs are
    assert blind["told"] == 0.5
    assert seeing["told"] > 0.8
    assert seeing["miou"] > blind["miou"] + 0.15


@pytest.mark.slow
def test_a_pyramid_finds_tiny_objects_and_costs_more(benchmark, tmp_path):
    found = benchmark.run("sizes", seed=0, runs=tmp_path)
    rows = {(row["test"], tuple(row["scales"]), row["flip"]): row for row in found["rows"]}
    recall = {key: row["by_size"]["all"]["recall50"] for key, row in rows.items()}
    pyramid = (1.0, 2.0, 3.0)
    assert recall["tiny", pyramid, "none"] > recall["tiny", (1.0,), "none"] + 0.3
    assert recall["medium", (1.0,), "none"] > 0.85
    assert abs(recall["medium", pyramid, "none"] - recall["medium", (1.0,), "none"]) < 0.05
    for test in ("tiny", "medium"):
        one, three = (rows[test, scales, "none"] for scales in ((1.0,), pyramid))
        assert min(one["seconds"], three["seconds"]) > 0
        assert three["peak_bytes"] > 3 * one["peak_bytes"]
    assert benchmark.run("sizes", seed=0, runs=tmp_path) == found  # what is finished is not run again


def test_a_row_tells_the_spread_of_the_seeds(benchmark):
    rows = [{"test": "context", "told": told, "found": 1.0, "miou": 0.5} for told in (0.5, 0.75)]
    text = benchmark.table("x", [{"rows": [row], "seconds": None, "processor_s": None, "seed": 0} for row in rows])
    assert "| x | 0.625 (0.500 ... 0.750) |" in text
