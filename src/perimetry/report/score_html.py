"""Scores as one HTML page: totals, curves, what is confused, and the images that scored worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perimetry.report.numbers import plain
from perimetry.report.page_data import json_for_script
from perimetry.report.pages import page_parts, template
from perimetry.report.score_confusion import MOST_CLASSES, confusion_view
from perimetry.report.score_curves import plots
from perimetry.report.score_distribution import distribution
from perimetry.report.score_gallery import gallery
from perimetry.report.score_pictures import LONGEST_SIDE, hex_color
from perimetry.report.score_views import abstract, classes_table, images_table, kinds_of_detections, settings, totals
from perimetry.report.score_words import name_of

if TYPE_CHECKING:
    from perimetry.report.score_plots import Plot
    from perimetry.scoring.results import Scored

_TITLES = {"masks": "masks", "boundaries": "boundaries", "boxes": "boxes", "labels": "labels"}

# Kinds of boxes, in the order of their switches: what the frame around them means.
_BOXES = (
    ("true", "true detection"),
    ("duplicate", "duplicate"),
    ("badly_localised", "badly localised"),
    ("background", "on background"),
    ("ignored", "ignored"),
    ("missed", "missed object"),
    ("found", "object that was found"),
    ("difficult", "difficult object"),
)


def score_html(scored: Scored) -> str:
    """The result of scoring as one HTML file: it asks the network for nothing, and opens from disk.

    Pictures of the worst images are made from the files again, at most twelve images and eight megabytes, each at most
    640 pixels on a side; the page says what was left out. Scripts and styles are allowed by their hashes only
    (Content-Security-Policy), names are escaped. The same result and files give the same page.

    Raises `FileError` where a file that was scored can no longer be read.

    >>> from perimetry.scoring.results import ImageScore, Scored
    >>> scored = Scored("masks", {}, (ImageScore("a", {"miou": 0.5}),), {"miou": 0.5})
    >>> score_html(scored).startswith("<!doctype html>")
    True
    """
    page: str = template("score.html.j2").render(
        **score_context(scored), **page_parts(["report.css", "score.css"], ["theme.js", "score_plots.js", "score.js"])
    )
    return page


def score_context(scored: Scored, *, more_plots: Sequence[Plot] = ()) -> dict[str, Any]:
    """What the template of scores is given; `more_plots` are read by its script after those of the scores."""
    drawn = plots(scored)
    confusion = None if scored.confusion is None else confusion_view(scored.confusion, scored.classes)
    spread = distribution(scored)
    pictures = gallery(scored)
    drawn_at = {place: index for index, place in enumerate(spread["places"] if spread else range(len(scored.images)))}
    data: dict[str, Any] = {
        "plots": [plot.data() for plot in (*drawn, *more_plots)],
        "confusion": None if confusion is None else confusion.data(),
        "unit": {"labels": "rows"}.get(scored.kind, "pixels"),
        "distribution": {key: told for key, told in spread.items() if key != "places"} if spread else None,
        "pictures": {str(drawn_at[image.index]): place for place, image in enumerate(pictures.images)},
    }
    kinds = {box.kind for image in pictures.images for box in image.boxes}
    return {
        "kind": scored.kind,
        "title": _TITLES[scored.kind],
        "abstract": abstract(scored),
        "totals": totals(scored),
        "settings": settings(scored),
        "notes": [plain(note) for note in scored.notes],
        "per_class": classes_table(scored),
        "plots": drawn,
        "confusion": confusion,
        "most_classes": MOST_CLASSES,
        "distribution": spread,
        "gallery": pictures,
        "kinds": kinds_of_detections(scored),
        "boxes": [(kind, name) for kind, name in _BOXES if kind in kinds],
        "longest_side": LONGEST_SIDE,
        "headline": name_of(scored.headline),
        "ranked": bool(scored.worst_first()),
        "images": images_table(scored),
        "image_count": len(scored.images),
        "hex_color": hex_color,
        "data": json_for_script(data),
    }
