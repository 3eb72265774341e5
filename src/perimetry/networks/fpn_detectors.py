"""Fast R-CNN, Faster R-CNN and R-FCN on a feature pyramid (Lin et al. 2017), as Detectron has them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from perimetry.errors import InputError
from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import GivenProposalsDetector, ProposingDetector, RegionRule
from perimetry.networks.feature_pyramid import CHANNELS, LEVELS, FeaturePyramid, feature_pyramid
from perimetry.networks.image_batch import ImagePreparation
from perimetry.networks.position_sensitive_head import Offsets, PositionSensitiveHead
from perimetry.networks.region_heads import FullyConnectedHead, check_object_classes
from perimetry.networks.region_levels import PyramidRegionAlign
from perimetry.networks.region_proposals import ProposalRule, RegionProposalHead, RegionProposals
from perimetry.networks.sampling import AnchorSampling, RegionSampling

BINS, WIDTH = 7, 1024
DIVISOR = 32  # sides of a batch, so that each level has exactly twice the cells of the next


def pyramid_anchors() -> dict[str, AnchorGrid]:
    """Detectron's anchors: squares of 32 pixels at p2 ... 512 at p6, and the ratios 1/2 and 2, one size at each level.

    >>> {level: round(grid.boxes[1][2] - grid.boxes[1][0]) for level, grid in pyramid_anchors().items()}
    {'p2': 32, 'p3': 64, 'p4': 128, 'p5': 256, 'p6': 512}
    """
    return {level: AnchorGrid.published(stride, scales=(8.0,)) for level, stride in {**LEVELS, "p6": 64}.items()}


def faster_rcnn_fpn(
    *,
    backbone: str | nn.Module = "torchvision:resnet50",
    classes: int = 80,
    grids: Mapping[str, AnchorGrid] | None = None,
    sampling: RegionSampling | None = None,
    anchor_sampling: AnchorSampling | None = None,
    training_proposals: ProposalRule | None = None,
    proposals: ProposalRule | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 800,
    long_side: int = 1333,
) -> ProposingDetector:
    """Faster R-CNN on a feature pyramid: proposals from five levels, regions aligned on the one that fits their size.

    backbone: a name or module as `feature_pyramid` takes ("resnet50" is v1, Detectron's; the default v1.5); classes:
    without the background; grids: the anchors of each level, by name p2 ... p6, all with as many shapes; the rest is
    `faster_rcnn`'s: 512 regions of an image, and 2000 (1000 in testing) proposals of a level and in all. As published,
    batch normalisation holds still: `fix_batch_norms`. `torchvision_weights` renames those of torchvision's detector.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = faster_rcnn_fpn()
    >>> network.anchors((800, 1344))
    268569
    """
    return _proposing(
        feature_pyramid(backbone),
        _two_layers(classes),
        grids=grids,
        sampling=sampling,
        anchor_sampling=anchor_sampling,
        training_proposals=training_proposals,
        proposals=proposals,
        detection=detection,
        short_side=short_side,
        long_side=long_side,
    )


def r_fcn_fpn(
    *,
    backbone: str | nn.Module = "torchvision:resnet50",
    classes: int = 80,
    offsets: Offsets = "class_agnostic",
    grids: Mapping[str, AnchorGrid] | None = None,
    sampling: RegionSampling | None = None,
    anchor_sampling: AnchorSampling | None = None,
    training_proposals: ProposalRule | None = None,
    proposals: ProposalRule | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 800,
    long_side: int = 1333,
) -> ProposingDetector:
    """R-FCN's head on a feature pyramid, shared by its levels; everything else is `faster_rcnn_fpn`'s.

    offsets: one set for any object, or one for each class.

    >>> import torch
    >>> with torch.device("meta"):
    ...     r_fcn_fpn(classes=20).head.rfcn_cls
    Conv2d(256, 1029, kernel_size=(1, 1), stride=(1, 1))
    """
    head = PositionSensitiveHead(LEVELS, channels=CHANNELS, classes=classes, width=CHANNELS, offsets=offsets)
    return _proposing(
        feature_pyramid(backbone),
        head,
        grids=grids,
        sampling=sampling,
        anchor_sampling=anchor_sampling,
        training_proposals=training_proposals,
        proposals=proposals,
        detection=detection,
        short_side=short_side,
        long_side=long_side,
    )


def fast_rcnn_fpn(
    *,
    backbone: str | nn.Module = "torchvision:resnet50",
    classes: int = 80,
    sampling: RegionSampling | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 800,
    long_side: int = 1333,
) -> GivenProposalsDetector:
    """Fast R-CNN on a feature pyramid, for proposals of another method; see `faster_rcnn_fpn`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     fast_rcnn_fpn(classes=20).head.fc6
    Linear(in_features=12544, out_features=1024, bias=True)
    """
    return GivenProposalsDetector(
        preparation=ImagePreparation(short_side=short_side, long_side=long_side, divisor=DIVISOR),
        backbone=feature_pyramid(backbone),
        head=_two_layers(classes),
        rule=_rule(sampling, detection),
    )


def _two_layers(classes: int) -> FullyConnectedHead:
    head = FullyConnectedHead(
        PyramidRegionAlign(LEVELS, size=BINS),
        CHANNELS * BINS * BINS,
        classes=check_object_classes(classes),
        widths=(WIDTH, WIDTH),
        dropout=0.0,
    )
    for layer in (head.fc6, head.fc7):
        nn.init.kaiming_uniform_(layer.weight, a=1)  # Caffe2's XavierFill: variance 1 / inputs
    return head


def _rule(sampling: RegionSampling | None, detection: DetectionRule | None) -> RegionRule:
    return RegionRule(
        sampling=sampling or RegionSampling(count=512, background=(0.0, 0.5)),
        detection=detection or DetectionRule(overlap=0.5),
    )


def _proposing(
    pyramid: FeaturePyramid,
    head: nn.Module,
    *,
    grids: Mapping[str, AnchorGrid] | None,
    sampling: RegionSampling | None,
    anchor_sampling: AnchorSampling | None,
    training_proposals: ProposalRule | None,
    proposals: ProposalRule | None,
    detection: DetectionRule | None,
    short_side: int | tuple[int, ...] | None,
    long_side: int,
) -> ProposingDetector:
    grids = pyramid_anchors() if grids is None else grids
    shapes = {len(grid.boxes) for grid in grids.values()}
    strides = {level: grid.stride for level, grid in grids.items()}
    if len(shapes) != 1 or not strides.items() <= pyramid.strides.items():
        raise InputError(
            f"expected grids of anchors by level, all of as many shapes, with the strides of {pyramid.strides}; got "
            f"{strides} with {', '.join(map(str, sorted(shapes))) or 'no'} shapes"
        )
    return ProposingDetector(
        preparation=ImagePreparation(short_side=short_side, long_side=long_side, divisor=DIVISOR),
        backbone=pyramid,
        rpn=RegionProposals(
            RegionProposalHead(CHANNELS, anchors=shapes.pop(), width=CHANNELS, scoring="sigmoid"),
            grids,
            training=training_proposals or ProposalRule(before=2000, count=2000, min_size=0.0),
            testing=proposals or ProposalRule(before=1000, count=1000, min_size=0.0),
            sampling=anchor_sampling or AnchorSampling(),
        ),
        head=head,
        rule=_rule(sampling, detection),
    )
