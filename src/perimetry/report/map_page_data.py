"""What the page of maps computes with: the values in a compact form, their colours, outlines and sizes."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perimetry.report.map_colors import DIVERGING, SEQUENTIAL, Scale
from perimetry.report.map_image import measured_box, pixel_values, tick_text
from perimetry.report.map_text import by_root
from perimetry.report.map_views import MapView, side
from perimetry.report.page_data import runs

if TYPE_CHECKING:
    from perimetry import UnitMap
    from perimetry.geometry import Box

# Up to so many values a map keeps all its bits: grids of patches do, maps of pixels do not.
EXACT_UP_TO = 4096
# The largest exponent of a value as it is stored: far above the smallest that a half float tells in full.
_EXPONENT = 14


def map_page_data(maps: Sequence[UnitMap], views: Sequence[MapView]) -> dict[str, Any]:
    """Everything the page's script reads: the colours, and each map with what is drawn of it."""
    return {
        "sequential": SEQUENTIAL,
        "diverging": DIVERGING,
        "maps": [_map(each, view) for each, view in zip(maps, views, strict=True)],
    }


def _map(unit_map: UnitMap, view: MapView) -> dict[str, Any]:
    scale = Scale.of(pixel_values(unit_map), root=by_root(unit_map))
    measured = unit_map.measured
    sizes = np.abs(unit_map.map[np.isfinite(unit_map.map)])
    return {
        "model": view.model,
        "unit": view.unit,
        "way": view.way,
        "noun": "gradient" if unit_map.method == "effective" else "change",
        "image": list(unit_map.image_shape),
        "values": packed(unit_map.map),
        "tops": runs(unit_map.tops),
        "lefts": runs(unit_map.lefts),
        "patch": unit_map.patch,
        "largest": float(sizes.max(initial=0.0)),
        "scale": {"low": scale.low, "high": scale.high, "signed": scale.signed, "root": scale.root},
        "ticks": ticks(scale),
        "theory": _edges(unit_map.target.clipped),
        "measured": _edges(measured_box(unit_map)),
        "cross": _centre(unit_map.target.box),
        "order": unit_map.target.value,
        "side": side(unit_map),
        "whole": unit_map.target.field.whole_image,
        "size": None if measured is None else measured.size,
    }


def packed(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Values as text: `data` is base64 of zlib of their bytes, the lowest byte of each first, then the next of each.

    bits: 32 for floats as they are; 16 for half floats of `values * scale`, a power of two: 11 significant bits, so
    that a value is within 0.05 % wherever it exceeds a 10^8th of the largest.
    """
    given = np.asarray(values, dtype=np.float32)
    scale, numbers = 1.0, given.astype("<f4")
    if given.size > EXACT_UP_TO:
        largest = float(np.abs(given[np.isfinite(given)]).max(initial=0.0))
        scale = 2.0 ** (_EXPONENT - math.frexp(largest)[1]) if largest else 1.0
        numbers = (given.astype(np.float64) * scale).astype("<f2")
    planes = numbers.view(np.uint8).reshape(-1, numbers.itemsize).T
    data = zlib.compress(np.ascontiguousarray(planes).tobytes(), 9)
    return {"bits": 8 * numbers.itemsize, "scale": scale, "data": base64.b64encode(data).decode("ascii")}


def ticks(scale: Scale) -> list[tuple[float, str]]:
    """Numbers of the colour bar: the place from 0 at the bottom to 1 at the top, and the text."""
    return [
        (round(float(scale.places(np.array(value))), 4), tick_text(value).replace("-", "−")) for value in scale.ticks()
    ]


def _edges(box: Box | None) -> list[int] | None:
    """First row, last row, first column, last column; None for what cannot be drawn."""
    return None if box is None or box.empty else [int(end) for span in box.spans for end in (span.low, span.high)]


def _centre(box: Box | None) -> list[float] | None:
    """Row and column of the middle of a box, from the image's upper left corner."""
    return None if box is None or box.empty else [(span.low + span.high + 1) / 2 for span in box.spans]
