"""Parting a dataset by seed: for training, for choosing, for the last test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from perimetry.data.dataset import Dataset
from perimetry.errors import InputError

_NAMES = ("train", "val", "test")


def split(dataset: Dataset, fractions: Sequence[float] = (0.8, 0.1, 0.1), *, seed: int = 0) -> tuple[Dataset, ...]:
    """The dataset in two or three parts (train, val, test) that share no sample, and together hold all.

    fractions: of each part, together 1. Who goes where depends on the names of the samples and on the seed, not on
    their order or on the machine. Of classification every class is parted alike. A sample more or less moves many of
    the others, also from test to train: for a set that grows, and for neighbours of a video or a stack, which are not
    kept together, give the splits in files instead.
    Raises `InputError` where a part would be empty.

    >>> from pathlib import Path
    >>> from perimetry.data import Sample
    >>> pets = [Sample(f"{i}", Path(f"{i}.jpg"), label=i % 2) for i in range(20)]
    >>> parts = split(Dataset("classification", "pets", ("cat", "dog"), tuple(pets)), (0.5, 0.3, 0.2), seed=1)
    >>> [(part.split, len(part), sum(sample.label for sample in part.samples)) for part in parts]
    [('train', 10, 5), ('val', 6, 3), ('test', 4, 2)]
    """
    if (
        len(fractions) not in (2, 3)
        or not all(0 < each < 1 for each in fractions)
        or not math.isclose(sum(fractions), 1)
    ):
        raise InputError(f"expected two or three fractions above 0 that add up to 1, got {tuple(fractions)}")
    names = _NAMES[: len(fractions)]
    held: dict[str, list[str]] = {name: [] for name in names}
    ordered = sorted(dataset.samples, key=lambda sample: (sample.label or 0, _drawn(sample.name, seed), sample.name))
    for number, sample in enumerate(ordered, start=1):
        # Whoever lacks most of its share takes the next: parts of classes and of the whole stay within one of it.
        lacking = [fraction * number - len(held[name]) for name, fraction in zip(names, fractions, strict=True)]
        held[names[lacking.index(max(lacking))]].append(sample.name)
    if empty := [name for name in names if not held[name]]:
        raise InputError(
            f"{len(dataset)} samples are too few for the fractions {tuple(fractions)}: {empty[0]} would be empty"
        )
    whole = Dataset(
        dataset.task,
        dataset.name,
        dataset.classes,
        dataset.samples,
        {name: tuple(sorted(each)) for name, each in held.items()},
    )
    return tuple(whole.part(name) for name in names)


def _drawn(name: str, seed: int) -> bytes:
    """A number that depends on the name and the seed only."""
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
