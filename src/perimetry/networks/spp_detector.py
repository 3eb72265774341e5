"""SPP-net's detector: convolutions once for each scale, a spatial pyramid on every given box (He et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry import ops
from perimetry.errors import InputError
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.detections import DetectionRule
from perimetry.networks.detector import GivenProposalsDetector, RegionRule
from perimetry.networks.detector_backbones import detector_backbone
from perimetry.networks.detector_differences import ANY_BACKGROUND
from perimetry.networks.image_batch import ImageBatch, ImagePreparation
from perimetry.networks.region_heads import RegionOutputs, check_object_classes
from perimetry.networks.sampling import RegionSampling
from perimetry.networks.spp_net import spp_net
from perimetry.networks.trunks import Trunk
from perimetry.ops.pyramid import check_levels

SCALES = (480, 576, 688, 864, 1200)
USUAL_SIDE = 224  # of the images that the classifier was trained on: a box is best seen at this size
# Pixels, counted from 1: the middle of ZF-5's first cell; and what a box is drawn in by, which no released file tells.
ZF5_OFFSET0, ZF5_OFFSET = 21.0, 6.5


class ImageMaps(NamedTuple):
    """The maps of one image: for each scale (1, C, h, w), and how many of its pixels are one of the image's."""

    maps: list[Tensor]
    ratios: list[float]


class SPPDetectionHead(nn.Module):
    """A spatial pyramid on each region, two fully connected layers and scores; offsets from the pyramid itself.

    channels: C; stride: pixels between cells; levels: bins a side; offset0, offset: as in `perimetry.ops.spp_cells`.
    bbox_pred starts at zero, so that boxes stay where they are until it is trained.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        stride: int,
        levels: Sequence[int],
        widths: tuple[int, int],
        offset0: float,
        offset: float,
    ) -> None:
        super().__init__()
        self.classes, self.stride, self.levels = check_object_classes(classes), stride, check_levels(levels)
        self.offset0, self.offset = offset0, offset
        pooled = channels * sum(side * side for side in self.levels)
        self.fc6, self.relu6, self.drop6 = nn.Linear(pooled, widths[0]), nn.ReLU(), nn.Dropout(0.5)
        self.fc7, self.relu7, self.drop7 = nn.Linear(*widths), nn.ReLU(), nn.Dropout(0.5)
        self.cls_score = nn.Linear(widths[1], classes + 1)
        self.bbox_pred = nn.Linear(pooled, 4 * (classes + 1))
        for layer in (self.fc6, self.fc7):  # of the classifier in the release
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.weight)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, features: Sequence[ImageMaps], boxes: Sequence[Tensor]) -> RegionOutputs:
        """Scores and offsets of all boxes of a batch, in order."""
        pooled = self.pool(features, boxes)
        return RegionOutputs(self.cls_score(self.hidden(pooled)), self.bbox_pred(pooled).unflatten(1, (-1, 4)))

    def pool(self, features: Sequence[ImageMaps], boxes: Sequence[Tensor]) -> Tensor:
        """The pyramids (R, C * bins) of all boxes, each from the scale that suits it."""
        return torch.cat([self._pool_image(each, own) for each, own in zip(features, boxes, strict=True)])

    def hidden(self, pooled: Tensor) -> Tensor:
        """The output of fc7 (R, width) for pyramids (R, C * bins)."""
        hidden = self.drop6(self.relu6(self.fc6(pooled)))
        hidden = self.drop7(self.relu7(self.fc7(hidden)))
        return cast("Tensor", hidden)

    def _pool_image(self, features: ImageMaps, boxes: Tensor) -> Tensor:
        chosen = best_scales(boxes, features.ratios)
        inclusive = functional.pad(boxes, (1, 0)) - boxes.new_tensor([0, 0, 0, 1, 1])
        places, pooled = [], []
        for scale, (maps, ratio) in enumerate(zip(features.maps, features.ratios, strict=True)):
            own = (chosen == scale).nonzero()[:, 0]
            height, width = maps.shape[2:]
            cells = ops.spp_cells(
                inclusive[own] * ratio,
                height=height,
                width=width,
                step=self.stride,
                offset0=self.offset0,
                offset=self.offset,
            )
            places.append(own)
            pooled.append(ops.roi_pyramid_pool(maps, cells, levels=self.levels))
        return torch.cat(pooled)[torch.cat(places).argsort()]

    def extra_repr(self) -> str:
        """The levels and the offsets."""
        return f"levels={self.levels}, offset0={self.offset0}, offset={self.offset}"


def best_scales(boxes: Tensor, ratios: Sequence[float]) -> Tensor:
    """The scale at which each box's area is closest to 224 x 224 pixels: its index in `ratios`, (K,).

    boxes: (K, 4), x2 and y2 just outside; ratios: pixels at each scale for one of the image.

    >>> best_scales(torch.tensor([[0.0, 0, 100, 100], [0, 0, 224, 224], [0, 0, 900, 900]]), (0.5, 1.0, 2.0))
    tensor([2, 1, 0])
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    squares = boxes.new_tensor(ratios).square()
    return (areas[:, None] * squares - USUAL_SIDE**2).abs().argmin(1)


