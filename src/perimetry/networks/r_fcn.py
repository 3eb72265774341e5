"""R-FCN: position-sensitive score maps in the place of a head for each region (Dai et al. 2016)."""

from __future__ import annotations

from functools import partial

from torch import nn

from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import ProposingDetector, RegionRule
from perimetry.networks.detector_backbones import detector_backbone, maps_at
from perimetry.networks.detector_differences import FEW_DETECTIONS, RANDOM_START, SEVERAL_IMAGES
from perimetry.networks.detector_parts import STRIDE, proposals_on
from perimetry.networks.image_batch import ImagePreparation
from perimetry.networks.position_sensitive_head import Offsets, PositionSensitiveHead
from perimetry.networks.region_proposals import ProposalRule
from perimetry.networks.residual_trunks import RESIDUAL_TRUNKS, residual_trunk
from perimetry.networks.sampling import AnchorSampling, RegionSampling

# Online hard example mining as R-FCN has it: all regions forward, the 128 of the largest loss, without suppression.
R_FCN_HARD_EXAMPLES = RegionSampling(count=128, background=(0.0, 0.5), choice="hardest", overlap=None)
R_FCN_HARD_PROPOSALS = ProposalRule(before=6000, count=300)

_RELEASE = "daijifeng001/R-FCN, YuwenXiong/py-R-FCN"
_README = "daijifeng001/R-FCN, README.md"
_101 = (("backbone", "resnet101"),)


def r_fcn(
    *,
    backbone: str | nn.Module = "resnet50",
    classes: int = 20,
    offsets: Offsets = "class_agnostic",
    grid: AnchorGrid | None = None,
    sampling: RegionSampling | None = None,
    anchor_sampling: AnchorSampling | None = None,
    training_proposals: ProposalRule | None = None,
    proposals: ProposalRule | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 600,
    long_side: int = 1000,
) -> ProposingDetector:
    """R-FCN: 7 x 7 score maps for each class on res5 at stride 16, regions that average them, proposals from res4.

    backbone: "resnet50" or "resnet101", v1 with res5 dilated, as published; "torchvision:NAME" or "timm:NAME", dilated
    to stride 16; or a module with a map of stride 16, of which the last is scored and the one before proposes. classes:
    without the background; offsets: as published, or one set for each class. sampling, training_proposals: for online
    hard example mining as released give R_FCN_HARD_EXAMPLES and R_FCN_HARD_PROPOSALS. The rest is `faster_rcnn`'s.
    As published, batch normalisation holds still: `fix_batch_norms`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     sum(parameter.numel() for parameter in r_fcn().parameters())
    31809603
    """
    trunks = {name: partial(residual_trunk, name, output_stride=STRIDE) for name in RESIDUAL_TRUNKS}
    body = detector_backbone(backbone, published=trunks, output_stride=STRIDE)
    channels = maps_at(body, STRIDE)
    proposing, scored = list(channels)[-2:][0], list(channels)[-1]  # res4 and res5, or one map for both
    sampling = sampling or RegionSampling(count=128, background=(0.0, 0.5))
    return ProposingDetector(
        preparation=ImagePreparation(short_side=short_side, long_side=long_side),
        backbone=body,
        rpn=proposals_on(
            proposing,
            channels[proposing],
            width=512,
            grid=grid,
            training=training_proposals,
            testing=proposals,
            sampling=anchor_sampling,
        ),
        head=PositionSensitiveHead({scored: STRIDE}, channels=channels[scored], classes=classes, offsets=offsets),
        rule=RegionRule(
            sampling=sampling,
            detection=detection or DetectionRule(),
            # The release divides by 128 even where fewer regions are left.
            box_count=sampling.count if sampling.choice == "hardest" else None,
        ),
    )


