"""The size to which a detector brings the images that it is given, and how it is made to leave them alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from perimetry.errors import InputError


def own_size(model: nn.Module, height: int, width: int) -> tuple[int, int]:
    """(H, W) to which torchvision's or perimetry's detector brings such an image; the image's own for other models.

    >>> own_size(nn.Identity(), 300, 400)
    (300, 400)
    """
    preparation: Any = getattr(model, "preparation", None)
    if hasattr(preparation, "short_sides"):
        found: tuple[int, int] = preparation.target_size((height, width))
        return found
    resizing: Any = getattr(model, "transform", None)
    if not hasattr(resizing, "min_size"):
        return height, width
    if getattr(resizing, "fixed_size", None) is not None:
        columns, rows = resizing.fixed_size
        return rows, columns
    scale = min(resizing.min_size[-1] / min(height, width), resizing.max_size / max(height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))


@contextmanager
def taken_as_given(model: nn.Module, view: Tensor) -> Iterator[None]:
    """Let a detector that resizes images to its own sides take this one, (3, H, W), as it is.

    Raises `InputError` for one of a single fixed size (SSD).
    """
    preparation: Any = getattr(model, "preparation", None)
    if hasattr(preparation, "short_sides"):
        sides = preparation.short_sides
        try:
            preparation.short_sides = ()
            yield
        finally:
            preparation.short_sides = sides
        return
    resizing: Any = getattr(model, "transform", None)
    if not hasattr(resizing, "min_size"):
        yield
        return
    if getattr(resizing, "fixed_size", None) is not None:
        raise InputError(f"this detector takes images of {resizing.fixed_size} alone; it has no pyramid")
    before = resizing.min_size, resizing.max_size
    try:
        resizing.min_size, resizing.max_size = (min(view.shape[1:]),), max(view.shape[1:])
        yield
    finally:
        resizing.min_size, resizing.max_size = before
