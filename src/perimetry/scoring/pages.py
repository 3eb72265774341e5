"""Images of labels or levels in files: PNG, TIFF of one or more pages, NPY; the sizes first, the pixels when asked."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from perimetry.errors import FileError, InputError, PerimetryError, ShapeError

Array = npt.NDArray[Any]
SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_KEPT = ("1", "L", "P", "I", "F")  # and 16 bits of gray, which Pillow calls by several names


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Images (H, W) of one size: how many, and how to read each.

    count: 1 for a single image; palette: whether values are indices of a palette; path: the file, if it is one.
    """

    count: int
    height: int
    width: int
    page: Callable[[int], Array]
    palette: bool = False
    path: Path | None = None

    @property
    def size_text(self) -> str:
        """The size as people write it."""
        size = f"{self.height}×{self.width}"
        return size if self.count == 1 else f"{self.count} slices of {size}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, H, W)."""
        return self.count, self.height, self.width


def open_pages(path: Path) -> Pages:
    """The images in a file; its pixels are read later, page by page.

    Raises `FileError` for what cannot be read, `InputError` for colours, `ShapeError` for other shapes.
    """
    if not path.is_file():
        raise FileError(f"{path} is not a file" if path.exists() else f"no such file: {path}")
    return _open_npy(path) if path.suffix.lower() == ".npy" else _open_picture(path)


def pages_of_array(given: Any, name: str) -> Pages:
    """The images of an array or tensor (H, W) or (S, H, W).

    >>> pages_of_array([[0, 1, 1]], "truth").shape
    (1, 1, 3)
    """
    detach = getattr(given, "detach", None)
    return _of_array(np.asarray(given if detach is None else detach().cpu().numpy()), name, None)


def _of_array(array: Array, name: str, path: Path | None) -> Pages:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype}; expected numbers")
    if array.ndim not in (2, 3) or not array.size:
        raise ShapeError(f"{name} has the shape {array.shape}; expected (H, W), or (S, H, W) for a stack, with pixels")
    if array.ndim == 3 and array.shape[-1] in (3, 4) and min(array.shape[:2]) > 4:
        raise ShapeError(f"{name} has the shape {array.shape}, which looks like colours; give one number per pixel")
    stack = array if array.ndim == 3 else array[None]
    count, height, width = stack.shape
    return Pages(count, height, width, page=lambda index: np.ascontiguousarray(stack[index]), path=path)


def _open_npy(path: Path) -> Pages:
    def load() -> Array:
        try:
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header is parsed as Python, which fails with errors of every kind
            raise FileError(f"{path} cannot be read as an NPY file: {error}") from error
        return array

    seen = _of_array(load(), str(path), path)
    # Opened again for each page, so that a folder of thousands needs no thousands of open files.
    return replace(seen, page=lambda index: np.array(load().reshape(seen.shape)[index]))


def _open_picture(path: Path) -> Pages:
    # The bytes are kept, so that a stack's pages are found once, and no file stays open.
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = _open(path, content)
        sizes = list(_sizes(path, image))
    width, height = sizes[0]
    if other := next((size for size in sizes if size != sizes[0]), None):
        raise InputError(f"{path} holds pages of {height}×{width} and of {other[1]}×{other[0]}; split it")
    lock = threading.Lock()
    # Of a folder of single images only what is needed to open them again is kept.
    kept = image if len(sizes) > 1 else None

    def page(index: int) -> Array:
        with lock:
            again = kept if kept is not None else _open(path, path.read_bytes())
            try:
                if kept is not None:
                    again.seek(index)
                return _pixels(again)
            except PerimetryError:
                raise
            except Exception as error:  # decoders fail on damaged files with errors of every kind
                raise FileError(f"{path} cannot be read (damaged or incomplete): {error}") from error

    return Pages(len(sizes), height, width, page, image.mode == "P", path)


def _open(path: Path, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=("PNG", "TIFF"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise FileError(f"{path} holds more than {Image.MAX_IMAGE_PIXELS} pixels (Pillow's limit); cut it up") from None
    except UnidentifiedImageError:
        raise FileError(f"{path} is not a PNG or TIFF that can be read") from None
    except Exception as error:  # decoders fail on damaged files with errors of every kind
        raise FileError(f"{path} cannot be read (damaged or incomplete): {error}") from error


def _sizes(path: Path, image: Image.Image) -> Iterator[tuple[int, int]]:
    """(width, height) of each page, colours refused."""
    try:
        count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        for index in range(count):
            if count > 1:
                image.seek(index)
            if image.mode not in _KEPT and not image.mode.startswith("I;16"):
                raise InputError(
                    f"{path} holds colours ({image.mode}), where one number per pixel is expected; "
                    "save labels as a palette or gray PNG (no conversion to RGB on the way), probabilities as gray"
                )
            yield image.size
    except (PerimetryError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise error if isinstance(error, PerimetryError) else FileError(f"{path} is too large: {error}") from None
    except Exception as error:
        raise FileError(f"{path} cannot be read (damaged or incomplete): {error}") from error


def _pixels(image: Image.Image) -> Array:
    """(H, W): bool for one bit, the numbers of the file else, in this machine's byte order."""
    array = np.array(image)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
