"""Classifiers that are one chain of named layers, and the loss of classifiers with auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import InputError, ShapeError


class Classifier(nn.Module):
    """Layers one after the other, under the names of the original; the last one's output is `logits`.

    Takes (N, C, H, W), returns {"logits": (N, classes)}, or (N, classes, h, w) where the layers keep positions.

    >>> import torch
    >>> Classifier({"conv1": nn.Conv2d(3, 4, 3), "fc": nn.Conv2d(4, 2, 1)})(torch.ones(1, 3, 8, 8))["logits"].shape
    torch.Size([1, 2, 6, 6])
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the images."""
        features = images
        for layer in self.children():
            features = layer(features)
        return {"logits": features}


class FlattenMap(nn.Module):
    """Flatten maps of one size only, the one that the fully connected layer behind was made for.

    size: (height, width) in cells; image: the image that gives it, for the error. Raises `ShapeError` for other maps.
    """

    def __init__(self, size: tuple[int, int], *, image: int) -> None:
        super().__init__()
        self.size, self.image = size, image

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C * H * W)."""
        if tuple(features.shape[2:]) != self.size:
            raise ShapeError(
                f"the fully connected layers take maps of {self.size[0]} x {self.size[1]}, this image gives "
                f"{features.shape[2]} x {features.shape[3]}; give an image of {self.image} x {self.image}"
            )
        return features.flatten(1)

    def extra_repr(self) -> str:
        """The size of the map."""
        return f"{self.size}"


def classification_losses(
    outputs: Mapping[str, Tensor], labels: Tensor, *, auxiliary_weight: float = 0.3
) -> dict[str, Tensor]:
    """Cross entropy of the logits and of the auxiliary heads, the latter weighted (GoogLeNet's release: 0.3).

    outputs: of a classifier, {"logits": (N, K)} and perhaps {"aux1": ...}; labels: (N,), class indices. Returns one
    scalar for each output, by its name; their sum is what is trained.

    >>> import torch
    >>> {name: round(loss.item(), 4) for name, loss in classification_losses(
    ...     {"logits": torch.zeros(1, 2), "aux1": torch.zeros(1, 2)}, torch.tensor([1])).items()}
    {'logits': 0.6931, 'aux1': 0.2079}
    """
    if "logits" not in outputs:
        raise InputError(f"expected the outputs of a classifier, with 'logits'; got {', '.join(outputs) or 'none'}")
    return {
        name: functional.cross_entropy(scores, labels) * (1.0 if name == "logits" else auxiliary_weight)
        for name, scores in outputs.items()
    }
