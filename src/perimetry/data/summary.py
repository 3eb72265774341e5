"""What the check before training found: counts, sizes and problems, as data, text and a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perimetry.data.dataset import Dataset
from perimetry.data.problems import UNREADABLE, Problem
from perimetry.files import encodable

SCHEMA = 1
# COCO's limits: an object is small below 32 x 32 pixels, large from 96 x 96 on.
SMALL, LARGE = 32**2, 96**2
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How often a class occurs: in how many images, and as how many objects or pixels; by_split: images in each."""

    name: str
    label: int
    images: int
    objects: int | None = None
    pixels: int | None = None
    by_split: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data, those of the task."""
        found: dict[str, Any] = {"name": self.name, "label": self.label, "images": self.images}
        found |= {} if self.objects is None else {"objects": self.objects}
        found |= {} if self.pixels is None else {"pixels": self.pixels}
        return found | ({"by_split": dict(self.by_split)} if self.by_split else {})


@dataclass(frozen=True, slots=True)
class ObjectSizes:
    """How large objects are: how many are small, medium and large by COCO's limits, and quantiles of sqrt(area).

    quantiles: in pixels, at `QUANTILES`.

    >>> ObjectSizes.of([100.0, 400.0, 10000.0]).quantiles[3]
    20.0
    """

    small: int
    medium: int
    large: int
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, areas: Any) -> ObjectSizes:
        """Of one object or more."""
        found = np.asarray(areas, dtype=np.float64)
        small, large = int((found < SMALL).sum()), int((found >= LARGE).sum())
        sides = np.quantile(np.sqrt(found), QUANTILES)
        return cls(small, len(found) - small - large, large, tuple(round(float(side), 2) for side in sides))

    def to_dict(self) -> dict[str, Any]:
        """The sizes as plain data."""
        quantiles = {f"{share:g}": side for share, side in zip(QUANTILES, self.quantiles, strict=True)}
        return {"small": self.small, "medium": self.medium, "large": self.large, "sqrt_area": quantiles}


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a dataset holds, and what is wrong with it.

    dataset: without what its layout showed to be wrong; layout: how it was read, None where a dataset was given; root:
    what the files of problems are relative to; sizes: (H, W) of the images that can be read, by the sample's name.
    """

    dataset: Dataset
    layout: str | None
    root: Path
    problems: tuple[Problem, ...]
    sizes: Mapping[str, tuple[int, int]]
    classes: tuple[ClassCount, ...]
    ignored_pixels: int = 0

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that training could fail or go wrong over."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are only worth knowing."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def unreadable(self) -> tuple[Problem, ...]:
        """The files that cannot be read or are not there."""
        return tuple(problem for problem in self.problems if problem.kind in UNREADABLE)

    @property
    def image_sizes(self) -> Counter[tuple[int, int]]:
        """How many images have each size (H, W)."""
        return Counter(self.sizes.values())

    @property
    def backgrounds(self) -> int | None:
        """How many images have no object, which is valid; None where the task has none."""
        if self.dataset.task != "detection":
            return None
        return sum(sample.objects is None or not len(sample.objects) for sample in self.dataset.samples)

    @property
    def object_sizes(self) -> ObjectSizes | None:
        """How large the objects are, None where there is none."""
        areas = [area for sample in self.dataset.samples if sample.objects for area in sample.objects.areas]
        return ObjectSizes.of(areas) if areas else None

    @property
    def class_sizes(self) -> dict[int, ObjectSizes]:
        """How large the objects of each label are, of those that occur."""
        areas: dict[int, list[float]] = {}
        for sample in self.dataset.samples:
            if sample.objects is not None:
                for area, label in zip(sample.objects.areas, sample.objects.labels, strict=True):
                    areas.setdefault(label, []).append(area)
        return {label: ObjectSizes.of(each) for label, each in areas.items()}

    @property
    def sound(self) -> Dataset:
        """The samples that no error is about: what is left to train on once broken files are left out on purpose."""
        wrong = {problem.sample for problem in self.errors}
        return self.dataset.of(sample.name for sample in self.dataset.samples if sample.name not in wrong)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, as `--json` writes it."""
        dataset = self.dataset
        found: dict[str, Any] = {
            "schema": SCHEMA,
            "name": dataset.name,
            "task": dataset.task,
            "layout": self.layout,
            "split": dataset.split,
            "images": len(dataset),
            "splits": {split: len(held) for split, held in dataset.splits.items()},
            "image_sizes": [{"size": list(size), "images": count} for size, count in self.image_sizes.most_common()],
            "classes": [each.to_dict() for each in self.classes],
        }
        if dataset.task == "segmentation":
            found["ignored_pixels"] = self.ignored_pixels
        if dataset.task == "detection":
            sizes = self.object_sizes
            found["images_without_objects"] = self.backgrounds
            found["objects"] = None if sizes is None else sizes.to_dict()
        found["errors"], found["warnings"] = len(self.errors), len(self.warnings)
        found["problems"] = [problem.to_dict() for problem in self.problems]
        return found

    def to_json(self) -> str:
        """`to_dict` as JSON; bytes of names that are not UTF-8 stand as escapes, as Python reads them."""
        return encodable(json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))

    def to_text(self, *, width: int = 80, color: bool = False) -> str:
        """The report for a terminal of that width."""
        from perimetry.report.data_text import data_text

        return data_text(self, width=width, color=color)

    def to_html(self) -> str:
        """One page to look at, with pictures, which needs no network."""
        from perimetry.report.data_html import data_html

        return data_html(self)
