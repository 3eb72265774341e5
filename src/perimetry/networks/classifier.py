"""Classifiers that are one chain of named layers, and the loss of classifiers with auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn
from torch.nn import functional

from perimetry.errors import InputError, ShapeError


@dataclass(frozen=True, slots=True)
class AuxiliaryHead:
    """A second classifier in the middle of a network, which runs in training only (Szegedy et al. 2015, section 5).

    after: the layer whose output it reads; layers: to (N, classes); smallest: side of the smallest image, in pixels.
    """

    after: str
    layers: nn.Module
    smallest: int = 1


class Classifier(nn.Module):
    """Layers one after the other, under the names of the original; the last one's output is `logits`.

    smallest: the side of the smallest image that the layers can take, in pixels; heads: auxiliary ones, by name. Takes
    (N, C, H, W), returns {"logits": (N, classes)}, or (N, classes, h, w) where the layers keep positions; in training
    also "aux1", "aux2" ... of the heads. Raises `ShapeError` and `InputError` for what is no batch of images.

    >>> import torch
    >>> Classifier({"conv1": nn.Conv2d(3, 4, 3), "fc": nn.Conv2d(4, 2, 1)})(torch.ones(1, 3, 8, 8))["logits"].shape
    torch.Size([1, 2, 6, 6])
    """

    def __init__(
        self, layers: Mapping[str, nn.Module], *, smallest: int = 1, heads: Mapping[str, AuxiliaryHead] | None = None
    ) -> None:
        super().__init__()
        heads = heads or {}
        for name, layer in layers.items():
            self.add_module(name, layer)
        for name, head in heads.items():
            self.add_module(name, head.layers)
        self.chain, self.smallest = tuple(layers), smallest
        self.heads = tuple((name, head.after, head.smallest) for name, head in heads.items())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the images."""
        check_images(images, smallest=self.smallest)
        features, auxiliary = images, {}
        for name in self.chain:
            features = getattr(self, name)(features)
            if self.training:
                for number, (head, after, smallest) in enumerate(self.heads, 1):
                    if after == name:
                        check_images(images, smallest=smallest)
                        auxiliary[f"aux{number}"] = getattr(self, head)(features)
        return {"logits": features, **auxiliary}


@fx.wrap  # a step of its own where a classifier is cut to a backbone, since it looks at shapes
def check_images(images: Tensor, *, smallest: int) -> None:
    """Raise unless the images are a batch (N, 3, H, W) of floats with at least `smallest` pixels a side.

    >>> import torch
    >>> check_images(torch.ones(1, 3, 8, 40), smallest=32)
    Traceback (most recent call last):
    perimetry.errors.ShapeError: the smallest image that this network takes has 32 x 32 pixels, got 8 x 40
    """
    if images.ndim != 4:
        raise ShapeError(
            f"expected an image batch (N, 3, H, W), got {tuple(images.shape)}; add a batch axis with x[None]"
        )
    if images.shape[1] != 3:
        raise ShapeError(f"expected images of 3 channels (N, 3, H, W), got {tuple(images.shape)}")
    if min(images.shape[2:]) < smallest:
        raise ShapeError(
            f"the smallest image that this network takes has {smallest} x {smallest} pixels, got "
            f"{images.shape[2]} x {images.shape[3]}"
        )
    if not images.is_floating_point():
        raise InputError(f"expected images as floats, normalised; got {images.dtype}: divide by 255 first")


def check_classes(classes: int) -> int:
    """The number of classes; raises `InputError` unless it is at least 1."""
    if classes < 1:
        raise InputError(f"classes counts what is told apart, at least 1; got {classes}")
    return classes


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
