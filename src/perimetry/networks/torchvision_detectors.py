"""Names of weights and anchors as torchvision's Faster R-CNN on a pyramid has them, so that its weights run here."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from torch import Tensor

from perimetry.errors import WeightsError
from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.feature_pyramid import LEVELS

_NAMES = {  # theirs: ours
    "backbone.body.": "backbone.body.body.",
    "backbone.fpn.": "backbone.fpn.",
    "rpn.head.conv.0.0.": "rpn.head.rpn_conv.",
    "rpn.head.conv.": "rpn.head.rpn_conv.",  # weights saved before torchvision 0.13
    "rpn.head.cls_logits.": "rpn.head.rpn_cls_score.",
    "rpn.head.bbox_pred.": "rpn.head.rpn_bbox_pred.",
    "roi_heads.box_head.fc": "head.fc",
    "roi_heads.box_predictor.": "head.",
}


def torchvision_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of torchvision's fasterrcnn_resnet50_fpn under the names of `faster_rcnn_fpn()`.

    They are trained with `torchvision_anchors`, and those on COCO for 90 classes, with `fix_batch_norms(..., eps=0)`.
    Raises `WeightsError` for tensors of another network.

    >>> import torch
    >>> list(torchvision_weights({"rpn.head.cls_logits.bias": torch.zeros(3)}))
    ['rpn.head.rpn_cls_score.bias']
    """
    renamed = {}
    for name, tensor in tensors.items():
        theirs = next((prefix for prefix in _NAMES if name.startswith(prefix)), None)
        if theirs is None:
            raise WeightsError(
                f"{name!r} is no tensor of torchvision's Faster R-CNN on a pyramid; give its state_dict()"
            )
        renamed[_NAMES[theirs] + name.removeprefix(theirs)] = tensor
    return renamed


def torchvision_anchors() -> dict[str, AnchorGrid]:
    """The anchors of torchvision: around the corner of a cell, sides rounded after they are scaled.

    At p6 torchvision takes the image's size divided by the map's, rounded down, as the stride: 64 only where the sides
    of the batch are multiples of 64, otherwise less (61 for 800 pixels).

    >>> torchvision_anchors()["p2"].boxes
    ((-23.0, -11.0, 23.0, 11.0), (-16.0, -16.0, 16.0, 16.0), (-11.0, -23.0, 11.0, 23.0))
    """
    grids = {}
    for level, stride in {**LEVELS, "p6": 64}.items():
        halves = [(4 * stride / sqrt(ratio), 4 * stride * sqrt(ratio)) for ratio in (0.5, 1.0, 2.0)]
        boxes = tuple((-float(round(x)), -float(round(y)), float(round(x)), float(round(y))) for x, y in halves)
        grids[level] = AnchorGrid(stride, boxes)
    return grids
