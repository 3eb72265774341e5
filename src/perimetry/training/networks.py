"""The network of a recipe, built for the classes of the data, with the weights that it starts from."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from perimetry.data.transforms import Normalize
from perimetry.errors import InputError, UnknownNameError
from perimetry.models import from_run, from_timm, from_torchvision, load_model
from perimetry.models.from_function import find
from perimetry.models.from_perimetry import translate
from perimetry.models.loaded import IMAGENET_MEAN, IMAGENET_STD
from perimetry.models.weights import read_checkpoint, without_prefix
from perimetry.networks import CARDS, ONLINE_HARD_EXAMPLES, Card
from perimetry.networks.detector import RegionDetector
from perimetry.networks.r_fcn import R_FCN_HARD_EXAMPLES
from perimetry.training.checkpoints import best_or_last, weights_file
from perimetry.training.recipe import Recipe
from perimetry.training.transfer import Transfer, transfer


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A network in training mode, how its images are prepared, and what became of the weights that it starts from.

    mean, std: what pixels in 0 ... 1 are normalised by (detectors normalise themselves: 0 and 1); size: (H, W) of the
    images that it is made for; resizes: it brings images to its size itself, as detectors of perimetry and torchvision
    do; transfer: of a file or a run, None where there was none.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] = (224, 224)
    resizes: bool = False
    transfer: Transfer | None = None

    @property
    def normalize(self) -> Normalize:
        """The step of a transform that normalises."""
        (red, green, blue), (red_std, green_std, blue_std) = self.mean, self.std
        return Normalize((red, green, blue), (red_std, green_std, blue_std))

    @property
    def facts(self) -> dict[str, Any]:
        """What has to be known to use the network again."""
        return {"mean": list(self.mean), "std": list(self.std)}


def build_network(recipe: Recipe, *, classes: int) -> Built:
    """The network that the recipe names, for `classes` classes (of detection: without the background).

    The caller seeds torch. Raises `UnknownNameError`, `InputError` where the network does not have what the recipe
    asks of it, and `WeightsError`.
    """
    if not recipe.model:
        raise InputError(
            f"name a model for {recipe.task}: a network of perimetry (`perimetry models`), torchvision:..., timm:..., "
            "or package.module:function, called with classes=..."
        )
    source, _, name = recipe.model.rpartition(":")
    # As everywhere, a bare name means torchvision's or timm's network where they have one.
    bare = not source and not (name in from_torchvision.names() or from_timm.knows(name))
    card = CARDS.get(name) if bare or source == "perimetry" else None
    if card is not None:
        built, start = _of_card(card, recipe, classes)
    else:
        built, start = _other(recipe, classes)
    if start == "default":
        raise InputError(f"{recipe.model} has no pretrained weights of its own; name a backbone, or a file of weights")
    told = built.transfer
    if start != "none":
        tensors = _tensors(start)
        tensors = translate(built.network, tensors) if card is not None else tensors
        told = transfer(built.network, tensors, source=start)
    mean, std = ((0.0,) * 3, (1.0,) * 3) if recipe.task == "detection" else (built.mean, built.std)
    return Built(built.network.train(), tuple(mean), tuple(std), built.size, built.resizes, told)


def _of_card(card: Card, recipe: Recipe, classes: int) -> tuple[Built, str]:
    """A network of perimetry, and the weights that it still has to be given."""
    if card.task != recipe.task:
        raise InputError(f"{card.name} is for {card.task}, the recipe is for {recipe.task}; choose another model")
    options: dict[str, Any] = {"classes": classes} | ({"backbone": recipe.backbone} if recipe.backbone else {})
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    start = recipe.weights
    if recipe.output_stride:
        options["output_stride"] = recipe.output_stride
    if recipe.fuse:
        options["fuse"] = recipe.fuse
    if recipe.hard == "ohem":
        options["sampling"] = R_FCN_HARD_EXAMPLES if card.name.startswith("r_fcn") else ONLINE_HARD_EXAMPLES
    detects = recipe.task == "detection"
    if detects:
        options["short_side"], options["long_side"] = detector_sides(recipe)
    _check_options(card.build, options, card.name)
    told = None
    if ":" in recipe.backbone:
        pretrained = start == "default"
        loaded = load_model(recipe.backbone, weights="default" if pretrained else "none", seed=recipe.seed)
        options["backbone"], mean, std = loaded.module, loaded.mean, loaded.std
        if not pretrained and start != "none":
            told = _backbones_own(loaded.module, start)
        start = "none" if pretrained or told is not None else start
    network = card.build(**options)
    if isinstance(network, RegionDetector):
        for buffer, values in ((network.preparation.mean, mean), (network.preparation.std, std)):
            buffer.copy_(torch.tensor(values)[:, None, None])
    _mines(network, recipe)
    return Built(network, tuple(mean), tuple(std), card.image, resizes=detects, transfer=told), start


def _backbones_own(backbone: nn.Module, source: str) -> Transfer | None:
    """Weights that are a classifier's as the backbone is one, put into it; None for those of a whole network."""
    own = backbone.state_dict()
    tensors = without_prefix(_tensors(source), own)
    if 2 * sum(name in own for name in tensors) < len(own):
        return None
    return transfer(backbone, tensors, source=source)


