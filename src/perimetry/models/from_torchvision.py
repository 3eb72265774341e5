"""The models of torchvision, by the names of its own listing."""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from functools import cache
from typing import Any

import torch

from perimetry.errors import WeightsError
from perimetry.models.loaded import IMAGENET_MEAN, IMAGENET_STD, LoadedModel

PREFIX = "torchvision:"


# These take clips or pairs of frames. They can be named, and inspected in Python on an example of one's own.
_NOT_FOR_PHOTOS = ("torchvision.models.video", "torchvision.models.optical_flow")


@cache
def names() -> tuple[str, ...]:
    """Every name that torchvision can build, without the prefix."""
    from torchvision import models

    return tuple(models.list_models())


@cache
def names_for_photos() -> tuple[str, ...]:
    """The names whose models take a photo."""
    from torchvision import models

    return tuple(name for name in names() if not models.get_model_builder(name).__module__.startswith(_NOT_FOR_PHOTOS))


def task(name: str) -> str:
    """What one of `names()` is made for: classification, segmentation, detection, or another folder of torchvision's.

    >>> task("ssd300_vgg16"), task("resnet18")
    ('detection', 'classification')
    """
    from torchvision import models

    folders = models.get_model_builder(name).__module__.split(".")[2:-1]
    return folders[0].replace("_", " ") if folders and folders[0] != "quantization" else "classification"


def build(name: str, *, pretrained: bool) -> LoadedModel:
    """Build one of `names()`; only with `pretrained` may weights be downloaded.

    Raises `WeightsError` where they are wanted and cannot be fetched.
    """
    from torchvision import models

    builder = models.get_model_builder(name)
    # `weights_backbone` must be named: detection and segmentation builders fetch a backbone otherwise.
    options: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None}
    if not pretrained and "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    options["progress"] = pretrained and sys.stderr.isatty()
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce a future change of their random initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # torch tells of downloads where results belong
                module = builder(**options)
        except OSError as error:
            raise no_download(PREFIX + name, error) from error
    entries = models.get_model_weights(name)
    weights = getattr(entries, "DEFAULT", None) if len(entries) else None
    return describe(name, module, weights, pretrained=pretrained)


def describe(name: str, module: torch.nn.Module, weights: Any, *, pretrained: bool) -> LoadedModel:
    """How photos are prepared for the model: what its published weights say, unless its code fixes the size.

    weights: the default entry of the model's torchvision weights enum, None where it has none.
    """
    recipe = vars(weights.transforms()) if weights is not None else {}
    fixed = fixed_size(module)
    size = fixed or _side(recipe.get("crop_size") or recipe.get("resize_size")) or 224
    short_side = _side(recipe.get("resize_size"))
    detector = hasattr(module, "transform")  # detectors resize and normalise inside
    return LoadedModel(
        name=PREFIX + name,
        resolved=PREFIX + name,
        module=module.eval(),
        input_size=(size, size),
        mean=(0.0, 0.0, 0.0) if detector else tuple(recipe.get("mean") or IMAGENET_MEAN),
        std=(1.0, 1.0, 1.0) if detector else tuple(recipe.get("std") or IMAGENET_STD),
        resize=short_side if short_side and short_side >= size else None,
        interpolation="bicubic" if "bicubic" in str(recipe.get("interpolation")).lower() else "bilinear",
        class_names=tuple(weights.meta["categories"]) if pretrained and "categories" in weights.meta else None,
        trained=pretrained,
        takes="list" if detector else "batch",
    )


def fixed_size(module: torch.nn.Module) -> int | None:
    """The side that the model's code insists on: a vision transformer's image, a detector's own resizing."""
    image_size = getattr(module, "image_size", None)
    if isinstance(image_size, int):
        return image_size
    transform = getattr(module, "transform", None)
    fixed = getattr(transform, "fixed_size", None)
    shortest = getattr(transform, "min_size", None)
    return _side(fixed) or _side(shortest)


def no_download(name: str, reason: BaseException | str) -> WeightsError:
    """The error for pretrained weights that did not arrive, with what to do."""
    return WeightsError(
        f"the pretrained weights of {name} could not be downloaded ({reason}); connect to the network and try again, "
        "or name a file that holds them (--weights FILE), or take random weights (--weights none)"
    )


def _side(value: Any) -> int | None:
    """The side in a list of sides, the last where there are several: detectors draw from them in training only."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[-1], int):
        return int(value[-1])
    return None
