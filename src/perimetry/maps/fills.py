"""Fill: what a patch shows in place of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.models import LoadedModel

_NAMED = ("noise", "mean", "blur")


@dataclass(frozen=True, slots=True)
class Fill:
    """What patches show.

    name: as it is told; seed: of the noise; level: of a constant; picture: (1, C, H, W), where a picture is shown.
    """

    name: str
    seed: int = 0
    level: float | None = None
    picture: torch.Tensor | None = None

    @classmethod
    def of(cls, given: str | Path | torch.Tensor | Image.Image, model: LoadedModel, seed: int = 0) -> Fill:
        """A fill by its name, a picture as the model takes it, or a photo that the model's preparation is applied to.

        Raises `UnknownNameError`, `InputError` or `FileError`.
        """
        if isinstance(given, torch.Tensor):
            return cls("image", seed, picture=given)
        if given in _NAMED:
            return cls(str(given), seed)
        if isinstance(given, str) and given.startswith("constant:"):
            try:
                level = float(given.partition(":")[2])
            except ValueError:
                level = math.nan
            if not math.isfinite(level):
                raise InputError(f"expected a number in fill 'constant:V', got {given!r}")
            return cls(given, seed, level)
        if isinstance(given, str) and not Path(given).is_file():
            raise UnknownNameError("fill", given, known=(*_NAMED, "constant:0"))
        picture, photo = model.photo(given)
        return cls(photo.name, seed, picture=picture)

    def on(self, image: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
        """For one image (1, C, H, W): a picture to cut patches from, or one patch for all places (1, C, rows, columns).

        Raises `ShapeError` for a picture of another shape than the image's.
        """
        mean = image.mean(dim=(2, 3), keepdim=True)
        if self.picture is not None:
            if self.picture.shape[-3:] != image.shape[1:]:
                raise ShapeError(
                    f"expected an image to fill with of shape {tuple(image.shape)}, got {tuple(self.picture.shape)}"
                )
            return self.picture.reshape(image.shape).to(image)
        if self.level is not None:
            return image.new_full((1, image.shape[1], *patch), self.level)
        if self.name == "blur":
            return _blurred(image, patch)
        if self.name == "mean":
            return mean.expand(1, -1, *patch)
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn((1, image.shape[1], *patch), generator=generator).to(image)
        return noise * image.std(dim=(2, 3), keepdim=True) + mean


def _blurred(image: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """The image under a Gaussian of half a patch, with its border repeated."""
    for axis, extent in ((2, patch[0]), (3, patch[1])):
        deviation = max(extent / 2, 0.5)
        reach = max(1, min(round(3 * deviation), image.shape[axis] - 1))
        taps = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
        kernel = (taps / taps.sum()).to(image).reshape(1, 1, *((-1, 1) if axis == 2 else (1, -1)))
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = torch.nn.functional.pad(image, pad, mode="replicate")
        channels = image.shape[1]
        image = torch.nn.functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return image