R_FCN = Card(
    name="r_fcn",
    title="R-FCN",
    task="detection",
    build=r_fcn,
    image=(600, 1000),
    paper="Dai, Li, He, Sun: R-FCN: Object Detection via Region-based Fully Convolutional Networks, NIPS 2016",
    definition=_RELEASE + " (models/pascal_voc/ResNet-*/rfcn_end2end/*.prototxt), daijifeng001/caffe-rfcn",
    quantities=(
        Quantity("parameters", 31_809_603, _RELEASE + ", ResNet-50, with conv1's bias and each scale and shift"),
        Quantity("parameters", 50_801_667, _RELEASE + ", ResNet-101, with each scale and shift", options=_101),
        *quantities("stride", _RELEASE, {"backbone.res4f": 16, "backbone.res5c": 16}),
        *quantities(
            "map",
            _RELEASE,
            {
                "backbone.res4f": (1024, 38, 63),
                "backbone.res5c": (2048, 38, 63),
                "head.conv_new_1": (1024, 38, 63),
                "head.rfcn_cls": (1029, 38, 63),
                "head.rfcn_bbox": (392, 38, 63),
                "rpn.head.rpn_conv": (512, 38, 63),
            },
        ),
        *quantities(
            "setting",
            _RELEASE,
            {
                "backbone.res5a.conv1.stride": (1, 1),
                "backbone.res5a.conv2.dilation": (2, 2),
                "backbone.res5c.conv2.dilation": (2, 2),
                "head.bins": 7,
                "head.rfcn_cls.out_channels": 1029,
                "head.rfcn_bbox.out_channels": 392,
                "rpn.head.rpn_conv.in_channels": 1024,
                "rpn.head.anchors": 9,
            },
        ),
        *quantities("setting", _RELEASE, {"head.rfcn_bbox.out_channels": 4116}, options=(("offsets", "class_aware"),)),
        *quantities("setting", _RELEASE + ", COCO", {"head.rfcn_cls.out_channels": 3969}, options=(("classes", 80),)),
        *quantities(
            "setting",
            _RELEASE + ", rfcn_end2end_ohem",
            {
                "rule.sampling.count": 128,
                "rule.box_count": 128,
            },
            options=(("sampling", R_FCN_HARD_EXAMPLES), ("training_proposals", R_FCN_HARD_PROPOSALS)),
        ),
        *quantities(
            "initial", _RELEASE, {f"head.{name}.bias": 0.0 for name in ("conv_new_1", "rfcn_cls", "rfcn_bbox")}
        ),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB",
            "the release subtracts means from BGR values of 0 ... 255",
        ),
        Difference(
            "Boxes have x2 and y2 just outside; the release counts the last pixel as inside and adds 1 to widths",
            "torchvision's convention; score maps are pooled from x2 - 1 and y2 - 1, so that bins are the release's. "
            "The boxes that the release predicts are one pixel wider, as it does not take that 1 off again",
        ),
        Difference(
            "Batch normalisation is trained unless `fix_batch_norms` holds it still",
            "the release holds statistics, scale and shift of ImageNet's weights, which random values have not",
        ),
        RANDOM_START,
        SEVERAL_IMAGES,
        Difference(
            "Hard examples are found by a pass of their own, without gradients",
            "the release weighs the losses of one pass: the same gradients, in less time",
        ),
        FEW_DETECTIONS,
    ),
    results=(
        Result("VOC 2007 test, trained on 07+12, ResNet-50 and 101", "77.4 and 79.5 mAP (py: 77.6 and 79.4)", _README),
        Result("without hard examples, ResNet-101; Faster R-CNN", "76.6; 76.4 mAP", _README),
        Result("with hard examples, ResNet-101; Faster R-CNN", "79.5; 79.3 mAP", _README),
        Result("trained at several scales; on COCO too", "80.5; 83.6 mAP", _README),
        Result("VOC 2012 test; trained on COCO too", "77.6; 82.0 mAP", _README),
        Result("ResNet-50 five times", "77.1, 77.3, 77.7, 77.9, 77.0: mean 77.4, deviation 0.39 mAP", _README),
    ),
)
