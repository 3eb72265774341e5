"""The cards of the detectors on a feature pyramid."""

from __future__ import annotations

from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.detector_differences import RANDOM_START
from perimetry.networks.fpn_detectors import fast_rcnn_fpn, faster_rcnn_fpn, r_fcn_fpn

_PAPER = "Lin, Dollár, Girshick, He, Hariharan, Belongie: Feature Pyramid Networks for Object Detection, CVPR 2017"
_RELEASE = "facebookresearch/Detectron"
_CODE = _RELEASE + " (modeling/FPN.py, modeling/fast_rcnn_heads.py, configs/12_2017_baselines/*R-50-FPN*)"
_ZOO = _RELEASE + ", MODEL_ZOO.md"
_IMAGE = (800, 1344)
_SMALL = (128, 192)
_AS_GIVEN = (("short_side", None),)

_NECK = (
    Quantity("parameters", 3_344_384, _RELEASE + ", ResNet-50; equal in torchvision", of="backbone.fpn.*"),
    Quantity("parameters", 3_344_384, _RELEASE, of="backbone.fpn.*", options=(("backbone", "resnet50"),)),
    *quantities(
        "stride",
        _RELEASE,
        {**{f"backbone.fpn.layer_blocks.{level}": 4 << level for level in range(4)}, "backbone.p6": 64},
        image=_SMALL,
        options=_AS_GIVEN,
    ),
    *quantities(
        "map",
        _RELEASE,
        {
            "backbone.fpn.layer_blocks.0": (256, 32, 48),
            "backbone.fpn.layer_blocks.3": (256, 4, 6),
            "backbone.p6": (256, 2, 3),
        },
        image=_SMALL,
        options=_AS_GIVEN,
    ),
)
_HEAD: dict[str, int | float | tuple[float, ...]] = {
    "head.roi_pool5.size": 7,
    "head.roi_pool5.samples": 2,
    "head.fc6.out_features": 1024,
    "head.fc7.out_features": 1024,
}
_TRAINING: dict[str, int | float | tuple[float, ...]] = {
    "rule.sampling.count": 512,
    "preparation.short_sides": (800,),
    "preparation.long_side": 1333,
}
_PROPOSING = (
    Quantity("parameters", 593_935, _RELEASE + "; equal in torchvision", of="rpn.head.*"),
    Quantity("anchors", 268_569, _RELEASE, image=_IMAGE),
    *quantities("setting", _RELEASE, {"rpn.head.anchors": 3, "rpn.head.rpn_cls_score.out_channels": 3}),
    *quantities("initial", _RELEASE, {"rpn.head.rpn_cls_score.bias": 0.0, "rpn.head.rpn_bbox_pred.bias": 0.0}),
)

_SCALED = Difference(
    "Images are scaled to 0 ... 1 and normalised, RGB", "the release subtracts means from BGR values of 0 ... 255"
)
_BACKBONE = Difference(
    "The default backbone is torchvision's ResNet-50, v1.5",
    'its weights are at hand; the release has v1, with the stride in the first 1x1: backbone="resnet50"',
)
_NORMALISATION = Difference(
    "Batch normalisation is trained unless `fix_batch_norms` holds it still",
    "the release holds ImageNet's values; torchvision does where weights are asked for, and trains it where not",
)
_ALIGN = Difference(
    "Regions are aligned from x1 to x2, x2 just outside, as in torchvision",
    "the release hands RoIAlign the last pixel's place, so that its regions are a pixel smaller",
)
_TORCHVISION = (
    Difference(
        "torchvision's detector has other anchors: `torchvision_anchors`",
        "it puts them around corners of cells and rounds after scaling: 46 x 22 pixels at p2 for 48 x 24 here and 512 "
        "x 512 for both at p6. With its anchors and weights, on images whose sides are multiples of 64, proposals are "
        "equal to the last bit and boxes of detections to 0.00001 pixels",
    ),
    Difference(
        "Resized images are rounded to the nearest pixel; torchvision rounds down",
        "such as 800 x 1067 for a photo of 375 x 500, there 800 x 1066; its anchors at p6 then stand less than 64 "
        "pixels apart (61 down and 64 across for 800 x 1344)",
    ),
    Difference(
        "The 1e-6 stands inside the logarithm of a region's level; in torchvision outside",
        "as released; levels differ for sides within 0.0003 pixels below 112, 224 and 448",
    ),
)

FASTER_RCNN_FPN = Card(
    name="faster_rcnn_fpn",
    title="Faster R-CNN with FPN",
    task="detection",
    build=faster_rcnn_fpn,
    image=_IMAGE,
    paper=_PAPER,
    definition=_CODE,
    quantities=(
        *_NECK,
        *_PROPOSING,
        *quantities("setting", _RELEASE, {**_HEAD, **_TRAINING}),
    ),
    differences=(_SCALED, _BACKBONE, _NORMALISATION, RANDOM_START, _ALIGN, *_TORCHVISION),
    results=(
        Result("COCO, ResNet-50, one map (C4), 1x and 2x", "34.8 and 36.5 AP", _ZOO),
        Result("COCO, ResNet-50 with FPN, 1x and 2x", "36.7 and 37.9 AP", _ZOO),
        Result("COCO, recall of 1000 proposals, C4 and FPN", "51.6 and 57.2 AR", _ZOO),
    ),
)

FAST_RCNN_FPN = Card(
    name="fast_rcnn_fpn",
    title="Fast R-CNN with FPN",
    task="detection",
    build=fast_rcnn_fpn,
    image=_IMAGE,
    paper=_PAPER,
    definition=_CODE,
    quantities=(*_NECK, *quantities("setting", _RELEASE, {**_HEAD, **_TRAINING})),
    differences=(_SCALED, _BACKBONE, _NORMALISATION, RANDOM_START, _ALIGN),
    unverified=("published results of this form on given proposals were not looked up",),
)

R_FCN_FPN = Card(
    name="r_fcn_fpn",
    title="R-FCN with FPN",
    task="detection",
    build=r_fcn_fpn,
    image=_IMAGE,
    paper=_PAPER + "; and R-FCN's, NIPS 2016",
    definition=_CODE + "; the head is R-FCN's, put together here",
    quantities=(
        *_NECK,
        *_PROPOSING,
        *quantities("setting", "R-FCN's release", {"head.bins": 7}),
        *quantities(
            "setting",
            "R-FCN's release",
            {"head.rfcn_cls.out_channels": 1029, "head.rfcn_bbox.out_channels": 392},
            options=(("classes", 20),),
        ),
    ),
    differences=(
        _SCALED,
        _BACKBONE,
        _NORMALISATION,
        RANDOM_START,
        Difference(
            "No original has this form", "R-FCN stands on one map of stride 16, with 1024 channels in conv_new_1"
        ),
    ),
    unverified=("no published definition of R-FCN on a pyramid was found; the widths are our choice",),
)
