"""The model that a command was given: by its name, with the weights and the size that were asked for."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perimetry.models import LoadedModel


def named_model(name: str | None, *, weights: str | None, size: tuple[int, int] | None) -> LoadedModel:
    """The model of that name (None: the default one); `size` replaces the one that it is made for.

    `package.module:function` is looked for in the working directory too, after what is installed.
    """
    from perimetry.models import load_model

    working_directory_too()
    model = load_model(name, weights=weights)
    return model if size is None else replace(model, input_size=size, resize=None)


def working_directory_too() -> None:
    """Let `package.module:function` be found in the working directory, after what is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
