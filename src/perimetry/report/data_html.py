"""A dataset as one HTML page: what is wrong, splits and classes, sizes, and pictures."""

from __future__ import annotations

import math
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

from perimetry.report.data_gallery import gallery
from perimetry.report.data_words import abstract, class_rows, facts, heading, kind_of, splits_to_show
from perimetry.report.numbers import plain
from perimetry.report.pages import page_parts, template
from perimetry.report.score_pictures import hex_color

if TYPE_CHECKING:
    from perimetry.data import DataReport

MOST_PROBLEMS = 200  # of each kind; JSON has all


def data_html(report: DataReport) -> str:
    """The report as one HTML file: it asks the network for nothing, and opens from disk.

    Pictures are made from the files again: images with problems first, then examples, at most twelve of each and eight
    megabytes. Styles and scripts are allowed by their hashes only, names are escaped.

    >>> from pathlib import Path
    >>> from perimetry.data import DataReport, Dataset
    >>> empty = Dataset("classification", "pets", ("cat", "dog"), ())
    >>> data_html(DataReport(empty, "folders", Path(), (), {}, ())).startswith("<!doctype html>")
    True
    """
    columns, rows = class_rows(report, splits_to_show(report))
    title, *rest = abstract(report).split(" · ")
    groups = []
    for kind, group in groupby(report.problems, key=lambda problem: problem.kind):
        found = list(group)
        groups.append(
            {
                "name": kind_of(kind),
                "severity": found[0].severity,
                "count": len(found),
                "rows": [
                    ("" if each.file is None else plain(each.file.as_posix()), plain(each.sentence))
                    for each in found[:MOST_PROBLEMS]
                ],
            }
        )
    page: str = template("data.html.j2").render(
        title=title,
        abstract=" · ".join(rest),
        heading=heading(report),
        groups=groups,
        splits=[(plain(split), f"{len(held):,}") for split, held in report.dataset.splits.items()],
        facts=facts(report),
        columns=columns,
        rows=rows,
        shares=_shares(report),
        histogram=size_histogram(report),
        gallery=gallery(report),
        hex_color=hex_color,
        task=report.dataset.task,
        **page_parts(["report.css", "score.css", "data.css"], ["theme.js"]),
    )
    return page


def _shares(report: DataReport) -> list[int]:
    """How long the bar of each class is, of 100: its objects, pixels or images, of those of the largest class."""
    amounts = [
        next(each for each in (found.objects, found.pixels, found.images) if each is not None)
        for found in report.classes
    ]
    most = max(amounts, default=0)
    return [round(100 * amount / most) if most else 0 for amount in amounts]


def size_histogram(report: DataReport) -> dict[str, Any]:
    """How many objects have which side (sqrt of the area), in steps of a factor of the square root of 2.

    bins: the step's side, where it ends, how many, and the height of its bar, of 100; limits: where COCO's medium and
    large objects begin, in bins. Empty where there is no object.
    """
    sides = [math.sqrt(area) for sample in report.dataset.samples if sample.objects for area in sample.objects.areas]
    if not sides:
        return {}
    places = [math.floor(2 * math.log2(max(side, 1))) for side in sides]
    first, last = min(places), max(places)
    counts = Counter(places)
    bins = [
        {
            "label": f"{2 ** (place / 2):.0f}",
            "until": f"{2 ** ((place + 1) / 2):.0f}",
            "count": f"{counts[place]:,}",
            "height": round(100 * counts[place] / max(counts.values()), 1),
        }
        for place in range(first, last + 1)
    ]
    limits = [(side, round(2 * math.log2(side) - first, 3)) for side in (32, 96)]
    return {"bins": bins, "limits": [(side, at) for side, at in limits if 0 < at < len(bins)]}
