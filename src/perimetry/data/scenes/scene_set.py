"""Labelled synthetic scenes as a dataset, for classification, segmentation and detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from perimetry.data.scenes.composing import COUNTS, CUES, Knobs, Label, Overlap, Task, compose
from perimetry.data.scenes.drawing import Owners, Scene, draw
from perimetry.data.scenes.shapes import SHAPES
from perimetry.errors import InputError, UnknownNameError

Target = Any  # int, a mask (H, W) int64, or {"boxes": (K, 4) float32, "labels": (K,) int64}
Range = int | tuple[int, int]


@dataclass(frozen=True)
class SceneSet(Dataset[tuple[Tensor, Target]]):
    """Scenes by index: `scenes` makes one, and its docstring tells what an item is.

    shift: rows and columns by which all that is in the scenes is moved down and right.
    """

    knobs: Knobs
    count: int
    seed: int
    shift: tuple[int, int] = (0, 0)

    @property
    def task(self) -> Task:
        """Classification, segmentation or detection."""
        return self.knobs.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels: of masks from 0 on, the background first; of boxes from 1 on; of images from 0 on."""
        return ("_background_", *self.knobs.classes) if self.task == "segmentation" else self.knobs.classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        scene = self.scene(index)
        pixels, owners = draw(scene, size=self.knobs.size, top=-self.shift[0], left=-self.shift[1])
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if self.task == "classification":
            return image, index % len(self.knobs.classes)
        labels = np.array([each.label for each in scene.objects], np.int64)
        if self.task == "segmentation":
            return image, torch.from_numpy(np.append(labels, 0)[owners])  # owner -1 is the background
        return image, _boxes(owners, labels)

    def scene(self, index: int) -> Scene:
        """What the scene of an index holds: objects with centre, size and class, distractors, and the cue."""
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} scenes, from 0; got {index}")
        return compose(self.knobs, seed=self.seed, index=index)

    def shifted(self, rows: int, columns: int) -> SceneSet:
        """The same scenes with all that they hold moved down and right by whole pixels, labels with it, exactly."""
        return replace(self, shift=(self.shift[0] + rows, self.shift[1] + columns))


