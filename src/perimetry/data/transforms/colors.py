"""Steps that change colours: jitter, AlexNet's lighting, and normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from perimetry.data.transforms.draws import Draws
from perimetry.data.transforms.geometry import Sample
from perimetry.errors import InputError, ShapeError

Triple = tuple[float, float, float]
Rows = tuple[Triple, Triple, Triple]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
# Of a random part of ImageNet, from `datasets/imagenet.lua` of facebookarchive/fb.resnet.torch (2016), pixels in 0..1;
# a column of the axes is one direction in red, green and blue.
IMAGENET_SPREADS: Triple = (0.2175, 0.0188, 0.0045)
IMAGENET_AXES: Rows = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue by random factors in random order.

    Factors are drawn from 1 - x to 1 + x (not below 0), the shift of hue from -x to x, of a full turn. probability:
    that each of the four happens at all; Liu et al. (2016, SSD) use 0.5 with (0.125, 0.5, 0.5, 0.05).
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        factors = (self.brightness, self.contrast, self.saturation)
        if not all(0 <= each < math.inf for each in factors) or not 0 <= self.hue <= 0.5:
            raise InputError("expected brightness, contrast and saturation from 0, and a hue from 0 to 0.5")
        if not 0 <= self.probability <= 1:
            raise InputError(f"expected a probability from 0 to 1, got {self.probability}")

    @property
    def random(self) -> bool:
        """Yes."""
        return True

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Change the image's colours."""
        image = sample[0]
        changes = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)
        amounts = (self.brightness, self.contrast, self.saturation, self.hue)
        for number in draws.order(len(changes)):
            amount, turns = amounts[number], number == 3
            value = draws.uniform(-amount, amount) if turns else draws.uniform(max(1 - amount, 0), 1 + amount)
            if draws.happens(self.probability) and amount:
                image = changes[number](image, value)
        return image, sample[1]


@dataclass(frozen=True, slots=True)
class Lighting:
    """Add one random colour to all pixels, along the main axes of the colours of images (AlexNet, section 4.1).

    The colour is the sum over axes of axis * spread * a, with a normal of deviation `std`; pixels become float, 0 to 1,
    and may leave that range a little. spreads: how far colours spread along each axis; axes: rows red, green, blue.
    The paper multiplies by the eigenvalues of the covariance; its author's code calls the same numbers standard
    deviations (cuda-convnet2, convdata.py, `color_stdevs`), and so does this. By default ImageNet's as published with
    fb.resnet.torch; `Lighting.of` measures them.
    """

    std: float = 0.1
    spreads: Triple = IMAGENET_SPREADS
    axes: Rows = IMAGENET_AXES

    def __post_init__(self) -> None:
        if not all(0 <= each < math.inf for each in (self.std, *self.spreads)):
            raise InputError(f"expected a deviation and spreads from 0, got {self.std} and {self.spreads}")

    @property
    def random(self) -> bool:
        """Yes."""
        return True

    @classmethod
    def of(cls, images: Iterable[Tensor], *, std: float = 0.1) -> Lighting:
        """Measured on the pixels of a training set's images, uint8 (3, H, W): roots of the eigenvalues, and the axes.

        >>> image = torch.tensor([[[0, 255]], [[0, 255]], [[0, 255]]], dtype=torch.uint8)
        >>> [round(spread, 3) for spread in Lighting.of([image]).spreads]
        [0.866, 0.0, 0.0]
        """
        count, total, products = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        for image in images:
            if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
                raise ShapeError(f"expected images (3, H, W) of uint8, got {tuple(image.shape)} of {image.dtype}")
            pixels = image.flatten(1).double() / 255
            count += pixels.shape[1]
            total += pixels.sum(dim=1)
            products += pixels @ pixels.T
        if not count:
            raise InputError("lighting needs at least one image to measure colours on")
        mean = total / count
        values, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
        spreads = values.clamp(min=0).sqrt().flip(0).tolist()
        first, second, third = (tuple(row) for row in vectors.flip(1).tolist())
        return cls(std=std, spreads=tuple(spreads), axes=(first, second, third))

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Add the colour."""
        amounts = draws.normal(3) * self.std * torch.tensor(self.spreads, dtype=torch.float64)
        color = torch.tensor(self.axes, dtype=torch.float64) @ amounts
        image = vision.to_dtype(sample[0], torch.float32, scale=True)
        return image + color.to(image)[:, None, None], sample[1]


@dataclass(frozen=True, slots=True)
class Normalize:
    """Scale uint8 pixels to 0..1, subtract the mean and divide by the deviation, as the backbone wants."""

    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise InputError(f"expected deviations above 0, got {self.std}")

    @property
    def random(self) -> bool:
        """No."""
        return False

    @property
    def color(self) -> tuple[int, int, int]:
        """The mean colour, 0 to 255, which is 0 after normalisation: what crops fill with.

        >>> Normalize().color
        (124, 116, 104)
        """
        red, green, blue = (round(255 * level) for level in self.mean)
        return red, green, blue

    def __call__(self, sample: Sample, draws: Draws) -> Sample:  # noqa: ARG002 - as every step
        """Normalise (..., 3, H, W)."""
        image = vision.to_dtype(sample[0], torch.float32, scale=True)
        mean, std = (image.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (image - mean) / std, sample[1]
