"""Heads that classify regions and move their boxes, and the losses that they are trained by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry import ops
from perimetry.errors import InputError


class RegionOutputs(NamedTuple):
    """What a head says of R regions: scores (R, classes + 1), the background first, and offsets (R, kinds, 4).

    kinds: classes + 1; or 2, background and object, where offsets do not depend on the class.
    """

    logits: Tensor
    offsets: Tensor


class RegionMaxPool(nn.Module):
    """RoI max pooling of one named map; boxes are lists of (K, 4) in pixels of the batch, x2 and y2 just outside.

    The operator, Caffe's, counts the last pixel as inside, so that it gets x2 - 1 and y2 - 1.
    """

    def __init__(self, name: str, *, size: int, stride: int) -> None:
        super().__init__()
        self.name, self.size, self.stride = name, size, stride

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pooled maps (R, C, size, size) of all boxes, in order."""
        regions = numbered(boxes)
        regions[:, 3:] -= 1
        return ops.roi_max_pool(features[self.name], regions, size=self.size, scale=1 / self.stride)

    def extra_repr(self) -> str:
        """The map and the bins."""
        return f"{self.name!r}, size={self.size}, stride={self.stride}"


def numbered(boxes: Sequence[Tensor]) -> Tensor:
    """The boxes of several images as rows of (image, x1, y1, x2, y2).

    >>> numbered([torch.zeros(1, 4), torch.ones(1, 4)])
    tensor([[0., 0., 0., 0., 0.],
            [1., 1., 1., 1., 1.]])
    """
    return torch.cat([functional.pad(each, (1, 0), value=float(image)) for image, each in enumerate(boxes)])


def check_object_classes(classes: int) -> int:
    """The number of classes, without the background; raises `InputError` unless it is at least 1."""
    if classes < 1:
        raise InputError(f"classes counts what is to be found, without the background, at least 1; got {classes}")
    return classes


class FullyConnectedHead(nn.Module):
    """Pool each region, then two fully connected layers, then scores and offsets (Fast R-CNN, figure 1).

    pool: from maps and boxes to (R, C, bins, bins); inputs: C * bins * bins; widths: of fc6 and fc7; classes: without
    the background; dropout: of fc6 and fc7 in training, 0 for none. The last two layers start as released.
    """

    def __init__(
        self,
        pool: nn.Module,
        inputs: int,
        *,
        classes: int,
        widths: tuple[int, int] = (4096, 4096),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.roi_pool5 = pool
        self.fc6, self.relu6, self.drop6 = nn.Linear(inputs, widths[0]), nn.ReLU(), nn.Dropout(dropout)
        self.fc7, self.relu7, self.drop7 = nn.Linear(*widths), nn.ReLU(), nn.Dropout(dropout)
        self.cls_score = nn.Linear(widths[1], classes + 1)
        self.bbox_pred = nn.Linear(widths[1], 4 * (classes + 1))
        for layer in (self.fc6, self.fc7):  # pre-trained in the release, so that it has no fillers for them
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        for layer in (self.fc6, self.fc7, self.cls_score, self.bbox_pred):
            nn.init.zeros_(layer.bias)

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> RegionOutputs:
        """Scores and offsets of all boxes of a batch, in order."""
        hidden = self.roi_pool5(features, boxes).flatten(1)
        hidden = self.drop6(self.relu6(self.fc6(hidden)))
        hidden = self.drop7(self.relu7(self.fc7(hidden)))
        return RegionOutputs(self.cls_score(hidden), self.bbox_pred(hidden).unflatten(1, (-1, 4)))


def region_losses(outputs: RegionOutputs, labels: Tensor, aims: Tensor, *, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Of each region, the cross entropy and the smooth L1 loss of its offsets, 0 for background: (R,) each.

    labels: (R,), 0 for background; aims: (R, 4), the offsets that move each region onto its object; beta: where the
    loss turns from a parabola to a line, 1 / sigma^2 of the releases.

    >>> outputs = RegionOutputs(torch.zeros(2, 2), torch.zeros(2, 2, 4))
    >>> region_losses(outputs, torch.tensor([0, 1]), torch.full((2, 4), 2.0))[1]
    tensor([0., 6.])
    """
    classification = functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
    kinds = labels.clamp(max=outputs.offsets.shape[1] - 1)
    moved = outputs.offsets[torch.arange(len(labels), device=labels.device), kinds].float()
    box = functional.smooth_l1_loss(moved, aims.to(moved), beta=beta, reduction="none").sum(1)
    return classification, torch.where(labels > 0, box, 0.0)
