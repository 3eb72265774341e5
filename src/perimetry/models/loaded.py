"""LoadedModel: a model that was asked for by name, and how photos are prepared for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perimetry.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from perimetry.images import Interpolation
    from perimetry.records import Photo

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in eval mode, and the input that it is made for.

    name: as it was asked for; resolved: the full name that answered ("torchvision:resnet50").
    input_size: (H, W) in pixels; channels: of its image. mean, std: per channel, on pixels scaled to 0..1; where a
    source says nothing, ImageNet's. resize: short side in pixels before the centre crop, None to cover `input_size`.
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
