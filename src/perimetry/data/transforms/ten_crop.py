"""Ten crops of one image, and the mean of what a network says of them (AlexNet, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perimetry.data.transforms.draws import Draws
from perimetry.data.transforms.geometry import Sample
from perimetry.errors import InputError, ShapeError


@dataclass(frozen=True, slots=True)
class TenCrop:
    """The four corners and the centre, then the same mirrored: (10, 3, H, W) from an image that is large enough.

    >>> from perimetry.data.transforms import Draws
    >>> image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    >>> crops, _ = TenCrop((2, 2))((image, 0), Draws(seed=0, epoch=0, index=0))
    >>> crops[4, 0].tolist(), crops[9, 0].tolist()
    ([[5, 6], [9, 10]], [[6, 5], [10, 9]])
    """

    size: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise InputError(f"expected a size from 1 x 1, got {self.size}")

    @property
    def random(self) -> bool:
        """No."""
        return False

    def __call__(self, sample: Sample, draws: Draws) -> Sample:  # noqa: ARG002 - as every step
        """Cut out the crops."""
        image, target = sample
        height, width = image.shape[-2:]
        rows, columns = self.size
        if height < rows or width < columns:
            raise ShapeError(
                f"expected an image of {rows} x {columns} or more, got {height} x {width}; resize it first"
            )
        if target is not None and not isinstance(target, int):
            raise ShapeError("ten crops have one class; a mask or boxes would need one for each crop")
        down, right = height - rows, width - columns
        places = ((0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2)))
        crops = torch.stack([image[:, top : top + rows, left : left + columns] for top, left in places])
        return torch.cat((crops, crops.flip(-1))), target


def mean_scores(model: nn.Module, crops: Tensor) -> Tensor:
    """The mean of the class probabilities of crops: (N, crops, 3, H, W) to (N, classes).

    model: gives scores before the softmax, (N, classes). It runs as it is: put it into eval mode first.
    """
    if crops.ndim != 5:
        raise ShapeError(f"expected crops (N, crops, 3, H, W), got {tuple(crops.shape)}; add a batch axis with [None]")
    scores = model(crops.flatten(0, 1))
    means: Tensor = scores.softmax(dim=1).unflatten(0, crops.shape[:2]).mean(dim=1)
    return means
