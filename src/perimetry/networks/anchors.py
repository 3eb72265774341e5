"""Anchors: boxes of fixed shapes at every cell of a map, as py-faster-rcnn and Detectron round them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Self

import torch
from torch import Tensor

from perimetry.errors import InputError

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """The boxes that stand at each cell of a map.

    stride: pixels from one cell to the next; boxes: (x1, y1, x2, y2) of each at the first cell, in pixels, x2 and y2
    just outside. Releases that count the last pixel as inside list x2 - 1 and y2 - 1.

    >>> grid = AnchorGrid.published(16)
    >>> len(grid.boxes), grid.boxes[0]
    (9, (-84.0, -40.0, 100.0, 56.0))
    """

    stride: int
    boxes: tuple[Rectangle, ...]

    def __post_init__(self) -> None:
        if self.stride < 1 or not self.boxes:
            raise InputError(f"anchors need a stride of at least 1 and a box, got {self.stride} and {len(self.boxes)}")

    @classmethod
    def published(
        cls, stride: int, *, ratios: Sequence[float] = (0.5, 1.0, 2.0), scales: Sequence[float] = (8.0, 16.0, 32.0)
    ) -> Self:
        """Every ratio (height / width) with every scale (sides in strides), around the middle of the cell.

        A square of one stride is brought to each ratio, its sides rounded to whole pixels (halves to even), and only
        then scaled, as both releases do: at stride 16, ratio 1/2 is 23 x 12. Detectron gives each level one scale, 8.
        """
        shapes = []
        for ratio in ratios:
            width = round(sqrt(stride * stride / ratio))
            shapes += [(width * scale, round(width * ratio) * scale) for scale in scales]
        middle = stride / 2
        return cls(stride, tuple((middle - w / 2, middle - h / 2, middle + w / 2, middle + h / 2) for w, h in shapes))

    def over(self, height: int, width: int, *, like: Tensor) -> Tensor:
        """The boxes at all cells of a map, (height * width * boxes, 4), by row, column and shape; placed as `like`."""
        shapes = torch.tensor(self.boxes, device=like.device, dtype=torch.float32)
        rows, columns = (torch.arange(count, device=like.device) * self.stride for count in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        corners = torch.stack((x, y, x, y), 2).reshape(-1, 1, 4)
        return (corners + shapes).reshape(-1, 4)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which boxes (K, 4) lie wholly within an image of `size` (height, width): booleans (K,).

    >>> inside(torch.tensor([[0, 0, 8, 8.0], [1, 0, 9, 8.0]]), (8, 8))
    tensor([ True, False])
    """
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(1)
    return (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
