"""The transforms that published systems train and test with, by task."""

from __future__ import annotations

from typing import Literal

from perimetry.data.transforms.colors import ColorJitter, Lighting, Normalize
from perimetry.data.transforms.steps import (
    Crop,
    CropWithBoxes,
    Flip,
    RandomResizedCrop,
    RandomScale,
    ResizeShort,
    Sanitize,
    Step,
)
from perimetry.data.transforms.ten_crop import TenCrop
from perimetry.data.transforms.transform import TestTransform, TrainTransform
from perimetry.errors import UnknownNameError

_IMAGENET = Normalize()


def classic_training(
    *,
    seed: int,
    size: int = 224,
    short: int | tuple[int, ...] = 256,
    jitter: ColorJitter | None = None,
    lighting: Lighting | None = Lighting(),  # noqa: B008 - frozen
    normalize: Normalize = _IMAGENET,
) -> TrainTransform:
    """Classification as AlexNet trains it: short side to 256, a random crop (227 there), flip, and lighting.

    short: of several sides, one is drawn for each image: VGG's scale jitter is `tuple(range(256, 513))`.

    >>> print(classic_training(seed=0, size=227, lighting=None))
    seed 0
    ResizeShort(sizes=(256,), longest=None)
    Crop(size=(227, 227), where='anywhere', fill=(124, 116, 104), keep='centre')
    Flip(probability=0.5)
    Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    """
    sides = (short,) if isinstance(short, int) else short
    crop = Crop((size, size), fill=normalize.color)
    return _training(seed, ResizeShort(sides), crop, Flip(), jitter, lighting, normalize)


def resized_crop_training(
    *,
    seed: int,
    size: int = 224,
    area: tuple[float, float] = (0.08, 1.0),
    jitter: ColorJitter | None = None,
    lighting: Lighting | None = None,
    normalize: Normalize = _IMAGENET,
) -> TrainTransform:
    """Classification as GoogLeNet trains it: a crop of random area and aspect, resized, then flip and colours.

    fb.resnet.torch adds `ColorJitter(0.4, 0.4, 0.4)` and `Lighting()`.
    """
    return _training(seed, RandomResizedCrop((size, size), area), Flip(), jitter, lighting, normalize)


def classic_testing(
    *, size: int = 224, short: int = 256, crops: Literal["centre", "ten"] = "centre", normalize: Normalize = _IMAGENET
) -> TestTransform:
    """Classification: short side to 256, then the centre crop, or AlexNet's ten (see `mean_scores`)."""
    if crops not in ("centre", "ten"):
        raise UnknownNameError("choice of crops", crops, known=("centre", "ten"), advice='"centre" or "ten"')
    cut: Step = TenCrop((size, size)) if crops == "ten" else Crop((size, size), "centre", normalize.color)
    return TestTransform((ResizeShort((short,)), cut, normalize))


def segmentation_training(
    *,
    seed: int,
    size: tuple[int, int],
    scale: tuple[float, float] = (0.5, 2.0),
    jitter: ColorJitter | None = None,
    normalize: Normalize = _IMAGENET,
) -> TrainTransform:
    """Segmentation as DeepLab trains it: random scale, a crop padded with the mean colour (its mask with 255), flip."""
    return _training(seed, RandomScale(*scale), Crop(size, fill=normalize.color), Flip(), jitter, normalize)


def segmentation_testing(*, normalize: Normalize = _IMAGENET) -> TestTransform:
    """Segmentation: whole images; `segment_pyramid` takes several scales of them."""
    return TestTransform((normalize,))


def detection_training(
    *,
    seed: int,
    sizes: tuple[int, ...] = (600,),
    longest: int | None = 1000,
    crop: CropWithBoxes | None = None,
    jitter: ColorJitter | None = None,
    least_side: float = 1.0,
    normalize: Normalize = _IMAGENET,
) -> TrainTransform:
    """Detection as Fast R-CNN trains it: short side 600, long side at most 1000, flip.

    sizes: of several, one is drawn for each image: (480, 576, 688, 864, 1200) with longest=2000 in the paper's five
    scales. crop: first cut a window that keeps boxes. least_side: smaller boxes are dropped at the end.
    """
    return _training(seed, crop, ResizeShort(sizes, longest), Flip(), jitter, Sanitize(least_side), normalize)


def detection_testing(
    *, size: int = 600, longest: int | None = 1000, normalize: Normalize = _IMAGENET
) -> TestTransform:
    """Detection: short side 600, long side at most 1000; boxes of the target are resized with it."""
    return TestTransform((ResizeShort((size,), longest), normalize))


def _training(seed: int, *steps: Step | None) -> TrainTransform:
    return TrainTransform(tuple(step for step in steps if step is not None), seed)
