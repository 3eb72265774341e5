"""The six classes of what a warp leaves, and their counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

CLASSES = ("object addition", "object deletion", "hole addition", "hole deletion", "split", "merge")


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How many pixels, or connected groups of pixels, each class of mismatch has.

    >>> ClassCounts(split=2) + ClassCounts(split=1, merge=4)
    ClassCounts(object_addition=0, object_deletion=0, hole_addition=0, hole_deletion=0, split=3, merge=4)
    """

    object_addition: int = 0
    object_deletion: int = 0
    hole_addition: int = 0
    hole_deletion: int = 0
    split: int = 0
    merge: int = 0

    @classmethod
    def of(cls, counts: dict[str, int]) -> ClassCounts:
        """Counts by the names of `CLASSES`."""
        return cls(**{name.replace(" ", "_"): int(count) for name, count in counts.items()})

    @property
    def total(self) -> int:
        """All classes together."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """The counts by name, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __add__(self, other: ClassCounts) -> ClassCounts:
        mine, others = self.as_dict(), other.as_dict()
        return ClassCounts(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True, slots=True, eq=False)
class Mismatches:
    """What a warp could not flip, with the class of each pixel.

    places: (M, 2) rows and columns in the order of visits; classes: (M,) indices into `CLASSES`; pixels, components:
    counts of pixels and of connected groups (4- or 8-connected, as the challenge counts each class).
    """

    places: npt.NDArray[np.int32]
    classes: npt.NDArray[np.uint8]
    pixels: ClassCounts
    components: ClassCounts

    def image(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """An image (H, W) of 0 where there is no mismatch, and 1 + the index of the class where there is one."""
        drawn = np.zeros((height, width), np.uint8)
        drawn[self.places[:, 0], self.places[:, 1]] = self.classes + 1
        return drawn
