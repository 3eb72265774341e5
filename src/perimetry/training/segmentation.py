"""Training segmenters: cross entropy over the pixels that count, hard pixels alone if wished, mean IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry.data import IGNORED
from perimetry.errors import ShapeError
from perimetry.metrics import MaskAccumulator
from perimetry.training.tasks import Batch, answer, check_labels, check_scores, known, named_outputs


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A class for each pixel.

    ignore: a label of pixels that do not count, beside 255, which transforms give to what they add; every: only every
    so many rows and columns a pixel has a loss, as where DeepLab shrinks labels by 8; class_weights, label_smoothing,
    auxiliary_weight: as of classification; hard: "none", "top_k" (only the share `hard_share` of each batch's pixels
    with the largest losses), or "threshold" (only pixels whose true class has a probability below `hard_share`;
    Shrivastava et al.'s idea, for pixels).
    """

    classes: int
    ignore: int = IGNORED
    every: int = 1
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    hard: Literal["none", "top_k", "threshold"] = "none"
    hard_share: float = 0.25
    best_by: str = "miou"

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss of each output, means over the pixels that count; 0 where there is none."""
        outputs = named_outputs(answer(network, batch), "out")
        check_scores(outputs["out"], self.classes, axes=4)
        masks = self._counted(batch.truth)
        self._check(masks, batch)
        return {
            f"loss_{name}": self._loss(scores.float(), masks) * (1 if name == "out" else self.auxiliary_weight)
            for name, scores in outputs.items()
        }

    def weight(self, batch: Batch) -> Tensor | float:
        """Pixels that count, by the weights of their classes; images, where only hard pixels count."""
        if self.hard != "none":
            return float(len(batch))
        masks = self._counted(batch.truth)
        if self.class_weights:
            self._check(masks, batch)
        masks = masks[:, :: self.every, :: self.every]
        counted = masks[masks != self.ignore]
        return self._weights(counted)[counted].sum() if self.class_weights else float(counted.numel())

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Scores (N, classes, H, W) at the size of the masks."""
        scores = named_outputs(answer(network, batch), "out")["out"]
        check_scores(scores, self.classes, axes=4)
        return scores

    def scorer(self) -> MaskScorer:
        """Mean IoU, IoU by class, pixel accuracy."""
        return MaskScorer(self.classes, self.ignore)

    def _loss(self, scores: Tensor, masks: Tensor) -> Tensor:
        if scores.shape[2:] != masks.shape[1:]:
            scores = functional.interpolate(scores, size=masks.shape[1:], mode="bilinear", align_corners=False)
        if self.every > 1:
            scores, masks = scores[..., :: self.every, :: self.every], masks[:, :: self.every, :: self.every]
        weights = self._weights(masks) if self.class_weights else None
        each = functional.cross_entropy(
            scores,
            masks,
            weight=weights,
            ignore_index=self.ignore,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        counted = masks != self.ignore
        if self.hard != "none":
            chosen = self._hard(scores.detach(), masks, each.detach(), counted)
            return each[chosen].sum() / chosen.sum().clamp(min=1)
        total = counted.sum() if weights is None else weights[masks[counted]].sum()
        # Where nothing counts, smoothed labels still cost something, and that divided by 0 would be infinite.
        return each.sum() * (total > 0) / torch.where(total > 0, total, 1)

    def _hard(self, scores: Tensor, masks: Tensor, losses: Tensor, counted: Tensor) -> Tensor:
        """Which pixels count: (N, H, W) of truth values."""
        if self.hard == "threshold":
            true = masks.where(counted, 0)[:, None]
            return counted & (scores.softmax(1).gather(1, true)[:, 0] < self.hard_share)
        count = int(counted.sum().item() * self.hard_share)
        if count == 0:
            return counted
        # The least of the largest decides, so that equal losses are all taken.
        return counted & (losses >= losses[counted].topk(count).values[-1])

    def _counted(self, masks: Tensor) -> Tensor:
        """The masks with one label for all pixels that do not count."""
        return masks if self.ignore == IGNORED else masks.masked_fill(masks == IGNORED, self.ignore)

    def _weights(self, like: Tensor) -> Tensor:
        return torch.tensor(self.class_weights, device=like.device, dtype=torch.float32)

    def _check(self, masks: Tensor, batch: Batch) -> None:
        if masks.ndim != 3 or len(masks) != len(batch):
            raise ShapeError(f"expected masks (N, H, W) for {len(batch)} images, got {tuple(masks.shape)}")
        check_labels(masks, batch.names, lowest=0, highest=self.classes - 1, ignore=self.ignore)


class MaskScorer:
    """Scores of masks, summed over batches."""

    def __init__(self, classes: int, ignore: int) -> None:
        self._classes, self._ignore = classes, ignore
        self._masks = MaskAccumulator(classes=classes, ignore=ignore)

    def update(self, batch: Batch, outputs: Tensor) -> None:
        """Add the scores (N, classes, H, W) of a batch, brought to the masks' size."""
        scores = outputs.float()
        if scores.shape[2:] != batch.truth.shape[1:]:
            scores = functional.interpolate(scores, size=batch.truth.shape[1:], mode="bilinear", align_corners=False)
        masks = batch.truth.cpu()
        masks = masks.masked_fill(masks == IGNORED, self._ignore)
        check_labels(masks, batch.names, lowest=0, highest=self._classes - 1, ignore=self._ignore)
        self._masks.update(masks, scores.argmax(1).cpu())

    def merge(self, other: MaskScorer) -> None:
        """Add what another one counted."""
        self._masks.merge(other._masks)

    def compute(self) -> dict[str, Any]:
        """miou, iou of each class, pixel_accuracy."""
        found = self._masks.compute()
        return {
            "miou": known(found.miou),
            "pixel_accuracy": known(found.pixel_accuracy),
            "iou": list(map(known, found.iou)),
        }
