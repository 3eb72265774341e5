"""Predictions as pictures: masks with a palette, masks over the photo, boxes drawn with their names."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from perimetry.errors import InputError
from perimetry.prediction.views import ToldBoxes
from perimetry.report.score_pictures import label_colors

Pixels = npt.NDArray[np.uint8]
MOST_CLASSES = 256
DRAWN_FROM = 0.5  # the score from which on boxes are drawn; files hold them all
_OPACITY = 0.55


def png_of_mask(mask: npt.NDArray[np.integer], *, classes: int) -> bytes:
    """Labels (H, W) as a PNG whose palette indices are the labels, in the colours of the reports."""
    return _saved(_palette_image(mask, classes), "PNG")


def mask_picture(pixels: Pixels, mask: npt.NDArray[np.integer], *, classes: int) -> bytes:
    """The mask over its photo (H, W, 3), as a JPEG."""
    colors = _palette_image(mask, classes).convert("RGB")
    return _saved(Image.blend(Image.fromarray(pixels), colors, _OPACITY), "JPEG")


def box_picture(pixels: Pixels, told: ToldBoxes, labels: Sequence[str]) -> bytes:
    """The photo (H, W, 3) with the boxes that have a score of one half or more, and their names, as a JPEG."""
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    colors = label_colors(max(len(labels), 2))
    size = max(10, round(max(picture.size) / 45))
    font = ImageFont.load_default(size)
    width = max(2, size // 5)
    drawn = told.reaching(DRAWN_FROM)
    # The best last, so that no other covers it.
    for box, label, score in list(
        zip(drawn.boxes_xyxy.tolist(), drawn.labels.tolist(), drawn.scores.tolist(), strict=True)
    )[::-1]:
        color = colors[label]
        x1, y1, x2, y2 = box
        draw.rectangle((x1, y1, max(x2, x1), max(y2, y1)), outline=color, width=width)
        text = f"{labels[label]} {score:.2f}"
        left, top, right, bottom = draw.textbbox((x1, max(0, y1 - size - 2)), text, font=font)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=color)
        draw.text((x1, max(0, y1 - size - 2)), text, fill=(255, 255, 255), font=font)
    return _saved(picture, "JPEG")


def _palette_image(mask: npt.NDArray[np.integer], classes: int) -> Image.Image:
    if classes > MOST_CLASSES:
        raise InputError(f"a mask with a palette holds at most {MOST_CLASSES} classes, the run has {classes}")
    picture = Image.fromarray(mask.astype(np.uint8), mode="P")
    picture.putpalette([level for color in label_colors(classes) for level in color])
    return picture


def _saved(picture: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return content.getvalue()
