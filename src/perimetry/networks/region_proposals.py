"""The region proposal network of Faster R-CNN (Ren et al. 2015), over one map or the levels of a pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import InputError
from perimetry.networks.anchors import AnchorGrid
from perimetry.networks.box_coding import decode_boxes, encode_boxes
from perimetry.networks.image_batch import ImageBatch
from perimetry.networks.sampling import AnchorSampling, draw, label_anchors

Scoring = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, slots=True)
class ProposalRule:
    """How proposals are made of scored anchors; each field is one switch of the paper's ablation.

    before: anchors kept by score at each level before suppression; count: proposals kept in the end; overlap: of
    proposals that overlap (IoU) more, the one with the lower score is left out; None for no suppression; min_size:
    shortest side in pixels of the image as it was given, of what is ranked at all; order: "score", or "random" as
    without the classifier (the paper's row has overlap=None with it); boxes: "regressed", or the "anchors" as they are.
    """

    before: int = 6000
    count: int = 300
    overlap: float | None = 0.7
    min_size: float = 16.0
    order: Literal["score", "random"] = "score"
    boxes: Literal["regressed", "anchors"] = "regressed"

    def __post_init__(self) -> None:
        if min(self.before, self.count) < 1 or self.min_size < 0:
            raise InputError(f"expected counts of at least 1 and a size of at least 0 pixels, got {self}")
        if self.overlap is not None and not 0 <= self.overlap <= 1:
            raise InputError(f"expected an overlap from 0 to 1, or None, got {self.overlap}")
        if self.order not in ("score", "random") or self.boxes not in ("regressed", "anchors"):
            raise InputError(f"order is 'score' or 'random', boxes 'regressed' or 'anchors'; got {self}")


class Proposals(NamedTuple):
    """Boxes (P, 4) of one image in pixels of the batch, and their scores (P,), the chance of an object."""

    boxes: Tensor
    scores: Tensor


class RegionProposalHead(nn.Module):
    """A 3x3 convolution, and for each anchor of a cell its score and four offsets; shared by all levels.

    scoring: "softmax" over background and object (two channels an anchor: all backgrounds first, as released), or
    "sigmoid" of one (Detectron). Layers have the names of the release.
    """

    def __init__(self, channels: int, *, anchors: int, width: int = 512, scoring: Scoring = "softmax") -> None:
        super().__init__()
        if scoring not in ("softmax", "sigmoid"):
            raise InputError(f"scoring is 'softmax' or 'sigmoid', got {scoring!r}")
        self.anchors, self.scoring = anchors, scoring
        self.rpn_conv = nn.Conv2d(channels, width, 3, padding=1)
        self.rpn_relu = nn.ReLU(inplace=True)  # one map less of the finest level
        self.rpn_cls_score = nn.Conv2d(width, anchors * (2 if scoring == "softmax" else 1), 1)
        self.rpn_bbox_pred = nn.Conv2d(width, anchors * 4, 1)
        for layer in (self.rpn_conv, self.rpn_cls_score, self.rpn_bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of maps (N, C, H, W), the log odds of an object (N, H * W * anchors), and offsets (N, H * W * anchors, 4)."""
        hidden = self.rpn_relu(self.rpn_conv(features))
        scores, offsets = self.rpn_cls_score(hidden), self.rpn_bbox_pred(hidden)
        if self.scoring == "softmax":  # of two, it is the sigmoid of the difference
            scores = scores[:, self.anchors :] - scores[:, : self.anchors]
        return scores.permute(0, 2, 3, 1).flatten(1), offsets.permute(0, 2, 3, 1).reshape(len(features), -1, 4)


class RegionProposals(nn.Module):
    """Anchors on named maps, scored and moved into proposals; in training also the losses.

    head: as `RegionProposalHead`; grids: the anchors of each map that it runs on, by the map's name; training, testing:
    how proposals are made in either mode; sampling: what is learnt from.
    """

    def __init__(
        self,
        head: nn.Module,
        grids: Mapping[str, AnchorGrid],
        *,
        training: ProposalRule,
        testing: ProposalRule,
        sampling: AnchorSampling,
    ) -> None:
        super().__init__()
        self.head = head
        self.grids = dict(grids)
        self.rules = {"training": training, "testing": testing}
        self.sampling = sampling

    def forward(
        self,
        features: Mapping[str, Tensor],
        batch: ImageBatch,
        truth: Sequence[Tensor] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[list[Proposals], dict[str, Tensor]]:
        """The proposals of each image; and where its objects' boxes are given, (M, 4) each, the losses."""
        maps = [features[name] for name in self.grids]
        scored = [self.head(level) for level in maps]
        anchors = [
            grid.over(level.shape[2], level.shape[3], like=level)
            for grid, level in zip(self.grids.values(), maps, strict=True)
        ]
        losses = {} if truth is None else self._losses(scored, torch.cat(anchors), batch, truth, generator)
        rule = self.rules["training" if self.training else "testing"]
        with torch.no_grad():
            proposals = [
                self._proposals([(s[image], o[image]) for s, o in scored], anchors, batch, image, rule, generator)
                for image in range(len(batch.sizes))
            ]
        return proposals, losses

    def _proposals(
        self,
        scored: list[tuple[Tensor, Tensor]],
        anchors: list[Tensor],
        batch: ImageBatch,
        image: int,
        rule: ProposalRule,
        generator: torch.Generator | None,
    ) -> Proposals:
        size, smallest = batch.sizes[image], rule.min_size * batch.scale(image)
        found = []
        for level, ((scores, offsets), boxes) in enumerate(zip(scored, anchors, strict=True)):
            ranks = scores.float() if rule.order == "score" else _random_ranks(scores, generator)
            if smallest > 0:
                ranks = ranks.masked_fill(_shortest_sides(_placed(offsets, boxes, size, rule)) < smallest, -torch.inf)
            top = ranks.topk(min(rule.before, len(ranks))).indices
            # Of a pyramid's anchors these are few, so that only they are moved where small ones may stay.
            moved = _placed(offsets[top], boxes[top], size, rule)
            large = (_shortest_sides(moved) > 0) & (ranks[top] > -torch.inf)
            top, moved = top[large], moved[large]
            found.append((moved, ranks[top], scores[top].float().sigmoid(), torch.full_like(top, level)))
        boxes, ranks, chances, levels = (torch.cat(parts) for parts in zip(*found, strict=True))
        if rule.overlap is None:
            kept = ranks.sort(descending=True, stable=True).indices
        elif len(found) == 1:
            kept = torchvision.ops.nms(boxes, ranks, rule.overlap)
        else:
            kept = torchvision.ops.batched_nms(boxes, ranks, levels, rule.overlap)
        kept = kept[: rule.count]
        return Proposals(boxes[kept], chances[kept])

    def _losses(
        self,
        scored: list[tuple[Tensor, Tensor]],
        anchors: Tensor,
        batch: ImageBatch,
        truth: Sequence[Tensor],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Cross entropy, and smooth L1 of the objects' offsets (sigma 3), both over the number of anchors drawn."""
        scores = torch.cat([s for s, _ in scored], 1)
        offsets = torch.cat([o for _, o in scored], 1)
        drawn_scores, drawn_labels, drawn_offsets, wanted = [], [], [], []
        for image, boxes in enumerate(truth):
            labels, which = label_anchors(anchors, boxes, batch.sizes[image], self.sampling)
            places = draw(labels, count=self.sampling.count, positives=self.sampling.positives, generator=generator)
            drawn_scores.append(scores[image, places])
            drawn_labels.append(labels[places])
            objects = places[labels[places] > 0]
            drawn_offsets.append(offsets[image, objects])
            if len(objects):
                wanted.append(encode_boxes(boxes[which[objects]], anchors[objects]))
        logits = torch.cat(drawn_scores).float()
        count = max(len(logits), 1)
        moved = torch.cat(drawn_offsets).float()
        aims = torch.cat(wanted) if wanted else moved.detach()
        return {
            "loss_objectness": functional.binary_cross_entropy_with_logits(
                logits, torch.cat(drawn_labels).float(), reduction="sum"
            )
            / count,
            "loss_rpn_box_reg": functional.smooth_l1_loss(moved, aims, beta=1 / 9, reduction="sum") / count,
        }


def _placed(offsets: Tensor, anchors: Tensor, size: tuple[int, int], rule: ProposalRule) -> Tensor:
    """Anchors (K, 4), moved by their offsets where the rule says so, cut to the image."""
    boxes = decode_boxes(offsets.float(), anchors) if rule.boxes == "regressed" else anchors
    cut: Tensor = torchvision.ops.clip_boxes_to_image(boxes, size)
    return cut


def _shortest_sides(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).amin(1)


def _random_ranks(scores: Tensor, generator: torch.Generator | None) -> Tensor:
    device = torch.device("cpu") if generator is None else generator.device
    return torch.rand(len(scores), generator=generator, device=device).to(scores.device)
