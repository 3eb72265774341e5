"""What a set of labelled images is: its classes, and for each image where its truth stands. Facts about files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError, UnknownNameError

Task = Literal["classification", "segmentation", "detection"]
TASKS: tuple[Task, ...] = get_args(Task)

IGNORED = 255  # the label of pixels that count for nothing
BACKGROUND = "_background_"
FARTHEST = 1e15  # pixels; areas of boxes that reach no farther are still numbers in single precision
_ORDER = {"train": 0, "val": 1, "trainval": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image.

    boxes_xyxy: x1 y1 x2 y2 of each, in pixels, continuous: pixel i covers [i, i + 1], so a box's width is x2 - x1;
    labels: the class of each, from 1 (0 is the background); difficult: VOC's `difficult`, COCO's `iscrowd`;
    areas: of the objects themselves where the truth tells them, else of the boxes. image_size: (H, W) of the image as
    the annotation tells it, which need not be true.
    """

    boxes_xyxy: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()
    difficult: tuple[bool, ...] = ()
    areas: tuple[float, ...] = ()
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not len(self.boxes_xyxy) == len(self.labels) == len(self.difficult) == len(self.areas):
            raise InputError(
                f"expected one label, difficult and area per box, got {len(self.boxes_xyxy)} boxes, "
                f"{len(self.labels)} labels, {len(self.difficult)} difficult and {len(self.areas)} areas"
            )

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: its name, its file, and the truth of the dataset's task.

    label: the class; mask: the file of the classes of its pixels; objects: boxes and their classes, none for an image
    of background. proposals: (P, 4) boxes x1 y1 x2 y2 as those of `Objects`, where they were given.
    """

    name: str
    image: Path
    label: int | None = None
    mask: Path | None = None
    objects: Objects | None = None
    proposals: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of labelled images.

    classes: in the order of their labels: label i is `classes[i]`, in detection label i is `classes[i - 1]`, since 0 is
    the background there; `label_names` has that place filled. splits: the names of the samples in each, as the files
    give them; a sample may be in several (VOC's trainval). split: which of them this is, where it is one.

    >>> cat = Sample("a", Path("a.jpg"), label=0)
    >>> Dataset("classification", "pets", ("cat", "dog"), (cat,), {"train": ("a",)}).part("train").split
    'train'
    """

    task: Task
    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UnknownNameError("task", self.task, known=TASKS, advice="it can be " + ", ".join(TASKS))
        names = {sample.name for sample in self.samples}
        if len(names) < len(self.samples):
            raise InputError(f"the dataset {self.name} holds two samples of one name; each needs its own")
        for split, held in self.splits.items():
            if unknown := [name for name in held if name not in names]:
                raise InputError(f"the split {split} names {unknown[0]!r}, which is no sample of {self.name}")
        ordered = sorted(self.splits, key=lambda split: (_ORDER.get(split, len(_ORDER)), split))
        object.__setattr__(self, "splits", {split: tuple(self.splits[split]) for split in ordered})

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of every label from 0 on, the background of detection included: as many as a model has outputs."""
        return (BACKGROUND, *self.classes) if self.task == "detection" else self.classes

    def part(self, split: str) -> Dataset:
        """The samples of one split, by name; raises `UnknownNameError`, or `InputError` where there is none at all."""
        if not self.splits:
            raise InputError(
                f"{self.name} has no split {split!r}, and no other; perimetry.data.split makes them by seed"
            )
        wanted = split if split in self.splits else split_name(split)
        if wanted not in self.splits:
            raise UnknownNameError("split", split, known=self.splits, advice="there are " + ", ".join(self.splits))
        return replace(self.of(self.splits[wanted]), split=wanted)

    def of(self, names: Iterable[str]) -> Dataset:
        """The samples of these names, in their own order, and the splits of which something is left."""
        kept = set(names)
        left = {split: tuple(name for name in held if name in kept) for split, held in self.splits.items()}
        return replace(
            self,
            samples=tuple(sample for sample in self.samples if sample.name in kept),
            splits={split: held for split, held in left.items() if held},
        )


_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def split_name(text: str) -> str:
    """What a split is called here, whatever its folder or list is called.

    >>> split_name("Validation"), split_name("trainval")
    ('val', 'trainval')
    """
    return _SPLIT_NAMES.get(text.lower(), text.lower())
