"""Occlusion maps in processes of their own: killed and resumed, and watched for the memory that they take."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import perimetry
from perimetry.images import sample_photo

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(perimetry.__file__).parents[1]),
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
}
COMMAND = [
    *(sys.executable, "-m", "perimetry", "map", "timm:test_resnet", "--method", "occlusion", "--unit", "output"),
    *("--size", "128", "--patch", "8", "--stride", "6", "--memory", "6MiB"),
    *("--image", str(sample_photo()), str(sample_photo())),
]


def progress(file: Path) -> tuple[int, int]:
    """(images done with, positions of the next) in a checkpoint."""
    with np.load(file) as stored:
        return int(stored["finished"]), int(stored["done"])


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_command_goes_on_to_the_same_file(tmp_path):
    def started(name):
        words = [*COMMAND, "--npz", f"{name}.npz", "--resume", f"{name}.part"]
        return subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL)

    part, found = tmp_path / "killed.part", []
    for images in (0, 1):  # once on the first image, once on the second
        child = started("killed")
        until = time.monotonic() + 120
        while not (part.exists() and progress(part)[0] >= images and progress(part)[1] > 0):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        child.kill()
        assert child.wait() == -9
        found.append(progress(part))
    assert 0 < found[0][1] < 441 and (0, 0) < found[0] < found[1] < (2, 0)
    assert not (tmp_path / "killed.npz").exists()
    assert started("killed").wait(120) == started("whole").wait(120) == 0
    assert (tmp_path / "killed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert progress(part) == (2, 0)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


MEASURED = """
import sys, torch, torchvision
import perimetry

def told(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

torch.set_num_threads(1)
model = torchvision.models.get_model(sys.argv[1], weights=None).eval()
perimetry.occlude(model, torch.rand(1, 3, 64, 64), "output", patch=32, stride=32)  # loads what is loaded once
open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here
before = told("VmRSS")
found = perimetry.occlude(model, torch.rand(1, 3, 224, 224), "output", patch=16, stride=16, memory=int(sys.argv[2]))
print(told("VmHWM") - before, found.facts["batch"], len(found.notes))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("name", "mebibytes"), [("resnet18", 128), ("resnet18", 256), ("mobilenet_v2", 192)])
def test_memory_grows_by_no_more_than_was_allowed(name, mebibytes):
    """A tenth above is forgiven: the allocator's own pages."""
    words = [sys.executable, "-c", MEASURED, name, str(mebibytes << 20)]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    grew, batch, notes = map(int, done.stdout.split())
    assert grew < 1.1 * (mebibytes << 20)
    assert batch > 1 and notes == 1


def test_an_uncovered_image_that_does_not_fit_is_told():
    import torch

    layers = torch.nn.Conv2d(3, 64, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers).eval()
    found = perimetry.occlude(model, torch.rand(1, 3, 64, 64), "output", patch=8, stride=8, memory=1 << 19)
    assert found.facts["batch"] == 1
    # 64 maps of 62x62, 64 means (seen twice) and 64 filters of 3x3x3, in single precision.
    assert found.notes[-1] == (
        "the maps of the uncovered image and the filters take 0.945 MiB, more than the 0.5 MiB that were allowed; "
        "a smaller image takes less"
    )
    assert perimetry.occlude(model, torch.rand(1, 3, 64, 64), "output", patch=8, stride=8).facts["batch"] > 1
