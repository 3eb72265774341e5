"""Models from the user's own code: `package.module:function`, a callable without arguments or a module."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import torch

from perimetry.errors import InputError, UnknownNameError
from perimetry.models.loaded import LoadedModel, of_module

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def looks_like(name: str) -> bool:
    """True for the form `package.module:function`.

    >>> looks_like("my_project.networks:small"), looks_like("resnet50")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def find(name: str) -> Callable[[], object]:
    """Import the module and return the function, or one that returns the model found in its place.

    This runs the user's code. Raises `UnknownNameError` for a function that is not there, `InputError` for a module
    that cannot be imported and for anything that is neither a function nor a model.
    """
    path, _, attribute = name.partition(":")
    found = _import(path, name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [each for each in dir(found) if not each.startswith("_")]
            raise UnknownNameError(f"function in {path}", part, known=public)
        found = getattr(found, part)
    if isinstance(found, torch.nn.Module):
        return lambda: found
    if not callable(found):
        raise InputError(
            f"{name} is no function but of type {type(found).__name__}; it should return a torch.nn.Module"
        )
    return found


def build(name: str, function: Callable[[], object]) -> LoadedModel:
    """Call the function and describe the model that it returns, in eval mode.

    Raises `InputError` for a function that fails, and for a result that is not a model.
    """
    try:
        found = function()
    except Exception as error:  # the user's code may raise anything
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"{name}(), called without arguments, failed with {told}") from error
    if not isinstance(found, torch.nn.Module):
        raise InputError(f"{name}() returned a {type(found).__name__}; expected a torch.nn.Module")
    return of_module(name, found.eval())


def _import(path: str, name: str) -> object:
    """The module of that dotted path."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(error.name + ".")):
            raise InputError(
                f"no module {error.name!r} for {name!r}; install it, or run from the directory that holds it"
            ) from error
        raise InputError(f"importing {path} failed: {error}") from error
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"importing {path} failed with {type(error).__name__}: {error}") from error
