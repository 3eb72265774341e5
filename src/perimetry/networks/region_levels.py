"""Which level of a pyramid a region is pooled from, and RoIAlign of each region from its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perimetry import ops
from perimetry.errors import InputError
from perimetry.networks.region_heads import numbered

# A region as large as the images that backbones are trained on belongs to the map of stride 16 (FPN, eq. 1).
USUAL_SIDE, USUAL_LEVEL = 224, 4


def region_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """The index of each box's level, the finest first: floor(4 + log2(sqrt(w h) / 224 + 1e-6)) as in FPN, eq. 1.

    boxes: (K, 4), pixels, x2 and y2 just outside, so that w is x2 - x1 (with the last pixel inside, x2 - x1 + 1);
    strides: of the levels, each twice the one before. Returns (K,).

    >>> region_levels(torch.tensor([[0.0, 0, 50, 50], [0, 0, 112, 112], [0, 0, 999, 999]]), (4, 8, 16))
    tensor([0, 1, 2])
    """
    first = math.log2(strides[0])
    if any(stride != strides[0] << level for level, stride in enumerate(strides)) or first % 1:
        raise InputError(f"the strides of levels are powers of 2, each twice the one before; got {tuple(strides)}")
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    level = torch.floor(USUAL_LEVEL + torch.log2(sides / USUAL_SIDE + 1e-6))
    return level.sub(first).clamp(0, len(strides) - 1).long()


class PyramidRegionAlign(nn.Module):
    """RoIAlign of each region from the level that its size says; boxes are lists of (K, 4) in pixels of the batch.

    strides: of the maps by name; size: bins a side; samples: points a side in each bin.
    """

    def __init__(self, strides: Mapping[str, int], *, size: int = 7, samples: int = 2) -> None:
        super().__init__()
        self.strides, self.size, self.samples = dict(strides), size, samples

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pooled maps (R, C, size, size) of all boxes, in order."""
        regions = numbered(boxes)
        levels = region_levels(regions[:, 1:], list(self.strides.values()))
        maps = [features[name] for name in self.strides]
        pooled = maps[0].new_empty(len(regions), maps[0].shape[1], self.size, self.size)
        for level, (each, stride) in enumerate(zip(maps, self.strides.values(), strict=True)):
            own = (levels == level).nonzero()[:, 0]
            found = ops.roi_align(each, regions[own], size=self.size, scale=1 / stride, samples=self.samples)
            pooled[own] = found
        return pooled

    def extra_repr(self) -> str:
        """The maps, the bins, and the points of each."""
        return f"strides={self.strides}, size={self.size}, samples={self.samples}"
