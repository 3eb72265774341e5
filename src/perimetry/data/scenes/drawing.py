"""Drawing a scene: its pixels, and which object is seen at each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perimetry.data.scenes.shapes import Placed
from perimetry.data.scenes.texture import texture

Pixels = npt.NDArray[np.uint8]
Owners = npt.NDArray[np.int32]

_CONTRAST = 60.0  # grey levels that a texture of 1 moves a background up and down


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of one colour: rows top to bottom, columns left to right, the last not included."""

    top: int
    left: int
    bottom: int
    right: int
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scene holds, on a plane without borders: distractors under objects (later over earlier) under patches.

    background: red, green and blue; texture: how rough it is, 0 to 1; key: of its noise.
    """

    background: tuple[int, int, int]
    texture: float
    key: int
    distractors: tuple[Placed, ...]
    objects: tuple[Placed, ...]
    patches: tuple[Patch, ...]


def draw(scene: Scene, *, size: tuple[int, int], top: int = 0, left: int = 0) -> tuple[Pixels, Owners]:
    """A window of a scene: pixels (H, W, 3), smooth at edges, and owners (H, W).

    size: (H, W); top, left: the first row and column of the scene that are seen. An owner is the index of the object
    that is seen at the pixel's centre, -1 where none is.

    >>> plain = Scene((90, 90, 90), 0.0, 0, (), (Placed("disc", 2.0, 2.0, 2.5, (1.0, 0.0), (0, 0, 200), 1),), ())
    >>> draw(plain, size=(4, 4))[1]
    array([[-1, -1, -1, -1],
           [-1,  0,  0, -1],
           [-1,  0,  0, -1],
           [-1, -1, -1, -1]], dtype=int32)
    """
    height, width = size
    canvas = np.broadcast_to(np.array(scene.background, np.float64), (height, width, 3)).copy()
    if scene.texture:
        rows, columns = np.arange(top, top + height), np.arange(left, left + width)
        canvas += texture(rows, columns, key=scene.key)[:, :, None] * (scene.texture * _CONTRAST)
    owners = np.full((height, width), -1, np.int32)
    for index, placed in enumerate((*scene.distractors, *scene.objects), start=-len(scene.distractors)):
        _paint(placed, canvas, owners, index, top, left)
    for patch in scene.patches:
        window = np.s_[
            max(patch.top - top, 0) : max(patch.bottom - top, 0), max(patch.left - left, 0) : max(patch.right - left, 0)
        ]
        canvas[window] = patch.color
        owners[window] = -1
    return np.floor(np.clip(canvas, 0, 255) + 0.5).astype(np.uint8), owners


def _paint(placed: Placed, canvas: npt.NDArray[np.float64], owners: Owners, index: int, top: int, left: int) -> None:
    """Paint one shape into the window; a negative index owns nothing."""
    height, width = owners.shape
    touched = placed.pixels()
    first_row, last_row = max(touched[0], top), min(touched[2], top + height)
    first_column, last_column = max(touched[1], left), min(touched[3], left + width)
    if first_row >= last_row or first_column >= last_column:
        return
    window = np.s_[first_row - top : last_row - top, first_column - left : last_column - left]
    share = placed.coverage(first_row, first_column, last_row, last_column)[:, :, None]
    canvas[window] = canvas[window] * (1 - share) + np.array(placed.color, np.float64) * share
    if index >= 0:
        centres = placed.contains(np.arange(first_row, last_row) + 0.5, np.arange(first_column, last_column) + 0.5)
        owners[window][centres] = index
