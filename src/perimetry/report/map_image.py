"""A unit's measured map as a picture: colours over the gray photo, outlines, a colour bar with numbers, a caption."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from perimetry.errors import InputError, ShapeError
from perimetry.geometry import Box, Span
from perimetry.report.map_colors import Scale, bar, blend
from perimetry.report.map_text import by_root, colors_text, conditions, extent_text, theory_text, title
from perimetry.report.numbers import plain

if TYPE_CHECKING:
    from perimetry import Photo, UnitMap

    Floats = npt.NDArray[np.float64]
    Color = tuple[int, int, int]
    Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

MEASURED = (40, 255, 130)  # in neither scale of colours
THEORY = (255, 255, 255)
_CASING = (0, 0, 0)  # around every line, so that it stands out from light and dark alike
_INK = (32, 32, 36)
_PAPER = (255, 255, 255)

_SHORTEST_SIDE = 448
_LONGEST_SIDE = 4096  # a narrow strip is not enlarged beyond this
MARGIN = 16
BAR_WIDTH = 18
_LETTERS = 14
_LINE = 21
_INDENT = 38  # of texts beside a mark
_DASH, _GAP = 10, 8


def map_png(unit_map: UnitMap, photo: Photo | None = None) -> bytes:
    """The map over the photo as a PNG file; the same map and photo give the same bytes.

    photo: as the model saw it, (H, W) pixels of the map's `image_shape`; plain gray without one. It is enlarged by a
    whole number, so that its shorter side has at least 448 pixels. Dashed: the theoretical field inside the image;
    solid: the extent of what exceeds the map's threshold; a cross: the centre of the unit's field.

    Raises `ShapeError` where the photo has another size, `InputError` for a map that is not of two axes.
    """
    if len(unit_map.image_shape) != 2:
        raise InputError(f"only maps of two axes can be drawn, this one has {len(unit_map.image_shape)}")
    values = pixel_values(unit_map)
    scale = Scale.of(values, root=by_root(unit_map))
    factor = enlargement(*values.shape)
    colors = blend(values, gray_photo(unit_map, photo), scale)
    picture = Image.fromarray(colors.repeat(factor, axis=0).repeat(factor, axis=1))
    _draw_outlines(picture, unit_map, factor)
    buffer = io.BytesIO()
    _page(picture, unit_map, scale, photo.name if photo else None).save(buffer, format="PNG")
    return buffer.getvalue()


def pixel_values(unit_map: UnitMap, *, of: Literal["values", "magnitudes"] = "values") -> Floats:
    """The map per pixel, (H, W): of patches the mean over those that covered the pixel, NaN where none did."""
    values = np.asarray(unit_map.map, dtype=np.float64)
    if of == "magnitudes":  # signed changes may cancel over images; what was measured are their magnitudes
        values = np.abs(values if unit_map.magnitude is None else unit_map.magnitude)
    covers = []  # per axis: which pixel (row) is covered by the patches at which place (column)
    sizes = unit_map.patch or (1, 1)
    for starts, size, extent in zip((unit_map.tops, unit_map.lefts), sizes, unit_map.image_shape, strict=True):
        behind = np.arange(extent)[:, None] - np.asarray(starts)[None, :]
        covers.append(((behind >= 0) & (behind < size)).astype(np.float64))
    known = np.isfinite(values)
    total = covers[0] @ np.where(known, values, 0) @ covers[1].T
    count = covers[0] @ known.astype(np.float64) @ covers[1].T
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def measured_box(unit_map: UnitMap) -> Box | None:
    """The hull of the pixels whose magnitude exceeds the measurement's threshold; None where nothing was measured."""
    sizes = np.nan_to_num(pixel_values(unit_map, of="magnitudes"))
    if unit_map.measured is None or not sizes.any():
        return None
    above = sizes > unit_map.measured.threshold * sizes.max()
    places = [np.flatnonzero(above.any(axis=axis)) for axis in (1, 0)]
    return Box(tuple(Span(int(each[0]), int(each[-1])) for each in places))


