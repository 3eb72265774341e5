"""Training networks: `fit` a recipe, or `train_step` in a loop of one's own.

Names load on first use, and torch with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perimetry.networks import freeze
    from perimetry.training.classification import Classification
    from perimetry.training.cost import TrainingCost
    from perimetry.training.detection import Detection
    from perimetry.training.loop import Fitted, fit
    from perimetry.training.optimizers import CaffeSGD, make_optimizer, parameter_groups
    from perimetry.training.recipe import Recipe, make_recipe, meanings, read_recipe
    from perimetry.training.run_directory import RunDirectory
    from perimetry.training.schedules import rate_factor
    from perimetry.training.segmentation import Segmentation
    from perimetry.training.sets import Sets, open_sets
    from perimetry.training.step import NotFiniteError, train_step
    from perimetry.training.tasks import Batch
    from perimetry.training.transfer import Transfer, freeze_norms

_HOME_OF = {
    name: f"perimetry.training.{home}"
    for home, names in {
        "classification": ("Classification",),
        "cost": ("TrainingCost",),
        "detection": ("Detection",),
        "loop": ("Fitted", "fit"),
        "optimizers": ("CaffeSGD", "make_optimizer", "parameter_groups"),
        "recipe": ("Recipe", "make_recipe", "meanings", "read_recipe"),
        "run_directory": ("RunDirectory",),
        "schedules": ("rate_factor",),
        "segmentation": ("Segmentation",),
        "sets": ("Sets", "open_sets"),
        "step": ("NotFiniteError", "train_step"),
        "tasks": ("Batch",),
        "transfer": ("Transfer", "freeze_norms"),
    }.items()
    for name in names
} | {"freeze": "perimetry.networks"}

__all__ = [
    "Batch",
    "CaffeSGD",
    "Classification",
    "Detection",
    "Fitted",
    "NotFiniteError",
    "Recipe",
    "RunDirectory",
    "Segmentation",
    "Sets",
    "TrainingCost",
    "Transfer",
    "fit",
    "freeze",
    "freeze_norms",
    "make_optimizer",
    "make_recipe",
    "meanings",
    "open_sets",
    "parameter_groups",
    "rate_factor",
    "read_recipe",
    "train_step",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'perimetry.training' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
