"""Faster R-CNN: Fast R-CNN on the proposals of a network that shares its layers (Ren et al. 2015)."""

from __future__ import annotations

from torch import nn

from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import ProposingDetector, RegionRule
from perimetry.networks.detector_differences import FEW_DETECTIONS, MEANS, RANDOM_START, SEVERAL_IMAGES
from perimetry.networks.detector_parts import parts_of, proposals_on
from perimetry.networks.image_batch import ImagePreparation
from perimetry.networks.region_proposals import ProposalRule
from perimetry.networks.sampling import AnchorSampling, RegionSampling

_RELEASE = "rbgirshick/py-faster-rcnn"
_PAPER = "Ren et al. 2015, tables 2 to 4"
_ZF = (("backbone", "zf"),)


def faster_rcnn(
    *,
    backbone: str | nn.Module = "vgg16",
    classes: int = 20,
    grid: AnchorGrid | None = None,
    sampling: RegionSampling | None = None,
    anchor_sampling: AnchorSampling | None = None,
    training_proposals: ProposalRule | None = None,
    proposals: ProposalRule | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 600,
    long_side: int = 1000,
) -> ProposingDetector:
    """Faster R-CNN on one map, trained end to end.

    backbone: "vgg16" or "zf" as published, "caffenet", "vgg_m", a name such as "timm:resnet18", or a module with a map
    of stride 16; classes: without the background; grid: the anchors, the nine of 128 to 512 pixels as published;
    sampling, anchor_sampling: what the head and the proposals learn from; training_proposals, proposals: how proposals
    are made in training (the best 12000 of the anchors, 2000 kept) and after it (6000, 300), with the switches of the
    paper's ablation; short_side, long_side: pixels that images are resized to. Call it with images:
    `ProposingDetector`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = faster_rcnn()
    >>> sum(parameter.numel() for parameter in network.parameters()), network.anchors((600, 1000))
    (137078239, 21546)
    """
    parts = parts_of(backbone, classes=classes)
    return ProposingDetector(
        preparation=ImagePreparation(short_side=short_side, long_side=long_side),
        backbone=parts.backbone,
        rpn=proposals_on(
            parts.map,
            parts.channels,
            width=parts.proposal_width,
            grid=grid,
            training=training_proposals,
            testing=proposals,
            sampling=anchor_sampling,
        ),
        head=parts.head,
        rule=RegionRule(
            sampling=sampling or RegionSampling(count=128, background=(0.0, 0.5)),
            detection=detection or DetectionRule(),
        ),
    )


FASTER_RCNN = Card(
    name="faster_rcnn",
    title="Faster R-CNN",
    task="detection",
    build=faster_rcnn,
    image=(600, 1000),
    paper="Ren, He, Girshick, Sun: Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, "
    "NIPS 2015",
    definition=_RELEASE + " (models/pascal_voc/*/faster_rcnn_end2end, lib/rpn)",
    quantities=(
        Quantity("parameters", 137_078_239, _RELEASE + ", VGG16"),
        Quantity("parameters", 2_387_510, _RELEASE + ", VGG16", of="rpn.*"),
        Quantity("parameters", 59_294_751, _RELEASE + ", ZF", options=_ZF),
        Quantity("parameters", 603_958, _RELEASE + ", ZF", of="rpn.*", options=_ZF),
        Quantity("anchors", 21_546, _RELEASE),
        *quantities("field", _RELEASE, {"backbone.conv5_3": 196, "rpn.head.rpn_conv": 228}),
        Quantity(
            "field",
            191,
            "counted: the published 171 leaves out that ZF normalises over 3 x 3 cells, which adds 4 + 16 pixels",
            of="rpn.head.rpn_conv",
            image=(160, 256),
            options=(*_ZF, ("short_side", None)),
        ),
        *quantities("stride", _RELEASE, {"rpn.head.rpn_conv": 16}),
        *quantities(
            "map",
            _RELEASE,
            {
                "backbone.conv5_3": (512, 38, 63),
                "rpn.head.rpn_cls_score": (18, 38, 63),
                "rpn.head.rpn_bbox_pred": (36, 38, 63),
            },
        ),
        *quantities(
            "setting",
            _RELEASE,
            {
                "head.roi_pool5.size": 7,
                "rpn.head.anchors": 9,
                "rpn.head.rpn_conv.out_channels": 512,
                "rpn.sampling.count": 256,
                "rpn.sampling.positives": 0.5,
                "rpn.sampling.positive": 0.7,
                "rpn.sampling.negative": 0.3,
                "rule.sampling.count": 128,
                "rule.sampling.background": (0.0, 0.5),
                "rule.deviations": (0.1, 0.1, 0.2, 0.2),
                "rule.detection.overlap": 0.3,
            },
        ),
        *quantities(
            "setting", _RELEASE, {"head.roi_pool5.size": 6, "rpn.head.rpn_conv.out_channels": 256}, options=_ZF
        ),
        *quantities("initial", _RELEASE, {"rpn.head.rpn_cls_score.bias": 0.0, "rpn.head.rpn_bbox_pred.bias": 0.0}),
    ),
    differences=(
        MEANS,
        Difference(
            "Boxes have x2 and y2 just outside; the release counts the last pixel as inside and adds 1 to widths",
            "torchvision's convention: the same once x2 and y2 are one larger. The boxes that the release predicts are "
            "one pixel wider, as it does not take that 1 off again",
        ),
        Difference(
            "An object that no anchor overlaps makes no anchor positive",
            "in the release all anchors share its best overlap of 0, and all would become positive",
        ),
        Difference("Trained end to end", "the paper's numbers are of alternating training; the release has both"),
        SEVERAL_IMAGES,
        RANDOM_START,
        FEW_DETECTIONS,
    ),
    results=(
        Result("VOC 2007 test, VGG16, trained on 07, 07+12, and COCO too", "69.9, 73.2 and 78.8 mAP", _PAPER),
        Result("VOC 2012 test, VGG16, the same", "67.0, 70.4 and 75.9 mAP", _PAPER),
        Result("ZF, selective search, EdgeBoxes, RPN shared, unshared", "58.7, 58.6, 59.9, 58.7 mAP", _PAPER),
        Result("ZF trained on selective search, 100, 300, 1000 proposals of RPN", "55.1, 56.8, 56.3 mAP", _PAPER),
        Result("the same, no suppression, 6000", "55.2 mAP", _PAPER),
        Result("the same, no classification, 100, 300, 1000", "44.6, 51.4, 55.8 mAP", _PAPER),
        Result("the same, no regression, 300, 1000", "52.1, 51.3 mAP", _PAPER),
        Result("the same, proposals of RPN on VGG", "59.2 mAP", _PAPER),
    ),
    unverified=("the proposal network on CaffeNet and VGG_M, 256 wide here",),
)
