"""The recipe of a run: flat, every key with its meaning, read from TOML, and checked once."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.training.recipe_rules import check
from perimetry.training.recipe_values import Literals, expected, value_of

Task = Literal["classification", "segmentation", "detection"]
Augmentation = Literal["none", "flip", "classic"]
OptimizerName = Literal["sgd", "nesterov", "caffe_sgd", "adamw"]
Exempt = Literal["biases", "norms", "scales"]
ScheduleName = Literal["constant", "step", "poly", "cosine"]
Hard = Literal["none", "bootstrap", "ohem", "top_k", "threshold", "focal"]
Precision = Literal["auto", "float32", "bfloat16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]

TASKS: Literals = typing.get_args(Task)
OPTIMIZERS: Literals = typing.get_args(OptimizerName)
EXEMPT: Literals = typing.get_args(Exempt)
SCHEDULES: Literals = typing.get_args(ScheduleName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a run, under the keys of the recipe file and of the command line.

    The text beside each type is the key's meaning, see `meanings`. Raises `InputError` for a value that cannot be, and
    for one that the rest of the recipe makes no use of.

    >>> Recipe(task="segmentation", data="camvid", epochs=5).rate
    0.01
    """

    task: Annotated[Task, "what is learnt: classification, segmentation or detection"]
    data: Annotated[str, "folder or file of the data set"]
    proposals: Annotated[str, "file of proposals, for detectors that are given them"] = ""
    broken: Annotated[
        Literal["stop", "skip"],
        "what files do that cannot be read or make no sense; skip opens all of them first, and tells those left out",
    ] = "stop"
    model: Annotated[str, "a network of perimetry, torchvision or timm by name, or package.module:function"] = ""
    backbone: Annotated[str, "backbone of a network of perimetry, timm:... or torchvision:...; else the published"] = ""
    output_stride: Annotated[int, "stride of the backbone's last map, by dilation; 0 leaves it"] = 0
    fuse: Annotated[tuple[str, ...], "maps that parsenet scores, as blocks.2,fc7,pool6; empty for fc7,pool6"] = ()
    weights: Annotated[
        str, "none, default (pretrained ones of the source, or of the backbone's), a file, or the directory of a run"
    ] = "none"
    size: Annotated[
        tuple[int, int],
        "height and width in pixels: of the crop; of detection the short and the long side. 0,0: the network's, "
        "or for segmentation and detection images as they are",
    ] = (0, 0)
    short_side: Annotated[
        int, "short side of a classifier's images before the crop; 0: 256 for a crop of 224, others in proportion"
    ] = 0
    scales: Annotated[
        tuple[int, ...],
        "short sides of an image pyramid, one drawn for each image; of detection the last one is for testing",
    ] = ()
    augmentation: Annotated[Augmentation, "what is done to training images beside their size"] = "classic"
    epochs: Annotated[float, "passes over the training images; 0 where `steps` says it"] = 0
    steps: Annotated[int, "steps of the optimiser; 0 where `epochs` says it"] = 0
    batch: Annotated[int, "images of one step, on all processes together"] = 8
    accumulate: Annotated[int, "parts that a process runs its images of a step in, their gradients summed"] = 1
    optimizer: Annotated[OptimizerName, "torch's SGD, with Nesterov's momentum, Caffe's SGD, or AdamW"] = "sgd"
    rate: Annotated[float, "base learning rate"] = 0.01
    momentum: Annotated[float, "of SGD; of AdamW the first coefficient"] = 0.9
    decay: Annotated[float, "weight decay"] = 1e-4
    decay_exempt: Annotated[tuple[Exempt, ...], "parameters that do not decay"] = ()
    rate_of: Annotated[tuple[str, ...], "factors of the rate by glob over parameter names, as score*:10"] = ()
    schedule: Annotated[ScheduleName, "how the rate falls"] = "poly"
    milestones: Annotated[tuple[float, ...], "where schedule step drops: shares of the run below 1, or steps"] = ()
    gamma: Annotated[float, "factor of each drop of schedule step"] = 0.1
    power: Annotated[float, "of schedule poly"] = 0.9
    warmup: Annotated[int, "steps in which the rate rises"] = 0
    clip: Annotated[float, "largest L2 norm of all gradients; 0 for none"] = 0.0
    freeze: Annotated[tuple[str, ...], "globs over names of parameters that do not learn"] = ()
    freeze_norms: Annotated[bool, "batch norms keep the statistics that they came with"] = False
    class_weights: Annotated[tuple[float, ...], "a factor for the loss of each class; empty for 1"] = ()
    ignore: Annotated[int, "label of pixels that do not count, beside 255"] = 255
    label_smoothing: Annotated[float, "share of a label that is spread over all classes"] = 0.0
    auxiliary_weight: Annotated[float, "factor of the losses of auxiliary heads"] = 0.3
    loss_every: Annotated[int, "every how many rows and columns a pixel counts; DeepLab's labels are shrunk by 8"] = 1
    hard: Annotated[
        Hard,
        "hard examples: bootstrap (false positives join in, by rounds), ohem (regions of the largest losses), top_k or "
        "threshold (pixels), focal (loss of classification)",
    ] = "none"
    hard_share: Annotated[
        float,
        "share of pixels (top_k), probability below which a pixel is hard (threshold), or share of the negatives that "
        "bootstrapping a classifier begins with",
    ] = 0.25
    hard_rounds: Annotated[int, "how often bootstrapping looks for false positives, at equal distances"] = 1
    hard_count: Annotated[int, "most false positives that one round adds, the surest first; 0 for all"] = 0
    hard_class: Annotated[str, "class whose images are the pool of negatives, for bootstrapping a classifier"] = ""
    precision: Annotated[Precision, "auto takes bfloat16 where the device computes it fast"] = "auto"
    memory_format: Annotated[MemoryFormat, "auto takes channels_last for networks of convolutions"] = "auto"
    workers: Annotated[int, "processes that read images; 0 reads in the main one"] = 0
    seed: Annotated[int, "of weights, order, augmentation and dropout"] = 0
    evaluate_every: Annotated[float, "epochs between two evaluations; 0 evaluates at the end only"] = 1.0
    checkpoint_every: Annotated[float, "seconds between two checkpoints; every evaluation writes one too"] = 300.0

    def __post_init__(self) -> None:
        for name, (kind, meaning) in _keys().items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, value_of(kind, given))
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"{name} is {given!r}; expected {expected(kind)} ({meaning})") from None
        check(self, meanings(), defaults())

    @property
    def multipliers(self) -> dict[str, float]:
        """The factors of the rate by pattern."""
        return {pattern: float(factor) for pattern, _, factor in (text.rpartition(":") for text in self.rate_of)}

    def to_dict(self) -> dict[str, Any]:
        """All keys and their values, as JSON and TOML hold them."""
        values = {name: getattr(self, name) for name in _keys()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def with_settings(self, settings: Sequence[str]) -> Recipe:
        """The recipe with texts like "rate=0.02" applied, as `--set` gives them.

        >>> Recipe(task="detection", data="d", epochs=1).with_settings(["scales=480,600", "rate=1e-3"]).scales
        (480, 600)
        """
        return make_recipe({**self.to_dict(), **settings_of(settings)})


def meanings() -> dict[str, str]:
    """What each key means, in the order of the record."""
    return {name: meaning for name, (_, meaning) in _keys().items()}


def defaults() -> dict[str, Any]:
    """What each key is where nothing is said; those that have to be said are left out."""
    missing = dataclasses.MISSING
    return {field.name: field.default for field in dataclasses.fields(Recipe) if field.default is not missing}


def choices(key: str) -> Literals:
    """The values that a key may have, where they are named; else nothing.

    >>> choices("schedule"), choices("rate")
    (('constant', 'step', 'poly', 'cosine'), ())
    """
    kind, _ = _keys()[key]
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def read_recipe(path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """A recipe from a TOML file, and `settings` over it; its relative `data` and `proposals` lie beside the file.

    Raises `FileError` for a file that is not TOML, and what `make_recipe` raises.
    """
    return make_recipe({**keys_of(path), **settings_of(settings)})


def keys_of(path: str | Path) -> dict[str, Any]:
    """The keys of a recipe file, not yet checked."""
    import tomllib

    path = Path(path)
    try:
        keys: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is not TOML that can be read: {error}") from error
    for key in ("data", "proposals"):
        if isinstance(keys.get(key), str) and keys[key]:
            keys[key] = str(path.parent / keys[key])
    return keys


def make_recipe(keys: Mapping[str, Any]) -> Recipe:
    """A recipe from its keys; raises `UnknownNameError` with suggestions for one that there is not.

    >>> make_recipe({"task": "detection", "data": "bccd", "epoch": 5})
    Traceback (most recent call last):
    perimetry.errors.UnknownNameError: unknown key of a recipe 'epoch'; did you mean 'epochs'?
    """
    for key in keys:
        if key not in _keys():
            raise UnknownNameError("key of a recipe", key, known=_keys())
    for needed in ("task", "data"):
        if not keys.get(needed):
            raise InputError(f"a recipe needs {needed}: {meanings()[needed]}")
    return Recipe(**keys)


def settings_of(settings: Sequence[str]) -> dict[str, str]:
    """Texts "key=value" as a dict of texts; `Recipe` turns values into what their keys hold."""
    told = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"expected key=value, got {text!r}; keys are those of a recipe")
        told[key.strip()] = value.strip()
    return told


@cache
def _keys() -> dict[str, tuple[Any, str]]:
    """The type and the meaning of each key."""
    hints = typing.get_type_hints(Recipe, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}