class SPPDetector(GivenProposalsDetector):
    """SPP-net's detector: a `GivenProposalsDetector` that sees the image at several scales.

    Its convolutions get no gradient: the pyramid on boxes was trained without them (section 4.1).
    """

    head: SPPDetectionHead

    def __init__(
        self,
        *,
        preparation: ImagePreparation,
        backbone: nn.Module,
        head: SPPDetectionHead,
        rule: RegionRule,
        scales: Sequence[int],
    ) -> None:
        super().__init__(preparation=preparation, backbone=backbone, head=head, rule=rule)
        self.scales = tuple(scales)

    def _features(self, batch: ImageBatch) -> list[ImageMaps]:
        return [
            self._image_maps(batch.pixels[image : image + 1, :, :height, :width])
            for image, (height, width) in enumerate(batch.sizes)
        ]

    @torch.no_grad()
    def pyramids(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The pyramids (R, C * bins) of boxes (P, 4) on an image (3, H, W), and those boxes, cut to the image.

        What lies outside is dropped, so that R may be smaller than P.
        """
        batch = self.preparation([image])
        placed = self._given(batch, [boxes])
        return self.head.pool(self._features(batch), placed), placed[0]

    @torch.no_grad()
    def _image_maps(self, image: Tensor) -> ImageMaps:
        short = min(image.shape[2:])
        maps = []
        for scale in self.scales:
            size = [max(1, round(side * scale / short)) for side in image.shape[2:]]
            resized = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
            maps.append(list(self.backbone(resized).values())[-1])
        # Corners are brought to corners, as released: pixel 0 stays 0, the last one of the short side the last one.
        return ImageMaps(maps, [(scale - 1) / max(short - 1, 1) for scale in self.scales])


def spp_detector(
    *,
    backbone: str | nn.Module = "zf5",
    classes: int = 20,
    scales: Sequence[int] = SCALES,
    levels: Sequence[int] = (6, 3, 2, 1),
    widths: tuple[int, int] = (4096, 4096),
    offset0: float = ZF5_OFFSET0,
    offset: float = ZF5_OFFSET,
    sampling: RegionSampling | None = None,
    detection: DetectionRule | None = None,
) -> SPPDetector:
    """SPP-net's detector on ZF-5: each given box is pooled in 50 bins, at the scale that brings it nearest to 224.

    backbone: "zf5", or a module that returns named maps with `channels` and `strides` by name, of which the last is
    taken; classes: without the background; scales: short sides of the image in pixels; levels: bins a side; widths: of
    fc6 and fc7; offset0, offset: how pixels become cells, `perimetry.ops.spp_cells` (those of ZF-5 are unverified);
    sampling: a quarter of objects as published. Trained as it is, it is the fine-tuned form with softmax; `fit_svms`
    and `fit_box_regressors` then do what the paper does after that. Call it with images and proposals.

    >>> with torch.device("meta"):
    ...     sum(parameter.numel() for parameter in spp_detector().head.fc6.parameters())
    52432896
    """
    if not scales or min(scales) < 1:
        raise InputError(f"scales are sides of at least 1 pixel, got {tuple(scales)}")
    body = detector_backbone(backbone, published={"zf5": _zf5}, output_stride=None)
    channels, strides = cast("Mapping[str, int]", body.channels), cast("Mapping[str, int]", body.strides)
    last = list(strides)[-1]
    return SPPDetector(
        preparation=ImagePreparation(short_side=None),
        backbone=body,
        head=SPPDetectionHead(
            channels=channels[last],
            classes=classes,
            stride=strides[last],
            levels=levels,
            widths=widths,
            offset0=offset0,
            offset=offset,
        ),
        rule=RegionRule(sampling=sampling or RegionSampling(), detection=detection or DetectionRule()),
        scales=scales,
    )


def _zf5() -> Trunk:
    layers = dict(spp_net(classes=1).named_children())
    names = list(layers)[: list(layers).index("pool5_spm")]
    return Trunk({name: layers[name] for name in names}, name="conv5", channels=256, stride=16)


_RELEASE = "ShaoqingRen/SPP_net"
_PAPER = "the paper"
_ONE_SCALE = (("scales", (224,)),)

SPP_DETECTOR = Card(
    name="spp_detector",
    title="SPP-net's detector (ZF-5)",
    task="detection",
    build=spp_detector,
    image=(375, 500),
    paper="He, Zhang, Ren, Sun: Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, "
    "ECCV 2014",
    definition=_RELEASE + " (spp_train.m, spp_features_convX_to_poolX.m, utils/spm_pool, bbox_regression)",
    quantities=(
        Quantity("parameters", 3_726_464, _RELEASE + ", Zeiler_conv5.prototxt, up to conv5", of="backbone.*"),
        Quantity("parameters", 69_214_208, _RELEASE + ", Zeiler_conv5.prototxt, fc6 and fc7", of="head.fc[67].*"),
        *quantities("stride", _RELEASE, {"backbone.conv5": 16}, image=(224, 224), options=_ONE_SCALE),
        *quantities("map", _RELEASE, {"backbone.conv5": (256, 13, 13)}, image=(224, 224), options=_ONE_SCALE),
        *quantities(
            "setting",
            _RELEASE + " and the paper",
            {
                "scales": (480, 576, 688, 864, 1200),
                "head.levels": (6, 3, 2, 1),
                "head.stride": 16,
                "head.fc6.in_features": 12_800,
                "head.fc6.out_features": 4096,
                "head.fc7.out_features": 4096,
                "head.cls_score.out_features": 21,
                "rule.sampling.positives": 0.25,
                "rule.sampling.positive": 0.5,
                "rule.sampling.background": (0.1, 0.5),
                "rule.detection.overlap": 0.3,
            },
        ),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB",
            "the release subtracts a mean from BGR values of 0 ... 255",
        ),
        Difference(
            "A box goes to the scale at which its area is closest to 224 x 224, as the paper says",
            "the release takes the scale whose short side is closest to the one at which the root of the area would be "
            "the classifier's map times its stride (13 x 16 = 208 for ZF-5), rounded",
        ),
        Difference("Scales are the paper's", "the release has 874 for 864, a slip"),
        Difference(
            "Offsets can be trained with the scores, by smooth L1; the ridge regression is `fit_box_regressors`",
            "one network with one loss; both read the pyramid",
        ),
        Difference(
            "`fit_svms` adds hard negatives of all images once and trains again at the end",
            "the release also trains in between, each time 2000 or so were added, and drops what became easy",
        ),
        ANY_BACKGROUND,
        Difference("Layers start from random values", "the release starts from ZF-5 trained on ImageNet"),
        Difference(
            "Detections below a score of 0.05 are left out, at most 100 of an image",
            "the release keeps more for its average precision: detection=DetectionRule(score=0.0, count=10000)",
        ),
    ),
    results=(
        Result("VOC 2007 test, ZF-5, five scales and one", "59.2 and 58.0 mAP", _PAPER),
        Result("VOC 2007 test, R-CNN beside it", "58.5 mAP", _PAPER),
        Result("Fine-tuning", "fc layers only, 1e-4 for 250,000 iterations, then 1e-5 for 50,000", _RELEASE),
    ),
    unverified=(
        "the offsets of ZF-5: their file is not in the repository. offset0 is the middle of the first cell (pixel 21, "
        "counted from 1), offset 6.5 as in an example for another network (15, 6.5, 12 for maps of 18 x 18)",
    ),
)
