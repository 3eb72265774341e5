"""Pictures on the page of scores: photos, masks and what differs, each small enough to stand in the page."""

from __future__ import annotations

import base64
import colorsys
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Color = tuple[int, int, int]
Codes = npt.NDArray[np.integer]

# Pillow reads more, but some of its readers start other programs (EPS) or serve no photos.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

LONGEST_SIDE = 640  # of a picture in the page; larger images are shrunk by a whole number
PHOTO_QUALITY = 85
NOTHING: Color = (128, 128, 128)  # pixels that were left out

# Told apart by people who confuse red and green, and over gray images (after Okabe and Ito).
CLASS_COLORS: tuple[Color, ...] = (
    (0, 158, 115),
    (86, 180, 233),
    (240, 228, 66),
    (230, 159, 0),
    (255, 60, 60),
    (204, 90, 220),
)


def shrinking(height: int, width: int, *, most: int = LONGEST_SIDE) -> int:
    """The whole number by which an image is shrunk, so that no side is longer than `most`.

    >>> shrinking(512, 512), shrinking(1080, 1920)
    (1, 3)
    """
    return max(1, -(-max(height, width) // most))


def read_photo(path: Path) -> npt.NDArray[np.uint8] | None:
    """The pixels of an image file, (H, W, 3), as they are stored; None where it cannot be read or is too large.

    Levels beyond eight bits are spread from the darkest to the brightest. Of a TIFF file with several pages there is no
    telling which is meant: None.
    """
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=[each for each in _FORMATS if each in Image.OPEN]) as picture:
                if picture.format == "TIFF" and getattr(picture, "n_frames", 1) > 1:
                    return None
                if picture.mode[:1] not in "IF":
                    return np.asarray(picture.convert("RGB"))
                levels = np.asarray(picture, dtype=np.float64)
                low, high = np.nanmin(levels), np.nanmax(levels)
                gray = np.nan_to_num((levels - low) / max(high - low, 1e-12)) * 255
                return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    except Exception:  # noqa: BLE001 - decoders fail on damaged files with errors of every kind; the page tells it
        return None


def photo_address(pixels: npt.NDArray[np.uint8]) -> str:
    """An image (H, W) or (H, W, 3) as the data: address of a JPEG, shrunk by averaging."""
    picture = Image.fromarray(pixels)
    picture = picture.reduce(shrinking(*pixels.shape[:2]))
    return _address(picture, "JPEG", quality=PHOTO_QUALITY)


def labels_address(labels: Codes, colors: Sequence[Color], *, ignored: npt.NDArray[np.bool_] | None = None) -> str:
    """Labels (H, W) as the data: address of a PNG, label i in colour i; `ignored` pixels are gray.

    A larger image keeps the middle pixel of every block. At most 255 colours: labels beyond take them in turn.
    """
    step = shrinking(*labels.shape)
    middles = np.ix_(*(np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in labels.shape))
    kept = labels[middles]
    codes = (kept % min(len(colors), 255) + 1).astype(np.uint8)
    if ignored is not None:
        codes[ignored[middles]] = 0
    return _palette_address(codes, [NOTHING, *colors[:255]], clear=False)


def overlay_address(marked: npt.NDArray[np.bool_], color: Color) -> str:
    """Marked pixels (H, W) in one colour, the others clear, as the data: address of a PNG.

    In a larger image a block is marked where any of its pixels is, so that single pixels are not lost.
    """
    step = shrinking(*marked.shape)
    height, width = (-(-side // step) * step for side in marked.shape)
    padded = np.zeros((height, width), np.bool_)
    padded[: marked.shape[0], : marked.shape[1]] = marked
    blocks = padded.reshape(height // step, step, width // step, step).any(axis=(1, 3))
    return _palette_address(np.asarray(blocks, dtype=np.uint8), [NOTHING, color], clear=True)


def label_colors(count: int) -> tuple[Color, ...]:
    """As many colours for labels as asked for: neighbours differ in hue by the golden angle, and in lightness.

    >>> label_colors(2)
    ((46, 128, 178), (225, 107, 145))
    """
    found = []
    for index in range(count):
        hue = (0.564 + index * 0.381966) % 1.0
        red, green, blue = colorsys.hls_to_rgb(hue, (0.44, 0.65, 0.32)[index % 3], (0.59, 0.66, 0.7)[index % 3])
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(found)


def hex_color(color: Color) -> str:
    """The colour as markup writes it.

    >>> hex_color((255, 60, 60))
    '#ff3c3c'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)


def _palette_address(codes: npt.NDArray[np.uint8], colors: Sequence[Color], *, clear: bool) -> str:
    picture = Image.fromarray(codes, mode="P")
    picture.putpalette([level for color in colors for level in color])
    return _address(picture, "PNG", optimize=True, **({"transparency": 0} if clear else {}))


def _address(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
