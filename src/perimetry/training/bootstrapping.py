"""Bootstrapping: train, score a pool of negatives, let the false positives join in, and again (Sung and Poggio 1994).

A detector's pool is everything in its training images that is no object; a classifier's pool are the images of one
class, of which it begins with a share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perimetry.data.transforms import TestTransform
from perimetry.errors import FileError, UnknownNameError
from perimetry.files import write_whole
from perimetry.networks.mining import are_false_positives
from perimetry.training.batches import order
from perimetry.training.processes import Processes
from perimetry.training.recipe import Recipe
from perimetry.training.samples import Chosen, Samples, testing_batches
from perimetry.training.tasks import Batch, Task


@dataclass(frozen=True, slots=True)
class Mined:
    """One false positive.

    image, index: the image's name and place in the set; label, score: the class that it was taken for; box: of
    detection, x1 y1 x2 y2 in pixels of the image.
    """

    image: str
    index: int
    label: str
    score: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What was found after so many steps."""

    step: int
    examples: tuple[Mined, ...]


def stages(recipe: Recipe, steps: int) -> list[tuple[int, int]]:
    """The stretches of steps that are trained on one set each: the whole run, or one more than there are rounds.

    >>> stages(Recipe(task="detection", data="d", steps=90, hard="bootstrap", hard_rounds=2), 90)
    [(0, 30), (30, 60), (60, 90)]
    """
    rounds = recipe.hard_rounds if recipe.hard == "bootstrap" else 0
    return list(pairwise(steps * number // (rounds + 1) for number in range(rounds + 2)))


def read_rounds(path: Path, *, before: int) -> tuple[Round, ...]:
    """The rounds in a file of mined examples that were held before a step."""
    if not path.exists():
        return ()
    try:
        told = json.loads(path.read_bytes())["rounds"]
        rounds = [Round(each["step"], tuple(_mined(example) for example in each["examples"])) for each in told]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path} is no list of mined examples: {error}") from error
    return tuple(each for each in rounds if each.step < before)


def write_rounds(path: Path, rounds: Sequence[Round]) -> None:
    """Keep what was mined, to be looked at, and to go on with."""
    content = {"schema": 1, "rounds": [asdict(each) for each in rounds]}
    write_whole(path, json.dumps(content, indent=1).encode(), lasting=True)


def chosen_samples(recipe: Recipe, samples: Samples, classes: Sequence[str], rounds: Sequence[Round]) -> Samples:
    """What is trained on after those rounds."""
    if recipe.hard != "bootstrap":
        return samples
    examples = [example for each in rounds for example in each.examples]
    if recipe.task == "classification":
        first, _ = _parted(recipe, samples, classes)
        return Chosen(samples, [*first, *(example.index for example in examples)])
    boxes: dict[int, list[Any]] = {}
    for example in examples:
        boxes.setdefault(example.index, []).append(example.box)
    return Chosen(samples, range(len(samples)), {index: torch.tensor(each) for index, each in boxes.items()})


def mine(
    network: nn.Module,
    recipe: Recipe,
    samples: Samples,
    classes: Sequence[str],
    rounds: Sequence[Round],
    *,
    task: Task,
    transform: TestTransform,
    processes: Processes,
) -> tuple[Mined, ...]:
    """The false positives of the network on its pool, the surest first, at most `hard_count`.

    The network is left in eval mode. transform: must leave places as they are, for detection.
    """
    pool: Sequence[int] = range(len(samples))
    find: Callable[[Batch, Any, int], list[Mined]] = _wrong_boxes(classes)
    if recipe.task == "classification":
        _, pool = _parted(recipe, samples, classes)
        known = {example.index for each in rounds for example in each.examples}
        pool = [index for index in pool if index not in known]
        find = _wrong_images(classes, recipe.hard_class)
    network.eval()
    device = next(network.parameters()).device
    found: list[Mined] = []
    share = pool[processes.rank :: processes.count]
    with torch.inference_mode():
        batches = testing_batches(samples, transform, batch=1, workers=recipe.workers, indices=share)
        for index, batch in zip(share, batches, strict=True):
            moved = batch.to(device)
            found += find(moved, task.predict(network, moved), index)
    everywhere = [example for each in processes.gathered(found) for example in each]
    everywhere.sort(key=lambda example: (-example.score, example.index, example.box or ()))
    return tuple(everywhere[: recipe.hard_count or None])


def _wrong_boxes(classes: Sequence[str]) -> Callable[[Batch, Any, int], list[Mined]]:
    def find(batch: Batch, outputs: Sequence[Mapping[str, Tensor]], index: int) -> list[Mined]:
        (told,), (truth,) = outputs, batch.truth
        wrong = are_false_positives(told, truth)
        numbers = zip(told["boxes"][wrong], told["labels"][wrong], told["scores"][wrong], strict=True)
        return [
            Mined(batch.names[0], index, classes[int(label) - 1], float(score), tuple(box.tolist()))
            for box, label, score in numbers
        ]

    return find


def _wrong_images(classes: Sequence[str], negative: str) -> Callable[[Batch, Any, int], list[Mined]]:
    def find(batch: Batch, outputs: Tensor, index: int) -> list[Mined]:
        score, label = outputs.float().softmax(1)[0].max(0)
        name = classes[int(label)]
        return [] if name == negative else [Mined(batch.names[0], index, name, float(score))]

    return find


def _parted(recipe: Recipe, samples: Samples, classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """What a classifier begins with, in the order of the samples, and the pool of the other negatives."""
    if recipe.hard_class not in classes:
        raise UnknownNameError("class", recipe.hard_class, known=classes, advice="hard_class is one of the data's")
    negative = classes.index(recipe.hard_class)
    labels = samples.labels() if hasattr(samples, "labels") else [samples[index][1] for index in range(len(samples))]
    negatives = [index for index, label in enumerate(labels) if label == negative]
    count = round(recipe.hard_share * len(negatives))
    first = {negatives[place] for place in order(len(negatives), seed=recipe.seed, epoch=0)[:count]}
    begun = [index for index, label in enumerate(labels) if label != negative or index in first]
    return begun, [index for index in negatives if index not in first]


def _mined(told: Mapping[str, Any]) -> Mined:
    box = None if told["box"] is None else tuple(map(float, told["box"]))
    return Mined(told["image"], int(told["index"]), told["label"], float(told["score"]), box)  # type: ignore[arg-type]
