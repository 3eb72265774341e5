"""What was told of all images, as files that other programs read: COCO's results, and tables of labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perimetry.errors import InputError
from perimetry.files import encodable
from perimetry.scoring.annotations import read_coco

Images = Mapping[str, Mapping[str, Any]]
_TOP = 5


def coco_results(images: Images, labels: Sequence[str], *, ids: str | Path | None = None) -> str:
    """Detections as COCO's results: image_id, category_id, bbox [x, y, width, height] (continuous, from 0), score.

    labels: names from 0 on. ids: COCO's annotations whose ids are written; without, images and classes are called by
    name. Raises `InputError` for an image or a class that the annotations do not know.

    >>> told = {"a": {"boxes": [[1.0, 2.0, 4.0, 8.0]], "labels": [1], "scores": [0.5]}}
    >>> coco_results(told, ("_background_", "cat"))
    '[{"image_id": "a", "category_id": "cat", "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}]'
    """
    called: dict[str, Any] = {name: name for name in images}
    classes: dict[str, Any] = {name: name for name in labels}
    if ids is not None:
        known = read_coco(Path(ids))
        called, classes = _by_name(known.image_names), _by_name(known.classes)
    results = []
    for name, told in images.items():
        for (x1, y1, x2, y2), label, score in zip(told["boxes"], told["labels"], told["scores"], strict=True):
            results.append(
                {
                    "image_id": _id(called, name, "image", ids),
                    "category_id": _id(classes, labels[label], "class", ids),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": score,
                }
            )
    return encodable(json.dumps(results, ensure_ascii=False))


def check_ids(names: Iterable[str], ids: str | Path) -> None:
    """Raise `InputError` for an image that COCO's annotations do not know, `FileError` where they are none."""
    called = _by_name(read_coco(Path(ids)).image_names)
    for name in names:
        _id(called, name, "image", ids)


def labels_csv(images: Images, labels: Sequence[str]) -> str:
    """For people: the path of each image, the best label and its probability, and the five best.

    >>> print(labels_csv({"a.png": {"path": "pets/a.png", "probabilities": [0.25, 0.75]}}, ("cat", "dog")), end="")
    path,label,score,top5
    pets/a.png,dog,0.750000,dog 0.750; cat 0.250
    """
    rows = []
    for told in images.values():
        order = _best_first(told["probabilities"])
        top = "; ".join(f"{labels[at]} {told['probabilities'][at]:.3f}" for at in order[:_TOP])
        rows.append([told["path"], labels[order[0]], f"{told['probabilities'][order[0]]:.6f}", top])
    return _csv(["path", "label", "score", "top5"], rows)


def scores_csv(images: Images, labels: Sequence[str]) -> str:
    """For `perimetry score labels`: the name of each image and the probability of each class, to the last digit.

    >>> print(scores_csv({"a.png": {"probabilities": [0.25, 0.75]}}, ("cat", "dog")), end="")
    name,score_cat,score_dog
    a.png,0.25,0.75
    """
    rows = [[name, *map(repr, told["probabilities"])] for name, told in images.items()]
    return _csv(["name", *(f"score_{label}" for label in labels)], rows)


def _best_first(probabilities: Sequence[float]) -> list[int]:
    return sorted(range(len(probabilities)), key=lambda at: -probabilities[at])


def _by_name(names: Mapping[Any, Any]) -> dict[str, Any]:
    """Ids by what they stand for; where a name stands for itself too, the id counts."""
    found: dict[str, Any] = {}
    for key, name in names.items():
        found.setdefault(str(name), key)
    return found


def _id(known: Mapping[str, Any], name: str, what: str, ids: str | Path | None) -> Any:
    for each in (name, Path(name).name):
        if each in known:
            return known[each]
    raise InputError(f"{ids} has no {what} called {name!r}; name the annotations of these images, or leave --ids out")


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