def detector_sides(recipe: Recipe) -> tuple[int | tuple[int, ...] | None, int]:
    """Short sides, and the longest side, that a detector brings images to; no short side leaves them as they are.

    Where only scales are said, the longest side is to the last scale as the published 1000 to 600.

    >>> detector_sides(Recipe(task="detection", data="d", epochs=1, size=(240, 320)))
    (240, 320)
    """
    if recipe.scales:
        return recipe.scales, max(*recipe.size, max(recipe.scales) * 5 // 3)
    return (min(recipe.size), max(recipe.size)) if max(recipe.size) else (None, 1000)


def _check_options(build: Callable[..., nn.Module], options: Mapping[str, Any], name: str) -> None:
    known = inspect.signature(build).parameters
    for option in options:
        if option not in known:
            raise InputError(f"{name} takes no {option}; it takes {', '.join(known) or 'nothing'}")


def _made(name: str, classes: int) -> nn.Module:
    """What one's own function returns, called with the number of classes if it takes that."""
    function = find(name)
    try:
        takes = "classes" in inspect.signature(function).parameters
        found = function(**({"classes": classes} if takes else {}))
    except Exception as error:  # the user's code may raise anything
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"{name}, called to make a network for {classes} classes, failed with {told}") from error
    if not isinstance(found, nn.Module):
        raise InputError(f"{name} returned a {type(found).__name__}; expected a torch.nn.Module")
    return found


def _other(recipe: Recipe, classes: int) -> tuple[Built, str]:
    """A network of torchvision or timm with a head for the classes, or one's own function."""
    if recipe.backbone or recipe.output_stride or recipe.fuse:
        raise InputError(
            f"{recipe.model} has no backbone, output stride or maps to fuse to choose; perimetry's networks have"
        )
    if recipe.hard == "ohem":
        raise InputError(f"{recipe.model} does not choose regions by loss; hard=ohem is for detectors of perimetry")
    source, _, name = recipe.model.rpartition(":")
    if source not in ("", "torchvision", "timm", "perimetry"):
        network = _made(recipe.model, classes)
        _mines(network, recipe)
        return Built(network, IMAGENET_MEAN, IMAGENET_STD), recipe.weights
    if from_run.looks_like(recipe.model):
        raise InputError(f"{recipe.model} is a run; name the model that it trained, with weights={recipe.model}")
    _check_task(source, name, recipe)
    pretrained = recipe.weights == "default"
    loaded = load_model(recipe.model, weights="default" if pretrained else "none", seed=recipe.seed)
    start = "none" if pretrained else recipe.weights
    origin, _, name = loaded.resolved.partition(":")
    if origin == "timm":
        loaded.module.reset_classifier(classes)  # type: ignore[operator]  # every timm model has it
        return Built(loaded.module, loaded.mean, loaded.std, loaded.input_size), start
    if origin != "torchvision":
        raise InputError(f"{recipe.model} is an exported program, which cannot be trained; name what it was made from")
    network = _torchvision(name, loaded.module, recipe, classes)
    _mines(network, recipe)
    return Built(network, loaded.mean, loaded.std, loaded.input_size, resizes=loaded.takes == "list"), start


def _check_task(source: str, name: str, recipe: Recipe) -> None:
    """Raise for a network of torchvision or timm that is made for another task."""
    if source in ("", "torchvision") and name in from_torchvision.names():
        task, origin = from_torchvision.task(name), "torchvision"
    elif source in ("", "timm") and from_timm.knows(name):
        task, origin = "classification", "timm"
    else:
        return
    if task == recipe.task:
        return
    advice = "choose another model"
    if task == "classification":
        advice = f"choose another model, or a network of perimetry with backbone={origin}:{name}"
    raise InputError(f"{recipe.model} is for {task}, the recipe is for {recipe.task}; {advice}")


def _torchvision(name: str, loaded: nn.Module, recipe: Recipe, classes: int) -> nn.Module:
    """Torchvision's builder called again with the number of classes, and every tensor that fits copied over."""
    from torchvision import models

    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None, "num_classes": classes + (recipe.task == "detection")}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    if recipe.task == "detection" and (recipe.scales or max(recipe.size)):
        if getattr(getattr(loaded, "transform", None), "fixed_size", None):
            raise InputError(f"torchvision:{name} takes images of one size, its own; leave out size and scales")
        options["min_size"], options["max_size"] = detector_sides(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # two builders announce another random initialisation
        network: nn.Module = builder(**options)
    transfer(network, loaded.state_dict(), source=f"torchvision:{name}")
    return network


def _mines(network: nn.Module, recipe: Recipe) -> None:
    """Raise where false positives would be given to a detector that does not learn from them."""
    if recipe.task == "detection" and recipe.hard == "bootstrap" and not isinstance(network, RegionDetector):
        raise InputError(
            f"{recipe.model} takes no hard negatives; hard=bootstrap is for detectors of perimetry, by regions"
        )


def _tensors(source: str) -> Mapping[str, torch.Tensor]:
    """The tensors of a file, or of the best checkpoint of a run, the last one where it was not evaluated."""
    path = Path(source)
    if path.is_dir():
        folder = path / "checkpoints"
        return read_checkpoint(weights_file(folder, best_or_last(folder)))
    if not path.exists():
        raise UnknownNameError(
            "weights", source, known=("none", "default"), advice="none, default, a file, or a run's directory"
        )
    return read_checkpoint(path)