def scenes(
    task: Task,
    *,
    count: int,
    size: tuple[int, int],
    seed: int,
    label: Label = "shape",
    classes: int | Sequence[str] = 3,
    objects: Range = (1, 4),
    object_size: Range | None = None,
    position: tuple[float, float, float, float] | None = None,
    overlap: Overlap = "allowed",
    distractors: Range = 0,
    texture: float = 0.5,
    cue_size: int | None = None,
    cue_gap: int | None = None,
) -> SceneSet:
    """Scenes of coloured shapes on textured backgrounds: items are (uint8 image (3, H, W), target).

    task: the target is the class from 0, or a mask (H, W) int64 with 0 for the background and classes from 1,
    exact by pixel centres, or {"boxes": (K, 4) float32, "labels": (K,) int64 from 1}, the boxes xyxy of what is seen
    of each object, x2 and y2 not included; an object that is wholly hidden has none. count, size (H, W), seed: the
    same seed and index give the same scene.

    label: where the class is told. "shape": by the object itself, locally. "corner": by the colour of a patch in the
    first corner, "count": by how many red marks stand along the top; then all objects are discs, those of one scene
    share its class, and scenes come in groups of one per class that differ in nothing but the cue: what does not show
    the cue tells nothing. classes: how many, or names (of `SHAPES`, `CUES`, `COUNTS`).

    objects: how many in a scene; object_size: diameter in pixels, a sixth to a third of the short side unless given;
    position: (first row, first column, last row, last column) of their centres, by default so that all fit in;
    overlap: "avoided" leaves out what finds no free place. distractors: how many bars of no class lie under the
    objects. texture: from 0, plain, to 1. cue_size: the cue's side, a quarter of the short side (marks: an eighth);
    cue_gap: rows between it and the objects, a quarter too. Ranges are (from, to), both included, or one number.
    Raises `InputError` for what does not fit.

    >>> images = scenes("detection", count=10, size=(48, 64), seed=0, objects=2, overlap="avoided")
    >>> image, target = images[3]
    >>> tuple(image.shape), target["labels"], images.classes
    ((3, 48, 64), tensor([3, 3]), ('disc', 'square', 'triangle'))
    """
    for given, kind, known in ((task, "task", Task), (label, "label", Label), (overlap, "overlap", Overlap)):
        if given not in get_args(known):
            raise UnknownNameError(kind, str(given), known=get_args(known), advice="one of " + _list(get_args(known)))
    short = min(size)
    if short < 8:
        raise InputError(f"expected scenes of 8 x 8 pixels or more, got {size[0]} x {size[1]}")
    knobs = Knobs(
        task=task,
        size=(int(size[0]), int(size[1])),
        label=label,
        classes=_classes(classes, label),
        objects=_range(objects, "objects", least=0),
        object_size=_range(
            (max(short // 6, 3), max(short // 3, 3)) if object_size is None else object_size, "object_size", least=1
        ),
        position=position,
        overlap=overlap,
        distractors=_range(distractors, "distractors", least=0),
        texture=texture,
        cue_size=max(short // (8 if label == "count" else 4), 2) if cue_size is None else cue_size,
        cue_gap=short // 4 if cue_gap is None else cue_gap,
    )
    _check(knobs, count, seed)
    return SceneSet(knobs, count, seed)


def _boxes(owners: Owners, labels: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Tensor]:
    """The boxes of what is seen of each object, by pixel centres."""
    boxes, kept = [], []
    for index in range(len(labels)):
        seen = owners == index
        if seen.any():
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            kept.append(index)
    return {
        "boxes": torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)),
        "labels": torch.from_numpy(labels[kept]),
    }


def _classes(given: int | Sequence[str], label: Label) -> tuple[str, ...]:
    """The names of the classes, each known and given once."""
    known = tuple({"shape": SHAPES, "corner": CUES, "count": dict.fromkeys(COUNTS)}[label])
    if isinstance(given, int):
        if not 1 <= given <= len(known):
            raise InputError(f"expected 1 to {len(known)} classes where the label is told by {label}, got {given}")
        return known[:given]
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in known:
            raise UnknownNameError("class", name, known=known, advice="one of " + _list(known))
    if len(set(names)) != len(names) or not names:
        raise InputError(f"expected each class once, and at least one, got {_list(names) or 'none'}")
    if label == "count" and names != known[: len(names)]:
        raise InputError(f"classes told by a count begin at one and leave none out, got {_list(names)}")
    return names


def _range(given: Range, name: str, *, least: int) -> tuple[int, int]:
    low, high = (given, given) if isinstance(given, int) else given
    if not least <= low <= high:
        raise InputError(f"expected {name} from {least}, as a number or (from, to), got {given}")
    return low, high


def _check(knobs: Knobs, count: int, seed: int) -> None:
    """Raise `InputError` for knobs that do not fit one another."""
    if count < 1 or seed < 0:
        raise InputError(f"expected a count from 1 and a seed from 0, got {count} and {seed}")
    if not 0 <= knobs.texture <= 1:
        raise InputError(f"expected texture from 0 to 1, got {knobs.texture}")
    if knobs.task == "classification" and knobs.told_locally and knobs.objects[0] < 1:
        raise InputError("a scene without objects shows no class; give objects from 1")
    if knobs.position is not None and (
        len(knobs.position) != 4
        or not all(0 <= each <= side for each, side in zip(knobs.position, knobs.size * 2, strict=True))
    ):
        raise InputError(
            f"expected positions of centres inside {knobs.size[0]} x {knobs.size[1]} pixels, as (first row, first "
            f"column, last row, last column), got {knobs.position}"
        )
    largest = knobs.object_size[1]
    row, column, last_row, last_column = knobs.centres(largest)
    if last_row < row or last_column < column:
        below = f" below {knobs.strip} rows of cue and gap" if knobs.strip else ""
        raise InputError(
            f"objects of {largest} pixels find no place in {knobs.size[0]} x {knobs.size[1]} pixels{below}"
            f"{f' at positions {knobs.position}' if knobs.position else ''}; make them smaller, or the scene larger"
        )
    if knobs.told_locally:
        return
    classes = len(knobs.classes)
    if count % classes:
        raise InputError(
            f"scenes told by a cue come in groups of {classes}, one of each class; got {count}, "
            f"give {count - count % classes or classes} or {count - count % classes + classes}"
        )
    if knobs.cue_size < 1 or knobs.cue_gap < 0:
        raise InputError(f"expected cue_size from 1 and cue_gap from 0, got {knobs.cue_size} and {knobs.cue_gap}")
    if knobs.label == "count" and knobs.size[1] // (2 * knobs.cue_size) < classes:
        raise InputError(f"{classes} marks of {knobs.cue_size} pixels find no place along {knobs.size[1]} pixels")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
