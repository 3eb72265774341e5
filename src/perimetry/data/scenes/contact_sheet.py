"""A contact sheet: scenes side by side, with their masks or boxes drawn in."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from perimetry.data.scenes.scene_set import SceneSet
from perimetry.data.scenes.writing import PALETTE
from perimetry.errors import InputError

_MARGIN = 4


def contact_sheet(images: SceneSet, *, first: int = 0, rows: int = 2, columns: int = 4) -> Image.Image:
    """The scenes from index `first`, row by row: masks stand beside their image, boxes are drawn into it.

    A scene is never scaled. Raises `InputError` where there are fewer scenes than places.

    >>> from perimetry.data.scenes import scenes
    >>> contact_sheet(scenes("segmentation", count=8, size=(32, 32), seed=0)).size
    (276, 76)
    """
    if first < 0 or rows < 1 or columns < 1 or first + rows * columns > len(images):
        raise InputError(
            f"a sheet of {rows} x {columns} from scene {first} needs more than the {len(images)} there are"
        )
    tiles = [_tile(*images[first + index]) for index in range(rows * columns)]
    framed = [functional.pad(tile, (0, _MARGIN, 0, _MARGIN), value=255) for tile in tiles]
    lines = [torch.cat(framed[row * columns : (row + 1) * columns], dim=2) for row in range(rows)]
    sheet = functional.pad(torch.cat(lines, dim=1), (_MARGIN, 0, _MARGIN, 0), value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())


def _tile(image: Tensor, target: int | Tensor | dict[str, Tensor]) -> Tensor:
    """An image with its target in sight, (3, H, W) or (3, H, 2 W)."""
    palette = torch.tensor(PALETTE, dtype=torch.uint8)
    if isinstance(target, Tensor):
        return torch.cat((image, palette[target].permute(2, 0, 1)), dim=2)
    if isinstance(target, dict):
        for (left, top, right, bottom), label in zip(target["boxes"].long().tolist(), target["labels"], strict=True):
            color = palette[label][:, None]
            for row in (top, bottom - 1):
                image[:, row, left:right] = color
            for column in (left, right - 1):
                image[:, top:bottom, column] = color
    return image
