"""Which anchors and regions a detector learns from: labels by overlap, and random draws as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from torch import Tensor

from perimetry.errors import InputError
from perimetry.networks.anchors import inside

IGNORED = -1


@dataclass(frozen=True, slots=True)
class AnchorSampling:
    """How anchors are labelled and drawn for the training of a region proposal network, for each image.

    count: anchors drawn; positives: their largest share; positive: the overlap (IoU) from which an anchor is an object;
    negative: below which it is background; inside_only: leave out anchors that cross the image's border. An image
    that holds no anchor whole then teaches proposals nothing, and their losses are 0: give smaller ones (`AnchorGrid`).
    """

    count: int = 256
    positives: float = 0.5
    positive: float = 0.7
    negative: float = 0.3
    inside_only: bool = True

    def __post_init__(self) -> None:
        _check(self.count, self.positives)
        if not 0 <= self.negative <= self.positive <= 1:
            raise InputError(f"expected 0 <= negative <= positive <= 1, got {self.negative} and {self.positive}")


@dataclass(frozen=True, slots=True)
class RegionSampling:
    """How regions are labelled and chosen for the training of the region head, for each image.

    count: regions chosen; positives: the largest share of objects in a random draw; positive: the overlap (IoU) from
    which a region has the class of its object; background: the overlaps [low, high) of the background.
    choice: "random"; or "hardest", online hard example mining: the regions of the largest losses, whatever their
    labels, after non-maximum suppression by loss above `overlap` (None: without suppression, R-FCN's form).
    """

    count: int = 64
    positives: float = 0.25
    positive: float = 0.5
    background: tuple[float, float] = (0.1, 0.5)
    choice: Literal["random", "hardest"] = "random"
    overlap: float | None = 0.7

    def __post_init__(self) -> None:
        _check(self.count, self.positives)
        low, high = self.background
        if not 0 <= low < high <= self.positive <= 1:
            raise InputError(f"expected 0 <= low < high <= positive <= 1, got {low}, {high} and {self.positive}")
        if self.choice not in ("random", "hardest"):
            raise InputError(f"choice is 'random' or 'hardest', got {self.choice!r}")
        if self.overlap is not None and not 0 <= self.overlap <= 1:
            raise InputError(f"expected an overlap from 0 to 1, or None, got {self.overlap}")


def _check(count: int, positives: float) -> None:
    if count < 1 or not 0 <= positives <= 1:
        raise InputError(f"expected a count of at least 1 and a share from 0 to 1, got {count} and {positives}")


def best_matches(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """For each box (K, 4) the largest overlap (IoU) with the truth (M, 4), and the index of that one: (K,) each.

    Without truth all overlaps are 0.

    >>> overlaps, which = best_matches(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[9.0, 9, 10, 10], [0, 0, 4, 2]]))
    >>> overlaps, which
    (tensor([0.5000]), tensor([1]))
    """
    if not len(truth):
        return boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.long)
    overlaps, which = torchvision.ops.box_iou(boxes, truth).max(1)
    return overlaps, which


def label_anchors(anchors: Tensor, truth: Tensor, size: tuple[int, int], rule: AnchorSampling) -> tuple[Tensor, Tensor]:
    """1 for objects, 0 for background, -1 for neither, and the index of the nearest object: (A,) each.

    Objects are all anchors with enough overlap, and for each object all those that overlap it most, however little.

    >>> anchors = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 8], [8, 8, 12, 12], [-4, 0, 4, 4]])
    >>> label_anchors(anchors, torch.tensor([[0.0, 0, 4, 5]]), (16, 16), AnchorSampling())[0]
    tensor([ 1, -1,  0, -1])
    """
    labels = torch.full((len(anchors),), IGNORED, device=anchors.device, dtype=torch.long)
    which = torch.zeros_like(labels)
    allowed = (
        inside(anchors, size).nonzero()[:, 0] if rule.inside_only else torch.arange(len(anchors), device=anchors.device)
    )
    if not len(allowed):
        return labels, which
    if not len(truth):
        labels[allowed] = 0
        return labels, which
    overlaps = torchvision.ops.box_iou(anchors[allowed], truth)
    best, nearest = overlaps.max(1)
    largest = overlaps.amax(0)
    # An object that no anchor touches has no best one: all would share its overlap of 0.
    tops = ((overlaps == largest) & (largest > 0)).any(1)
    found = torch.where(best < rule.negative, 0, IGNORED)
    labels[allowed] = found.masked_fill(tops | (best >= rule.positive), 1)
    which[allowed] = nearest
    return labels, which


def draw(labels: Tensor, *, count: int, positives: float, generator: torch.Generator | None = None) -> Tensor:
    """Indices of at most `count` labels: of those above 0 at most that share, of zeros what is then missing.

    labels: (K,), -1 is never drawn; drawn without replacement, with the default generator where none is given. Objects
    come first.

    >>> draw(torch.tensor([3, 0, -1, 0]), count=4, positives=0.5).sort().values
    tensor([0, 1, 3])
    """
    objects = _some(labels > 0, round(count * positives), generator)
    return torch.cat([objects, _some(labels == 0, count - len(objects), generator)])


def _some(wanted: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    places = wanted.nonzero()[:, 0]
    if len(places) <= count:
        return places
    device = torch.device("cpu") if generator is None else generator.device
    order = torch.randperm(len(places), generator=generator, device=device)
    return places[order[:count].to(places.device)]


@dataclass(frozen=True, slots=True)
class Regions:
    """Labelled regions of one image: boxes (K, 4), labels (K,) with 0 for background, and their objects' boxes (K, 4).

    The object's box of background is its own. forced: (K,), background that a draw takes first.
    """

    boxes: Tensor
    labels: Tensor
    truth: Tensor
    forced: Tensor

    def at(self, places: Tensor) -> Regions:
        """Those at the given indices."""
        return Regions(self.boxes[places], self.labels[places], self.truth[places], self.forced[places])


def label_regions(
    proposals: Tensor,
    truth: Tensor,
    classes: Tensor,
    rule: RegionSampling,
    *,
    hard_negatives: Tensor | None = None,
) -> Regions:
    """The regions that may be learnt from: proposals and the truth itself, without those between the two labels.

    proposals: (P, 4); truth: (M, 4) and its classes (M,); hard_negatives: (H, 4), false positives of an earlier round
    (bootstrapping), which count as background where they overlap no object too much. Where no region has an overlap in
    the range of the background, as on an image without objects, any lower one will do.
    """
    hard = proposals.new_zeros(0, 4) if hard_negatives is None else hard_negatives.to(proposals)
    boxes = torch.cat([proposals, truth.to(proposals), hard])
    overlaps, which = best_matches(boxes, truth.to(boxes))
    forced = torch.arange(len(boxes), device=boxes.device) >= len(boxes) - len(hard)
    low, high = rule.background
    background = (overlaps < high) & ((overlaps >= low) | forced)
    if not bool(background.any()):
        background = overlaps < high
    objects = (overlaps >= rule.positive) & ~forced
    kept = (objects | background).nonzero()[:, 0]
    labels = torch.zeros_like(which)
    nearest = boxes
    if len(truth):
        labels = torch.where(objects, classes.to(which)[which], 0)
        nearest = torch.where(objects[:, None], truth.to(boxes)[which], boxes)
    return Regions(boxes[kept], labels[kept], nearest[kept], forced[kept])


def draw_regions(regions: Regions, rule: RegionSampling, generator: torch.Generator | None = None) -> Regions:
    """A random draw as published: at most a share of objects, then forced background, then any background."""
    objects = _some(regions.labels > 0, round(rule.count * rule.positives), generator)
    forced = _some(regions.forced, rule.count - len(objects), generator)
    rest = (regions.labels == 0) & ~regions.forced
    return regions.at(torch.cat([objects, forced, _some(rest, rule.count - len(objects) - len(forced), generator)]))
