"""Runs of a few layers, made by hand, and synthetic scenes to use them on."""

from pathlib import Path

import torch
from torch import nn

from perimetry.data.scenes import scenes, write_scenes
from perimetry.training.checkpoints import Checkpoint, save_checkpoint
from perimetry.training.recipe import Recipe
from perimetry.training.run_directory import RunDirectory


def classifier(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )


def segmenter(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))


class Detector(nn.Module):
    """Boxes on a grid, whose classes and scores come from the colours inside: enough to be scored."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, classes, 1)

    def forward(self, images):
        told = []
        for image in images:
            height, width = image.shape[1:]
            maps = nn.functional.adaptive_avg_pool2d(self.score(image[None]), 4)[0].sigmoid()
            scores, labels = maps.flatten(1).max(dim=0)
            rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
            corners = torch.stack((columns, rows, columns + 1.37, rows + 1.21), dim=-1).reshape(-1, 4)
            boxes = corners * corners.new_tensor([width, height, width, height]) / 5
            told.append({"boxes": boxes, "labels": labels + 1, "scores": scores})
        return told


def detector(classes: int = 3) -> nn.Module:
    return Detector(classes)


BUILDERS = {"classification": "classifier", "segmentation": "segmenter", "detection": "detector"}


def make_scenes(folder: Path, task: str, *, train: int = 4, test: int = 6) -> Path:
    """Scenes of 32 px in the splits train and test."""
    sets = {
        name: scenes(task, count=count, size=(32, 32), seed=seed)
        for seed, (name, count) in enumerate((("train", train), ("test", test)))
    }
    write_scenes(folder, sets)
    return folder


def make_run(path: Path, task: str, data: Path, classes, *, names=("best", "last"), seed: int = 0, **keys) -> Path:
    """A run as `fit` leaves it, untrained."""
    size = {"size": (24, 24)} if task == "classification" else {}
    recipe = Recipe(
        task=task, data=str(data), model=f"prediction.made_runs:{BUILDERS[task]}", epochs=1, **(size | keys)
    )
    run = RunDirectory(path)
    facts = {"classes": list(classes), "mean": [0.5] * 3, "std": [0.25] * 3}
    if task == "detection":
        facts |= {"mean": [0.0] * 3, "std": [1.0] * 3}
    run.begin(recipe, facts)
    for number, name in enumerate(names, start=1):
        keep(path, task, len(classes), name=name, step=10 * number, seed=seed + number)
    metrics = run.metrics()
    for step in range(1, 21):
        metrics.add(step, step / 20, "train", {"loss_out": 1 / step, "loss_aux": 0.5 / step})
    for step in (10, 20):
        metrics.add(step, step / 20, "val", {"miou": 0.1 * step / 10, "iou": [0.5]})
    metrics.write()
    return path


def keep(path: Path, task: str, classes: int, *, name: str = "best", step: int = 10, seed: int = 0) -> None:
    """Replace a checkpoint by random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = globals()[BUILDERS[task]](classes)
    save_checkpoint(RunDirectory(path).checkpoints, name, Checkpoint(step, network.state_dict(), {}, {"best": {}}))
