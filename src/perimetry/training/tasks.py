"""What training needs to know of a task: batches, losses by name, how much of a batch counts, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from perimetry.errors import InputError, PerimetryError, ShapeError, first_line
from perimetry.metrics import Score, Unavailable


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images and their truth.

    images: (N, 3, H, W), or for detection a list of (3, H, W); truth: labels (N,), masks (N, H, W), or a list of
    {"boxes", "labels"}; names: of the images; proposals: boxes (P, 4) of each image, for networks of given proposals.
    """

    images: Any
    truth: Any
    names: tuple[str, ...] = ()
    proposals: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device, memory_format: torch.memory_format = torch.contiguous_format) -> Batch:
        """The batch on a device, its images in that layout."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                laid = memory_format if value.ndim == 4 else torch.preserve_format
                return value.to(device, non_blocking=True, memory_format=laid)
            if isinstance(value, Mapping):
                return {name: move(each) for name, each in value.items()}
            return None if value is None else [move(each) for each in value]

        return Batch(move(self.images), move(self.truth), self.names, move(self.proposals))

    def pin_memory(self) -> Batch:
        """The batch in memory that a device reads directly; called by the loader."""

        def pin(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.pin_memory()
            if isinstance(value, Mapping):
                return {name: pin(each) for name, each in value.items()}
            return None if value is None else [pin(each) for each in value]

        return Batch(pin(self.images), pin(self.truth), self.names, pin(self.proposals))

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into that many parts, the first ones an image larger where it does not divide."""
        edges = [len(self) * part // count for part in range(count + 1)]
        return [
            Batch(
                self.images[low:high],
                self.truth[low:high],
                self.names[low:high],
                None if self.proposals is None else self.proposals[low:high],
            )
            for low, high in pairwise(edges)
            if high > low
        ]


class Scorer(Protocol):
    """Sums scores over batches and processes."""

    def update(self, batch: Batch, outputs: Any) -> None:
        """Add a batch and what the network says of it in eval mode."""

    def merge(self, other: Any) -> None:
        """Add what another one counted."""

    def compute(self) -> dict[str, Any]:
        """The scores by name, as `perimetry score` tells them."""


class Task(Protocol):
    """A task that networks are trained for; one small record each: `Classification`, `Segmentation`, `Detection`."""

    @property
    def best_by(self) -> str:
        """The score that says which checkpoint is best, the higher the better."""

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; each is a mean over what `weight` counts, and their sum is trained."""

    def weight(self, batch: Batch) -> Tensor | float:
        """How much of the batch the losses are means of (images, pixels that count), so that parts add up."""

    def predict(self, network: nn.Module, batch: Batch) -> Any:
        """What the network says in eval mode, in the form that the scorer takes."""

    def scorer(self) -> Scorer:
        """A fresh one."""


def answer(network: nn.Module, batch: Batch, *more: Any) -> Any:
    """What the network returns for the images of a batch, and whatever more it is given.

    Raises `InputError` where the network does not take them: too small, not of its patches, one alone for batch norms;
    or too many for the memory.

    >>> answer(nn.Flatten(), Batch(torch.zeros(1, 3, 2, 2), None)).shape
    torch.Size([1, 12])
    """
    try:
        return network(batch.images, *more)
    except PerimetryError:
        raise
    except Exception as error:  # networks are anyone's, and raise anything
        if is_out_of_memory(error):
            raise too_large(batch, error) from error
        advice = "give images of another size, or more in a batch, or take another network"
        reason = first_line(error).rstrip(".")
        raise InputError(
            f"the network fails on {_sizes(batch)} with {type(error).__name__}: {reason}; {advice}"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; on a CPU torch has no class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def too_large(batch: Batch, error: Exception) -> InputError:
    """What to tell of a batch that the memory does not hold."""
    return InputError(
        f"memory does not hold a step with {_sizes(batch)} ({first_line(error).rstrip('.')}); give smaller images, or "
        "fewer in a batch, or run it in parts (accumulate)"
    )


def _sizes(batch: Batch) -> str:
    sizes = dict.fromkeys("×".join(map(str, image.shape[1:] or image.shape)) for image in batch.images)
    return f"{len(batch)} image{'' if len(batch) == 1 else 's'} of {' and '.join(list(sizes)[:3])}"


def named_outputs(outputs: Any, main: str) -> dict[str, Tensor]:
    """A network's outputs by name, whatever it returned: a tensor, a dict (torchvision's segmenters), a named tuple.

    main: what the first or only one is called: "logits" or "out".

    >>> list(named_outputs(torch.zeros(1, 2), "logits"))
    ['logits']
    """
    if isinstance(outputs, Tensor):
        return {main: outputs}
    if hasattr(outputs, "_asdict"):
        outputs = outputs._asdict()
    if not isinstance(outputs, Mapping):
        raise InputError(f"expected the network to return a tensor or tensors by name, got {type(outputs).__name__}")
    told = {name: value for name, value in outputs.items() if isinstance(value, Tensor)}
    if main not in told:
        first = next(iter(told), None)
        if first is None:
            raise InputError(
                f"expected the network to return {main!r}, got {', '.join(map(str, outputs)) or 'nothing'}"
            )
        told = {main if name == first else name: value for name, value in told.items()}
    return told


def check_scores(scores: Tensor, classes: int, *, axes: int) -> None:
    """Raise unless there is one score for each class, in a tensor of that many axes: 2 for images, 4 for pixels."""
    if scores.ndim != axes:
        form = "(N, classes)" if axes == 2 else "(N, classes, H, W)"
        raise ShapeError(
            f"expected scores {form}, the network returns {tuple(scores.shape)}; take a network made for the task, and "
            "images of the size that it is made for"
        )
    if scores.shape[1] != classes:
        raise ShapeError(
            f"the network tells {scores.shape[1]} classes, the data has {classes}; build it with classes={classes}"
        )


def check_labels(
    labels: Tensor | Sequence[Tensor], names: Sequence[str], *, lowest: int, highest: int, ignore: int | None = None
) -> None:
    """Raise, naming the image, for a label that is not within those bounds, nor `ignore`; labels: of each image.

    >>> check_labels(torch.tensor([0, 3]), ("a.png", "b.png"), lowest=0, highest=2)
    Traceback (most recent call last):
    perimetry.errors.InputError: b.png has the label 3; expected 0 ... 2 (`perimetry data` finds such labels)
    """

    def outside(each: Tensor) -> Tensor:
        wrong = (each < lowest) | (each > highest)
        return wrong if ignore is None else wrong & (each != ignore)

    together = labels if isinstance(labels, Tensor) else torch.cat([each.flatten() for each in labels])
    if not bool(outside(together).any()):
        return
    for number, each in enumerate(labels):
        wrong = each[outside(each)]
        if wrong.numel():
            name = names[number] if number < len(names) else f"image {number}"
            other = "" if ignore is None else f", or {ignore} for what does not count"
            raise InputError(
                f"{name} has the label {int(wrong.flatten()[0])}; expected {lowest} ... {highest}{other} (`perimetry "
                "data` finds such labels)"
            )


def known(score: Score | None) -> float | None:
    """The score as a number, None where it is not defined."""
    return None if score is None or isinstance(score, Unavailable) else float(score)
