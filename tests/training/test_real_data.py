"""The recipes of benchmarks/: they can be read, and one epoch of each learns on real data."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from perimetry.training import parameter_groups, read_recipe
from perimetry.training.networks import build_network

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECIPES = sorted(each.stem for each in (BENCHMARKS / "recipes").glob("*.toml"))

# What one epoch has to reach, far below what it does, so that seeds do not matter.
LEAST = {
    "camvid-fcn": 0.25,
    "camvid-parsenet": 0.25,
    "camvid-largefov": 0.20,
    "bccd-faster": 0.30,
    "bccd-fast": 0.40,
    "bccd-rfcn": 0.05,
    "cifar-finetune": 0.70,
}


@pytest.fixture
def real_data(monkeypatch):
    """The script as a module; the folder of recipes is on the path while a test runs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("real_data", BENCHMARKS / "real_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_can_be_read(name):
    recipe = read_recipe(BENCHMARKS / "recipes" / f"{name}.toml", ["steps=1", "epochs=0"])
    assert name.startswith({"segmentation": "camvid", "detection": "bccd", "classification": "cifar"}[recipe.task])


def test_parsenets_scores_learn_ten_times_as_fast():
    recipe = read_recipe(BENCHMARKS / "recipes" / "camvid_parsenet.toml")
    network = build_network(recipe, classes=11).network
    groups = parameter_groups(network, rate=1.0, decay=0.0, multipliers=recipe.multipliers)
    fast = {name for group in groups if group["lr"] == 10 for name in group["names"]}
    maps = ("blocks_2", "blocks_4", "blocks_6", "fc7", "pool6")
    assert fast == {f"{each}_score.{kind}" for each in maps for kind in ("weight", "bias")}


def test_every_recipe_is_run(real_data):
    assert {recipe for recipe, _ in real_data.WHAT.values()} == set(RECIPES)


def test_windows_lie_in_the_image(real_data, data, tmp_path):
    import numpy as np

    with np.load(real_data.write_windows(tmp_path / "windows.npz")) as held:
        boxes = held[held.files[0]]
    assert len(held.files) == 364
    assert 1500 < len(boxes) < 3000
    assert boxes.min() == 0
    assert (boxes.max(0) <= (320, 240, 320, 240)).all()


def test_resnet20_is_that_of_the_weights(real_data, data):
    from cifar_resnet20 import resnet20

    from perimetry.models.weights import read_checkpoint

    network = resnet20()
    assert sum(each.numel() for each in network.parameters()) == 269_722
    missing, unexpected = network.load_state_dict(
        read_checkpoint(data / "weights" / "resnet20_cifar10.safetensors"), strict=False
    )
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)


@pytest.mark.slow
@pytest.mark.parametrize("what", LEAST)
def test_one_epoch_learns(real_data, data, tmp_path, what):
    torch.set_num_threads(1)
    found = real_data.run(what, seed=0, epochs=1, runs=tmp_path)
    assert found["value"] >= LEAST[what]
    again = real_data.run(what, seed=0, epochs=1, runs=tmp_path)
    assert again == found  # what is finished is not run again
