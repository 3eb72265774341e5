"""What the report's page computes with: fields and their bounds, each told once, in a compact form."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from perimetry.geometry import AxisField, Field
from perimetry.records import LayerRecord, ModelRecord, Photo
from perimetry.report.numbers import (
    output_text,
    plain,
    same_field,
    size_text,
    start_text,
    stride_text,
)

# JPEG quality of the photo on the page: no visible loss, a tenth of the bytes of a lossless file.
PHOTO_QUALITY = 92


def page_data(models: Sequence[ModelRecord]) -> dict[str, Any]:
    """Everything the page's script reads: models with their layers, and the tables of fields and axes they point to.

    A layer holds the indices of its local and its full field in "fields" (None where unknown); a field holds, per
    image axis, the index of its bounds in "axes": four lists in runs (low, high, clipped low, clipped high).
    """
    tables = _Tables()
    return {
        "models": [
            {
                "name": plain(model.model),
                "image": list(model.image_shape),
                "layers": [_layer(layer, model, tables) for layer in model.layers],
            }
            for model in models
        ],
        "fields": tables.fields,
        "axes": tables.axes,
    }


def _layer(layer: LayerRecord, model: ModelRecord, tables: _Tables) -> dict[str, Any]:
    local = tables.field_index(layer.local_field)
    same = same_field(layer.field, layer.local_field)
    facts: dict[str, Any] = {
        "name": plain(layer.name) or "(model)",
        "op": plain(layer.op),
        "shape": output_text(layer, model),
        "local": local,
        "full": local if same else tables.field_index(layer.field),
    }
    # Rare facts are left out where they do not hold: most of the page's bytes are layers.
    if layer.container:
        facts["container"] = 1
    if layer.unproductive:
        facts["unproductive"] = 1
    if layer.upper_bound:
        facts["bound"] = 1
    if layer.global_by:
        facts["by"] = plain(layer.global_by)
    if layer.reason:
        facts["reason"] = plain(layer.reason)
    return facts


class _Tables:
    """Fields and axes met so far, each stored once."""

    def __init__(self) -> None:
        self.fields: list[dict[str, Any]] = []
        self.axes: list[list[list[int]]] = []
        self._field_of: dict[str, int] = {}
        self._axis_of: dict[str, int] = {}
        # The same bounds object stands behind many layers; it is kept alive here so that its id stays its own.
        self._seen: dict[int, tuple[object, int]] = {}

    def field_index(self, field: Field | None) -> int | None:
        """Where this field stands in the table; None where it is unknown."""
        if field is None:
            return None
        told: dict[str, Any] = {
            "size": size_text(field),
            "stride": stride_text(field),
            "start": start_text(field),
            "pixels": [None if size is None else int(size) for size in field.size],
            "axes": [self._axis_index(axis) for axis in field.axes],
        }
        if not field.uniform:
            told["uneven"] = 1
        key = json.dumps(told)
        if key not in self._field_of:
            self._field_of[key] = len(self.fields)
            self.fields.append(told)
        return self._field_of[key]

    def _axis_index(self, axis: AxisField) -> int:
        seen = self._seen.get(id(axis.bounds))
        if seen is not None:
            return seen[1]
        rows = [[int(number) for number in row] for row in axis.bounds]
        columns = [runs(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]
        key = json.dumps(columns)
        if key not in self._axis_of:
            self._axis_of[key] = len(self.axes)
            self.axes.append(columns)
        self._seen[id(axis.bounds)] = (axis.bounds, self._axis_of[key])
        return self._axis_of[key]


def runs(numbers: Iterable[int]) -> list[int]:
    """Numbers as runs of equal steps: first, step, count, first, step, count, ...

    >>> runs([-3, -1, 1, 3, 3, 3])
    [-3, 2, 4, 3, 0, 2]
    """
    encoded: list[int] = []
    for number in numbers:
        if encoded:
            first, step, count = encoded[-3:]
            if count == 1:
                encoded[-2:] = [number - first, 2]
                continue
            if number == first + step * count:
                encoded[-1] += 1
                continue
        encoded += [number, 0, 1]
    return encoded


def json_for_script(data: object) -> str:
    r"""JSON that can stand inside a script element: nothing in it can end the element or open a comment.

    >>> json_for_script("</script>&")
    '"\\u003c/script\\u003e\\u0026"'
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def photo_uri(photo: Photo) -> str:
    """The photo as a data: address that holds a JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.frombytes("RGB", (photo.width, photo.height), photo.pixels)
    picture.save(buffer, "JPEG", quality=PHOTO_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
