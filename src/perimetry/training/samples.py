"""Images on their way into training: read, transformed by draw, and put together into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from perimetry.data import Dataset as Files
from perimetry.data import read_sample
from perimetry.data.transforms import TestTransform, TrainTransform
from perimetry.errors import FileError, InputError, PerimetryError
from perimetry.training.batches import Batches, Draw
from perimetry.training.tasks import Batch


class Samples(Protocol):
    """What training needs of a set: how many, and (uint8 image (3, H, W), truth) of each, as `perimetry.data` reads it.

    Perhaps also `names()`, what each is called, and for classification `labels()`, the class of each.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Any]: ...


class FileSamples:
    """The samples of a data set on disk, read when asked."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        try:
            return read_sample(self.files.samples[index])
        except FileError as error:
            raise FileError(f'{error}; broken="skip" leaves such files out') from error

    def names(self) -> list[str]:
        """The name of each."""
        return [sample.name for sample in self.files.samples]

    def labels(self) -> list[int | None]:
        """The class of each, of classification, without reading it."""
        return [sample.label for sample in self.files.samples]


class Chosen:
    """Some of the samples, by their indices, with boxes of hard negatives beside the truth of those that have some."""

    def __init__(self, samples: Samples, indices: Sequence[int], negatives: Mapping[int, Tensor] | None = None) -> None:
        self.samples, self.indices, self.negatives = samples, tuple(indices), dict(negatives or {})

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        place = self.indices[index]
        image, truth = self.samples[place]
        return image, {**truth, "hard_negatives": self.negatives[place]} if place in self.negatives else truth

    def names(self) -> list[str]:
        """The name of each."""
        names = names_of(self.samples)
        return [names[place] for place in self.indices]


def names_of(samples: Samples) -> list[str]:
    """What the samples are called: their own names, or their numbers."""
    own = getattr(samples, "names", None)
    return list(own()) if callable(own) else [str(index) for index in range(len(samples))]


@dataclass(frozen=True, slots=True)
class _Broken:
    """A sample that could not be had, told to the process that trains: loaders bring exceptions across as mere text."""

    kind: type[PerimetryError]
    message: str


_Fetched = tuple[Tensor, Any, str] | _Broken


class _Drawn(Dataset[_Fetched]):
    """Samples by draw, transformed for training."""

    def __init__(self, samples: Samples, transform: TrainTransform) -> None:
        self.samples, self.transform, self.names = samples, transform, names_of(samples)

    def __getitem__(self, draw: Draw) -> _Fetched:
        try:
            image, truth = self.transform(*self.samples[draw.index], epoch=draw.epoch, index=draw.index)
        except PerimetryError as error:
            return _broken(error, self.names[draw.index])
        return image, truth, self.names[draw.index]


class _Tested(Dataset[_Fetched]):
    """Samples by index, transformed for testing."""

    def __init__(self, samples: Samples, transform: TestTransform) -> None:
        self.samples, self.transform, self.names = samples, transform, names_of(samples)

    def __getitem__(self, index: int) -> _Fetched:
        try:
            image, truth = self.transform(*self.samples[index])
        except PerimetryError as error:
            return _broken(error, self.names[index])
        return image, truth, self.names[index]


def training_batches(
    samples: Samples, transform: TrainTransform, batches: Batches, *, workers: int, pinned: bool = False
) -> Iterator[Batch]:
    """The batches of a run, in order; the same however many workers read them.

    pinned: in memory that a GPU reads directly. Raises `FileError` or `InputError` for a sample that cannot be had.
    """
    loader = DataLoader(
        _Drawn(samples, transform),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pinned,
    )
    return _whole(loader)


def testing_batches(
    samples: Samples, transform: TestTransform, *, batch: int, workers: int, indices: Sequence[int]
) -> Iterator[Batch]:
    """The samples of those indices in order, `batch` at a time, whose images have to be of one size then."""
    loader = DataLoader(
        _Tested(samples, transform), batch_size=batch, sampler=list(indices), num_workers=workers, collate_fn=collate
    )
    return _whole(loader)


def collate(drawn: Sequence[_Fetched]) -> Batch | _Broken:
    """Stacked images and truths where a task has one truth per image or pixel; lists for boxes."""
    for each in drawn:
        if isinstance(each, _Broken):
            return each
    images, truths, names = zip(*drawn, strict=True)
    if isinstance(truths[0], dict):
        proposals = [truth["proposals"] for truth in truths if "proposals" in truth]
        return Batch(list(images), list(truths), names, proposals if len(proposals) == len(truths) else None)
    if len({image.shape for image in images}) > 1:
        sizes = " and ".join(sorted({f"{image.shape[1]} x {image.shape[2]}" for image in images}))
        message = f"the images of one batch are of {sizes} pixels; give `size`, so that all become alike"
        return _Broken(InputError, message)
    truth = torch.stack(truths) if isinstance(truths[0], Tensor) else torch.tensor(truths)
    return Batch(torch.stack(images), truth, names)


def _whole(batches: DataLoader[Any]) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, _Broken):
            raise batch.kind(batch.message)
        yield batch


def _broken(error: PerimetryError, name: str) -> _Broken:
    message = str(error) if name in str(error) else f"{name}: {error}"
    return _Broken(FileError if isinstance(error, FileError) else InputError, message)
