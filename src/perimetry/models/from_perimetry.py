"""The networks of perimetry itself, by the names of their cards.

They are imported when one is asked for: models of other sources start without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from perimetry.models.loaded import IMAGENET_MEAN, IMAGENET_STD, LoadedModel
from perimetry.models.weights import without_prefix

if TYPE_CHECKING:
    from perimetry.networks import Card, GivenProposalsDetector

PREFIX = "perimetry:"


def names() -> tuple[str, ...]:
    """Every name that has a card, without the prefix."""
    from perimetry.networks import CARDS

    return tuple(CARDS)


def build(name: str) -> LoadedModel:
    """Build one of `names()` with its default arguments and random weights."""
    from perimetry.networks import CARDS

    card = CARDS[name]
    return describe(card, card.build())


def translate(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchvision's or timm's network of the kind, or of the module's own, under the module's names."""
    from perimetry.networks import translate_weights
    from perimetry.networks.weights import names_elsewhere

    known = [*module.state_dict(), *names_elsewhere(module)]
    return translate_weights(module, without_prefix(tensors, dict.fromkeys(known)))


def describe(card: Card, module: nn.Module) -> LoadedModel:
    """The input that a network of that card is made for.

    >>> from perimetry.networks import CARDS
    >>> describe(CARDS["alexnet"], nn.Identity()).input_size
    (227, 227)
    """
    from perimetry.networks import GivenProposalsDetector

    name = PREFIX + card.name
    detector = card.task == "detection"  # they resize and normalise inside
    if isinstance(module, GivenProposalsDetector):
        module = OnQuarters(module)
    return LoadedModel(
        name=name,
        resolved=name,
        module=module.eval(),
        input_size=card.image,
        mean=(0.0, 0.0, 0.0) if detector else IMAGENET_MEAN,
        std=(1.0, 1.0, 1.0) if detector else IMAGENET_STD,
        takes="list" if detector else "batch",
    )


class OnQuarters(nn.Module):
    """A detector of given proposals, given the whole image and its four quarters, so that an image alone will do.

    Its parts are the detector's own, under their names.
    """

    def __init__(self, detector: GivenProposalsDetector) -> None:
        super().__init__()
        for name, part in detector.named_children():
            self.add_module(name, part)
        self._detector = (detector.eval(),)  # a tuple is no part, so that names stay as they are

    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """The detections of each image among those five boxes."""
        return self._detector[0](images, [quarters(image) for image in images])  # type: ignore[no-any-return]


def quarters(image: Tensor) -> Tensor:
    """The boxes (5, 4) of an image (C, H, W) and of its quarters.

    >>> quarters(torch.zeros(3, 4, 6))[:2]
    tensor([[0., 0., 6., 4.],
            [0., 0., 3., 2.]])
    """
    height, width = image.shape[1:]
    parts = [(0, 0, 2, 2), (0, 0, 1, 1), (1, 0, 2, 1), (0, 1, 1, 2), (1, 1, 2, 2)]
    half = torch.tensor([width, height, width, height], device=image.device) / 2
    return torch.tensor(parts, device=image.device) * half
