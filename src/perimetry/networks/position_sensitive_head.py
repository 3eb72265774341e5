"""R-FCN's head: position-sensitive score maps for the whole image, and a vote of the bins for each region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from perimetry import ops
from perimetry.errors import InputError
from perimetry.networks.region_heads import RegionOutputs, numbered
from perimetry.networks.region_levels import region_levels

Offsets = Literal["class_agnostic", "class_aware"]


class PositionSensitiveHead(nn.Module):
    """A 1x1 convolution, score maps for each class and for the offsets, pooled by bins of their own (Dai et al. 2016).

    strides: of the maps that regions are pooled from, by name; with several, all share the layers, and a region's size
    says which one is its own (`region_levels`). channels: of these maps; width: of conv_new_1; classes: without the
    background; offsets: one set for background and one for any object, or one for each class; bins: a side.
    """

    def __init__(
        self,
        strides: Mapping[str, int],
        *,
        channels: int,
        classes: int,
        width: int = 1024,
        offsets: Offsets = "class_agnostic",
        bins: int = 7,
    ) -> None:
        super().__init__()
        if offsets not in ("class_agnostic", "class_aware"):
            raise InputError(f"offsets are 'class_agnostic' or 'class_aware', got {offsets!r}")
        if classes < 1 or bins < 1:
            raise InputError(f"expected at least one class and one bin, got {classes} and {bins}")
        self.strides, self.classes, self.bins = dict(strides), classes, bins
        self.kinds = 2 if offsets == "class_agnostic" else classes + 1
        self.conv_new_1, self.conv_new_1_relu = nn.Conv2d(channels, width, 1), nn.ReLU()
        self.rfcn_cls = nn.Conv2d(width, (classes + 1) * bins * bins, 1)
        self.rfcn_bbox = nn.Conv2d(width, 4 * self.kinds * bins * bins, 1)
        for layer in (self.conv_new_1, self.rfcn_cls, self.rfcn_bbox):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> RegionOutputs:
        """Scores and offsets of all boxes of a batch, in order."""
        regions = numbered(boxes)
        if len(self.strides) == 1:
            ((name, stride),) = self.strides.items()
            return self._of_map(features[name], regions, stride)
        levels = region_levels(regions[:, 1:], list(self.strides.values()))
        places = [(levels == level).nonzero()[:, 0] for level in range(len(self.strides))]
        found = [
            self._of_map(features[name], regions[own], stride)
            for (name, stride), own in zip(self.strides.items(), places, strict=True)
        ]
        order = torch.cat(places).argsort()
        return RegionOutputs(
            torch.cat([each.logits for each in found])[order], torch.cat([each.offsets for each in found])[order]
        )

    def _of_map(self, features: Tensor, regions: Tensor, stride: int) -> RegionOutputs:
        hidden = self.conv_new_1_relu(self.conv_new_1(features))
        logits = self._vote(self.rfcn_cls(hidden), regions, stride)
        offsets = self._vote(self.rfcn_bbox(hidden), regions, stride)
        return RegionOutputs(logits, offsets.reshape(len(offsets), self.kinds, 4))

    def _vote(self, maps: Tensor, regions: Tensor, stride: int) -> Tensor:
        # The operator counts the last pixel as inside, boxes here end just outside.
        inclusive = regions - regions.new_tensor([0, 0, 0, 1, 1])
        pooled = ops.position_sensitive_roi_pool(maps, inclusive, size=self.bins, scale=1 / stride)
        return pooled.mean((2, 3))

    def extra_repr(self) -> str:
        """The maps and the bins."""
        return f"strides={self.strides}, bins={self.bins}"
