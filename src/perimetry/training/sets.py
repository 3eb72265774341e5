"""The data of a recipe: what is trained on, what is evaluated on, and what the task is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perimetry.data import Dataset, open_dataset, read_proposals, read_sample, split, with_proposals
from perimetry.data.layouts import open_sound
from perimetry.errors import InputError, PerimetryError
from perimetry.training.classification import Classification
from perimetry.training.detection import Detection
from perimetry.training.recipe import Recipe
from perimetry.training.samples import FileSamples, Samples
from perimetry.training.segmentation import Segmentation
from perimetry.training.tasks import Task


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Samples to train on and to evaluate on (None: no evaluation), and the names of the classes.

    classes: of detection without the background; of segmentation every label from 0.
    """

    train: Samples
    val: Samples | None
    classes: tuple[str, ...]


def open_sets(recipe: Recipe, *, tell: Callable[[str], None] | None = None) -> Sets:
    """The splits "train" and "val" of `recipe.data`.

    Where there is no "val", a tenth of what is trained on is set aside by the recipe's seed; "test" is never looked at.
    tell: is given a line for each file that is left out (broken = "skip").
    """
    files = open_files(recipe, tell=tell)
    if recipe.proposals:
        used = {name for split in ("train", "val") for name in files.splits.get(split, ())} if files.splits else None
        files = with_proposals(files, read_proposals(recipe.proposals), needed=used)
    if files.splits and "train" not in files.splits:
        raise InputError(f"{recipe.data} has no split train, only {', '.join(files.splits)}; list what to train on")
    train = files.part("train") if files.splits else files
    if "val" in files.splits:
        val = files.part("val")
    else:
        train, val = split(train, (0.9, 0.1), seed=recipe.seed)
    return Sets(FileSamples(train), FileSamples(val), files.classes)


def task_of(recipe: Recipe, classes: tuple[str, ...]) -> Task:
    """What is trained: losses, weights and scores."""
    count = len(classes)
    if recipe.class_weights and len(recipe.class_weights) != count:
        raise InputError(f"class_weights has {len(recipe.class_weights)} factors, the data has {count} classes")
    if count < 2 and recipe.task != "detection":
        raise InputError(f"{recipe.data} has {', '.join(classes) or 'no class'} alone, and nothing to tell it from")
    if recipe.task == "detection":
        return Detection(classes)
    if recipe.task == "segmentation":
        return Segmentation(
            count,
            ignore=recipe.ignore,
            every=recipe.loss_every,
            class_weights=recipe.class_weights,
            label_smoothing=recipe.label_smoothing,
            auxiliary_weight=recipe.auxiliary_weight,
            hard=recipe.hard if recipe.hard in ("top_k", "threshold") else "none",
            hard_share=recipe.hard_share,
        )
    return Classification(
        count,
        class_weights=recipe.class_weights,
        label_smoothing=recipe.label_smoothing,
        auxiliary_weight=recipe.auxiliary_weight,
        loss="focal" if recipe.hard == "focal" else "cross_entropy",
    )


def open_files(
    recipe: Recipe, *, classes: Sequence[str] | None = None, tell: Callable[[str], None] | None = None
) -> Dataset:
    """The data; with broken = "skip" without the samples that cannot be read, or whose annotations make no sense."""
    if recipe.broken == "stop":
        return open_dataset(recipe.data, task=recipe.task, classes=classes)
    tell = tell or (lambda _line: None)
    files, problems = open_sound(recipe.data, task=recipe.task, classes=classes)
    for problem in problems:
        tell(f"left out: {problem}")
    kept = []
    for sample in files.samples:
        try:
            read_sample(sample)
        except PerimetryError as error:
            tell(f"left out: {error}")
        else:
            kept.append(sample.name)
    return files.of(kept)
