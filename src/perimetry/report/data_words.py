"""How what a dataset holds is put into words and cells, for text and page alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perimetry.report.numbers import plain, share

if TYPE_CHECKING:
    from perimetry.data import DataReport

_MOST_SPLITS = 4
_MOST_SIZES = 3
_LAYOUTS = {"folders": "class folders", "csv": "CSV", "voc": "PASCAL VOC", "pairs": "pairs of files", "coco": "COCO"}


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "image"), counted(1200, "class")
    ('1 image', '1,200 classes')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def abstract(report: DataReport) -> str:
    """The dataset in one line."""
    dataset = report.dataset
    task = f"{dataset.task} by {_LAYOUTS[report.layout]}" if report.layout else dataset.task
    parts = [plain(dataset.name), task, counted(len(dataset), "image"), counted(len(dataset.classes), "class")]
    if dataset.split:
        parts.insert(1, f"split {plain(dataset.split)}")
    if dataset.task == "detection":
        parts.append(counted(sum(each.objects or 0 for each in report.classes), "object"))
    return " · ".join(parts)


def heading(report: DataReport) -> str:
    """How much is wrong."""
    if not report.problems:
        return "no problem was found"
    return f"{counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}"


def kind_of(kind: str) -> str:
    """What a kind of problem is called."""
    from perimetry.data import KINDS

    return KINDS[kind][1]


def splits_to_show(report: DataReport) -> list[str]:
    """The splits that have room for a column each; a single one would repeat the total."""
    return list(report.dataset.splits) if 1 < len(report.dataset.splits) <= _MOST_SPLITS else []


def class_rows(report: DataReport, splits: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The headings and a row of cells for each class, with a column of images for each of those splits."""
    unit = {"classification": "", "segmentation": "pixels", "detection": "objects"}[report.dataset.task]
    amounts = [each.objects if unit == "objects" else each.pixels if unit else each.images for each in report.classes]
    total = sum(amount or 0 for amount in amounts)
    headings = ["label", "class", "images", *(f"in {plain(split)}" for split in splits)]
    headings += [unit] if unit else []
    headings += ["share"] + (["median size"] if unit == "objects" else [])
    sizes = report.class_sizes
    rows = []
    for each, amount in zip(report.classes, amounts, strict=True):
        row = [str(each.label), plain(each.name), f"{each.images:,}"]
        row += [f"{each.by_split.get(split, 0):,}" for split in splits]
        row += [f"{amount or 0:,}"] if unit else []
        row.append(share(amount or 0, total))
        if unit == "objects":
            row.append(f"{sizes[each.label].quantiles[3]:.0f} px" if each.label in sizes else "–")
        rows.append(row)
    return headings, rows


def facts(report: DataReport) -> list[tuple[str, str]]:
    """Sizes of images and objects, pixels that are ignored, images of background."""
    found = []
    if sizes := report.image_sizes:
        told = [f"{height}×{width} ({count:,})" for (height, width), count in sizes.most_common(_MOST_SIZES)]
        if len(sizes) > _MOST_SIZES:
            heights, widths = (sorted(side) for side in zip(*sizes, strict=True))
            told.append(f"{len(sizes) - _MOST_SIZES:,} other sizes")
            told[-1] += f"; heights {heights[0]} to {heights[-1]}, widths {widths[0]} to {widths[-1]}"
        found.append(("image sizes", ", ".join(told)))
    if (objects := report.object_sizes) is not None:
        least, _, _, median, _, _, most = objects.quantiles
        found.append(("object sizes", f"√area {least:.0f} to {most:.0f} px, median {median:.0f}"))
        limits = f"small {objects.small:,}, medium {objects.medium:,}, large {objects.large:,}"
        found.append(("by COCO's limits", f"{limits} (from 32 and 96 px on)"))
    if report.backgrounds:
        found.append(("without objects", f"{counted(report.backgrounds, 'image')}, of background"))
    if report.ignored_pixels:
        total = report.ignored_pixels + sum(each.pixels or 0 for each in report.classes)
        found.append(("ignored", f"{report.ignored_pixels:,} pixels ({share(report.ignored_pixels, total)})"))
    return found
