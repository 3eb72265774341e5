"""A transform: steps in order, as a record that is printed, stored and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from perimetry.data.transforms.colors import ColorJitter, Lighting, Normalize
from perimetry.data.transforms.draws import Draws
from perimetry.data.transforms.geometry import Sample, Target, check_sample
from perimetry.data.transforms.steps import (
    Crop,
    CropWithBoxes,
    Flip,
    RandomResizedCrop,
    RandomScale,
    ResizeByEpoch,
    ResizeShort,
    Sanitize,
    Step,
)
from perimetry.data.transforms.ten_crop import TenCrop
from perimetry.errors import InputError, UnknownNameError

# What a stored transform may name.
STEPS: Mapping[str, type[Any]] = {
    step.__name__: step
    for step in (
        ColorJitter,
        Crop,
        CropWithBoxes,
        Flip,
        Lighting,
        Normalize,
        RandomResizedCrop,
        RandomScale,
        ResizeByEpoch,
        ResizeShort,
        Sanitize,
        TenCrop,
    )
}


@dataclass(frozen=True, slots=True)
class TrainTransform:
    """The steps of training; each sample's random numbers are fixed by seed, epoch and index (see `Draws`).

    >>> import torch
    >>> transform = TrainTransform((Crop((2, 2)), Flip()), seed=5)
    >>> image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    >>> one, again = (transform(image, 1, epoch=2, index=9)[0] for _ in range(2))
    >>> bool((one == again).all()), transform == TrainTransform.from_dict(transform.to_dict())
    (True, True)
    """

    steps: tuple[Step, ...]
    seed: int

    def __call__(self, image: Tensor, target: Target = None, *, epoch: int, index: int) -> Sample:
        """Transform uint8 (3, H, W) and its target (see `check_sample`) for an epoch; neither is changed in place."""
        return _run(self.steps, image, target, Draws(seed=self.seed, epoch=epoch, index=index))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"seed": self.seed, "steps": _stored(self.steps)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainTransform:
        """What `to_dict` gave; raises `InputError` for what is not understood."""
        _check_names(stored, ("seed", "steps"), "a transform")
        return cls(_read(stored["steps"]), int(stored["seed"]))

    def __str__(self) -> str:
        return "\n".join((f"seed {self.seed}", *map(repr, self.steps)))


@dataclass(frozen=True, slots=True)
class TestTransform:
    """The steps of testing, none of which is random; raises `InputError` for one that is.

    >>> print(TestTransform((ResizeShort((256,)), Crop((224, 224), where="centre"))))
    ResizeShort(sizes=(256,), longest=None)
    Crop(size=(224, 224), where='centre', fill=(124, 116, 104), keep='centre')
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            if step.random or isinstance(step, ResizeByEpoch):
                raise InputError(f"{step} differs between calls; a test takes steps that do not")

    def __call__(self, image: Tensor, target: Target = None) -> Sample:
        """Transform uint8 (3, H, W) and its target (see `check_sample`); neither is changed in place."""
        return _run(self.steps, image, target, Draws(seed=0, epoch=0, index=0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"steps": _stored(self.steps)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TestTransform:
        """What `to_dict` gave; raises `InputError` for what is not understood."""
        _check_names(stored, ("steps",), "a transform")
        return cls(_read(stored["steps"]))

    def __str__(self) -> str:
        return "\n".join(map(repr, self.steps))


class Transformed(Dataset[Sample]):
    """A dataset whose samples are transformed for training: `transformed[epoch, index]`.

    The epoch is part of the key, so that loader workers that live on need not be told of a new one: give a sampler
    that yields pairs, as `[(epoch, index) for index in order]`.
    """

    def __init__(self, samples: Dataset[Sample], transform: TrainTransform) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]  # torch leaves the length out of its Dataset

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        image, target = self.samples[index]
        return self.transform(image, target, epoch=epoch, index=index)


def _run(steps: tuple[Step, ...], image: Tensor, target: Target, draws: Draws) -> Sample:
    check_sample(image, target)
    sample = (image, target)
    for step in steps:
        sample = step(sample, draws)
    return sample


def _stored(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    for step in steps:
        if type(step) is not STEPS.get(type(step).__name__):
            raise InputError(f"{step!r} is a step of your own, which could not be read again; store it yourself")
    return [{"step": type(step).__name__} | _lists(asdict(step)) for step in steps]  # type: ignore[call-overload]  # a Protocol tells no dataclass


def _read(stored: list[Mapping[str, Any]]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for each in stored:
        name = str(each.get("step"))
        if name not in STEPS:
            raise UnknownNameError("step", name, known=STEPS, advice="one of " + ", ".join(STEPS))
        _check_names(each, ("step", *(field.name for field in fields(STEPS[name]))), f"the step {name}")
        steps.append(STEPS[name](**{key: _tuples(value) for key, value in each.items() if key != "step"}))
    return tuple(steps)


def _check_names(stored: Mapping[str, Any], expected: tuple[str, ...], whole: str) -> None:
    """Raise `InputError` unless exactly these names are there."""
    if set(stored) != set(expected):
        raise InputError(f"expected {whole} to have {', '.join(expected)}; got {', '.join(stored)}")


def _lists(value: Any) -> Any:
    """Tuples as lists, all the way down, as JSON has them."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
