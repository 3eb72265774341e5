"""Grid: where patches are put on an image, and what a number per patch means for the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError, ShapeError

Region = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where patches are put: their first rows and columns, and their size in pixels.

    stride: how far they move; region: (top, left, bottom, right), end exclusive, that they lie in.
    """

    tops: list[int]
    lefts: list[int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    region: Region

    @classmethod
    def on(
        cls,
        shape: Sequence[int],
        patch: tuple[int, int] | int,
        stride: tuple[int, int] | int,
        region: Region | None = None,
    ) -> Grid:
        """The grid on an image of shape (1, C, H, W); raises `ShapeError` or `InputError` where none fits.

        >>> Grid.on((1, 3, 8, 9), 4, 3).lefts
        [0, 3]
        """
        if len(shape) != 4:
            raise ShapeError(f"expected an image (1, C, H, W) to cover, got {tuple(shape)}")
        rows, columns = _pair(patch, "patch")
        steps = _pair(stride, "stride")
        height, width = shape[2:]
        top, left, bottom, right = inside = region or (0, 0, height, width)
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise InputError(f"region {region} does not lie inside the image of {height}x{width} pixels")
        if rows > bottom - top or columns > right - left:
            where = f"the region of {bottom - top}x{right - left}" if region else f"the image of {height}x{width}"
            raise InputError(f"a patch of {rows}x{columns} pixels is larger than {where}; give a smaller one")
        return cls(
            list(range(top, bottom - rows + 1, steps[0])),
            list(range(left, right - columns + 1, steps[1])),
            (rows, columns),
            steps,
            inside,
        )

    def box(self, position: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns that the patch at that place of the grid covers."""
        top, left = self.tops[position[0]], self.lefts[position[1]]
        return slice(top, top + self.patch[0]), slice(left, left + self.patch[1])


def _pair(given: tuple[int, int] | int, name: str) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int) else tuple(given)
    if len(pair) != 2 or any(not isinstance(each, int) or each < 1 for each in pair):
        raise InputError(f"expected {name} as pixels such as 16 or (16, 24), got {given!r}")
    return pair[0], pair[1]


def spread(
    values: npt.NDArray[Any],
    tops: Sequence[int],
    lefts: Sequence[int],
    patch: tuple[int, int],
    image_shape: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """A number per patch (grid rows, grid columns) as one per pixel (H, W): the mean over the patches that cover it.

    Pixels that no patch covers have 0.

    >>> spread(np.array([[2.0, 4.0]]), [0], [0, 1], (1, 2), (1, 4)).tolist()
    [[2.0, 3.0, 4.0, 0.0]]
    """
    total, covers = np.zeros(image_shape), np.zeros(image_shape)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            box = (slice(top, top + patch[0]), slice(left, left + patch[1]))
            total[box] += values[i, j]
            covers[box] += 1
    return total / np.maximum(covers, 1)
