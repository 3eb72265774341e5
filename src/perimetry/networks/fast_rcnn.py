"""Fast R-CNN, on proposals of another method (Girshick 2015)."""

from __future__ import annotations

from torch import nn

from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import GivenProposalsDetector, RegionRule
from perimetry.networks.detector_differences import ANY_BACKGROUND, MEANS
from perimetry.networks.detector_parts import parts_of
from perimetry.networks.image_batch import ImagePreparation
from perimetry.networks.sampling import RegionSampling

# Online hard example mining as released (Shrivastava et al. 2016): all regions, the hardest 64 of each image.
ONLINE_HARD_EXAMPLES = RegionSampling(count=64, background=(0.0, 0.5), choice="hardest", overlap=0.7)

_RELEASE = "rbgirshick/fast-rcnn"
# Fields and strides do not depend on the image's size, but a small one shows them sooner.
_SMALL, _AS_GIVEN = (160, 256), (("short_side", None),)
_OHEM = "abhi2610/ohem, README.md"


def fast_rcnn(
    *,
    backbone: str | nn.Module = "vgg16",
    classes: int = 20,
    sampling: RegionSampling | None = None,
    detection: DetectionRule | None = None,
    short_side: int | tuple[int, ...] | None = 600,
    long_side: int = 1000,
) -> GivenProposalsDetector:
    """Fast R-CNN: RoI max pooling of given boxes on the last map, two fully connected layers, scores and offsets.

    backbone: "vgg16", "caffenet", "vgg_m" as published, "zf", a name such as "timm:resnet18", or a module with a map of
    stride 16; classes: without the background; sampling: how regions are chosen in training, 64 of each image and a
    quarter of them objects as published (`ONLINE_HARD_EXAMPLES` for OHEM); short_side, long_side: pixels that images
    are resized to. Call it with images and proposals: `GivenProposalsDetector`. As published, freeze
    "backbone.conv1_*" and "backbone.conv2_*" (`freeze`).

    >>> import torch
    >>> with torch.device("meta"):
    ...     sum(parameter.numel() for parameter in fast_rcnn().parameters())
    134690729
    """
    parts = parts_of(backbone, classes=classes)
    return GivenProposalsDetector(
        preparation=ImagePreparation(short_side=short_side, long_side=long_side),
        backbone=parts.backbone,
        head=parts.head,
        rule=RegionRule(sampling=sampling or RegionSampling(), detection=detection or DetectionRule()),
    )


FAST_RCNN = Card(
    name="fast_rcnn",
    title="Fast R-CNN",
    task="detection",
    build=fast_rcnn,
    image=(600, 1000),
    paper="Girshick: Fast R-CNN, ICCV 2015",
    definition=_RELEASE + " (models/*/train.prototxt, lib/roi_data_layer/minibatch.py, lib/fast_rcnn/config.py)",
    quantities=(
        Quantity("parameters", 134_690_729, _RELEASE + ", VGG16"),
        Quantity("parameters", 57_298_409, _RELEASE + ", CaffeNet", options=(("backbone", "caffenet"),)),
        Quantity("parameters", 86_333_161, _RELEASE + ", VGG_CNN_M_1024", options=(("backbone", "vgg_m"),)),
        Quantity("parameters", 119_545_856, "fc6 and fc7 before truncation", of="head.fc[67].*"),
        *quantities("field", _RELEASE, {"backbone.conv5_3": 196}, image=_SMALL, options=_AS_GIVEN),
        *quantities("stride", _RELEASE, {"backbone.conv5_3": 16}, image=_SMALL, options=_AS_GIVEN),
        *quantities("map", _RELEASE, {"head.cls_score": (21,)}, image=_SMALL, options=_AS_GIVEN),
        *quantities(
            "setting",
            _RELEASE,
            {
                "head.roi_pool5.size": 7,
                "head.roi_pool5.stride": 16,
                "head.cls_score.out_features": 21,
                "head.bbox_pred.out_features": 84,
                "rule.sampling.count": 64,
                "rule.sampling.positives": 0.25,
                "rule.sampling.positive": 0.5,
                "rule.sampling.background": (0.1, 0.5),
                "rule.detection.overlap": 0.3,
                "preparation.short_sides": (600,),
                "preparation.long_side": 1000,
            },
        ),
        *quantities("setting", _RELEASE, {"head.roi_pool5.size": 6}, options=(("backbone", "caffenet"),)),
        *quantities("setting", _RELEASE, {"head.roi_pool5.size": 6}, options=(("backbone", "vgg_m"),)),
        *quantities("initial", _RELEASE, {"head.cls_score.bias": 0.0, "head.bbox_pred.bias": 0.0}),
    ),
    differences=(
        MEANS,
        Difference(
            "Boxes have x2 and y2 just outside; the release counts the last pixel as inside and adds 1 to widths",
            "torchvision's convention: the same once x2 and y2 are one larger. Two places differ by up to a pixel: the "
            "release resizes corners before it adds that 1, and does not take it off the boxes that it predicts",
        ),
        ANY_BACKGROUND,
        Difference(
            "Offsets are divided by 0.1, 0.1, 0.2, 0.2", "the release takes their deviations over the training set"
        ),
        Difference(
            "Detections below a score of 0.05 are left out, at most 100 of an image",
            "the release keeps 40 of each class per image, on average over the test set, before suppression",
        ),
        Difference(
            "Layers start from random values, none frozen",
            "the release starts from ImageNet's weights with conv1_1 to conv2_2 (VGG16) or conv1 fixed; see `freeze`",
        ),
        Difference(
            "Growth of a side is limited to 62.5 times", "Detectron's guard against overflow, which boxes never meet"
        ),
    ),
    results=(
        Result("VOC 2007 test, VGG16, trained on 07", "66.9 mAP", _OHEM),
        Result("VOC 2007 test, VGG16, trained on 07+12", "70.0 mAP", _OHEM),
        Result("VOC 2012 test, VGG16, trained on 12 and on 07++12", "65.7 and 68.4 mAP", _OHEM),
        Result("VOC 2007 test over seeds", "67.2 +- 0.2 mAP", _RELEASE + "#62"),
        Result("with online hard example mining, 07 and 07+12", "69.9 (released: 71.5) and 74.6 mAP", _OHEM),
    ),
)
