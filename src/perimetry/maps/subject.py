"""What maps are measured on: a model in one form, and a stream of images that fit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perimetry.errors import InputError, ShapeError, TrainingModeError
from perimetry.images import photos_in
from perimetry.models import LoadedModel, load_model
from perimetry.models.loaded import of_module

if TYPE_CHECKING:
    from PIL import Image

    Model = torch.nn.Module | LoadedModel | str
    Images = torch.Tensor | str | Path | Image.Image | int | Sequence["Images"]


def loaded(model: Model) -> LoadedModel:
    """A module, a name or a `LoadedModel` as a `LoadedModel`.

    Raises `TrainingModeError` where a batch norm would use the statistics of the batch.
    """
    if isinstance(model, str):
        model = load_model(model)
    elif isinstance(model, torch.nn.Module):
        model = of_module(type(model).__name__, model)
    elif not isinstance(model, LoadedModel):
        raise InputError(f"expected a torch.nn.Module, a model's name or a LoadedModel, got {type(model).__name__}")
    for path, part in model.module.named_modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and (part.training or part.running_var is None):
            raise TrainingModeError(
                f"{model.name}: its batch norm {path or 'itself'!r} would use the statistics of the image, so that "
                "every unit sees every pixel; call model.eval() first"
            )
    return model


def place_of(module: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device and the type of number that a module computes with."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def image_stream(model: LoadedModel, images: Images, *, seed: int = 0) -> tuple[int, Iterator[torch.Tensor]]:
    """How many images there are, and each in turn as (1, C, H, W), on the model's device; all are of one shape.

    images: a batch (N, C, H, W), a photo (path or Pillow image) which the model's own preparation is applied to, a
    folder of photos (in the order of their names), a number of images of Gaussian noise to draw from `seed`, or a list
    of any of these. Photos are read one at a time.

    Raises `ShapeError`, `InputError` (no image, NaN) or `FileError`.
    """
    sources = list(_sources(images))
    if not sources:
        raise InputError("expected at least one image, got none")
    return sum(_count(source) for source in sources), _stream(model, sources, seed)


def _sources(images: Any) -> Iterator[Any]:
    if isinstance(images, bool) or images is None:
        raise InputError(f"expected images, got {images!r}; give a batch (N, C, H, W), a photo, a folder or a number")
    if isinstance(images, torch.Tensor):
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ShapeError(
                f"expected an image batch (N, C, H, W), got {tuple(images.shape)}"
                + ("; add a batch axis with x[None]" if images.ndim == 3 else "")
            )
        if not images.is_floating_point():
            raise InputError(f"expected images as floating numbers, prepared for the model, got {images.dtype}")
        if images.device.type == "meta":
            raise InputError("the images are on the meta device and hold no pixels")
        if not bool(torch.isfinite(images).all()):
            raise InputError("the image holds NaN or infinite values; clean it first")
        if len(images):
            yield images
    elif isinstance(images, int):
        if images < 1:
            raise InputError(f"expected at least one image, got the number {images}")
        yield images
    elif isinstance(images, list | tuple):
        for each in images:
            yield from _sources(each)
    elif isinstance(images, str | Path) and Path(images).is_dir():
        yield from photos_in(images)
    else:
        yield images


def _count(source: Any) -> int:
    if isinstance(source, int):
        return source
    return len(source) if isinstance(source, torch.Tensor) else 1


def _stream(model: LoadedModel, sources: list[Any], seed: int) -> Iterator[torch.Tensor]:
    device, dtype = place_of(model.module)
    generator = torch.Generator().manual_seed(seed)
    shape: tuple[int, ...] | None = None
    for source in sources:
        if isinstance(source, torch.Tensor):
            singles: Any = source.split(1)
        elif isinstance(source, int):
            form = (1, model.channels, *model.input_size)
            singles = (torch.randn(form, generator=generator) for _ in range(source))
        else:
            singles = (model.photo(source)[0],)
        for image in singles:
            if shape is not None and tuple(image.shape) != shape:
                raise ShapeError(f"all images must have one shape; the first has {shape}, another {tuple(image.shape)}")
            shape = tuple(image.shape)
            yield image.detach().to(device, dtype)
