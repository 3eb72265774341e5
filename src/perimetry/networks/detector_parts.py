"""The backbones that detectors were published on, with the heads that belong to them, any other, and proposals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from perimetry.errors import InputError
from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.detector_backbones import detector_backbone, maps_at
from perimetry.networks.region_heads import FullyConnectedHead, RegionMaxPool, check_object_classes
from perimetry.networks.region_proposals import ProposalRule, RegionProposalHead, RegionProposals
from perimetry.networks.sampling import AnchorSampling
from perimetry.networks.trunks import Trunk, caffenet_trunk, vgg16_trunk, vgg_m_trunk, zf_trunk

STRIDE: Final = 16  # of the map that single-scale detectors pool from


@dataclass(frozen=True, slots=True)
class _Published:
    build: Callable[[], Trunk]
    bins: int
    widths: tuple[int, int]
    proposal_width: int


_PUBLISHED = {
    "vgg16": _Published(vgg16_trunk, 7, (4096, 4096), 512),
    "caffenet": _Published(caffenet_trunk, 6, (4096, 4096), 256),
    "vgg_m": _Published(vgg_m_trunk, 6, (4096, 1024), 256),
    "zf": _Published(zf_trunk, 6, (4096, 4096), 256),
}
# A head for networks that no detector was published on: torchvision's size of fully connected layers.
_OTHER_WIDTHS, _OTHER_BINS, _OTHER_PROPOSAL_WIDTH = (1024, 1024), 7, 512


@dataclass(frozen=True, slots=True)
class Parts:
    """A backbone, the name and channels of its map of stride 16, the head on it, and the width of its RPN."""

    backbone: nn.Module
    map: str
    channels: int
    head: FullyConnectedHead
    proposal_width: int


def parts_of(backbone: str | nn.Module, *, classes: int) -> Parts:
    """What a single-scale detector needs on a backbone.

    backbone: "vgg16", "caffenet", "vgg_m" or "zf" as published; a name such as "timm:tf_efficientnet_lite0", dilated so
    that no map is coarser than stride 16, whose deepest map is taken; or a module that returns named maps and has
    `channels` and `strides` by name, one of them 16. Raises `UnknownNameError` and `InputError`.
    """
    check_object_classes(classes)
    published = _PUBLISHED.get(backbone) if isinstance(backbone, str) else None
    trunks = {name: each.build for name, each in _PUBLISHED.items()}
    body = detector_backbone(backbone, published=trunks, output_stride=STRIDE)
    name, channels = list(maps_at(body, STRIDE).items())[-1]
    bins = published.bins if published else _OTHER_BINS
    head = FullyConnectedHead(
        RegionMaxPool(name, size=bins, stride=STRIDE),
        channels * bins * bins,
        classes=classes,
        widths=published.widths if published else _OTHER_WIDTHS,
    )
    return Parts(body, name, channels, head, published.proposal_width if published else _OTHER_PROPOSAL_WIDTH)


def proposals_on(
    map_name: str,
    channels: int,
    *,
    width: int,
    grid: AnchorGrid | None,
    training: ProposalRule | None,
    testing: ProposalRule | None,
    sampling: AnchorSampling | None,
) -> RegionProposals:
    """The proposal network on a map of stride 16, with what Faster R-CNN published for what is None.

    channels: of that map; width: of the layer before the scores. Raises `InputError` for a grid of another stride.
    """
    grid = grid or AnchorGrid.published(STRIDE)
    if grid.stride != STRIDE:
        raise InputError(f"the anchors stand on a map of stride {STRIDE}, got a grid of stride {grid.stride}")
    return RegionProposals(
        RegionProposalHead(channels, anchors=len(grid.boxes), width=width),
        {map_name: grid},
        training=training or ProposalRule(before=12_000, count=2000),
        testing=testing or ProposalRule(before=6000, count=300),
        sampling=sampling or AnchorSampling(),
    )