def enlargement(height: int, width: int) -> int:
    """The whole number by which an image is enlarged.

    >>> enlargement(224, 224), enlargement(600, 800), enlargement(32, 64)
    (2, 1, 14)
    """
    return max(1, min(-(-_SHORTEST_SIDE // min(height, width)), _LONGEST_SIDE // max(height, width)))


def gray_photo(unit_map: UnitMap, photo: Photo | None) -> Floats:
    """The photo's lightness, (H, W) in 0..1, middle gray without one; raises `ShapeError` for another size."""
    height, width = unit_map.image_shape
    if photo is None:
        return np.full((height, width), 0.5)
    if (photo.height, photo.width) != (height, width):
        raise ShapeError(f"the map is of {height}x{width} pixels, the photo has {photo.height}x{photo.width}")
    pixels = np.frombuffer(photo.pixels, dtype=np.uint8).reshape(height, width, 3)
    gray: Floats = pixels @ np.array((0.299, 0.587, 0.114)) / 255
    return gray


def _draw_outlines(picture: Image.Image, unit_map: UnitMap, factor: int) -> None:
    draw = ImageDraw.Draw(picture)
    measured = measured_box(unit_map)
    if measured is not None:
        _frame(draw, measured, factor, MEASURED, dashed=False)
    target = unit_map.target
    if target.clipped is not None and not target.clipped.empty:
        _frame(draw, target.clipped, factor, THEORY, dashed=True)
    if target.box is not None and not target.box.empty:
        row, column = (round((span.low + span.high + 1) / 2 * factor) for span in target.box.spans)
        if 0 <= row < picture.height and 0 <= column < picture.width:
            _cross(draw, column, row)


def _frame(draw: ImageDraw.ImageDraw, box: Box, factor: int, color: Color, *, dashed: bool) -> None:
    """A frame just inside the box: lines of four pixels, the outer ones casing."""
    (top, bottom), (left, right) = ((span.low * factor, (span.high + 1) * factor - 1) for span in box.spans)
    strokes = [(left + a, row, left + b, row + 3) for row in (top, bottom - 3) for a, b in _along(right - left, dashed)]
    strokes += [(x, top + a, x + 3, top + b) for x in (left, right - 3) for a, b in _along(bottom - top, dashed)]
    _draw_strokes(draw, strokes, color)


def _along(last: int, dashed: bool) -> list[tuple[int, int]]:
    """First and last pixel of each stroke of a line over the pixels 0 to `last`."""
    if not dashed:
        return [(0, last)]
    return [(place, min(place + _DASH - 1, last)) for place in range(0, last + 1, _DASH + _GAP)]


def _draw_strokes(draw: ImageDraw.ImageDraw, strokes: Sequence[tuple[int, int, int, int]], color: Color) -> None:
    """All casing first, so that no stroke covers another's colour."""
    for inset, ink in ((0, _CASING), (1, color)):
        for x0, y0, x1, y1 in strokes:
            if x1 - x0 >= 2 * inset and y1 - y0 >= 2 * inset:
                draw.rectangle((x0 + inset, y0 + inset, x1 - inset, y1 - inset), fill=ink)


def _cross(draw: ImageDraw.ImageDraw, column: int, row: int) -> None:
    for reach, half, ink in ((9, 2, _CASING), (8, 1, THEORY)):
        draw.rectangle((column - reach, row - half, column + reach - 1, row + half - 1), fill=ink)
        draw.rectangle((column - half, row - reach, column + half - 1, row + reach - 1), fill=ink)


def _page(picture: Image.Image, unit_map: UnitMap, scale: Scale, photo: str | None) -> Image.Image:
    """The picture with the colour bar at its right and the caption below."""
    font = ImageFont.load_default(size=_LETTERS)
    numbers = max(round(font.getlength(number)) for number in map(tick_text, scale.ticks()))
    room = picture.width + MARGIN + BAR_WIDTH + 10 + numbers
    lines = _caption_lines(unit_map, photo, font, room)
    page = Image.new("RGB", (room + 2 * MARGIN, picture.height + 3 * MARGIN + _LINE * len(lines)), _PAPER)
    page.paste(picture, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(page)
    left = picture.width + 2 * MARGIN
    page.paste(Image.fromarray(bar(picture.height, BAR_WIDTH, scale)), (left, MARGIN))
    for value in scale.ticks():
        row = MARGIN + round((1 - float(scale.places(np.array(value)))) * (picture.height - 1))
        draw.line((left + BAR_WIDTH, row, left + BAR_WIDTH + 4, row), fill=_INK)
        draw.text((left + BAR_WIDTH + 8, row), tick_text(value), fill=_INK, font=font, anchor="lm")
    for number, (mark, text) in enumerate(lines):
        top = picture.height + 2 * MARGIN + number * _LINE
        _draw_mark(draw, mark, MARGIN, top + _LETTERS // 2)
        draw.text((MARGIN + (_INDENT if mark is not None else 0), top), text, fill=_INK, font=font)
    return page


def _caption_lines(unit_map: UnitMap, photo: str | None, font: Font, room: int) -> list[tuple[str | None, str]]:
    """Lines under the picture: (mark, text); None has no mark and no indent, "" goes on below a mark."""
    entries: list[tuple[str | None, str]] = [(None, title(unit_map)), (None, conditions(unit_map, photo))]
    entries.append(("dashed" if unit_map.target.clipped is not None else "", f"in theory {theory_text(unit_map)}"))
    entries.append(("solid" if unit_map.measured is not None else "", f"measured {extent_text(unit_map)}"))
    entries.append(("", colors_text(unit_map)))
    lines: list[tuple[str | None, str]] = []
    for mark, text in entries:
        # Pillow's own font has no multiplication sign.
        first, *more = _folded(plain(text).replace("×", "x"), font, room - (_INDENT if mark is not None else 0))
        lines += [(mark, first), *((None if mark is None else "", line) for line in more)]
    return lines


def _folded(text: str, font: Font, room: int) -> list[str]:
    """The text in lines of at most that many pixels, broken at spaces, and inside words that are longer."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    return lines


def _draw_mark(draw: ImageDraw.ImageDraw, mark: str | None, left: int, row: int) -> None:
    """A piece of the line that the text explains."""
    if mark in ("dashed", "solid"):
        strokes = [(left + start, row, left + end, row + 3) for start, end in _along(27, mark == "dashed")]
        _draw_strokes(draw, strokes, THEORY if mark == "dashed" else MEASURED)


def tick_text(value: float) -> str:
    """A number beside the colour bar.

    >>> tick_text(0.0), tick_text(12345.6)
    ('0', '1.23e+04')
    """
    return f"{value:.3g}" if value else "0"
