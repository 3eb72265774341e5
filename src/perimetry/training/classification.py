"""Training classifiers: cross entropy or focal loss, auxiliary heads, top-1 and top-5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from perimetry.metrics import LabelAccumulator, TopKAccumulator
from perimetry.training.tasks import Batch, answer, check_labels, check_scores, known, named_outputs


@dataclass(frozen=True, slots=True)
class Classification:
    """One label for each image.

    class_weights: a factor for each class, empty for 1; label_smoothing: the share of a label that all classes get;
    auxiliary_weight: of every output but "logits"; loss: cross entropy, or torchvision's focal loss on one-hot labels.
    """

    classes: int
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    best_by: str = "top1"

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss of each output, means over images (weighted, where classes are)."""
        self._check(batch)
        outputs = named_outputs(answer(network, batch), "logits")
        check_scores(outputs["logits"], self.classes, axes=2)
        return {
            f"loss_{name}": self._loss(scores.float(), batch.truth) * (1 if name == "logits" else self.auxiliary_weight)
            for name, scores in outputs.items()
        }

    def weight(self, batch: Batch) -> Tensor | float:
        """Images, or the sum of their classes' weights."""
        if not self.class_weights:
            return float(len(batch))
        self._check(batch)
        return self._weights(batch.truth)[batch.truth].sum()

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Scores (N, classes)."""
        scores = named_outputs(answer(network, batch), "logits")["logits"]
        check_scores(scores, self.classes, axes=2)
        return scores

    def scorer(self) -> LabelScorer:
        """Top-1, top-5 (where there are more than five classes), and the mean recall of classes."""
        return LabelScorer(self.classes)

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        weights = self._weights(labels) if self.class_weights else None
        if weights is not None and not bool(weights[labels].any()):
            return scores.sum() * 0  # a batch of classes that do not count; their mean would be 0 / 0
        if self.loss == "cross_entropy":
            return functional.cross_entropy(scores, labels, weight=weights, label_smoothing=self.label_smoothing)
        found: Tensor = sigmoid_focal_loss(scores, functional.one_hot(labels, self.classes).to(scores)).sum(1)
        if weights is None:
            return found.mean()
        return (found * weights[labels]).sum() / weights[labels].sum()

    def _check(self, batch: Batch) -> None:
        check_labels(batch.truth, batch.names, lowest=0, highest=self.classes - 1)

    def _weights(self, like: Tensor) -> Tensor:
        return torch.tensor(self.class_weights, device=like.device, dtype=torch.float32)


class LabelScorer:
    """Scores of labels, summed over batches."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._top = TopKAccumulator(ks=(1, 5) if classes > 5 else (1,))
        self._labels = LabelAccumulator(classes=classes)

    def update(self, batch: Batch, outputs: Tensor) -> None:
        """Add the scores (N, classes) of a batch."""
        check_labels(batch.truth, batch.names, lowest=0, highest=self._classes - 1)
        scores = outputs.float().cpu()
        self._top.update(batch.truth.cpu(), scores)
        self._labels.update(batch.truth.cpu(), scores.argmax(1))

    def merge(self, other: LabelScorer) -> None:
        """Add what another one counted."""
        self._top.merge(other._top)
        self._labels.merge(other._labels)

    def compute(self) -> dict[str, Any]:
        """top1, top5, and the recall of each class."""
        top, labels = self._top.compute(), self._labels.compute()
        told: dict[str, Any] = {f"top{k}": known(score) for k, score in zip(top.ks, top.accuracy, strict=True)}
        return {**told, "recall": [known(each.recall) for each in labels.confusion.per_class.each]}
