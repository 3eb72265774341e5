"""LoadedModel: a model that was asked for by name, and how photos are prepared for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from perimetry.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from perimetry.images import Interpolation
    from perimetry.records import Photo

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in eval mode, and the input that it is made for.

    name: as it was asked for; resolved: the full name that answered ("torchvision:resnet50").
    input_size: (H, W) in pixels; channels: of its image; batch: how many images it takes, where that is fixed.
    mean, std: per channel, on pixels scaled to 0..1; where a source says nothing, ImageNet's. resize: short side in
    pixels before the centre crop, None to cover `input_size`.
    class_names: in the order of the outputs, None where not known.
    trained: its weights were loaded, and photos prepared as above mean something to it.
    takes: a batch (N, C, H, W), or a list of images (C, H, W) as torchvision's detectors do.

    >>> from perimetry import load_model
    >>> load_model("torchvision:alexnet").input_size
    (224, 224)
    """

    name: str
    resolved: str
    module: torch.nn.Module
    input_size: tuple[int, int] = (224, 224)
    channels: int = 3
    batch: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    class_names: tuple[str, ...] | None = None
    trained: bool = False
    takes: Literal["batch", "list"] = "batch"

    def __post_init__(self) -> None:
        if min(self.input_size) < 1:
            raise InputError(f"expected an input size of at least 1x1 pixels, got {self.input_size}")

    def photo(self, source: str | Path | Image.Image) -> tuple[torch.Tensor, Photo]:
        """The photo as this model takes it, (1, C, H, W), and its pixels for people; see `load_photo`."""
        from perimetry.images import load_photo

        return load_photo(
            source,
            self.input_size,
            mean=self.mean,
            std=self.std,
            channels=self.channels,
            resize=self.resize,
            interpolation=self.interpolation,
        )


def of_module(name: str, module: torch.nn.Module) -> LoadedModel:
    """A module of which nothing is known but what it holds: the channels of its first convolution, 3 without one.

    >>> of_module("gray", torch.nn.Conv2d(1, 8, 3)).mean
    (0.5,)
    """
    first = next(_convolutions(module), None)
    channels = 3 if first is None else int(first.in_channels)
    mean, std = normalisation(channels)
    return LoadedModel(name=name, resolved=name, module=module, channels=channels, mean=mean, std=std)


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel where nothing is known: ImageNet's for three, else 0.5.

    >>> normalisation(1)
    ((0.5,), (0.5,))
    """
    return (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)


def image_axes(module: torch.nn.Module) -> int:
    """How many spatial axes the image has: as all convolutions agree, 2 where they do not or there is none.

    >>> image_axes(torch.nn.Conv1d(2, 4, 3)), image_axes(torch.nn.ReLU())
    (1, 2)
    """
    ranks = {_rank(part) for part in _convolutions(module)}
    return ranks.pop() if len(ranks) == 1 else 2


def image_dtype(module: torch.nn.Module) -> torch.dtype:
    """The type of the image: that of the first floating parameter, float32 where there is none.

    >>> image_dtype(torch.nn.Conv2d(3, 8, 3).half())
    torch.float16
    """
    return next((each.dtype for each in module.parameters() if each.is_floating_point()), torch.float32)


def _convolutions(module: torch.nn.Module) -> Iterator[Any]:
    return (part for part in module.modules() if _rank(part))


def _rank(part: torch.nn.Module) -> int:
    """Spatial axes of a convolution, 0 for another module; TorchScript keeps the class by its name only."""
    script_class = getattr(part, "original_name", "")
    for rank, known in enumerate((torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d), start=1):
        if isinstance(part, known) or (script_class == known.__name__ and hasattr(part, "in_channels")):
            return rank
    return 0
