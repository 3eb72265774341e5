"""What the keys of a recipe may be together: limits, and keys of which the rest makes no use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perimetry.errors import InputError
from perimetry.training.recipe_values import finite

if TYPE_CHECKING:
    from perimetry.training.recipe import Recipe

_AT_LEAST = {
    "accumulate": 1, "auxiliary_weight": 0, "batch": 1, "checkpoint_every": 0, "clip": 0, "decay": 0, "epochs": 0,
    "evaluate_every": 0, "gamma": 0, "hard_count": 0, "hard_rounds": 1, "hard_share": 0, "label_smoothing": 0,
    "loss_every": 1, "momentum": 0, "output_stride": 0, "power": 0, "rate": 0, "seed": 0, "short_side": 0, "steps": 0,
    "warmup": 0, "workers": 0,
}  # fmt: skip
_AT_MOST = {"hard_share": 1, "label_smoothing": 1, "momentum": 1}

_MINING = {
    "classification": ("none", "bootstrap", "focal"),
    "segmentation": ("none", "top_k", "threshold"),
    "detection": ("none", "bootstrap", "ohem"),
}


def _bootstraps_classifier(recipe: Recipe) -> bool:
    return recipe.hard == "bootstrap" and recipe.task == "classification"


# When a key says anything, and how that is said; elsewhere it has to stay at its default.
_USED: Mapping[str, tuple[Callable[[Recipe], bool], str]] = {
    "milestones": (lambda recipe: recipe.schedule == "step", "with schedule=step"),
    "gamma": (lambda recipe: recipe.schedule == "step", "with schedule=step"),
    "power": (lambda recipe: recipe.schedule == "poly", "with schedule=poly"),
    "proposals": (lambda recipe: recipe.task == "detection", "in detection"),
    "short_side": (lambda recipe: recipe.task == "classification", "in classification"),
    "class_weights": (lambda recipe: recipe.task != "detection", "in classification and segmentation"),
    "label_smoothing": (
        lambda recipe: recipe.task != "detection" and recipe.hard != "focal",
        "in classification and segmentation, without focal loss",
    ),
    "auxiliary_weight": (lambda recipe: recipe.task != "detection", "in classification and segmentation"),
    "ignore": (lambda recipe: recipe.task == "segmentation", "in segmentation"),
    "loss_every": (lambda recipe: recipe.task == "segmentation", "in segmentation"),
    "hard_share": (
        lambda recipe: recipe.hard in ("top_k", "threshold") or _bootstraps_classifier(recipe),
        "with hard=top_k, hard=threshold, or bootstrapping of a classifier",
    ),
    "hard_rounds": (lambda recipe: recipe.hard == "bootstrap", "with hard=bootstrap"),
    "hard_count": (lambda recipe: recipe.hard == "bootstrap", "with hard=bootstrap"),
    "hard_class": (_bootstraps_classifier, "with hard=bootstrap in classification"),
}


def check(recipe: Recipe, meanings: Mapping[str, str], defaults: Mapping[str, Any]) -> None:
    """Raise `InputError` for what no type of a key says."""
    if (recipe.epochs > 0) == (recipe.steps > 0):
        raise InputError("say how long to train, either epochs or steps, above 0")
    for limits, word in ((_AT_LEAST, "least"), (_AT_MOST, "most")):
        for name, limit in limits.items():
            value = getattr(recipe, name)
            if value < limit if word == "least" else value > limit:
                raise InputError(f"{name} is {value}; expected at {word} {limit} ({meanings[name]})")
    if recipe.batch % recipe.accumulate:
        raise InputError(f"a batch of {recipe.batch} cannot be cut into {recipe.accumulate} equal parts (accumulate)")
    for text in recipe.rate_of:
        pattern, _, factor = text.rpartition(":")
        if not pattern or not finite(factor) or float(factor) < 0:
            raise InputError(f"rate_of holds {text!r}; expected pattern:factor, such as score*:10, a factor from 0")
    if len(recipe.multipliers) < len(recipe.rate_of):
        raise InputError(f"rate_of names a pattern twice: {', '.join(recipe.rate_of)}; give each one factor")
    if any(weight < 0 for weight in recipe.class_weights) or (recipe.class_weights and not any(recipe.class_weights)):
        raise InputError(f"class_weights are factors from 0, some above; got {recipe.class_weights}")
    if any(milestone <= 0 for milestone in recipe.milestones):
        raise InputError(f"milestones are above 0 ({meanings['milestones']}); got {recipe.milestones}")
    if recipe.optimizer == "nesterov" and recipe.momentum == 0:
        raise InputError("nesterov needs a momentum above 0; without one take optimizer=sgd")
    if recipe.optimizer == "adamw" and recipe.momentum == 1:
        raise InputError("momentum is 1; AdamW's first coefficient is below 1, as 0.9")
    if recipe.hard in ("top_k", "threshold") and recipe.hard_share == 0:
        raise InputError(f"hard_share is 0, which leaves no pixel to learn from ({meanings['hard_share']})")
    if recipe.schedule == "step" and not recipe.milestones:
        raise InputError("schedule step needs milestones: shares of the run such as 0.7,0.9")
    if any(side < 1 for side in recipe.scales) or min(recipe.size) < 0 or (min(recipe.size) == 0 < max(recipe.size)):
        raise InputError(f"sizes and scales are pixels, from 1; got size {recipe.size} and scales {recipe.scales}")
    if recipe.hard not in _MINING[recipe.task]:
        known = ", ".join(_MINING[recipe.task])
        raise InputError(f"hard is {recipe.hard!r}, which {recipe.task} does not have; it has {known}")
    if _bootstraps_classifier(recipe) and not recipe.hard_class:
        raise InputError("bootstrapping a classifier needs hard_class: the class whose images are the negatives")
    for name, (used, where) in _USED.items():
        value = getattr(recipe, name)
        if value != defaults[name] and not used(recipe):
            raise InputError(f"{name} is {value}, which nothing would use here: it counts {where}; leave it out")
