"""Composing a scene from random numbers: which objects are where, and where their label is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perimetry.data.scenes.drawing import Patch, Scene
from perimetry.data.scenes.shapes import Placed

Task = Literal["classification", "segmentation", "detection"]
Label = Literal["shape", "corner", "count"]
Overlap = Literal["allowed", "avoided"]

# Colours of the patch in the corner, and so names of classes, in this order: more saturated than all else in a scene
# that is told by a cue, so that the cue is easily seen, and what is hard is only that it is far.
CUES = {
    "red": (220, 40, 40),
    "blue": (40, 70, 220),
    "green": (30, 200, 50),
    "yellow": (230, 210, 40),
    "magenta": (210, 40, 200),
    "cyan": (40, 210, 220),
}
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_TRIES = 50  # places tried for an object that may not overlap another
_MARK = CUES["red"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """What scenes are like; lengths in pixels, ranges with both ends (see `perimetry.data.scenes.scenes`)."""

    task: Task
    size: tuple[int, int]
    label: Label
    classes: tuple[str, ...]
    objects: tuple[int, int]
    object_size: tuple[int, int]
    position: tuple[float, float, float, float] | None
    overlap: Overlap
    distractors: tuple[int, int]
    texture: float
    cue_size: int
    cue_gap: int

    @property
    def told_locally(self) -> bool:
        """Whether an object's own pixels tell its class."""
        return self.label == "shape"

    @property
    def strip(self) -> int:
        """How many rows at the top belong to the cue and the gap below it."""
        return 0 if self.told_locally else self.cue_size + self.cue_gap

    def centres(self, diameter: float) -> tuple[float, float, float, float]:
        """Where centres of objects of a diameter lie: first row, first column, last row, last column."""
        height, width = self.size
        half = diameter / 2
        low_row, low_column, high_row, high_column = self.position or (half, half, height - half, width - half)
        return (max(low_row, self.strip + half if self.strip else low_row), low_column, high_row, high_column)


def compose(knobs: Knobs, *, seed: int, index: int) -> Scene:
    """The scene of an index: the same for the same knobs, seed and index, whatever was drawn before.

    Where the label is told by a cue, scenes come in groups of one per class that share every draw but the cue.
    """
    classes = len(knobs.classes)
    group, member = (index, index % classes) if knobs.told_locally else divmod(index, classes)
    random = np.random.default_rng([seed, group])
    red, green, blue = (int(each) for each in random.integers(70, 186, size=3))
    background = (red, green, blue)
    key = int(random.integers(2**63))
    count = int(random.integers(knobs.objects[0], knobs.objects[1], endpoint=True))
    objects: list[Placed] = []
    for _ in range(count):
        drawn = int(random.integers(classes))
        kind = drawn if knobs.told_locally and knobs.task != "classification" else member
        shape = knobs.classes[kind] if knobs.told_locally else "disc"
        placed = _place(knobs, random, shape, kind + 1, background, objects)
        if placed is not None:
            objects.append(placed)
    loose = int(random.integers(knobs.distractors[0], knobs.distractors[1], endpoint=True))
    distractors = tuple(_scatter(knobs, random, background) for _ in range(loose))
    patches = () if knobs.told_locally else _cue(knobs, random, member)
    return Scene(background, knobs.texture, key, distractors, tuple(objects), patches)


def _place(
    knobs: Knobs,
    random: np.random.Generator,
    shape: str,
    label: int,
    background: tuple[int, ...],
    others: list[Placed],
) -> Placed | None:
    """An object at a random place; None where it may not overlap and no place of many was free."""
    diameter = float(random.integers(knobs.object_size[0], knobs.object_size[1], endpoint=True))
    turn, color = _turn(random), _color(knobs, random, background)
    low_row, low_column, high_row, high_column = knobs.centres(diameter)
    for _ in range(_TRIES):
        row = low_row + (high_row - low_row) * random.random()
        column = low_column + (high_column - low_column) * random.random()
        free = all(
            max(abs(row - each.row), abs(column - each.column)) > (diameter + each.size) / 2 + 1 for each in others
        )
        if free or knobs.overlap == "allowed":
            return Placed(shape, row, column, diameter, turn, color, label)
    return None


def _scatter(knobs: Knobs, random: np.random.Generator, background: tuple[int, ...]) -> Placed:
    """A distractor: a bar anywhere, as long as objects are large."""
    height, width = knobs.size
    length = float(random.integers(knobs.object_size[0], knobs.object_size[1], endpoint=True))
    row, column = height * random.random(), width * random.random()
    return Placed("bar", row, column, length, _turn(random), _color(knobs, random, background), 0)


def _turn(random: np.random.Generator) -> tuple[float, float]:
    """Cosine and sine of a random turn, from -90 to 90 degrees, by rational numbers: no machine rounds them its way."""
    slope = 2 * random.random() - 1
    norm = 1 + slope * slope
    return (1 - slope * slope) / norm, 2 * slope / norm


def _color(knobs: Knobs, random: np.random.Generator, background: tuple[int, ...]) -> tuple[int, int, int]:
    """A colour that differs from the background by 60 to 109 levels: each channel by itself, or all alike beside a cue.

    Alike, so that no colour is more saturated than a background may be.
    """
    away = random.integers(60, 110, size=3) * (2 * random.integers(2, size=3) - 1)
    if not knobs.told_locally:
        away[:] = away[0]
    red, green, blue = (int(min(max(base + step, 0), 255)) for base, step in zip(background, away, strict=True))
    return red, green, blue


def _cue(knobs: Knobs, random: np.random.Generator, member: int) -> tuple[Patch, ...]:
    """What tells the class: the colour of a patch in the first corner, or how many red marks stand along the top."""
    side = knobs.cue_size
    if knobs.label == "corner":
        return (Patch(0, 0, side, side, CUES[knobs.classes[member]]),)
    slots = random.permutation(knobs.size[1] // (2 * side))[: member + 1]
    return tuple(Patch(0, 2 * side * int(slot), side, 2 * side * int(slot) + side, _MARK) for slot in slots)
