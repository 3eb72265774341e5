"""Detectors put together from parts: a backbone, proposals (its own or given ones), and a head for regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from perimetry.errors import InputError
from perimetry.networks.box_coding import Deviations, encode_boxes
from perimetry.networks.detections import DetectionRule, detections
from perimetry.networks.image_batch import ImageBatch, ImagePreparation, Target, check_proposals, check_targets
from perimetry.networks.mining import hardest
from perimetry.networks.region_heads import RegionOutputs, region_losses
from perimetry.networks.region_proposals import Proposals, RegionProposals
from perimetry.networks.sampling import Regions, RegionSampling, draw_regions, label_regions

Answer = dict[str, Tensor] | list[dict[str, Tensor]]
Maps = Any  # what the backbone gives and the head takes: maps by name, in all but SPP-net's detector


@dataclass(frozen=True, slots=True)
class RegionRule:
    """How regions become losses and detections.

    sampling: which regions are learnt from; deviations: what offsets are divided by, so that all vary alike; beta: of
    the smooth L1 loss, 1 / sigma^2; detection: what is told of an image. box_count: regions of an image that the box
    loss is divided by, however many were chosen (R-FCN); None for those.
    """

    sampling: RegionSampling = field(default_factory=RegionSampling)
    deviations: Deviations = (0.1, 0.1, 0.2, 0.2)
    beta: float = 1.0
    detection: DetectionRule = field(default_factory=DetectionRule)
    box_count: int | None = None

    def __post_init__(self) -> None:
        if self.beta < 0 or min(self.deviations) <= 0 or (self.box_count is not None and self.box_count < 1):
            raise InputError(
                "expected deviations above 0, a beta of at least 0 and a box_count of at least 1, got "
                f"{self.deviations}, {self.beta} and {self.box_count}"
            )


class RegionDetector(nn.Module):
    """What all detectors by regions share; the subclasses say where proposals come from.

    preparation: images to one batch; backbone: a batch (N, C, H, W) to named maps; head: maps and boxes, one (K, 4) for
    each image, to `RegionOutputs`, with an attribute `classes`; rule: how these are used.
    """

    def __init__(
        self, *, preparation: ImagePreparation, backbone: nn.Module, head: nn.Module, rule: RegionRule
    ) -> None:
        super().__init__()
        self.preparation, self.backbone, self.head = preparation, backbone, head
        self.rule = rule
        self.classes: int = head.classes  # type: ignore[assignment]  # as the docstring asks

    def _given(self, batch: ImageBatch, proposals: Sequence[Tensor]) -> list[Tensor]:
        """Proposals in pixels of the batch, cut to their images; what lies outside is dropped."""
        placed = []
        for image, boxes in enumerate(check_proposals(proposals, len(batch.sizes))):
            inner = batch.enter(image, boxes.to(batch.pixels.device))
            inner = torchvision.ops.clip_boxes_to_image(inner, batch.sizes[image])
            placed.append(inner[(inner[:, 2:] > inner[:, :2]).all(1)])
        return placed

    def _targets(self, batch: ImageBatch, targets: Sequence[Target] | None) -> list[Target]:
        """The targets in pixels of the batch."""
        checked = check_targets(targets, len(batch.sizes), self.classes)
        device = batch.pixels.device
        return [
            {
                name: value.to(device) if name == "labels" else batch.enter(image, value.to(device))
                for name, value in target.items()
                if name in ("boxes", "labels", "hard_negatives")
            }
            for image, target in enumerate(checked)
        ]

    def _losses(
        self,
        features: Maps,
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """The losses of the head on the regions that are chosen of each image; means over all of them."""
        sampling = self.rule.sampling
        regions = [
            label_regions(
                boxes, target["boxes"], target["labels"], sampling, hard_negatives=target.get("hard_negatives")
            )
            for boxes, target in zip(proposals, targets, strict=True)
        ]
        if sampling.choice == "hardest":
            regions = self._hardest(features, regions)
        else:
            regions = [draw_regions(each, sampling, generator) for each in regions]
        classification, box = self._each_loss(features, regions)
        count = max(len(classification), 1)
        box_count = count if self.rule.box_count is None else self.rule.box_count * len(regions)
        return {"loss_classifier": classification.sum() / count, "loss_box_reg": box.sum() / box_count}

    def _each_loss(self, features: Maps, regions: Sequence[Regions]) -> tuple[Tensor, Tensor]:
        outputs: RegionOutputs = self.head(features, [each.boxes for each in regions])
        aims = torch.cat([encode_boxes(each.truth, each.boxes, deviations=self.rule.deviations) for each in regions])
        return region_losses(outputs, torch.cat([each.labels for each in regions]), aims, beta=self.rule.beta)

    def _hardest(self, features: Maps, regions: Sequence[Regions]) -> list[Regions]:
        """A pass forward over all regions, only to see which have the largest losses."""
        sampling = self.rule.sampling
        with torch.no_grad():
            classification, box = self._each_loss(features, regions)
        losses = (classification + box).split_with_sizes([len(each.boxes) for each in regions])
        return [
            each.at(hardest(each.boxes, loss, each.labels, count=sampling.count, overlap=sampling.overlap))
            for each, loss in zip(regions, losses, strict=True)
        ]

    def _detections(self, features: Maps, proposals: Sequence[Tensor], batch: ImageBatch) -> list[dict[str, Tensor]]:
        outputs: RegionOutputs = self.head(features, proposals)
        counts = [len(boxes) for boxes in proposals]
        found = []
        parts = zip(
            outputs.logits.split_with_sizes(counts), outputs.offsets.split_with_sizes(counts), proposals, strict=True
        )
        for image, (logits, offsets, boxes) in enumerate(parts):
            told = detections(
                RegionOutputs(logits, offsets),
                boxes,
                batch.sizes[image],
                deviations=self.rule.deviations,
                rule=self.rule.detection,
            )
            found.append(told | {"boxes": batch.leave(image, told["boxes"])})
        return found


class GivenProposalsDetector(RegionDetector):
    """A detector of given proposals (Fast R-CNN, SPP-net), such as selective search's."""

    def forward(
        self,
        images: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Answer:
        """In training the losses, otherwise the detections of each image.

        images: a list of (3, H, W), pixels from 0 to 1; proposals: for each, boxes (P, 4), x1 y1 x2 y2 in its pixels.
        They are cut to the image, and those outside it dropped; an image with none left has no detections. targets:
        for each, {"boxes": (M, 4), "labels": (M,)}, and perhaps "hard_negatives": (H, 4). generator: for the draws
        of training.
        """
        batch = self.preparation(images, generator)
        regions = self._given(batch, proposals)
        if not self.training:
            return self._detections(self._features(batch), regions, batch)
        placed = self._targets(batch, targets)
        return self._losses(self._features(batch), regions, placed, generator)

    def _features(self, batch: ImageBatch) -> Maps:
        return self.backbone(batch.pixels)


class ProposingDetector(RegionDetector):
    """A detector that makes its own proposals (Faster R-CNN, R-FCN, FPN), or takes those of another method."""

    def __init__(
        self,
        *,
        preparation: ImagePreparation,
        backbone: nn.Module,
        rpn: RegionProposals,
        head: nn.Module,
        rule: RegionRule,
    ) -> None:
        super().__init__(preparation=preparation, backbone=backbone, head=head, rule=rule)
        self.rpn = rpn

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        *,
        proposals: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Answer:
        """In training the losses, otherwise the detections of each image.

        images: a list of (3, H, W), pixels from 0 to 1; targets: for each, {"boxes": (M, 4), "labels": (M,)}, x1 y1 x2
        y2 in its pixels, and perhaps "hard_negatives": (H, 4). proposals: boxes (P, 4) for each image, in place of the
        network's own, which then are neither made nor trained. generator: for the draws of training, and for proposals
        in random order.
        """
        batch = self.preparation(images, generator)
        placed = self._targets(batch, targets) if self.training else None
        features = self.backbone(batch.pixels)
        losses: dict[str, Tensor] = {}
        if proposals is None:
            truth = None if placed is None else [target["boxes"] for target in placed]
            own, losses = self.rpn(features, batch, truth, generator=generator)
            regions = [each.boxes for each in own]
        else:
            regions = self._given(batch, proposals)
        if placed is None:
            return self._detections(features, regions, batch)
        return losses | self._losses(features, regions, placed, generator)

    @torch.no_grad()
    def propose(self, images: Sequence[Tensor], *, generator: torch.Generator | None = None) -> list[Proposals]:
        """The network's proposals for each image in its pixels, with the chance of an object, the best first."""
        batch = self.preparation(images, generator)
        found, _ = self.rpn(self.backbone(batch.pixels), batch, generator=generator)
        return [Proposals(batch.leave(image, each.boxes), each.scores) for image, each in enumerate(found)]

    def anchors(self, size: tuple[int, int]) -> int:
        """How many anchors an image of (height, width) has, once it is resized."""
        height, width = (
            -(-side // self.preparation.divisor) * self.preparation.divisor
            for side in self.preparation.target_size(size)
        )
        named = {**dict(self.backbone.named_parameters()), **dict(self.backbone.named_buffers())}
        shapes = {name: torch.empty_like(value, device="meta") for name, value in named.items()}
        image = torch.empty(1, len(self.preparation.mean), height, width, device="meta")
        with torch.no_grad():
            maps = torch.func.functional_call(self.backbone, shapes, (image,))
        return sum(len(grid.boxes) * maps[name][0, 0].numel() for name, grid in self.rpn.grids.items())
