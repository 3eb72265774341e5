"""Which source answers a model's name, and what can be named at all."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from perimetry.errors import InputError, UnknownNameError, WeightsError
from perimetry.models import default, from_file, from_function, from_perimetry, from_run, from_timm, from_torchvision
from perimetry.models.loaded import LoadedModel
from perimetry.models.weights import fit_weights, read_checkpoint

_LONGEST_NAME = 500  # characters; suggestions for longer ones would only cost time


def load_model(name: str | None = None, *, weights: str | Path | None = None, seed: int = 0) -> LoadedModel:
    """The model of that name, in eval mode, with what is needed to prepare a photo for it.

    name: "torchvision:resnet50", "timm:convnext_tiny", "perimetry:parsenet", "package.module:function", or a file
    (`.pt2`, TorchScript), or the directory of a run, which has its own weights; a bare name is looked up in that order;
    None is the default model, with its packaged weights.
    weights: "none" for random ones, the same for the same `seed` (so it is for a name unless told otherwise);
    "default" for the source's pretrained ones, which may be downloaded (those of the default model are packaged); or a
    file of tensors (safetensors or PyTorch).
    Raises `UnknownNameError` with suggestions, `WeightsError`, `FileError`, `InputError`.

    >>> load_model("resnet18").resolved
    'torchvision:resnet18'
    """
    choice = str(weights or "none")
    if name is None:
        if weights is None or choice == "default":
            return default.default_model()
        name = from_timm.PREFIX + default.ARCHITECTURE
    if len(name) > _LONGEST_NAME:
        raise InputError(f"a model's name has at most {_LONGEST_NAME} characters, got {len(name)}")
    # Only the CPU's generator draws here, so only its state is kept; torch.manual_seed would reach further.
    with torch.random.fork_rng(devices=[]):
        build = _builder(name, pretrained=choice == "default", weighted=weights is not None)
        torch.default_generator.manual_seed(seed)
        loaded = replace(build(), name=name)
    if choice in ("none", "default"):
        return loaded
    tensors = read_checkpoint(choice)
    if loaded.resolved.startswith(from_perimetry.PREFIX):
        tensors = from_perimetry.translate(loaded.module, tensors)
    fit_weights(loaded.module, tensors, source=choice)
    return replace(loaded, trained=True)


def list_models(pattern: str | None = None) -> list[str]:
    """The full names of torchvision's, timm's and perimetry's models for photos, or those that match `pattern`.

    pattern: with * and ? as in a shell, or a part of the name; capitals do not matter.

    >>> list_models("resnet5?")
    ['torchvision:resnet50', 'timm:resnet50', 'perimetry:resnet50']
    """
    known = _full_names()
    if pattern is None:
        return known
    wanted = pattern.lower()
    if any(mark in wanted for mark in "*?["):
        return [name for name in known if _matches(name.lower(), wanted)]
    return [name for name in known if wanted in name.lower()]


def _matches(name: str, pattern: str) -> bool:
    """With or without the source in front."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.partition(":")[2], pattern)


def _full_names() -> list[str]:
    return [
        *(from_torchvision.PREFIX + name for name in from_torchvision.names_for_photos()),
        *(from_timm.PREFIX + name for name in from_timm.names()),
        *(from_perimetry.PREFIX + name for name in from_perimetry.names()),
    ]


def _builder(name: str, *, pretrained: bool, weighted: bool) -> Callable[[], LoadedModel]:
    """Who builds that name. The order here is the order in which a bare name is looked up."""
    source, _, rest = name.partition(":") if ":" in name else ("", "", name)
    if source in ("", "torchvision") and rest in from_torchvision.names():
        return lambda: from_torchvision.build(rest, pretrained=pretrained)
    if source in ("", "timm") and rest == default.ARCHITECTURE and pretrained:
        return default.default_model
    if source in ("", "timm") and from_timm.knows(rest):
        return lambda: from_timm.build(rest, pretrained=pretrained)
    if source in ("", "perimetry") and rest in from_perimetry.names():
        if pretrained:
            raise WeightsError(
                f"perimetry publishes no weights for {rest!r}; name a file of weights, or leave them out"
            )
        return lambda: from_perimetry.build(rest)
    if source in ("torchvision", "timm", "perimetry"):
        raise _unknown(name)
    if from_run.looks_like(name):
        if weighted:
            raise InputError(f"{name} is a run, which has weights of its own; leave --weights (weights=) out")
        return lambda: from_run.build(name)
    if pretrained and (from_function.looks_like(name) or from_file.looks_like(name)):
        raise InputError(f"{name} has no pretrained weights to fetch; name a file of weights, or leave them out")
    if from_function.looks_like(name):
        package = source.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            raise _unknown(name, f"there is no module {package!r} either: install it, or run where it lies")
        function = from_function.find(name)  # imported before the seed is set, so that a second import changes nothing
        return lambda: from_function.build(name, function)
    if from_file.looks_like(name):
        return lambda: from_file.build(name)
    raise _unknown(name)


def _unknown(name: str, advice: str = "`perimetry models` lists what can be named") -> UnknownNameError:
    known = _full_names() if ":" in name else [*from_torchvision.names(), *from_timm.names(), *from_perimetry.names()]
    return UnknownNameError("model", name, known=known, advice=advice)
