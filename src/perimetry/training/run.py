"""A run that was trained, taken up for use: its network with its weights, its classes, how its images are prepared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from perimetry.data import BACKGROUND
from perimetry.data.transforms import Crop, ResizeShort, TestTransform
from perimetry.errors import FileError, UnknownNameError, WeightsError
from perimetry.models.weights import read_checkpoint
from perimetry.training.bootstrapping import Round, read_rounds
from perimetry.training.checkpoints import weights_file
from perimetry.training.cost import TrainingCost, read_cost
from perimetry.training.networks import build_network
from perimetry.training.preparing import testing_transform
from perimetry.training.recipe import Recipe
from perimetry.training.run_directory import Metrics, RunDirectory

CheckpointName = Literal["best", "last"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A trained run.

    network: in eval mode; classes: as of the data, of detection without the background; mean, std: of images, per
    channel; transform: what is done to images before they are tested. checkpoint: which one, and file: its weights;
    weights: the SHA-256 of that, which says whether anything changed.
    """

    path: Path
    checkpoint: CheckpointName
    network: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    transform: TestTransform
    file: Path
    weights: str

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of every label from 0 on, the background of detection included."""
        return (BACKGROUND, *self.classes) if self.recipe.task == "detection" else self.classes

    @property
    def tested_size(self) -> tuple[int, int] | None:
        """(H, W) of the crop that is tested, else of training images; None where images keep their sizes."""
        crops = [step.size for step in self.transform.steps if isinstance(step, Crop)]
        size = crops[-1] if crops else self.recipe.size
        return size if min(size) > 0 else None

    @property
    def short_side(self) -> int | None:
        """The short side in pixels to which images are resized before a crop; None where there is no crop."""
        if not any(isinstance(step, Crop) for step in self.transform.steps):
            return None
        return next((step.sizes[0] for step in self.transform.steps if isinstance(step, ResizeShort)), None)

    @property
    def step(self) -> int:
        """After how many steps the weights were kept."""
        return int(self.file.stem.rpartition("-")[2])

    def metrics(self) -> Metrics:
        """The numbers that were logged while it was trained."""
        return RunDirectory(self.path).metrics()

    def mined(self) -> tuple[Round, ...]:
        """What bootstrapping found up to this checkpoint; nothing without it."""
        return read_rounds(RunDirectory(self.path).mined, before=self.step)

    def cost(self) -> TrainingCost | None:
        """What training took, where that was kept."""
        return read_cost(RunDirectory(self.path).cost)

    def versions(self) -> dict[str, str]:
        """The versions with which it was trained."""
        return RunDirectory(self.path).versions()


def load_run(path: str | Path, *, checkpoint: CheckpointName | None = None, device: str | torch.device = "cpu") -> Run:
    """The run in a directory that `fit` made; its network is built anew from the recipe, and nothing is fetched.

    checkpoint: "best", "last", or None: the best one, or the last where the run never evaluated.
    Raises `FileError` where there is no run or no such checkpoint, `WeightsError` for weights that do not fit the
    network (the code that built it has changed), and what building it raises.
    """
    directory = RunDirectory(Path(path))
    if not directory.path.is_dir():
        raise FileError(f"{path} is no directory of a run: there is no such folder")
    recipe, facts = directory.read()
    name = _checkpoint(directory, checkpoint)
    file = weights_file(directory.checkpoints, name)
    try:
        classes = tuple(map(str, facts["classes"]))
        mean, std = (_three(facts[name]) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is no whole run: recipe.json lacks {error}; train again") from error
    with torch.random.fork_rng(devices=[]):
        built = build_network(replace(recipe, weights="none"), classes=len(classes))
    network = built.network
    _fill(network, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    transform = testing_transform(recipe, replace(built, mean=mean, std=std))
    return Run(directory.path, name, network.to(device).eval(), recipe, classes, mean, std, transform, file, digest)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _checkpoint(directory: RunDirectory, asked: CheckpointName | None) -> CheckpointName:
    names: tuple[CheckpointName, ...] = get_args(CheckpointName)
    if asked is not None and asked not in names:
        raise UnknownNameError("checkpoint", asked, known=names, advice="best or last")
    there = [name for name in names if (directory.checkpoints / f"{name}.json").is_file()]
    if asked is None and there:
        return there[0]
    if asked in there:
        return asked
    told = f"there is {' and '.join(there)}" if there else "there is none yet; train first"
    raise FileError(f"{directory.path} has no checkpoint{f' {asked!r}' if asked else ''}; {told}")


def _fill(network: nn.Module, file: Path) -> None:
    tensors = read_checkpoint(file)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{file} does not fit the network that the run's recipe builds; has its code changed since? ({reason})"
        ) from error
