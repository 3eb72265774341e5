"""How a recipe's images are prepared for training and for testing."""

from __future__ import annotations

from perimetry.data.transforms import (
    ColorJitter,
    Crop,
    Flip,
    Lighting,
    RandomScale,
    ResizeShort,
    Sanitize,
    Step,
    TestTransform,
    TrainTransform,
)
from perimetry.training.networks import Built
from perimetry.training.recipe import Recipe

_JITTER = ColorJitter(0.4, 0.4, 0.4)  # fb.resnet.torch's


def training_transform(recipe: Recipe, built: Built) -> TrainTransform:
    """What is done to training images, by `augmentation`, `size` and `scales`.

    classification: short side (`short_side`, 256 for a crop of 224, or one of `scales`), crop, flip, and for "classic"
    AlexNet's lighting; segmentation: one of `scales`, or for "classic" a factor from a half to two where there is a
    size to crop to, flip, and for "classic" colours; detection: flip, for "classic" colours, and the short side where
    the network does not resize itself. "flip" leaves out factors and colours; "none" draws nothing but one of `scales`.

    >>> from torch import nn
    >>> recipe = Recipe(task="classification", data="d", epochs=1, augmentation="flip")
    >>> print(training_transform(recipe, Built(nn.Identity(), (0.5,) * 3, (0.5,) * 3, size=(224, 224))))
    seed 0
    ResizeShort(sizes=(256,), longest=None)
    Crop(size=(224, 224), where='anywhere', fill=(128, 128, 128), keep='centre')
    Flip(probability=0.5)
    Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    """
    classic, drawn = recipe.augmentation == "classic", recipe.augmentation != "none"
    flip: list[Step] = [Flip()] if drawn else []
    colors: list[Step] = [_JITTER] if classic else []
    resized: list[Step] = []
    if recipe.task == "classification":
        height, width = crop_size(recipe, built)
        resized = [ResizeShort(recipe.scales or (recipe.short_side or short_side(min(height, width)),))]
        colors = [Lighting()] if classic else []
    elif recipe.task == "segmentation":
        height, width = recipe.size
        if recipe.scales or (classic and height):
            resized = [ResizeShort(recipe.scales) if recipe.scales else RandomScale()]
    else:
        height = width = 0
        resized = _detection_sizes(recipe, built)
        colors = [*colors, Sanitize()]
    where = "anywhere" if drawn else "centre"
    cut: list[Step] = [Crop((height, width), where, fill=built.normalize.color)] if height else []
    return TrainTransform((*resized, *cut, *flip, *colors, built.normalize), recipe.seed)


def testing_transform(recipe: Recipe, built: Built) -> TestTransform:
    """What is done to images that are scored: one size, the centre for classification, nothing drawn."""
    if recipe.task == "classification":
        height, width = crop_size(recipe, built)
        resize = ResizeShort((recipe.short_side or short_side(min(height, width)),))
        return TestTransform((resize, Crop((height, width), "centre", fill=built.normalize.color), built.normalize))
    if recipe.task == "segmentation":
        return TestTransform((built.normalize,))
    sizes = _detection_sizes(recipe, built)
    last = [ResizeShort(each.sizes[-1:], each.longest) for each in sizes if isinstance(each, ResizeShort)]
    return TestTransform((*last, built.normalize))


def crop_size(recipe: Recipe, built: Built) -> tuple[int, int]:
    """Height and width of the crops of a classifier."""
    return recipe.size if min(recipe.size) else built.size


def short_side(side: int) -> int:
    """The short side before a crop of that side: 256 for crops of 224 and 227, in that proportion for others.

    >>> short_side(224), short_side(227), short_side(32)
    (256, 256, 37)
    """
    return 256 if side == 227 else round(side * 256 / 224)


def _detection_sizes(recipe: Recipe, built: Built) -> list[Step]:
    """Nothing where the network resizes itself, or nothing is asked."""
    sizes = recipe.scales or ((min(recipe.size),) if max(recipe.size) else ())
    if built.resizes or not sizes:
        return []
    return [ResizeShort(sizes, max(*recipe.size, *sizes, 0 if max(recipe.size) else max(sizes) * 5 // 3))]
