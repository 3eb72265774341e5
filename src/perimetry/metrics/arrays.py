"""Arrays and tensors in one form, checked where they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError


def as_array(given: Any, name: str) -> npt.NDArray[Any]:
    """An array, or a tensor of any device, as a NumPy array.

    Raises `InputError` for what holds no numbers, and for NaN.

    >>> as_array([[0, 1], [1, 0]], "truth").shape
    (2, 2)
    """
    array = as_numbers(given, name)
    if array.dtype.kind == "f" and array.size and bool(np.isnan(array.min())):
        raise InputError(f"{name} holds NaN ({int(np.isnan(array).sum())} of {array.size}); clean it first")
    return array


def as_numbers(given: Any, name: str) -> npt.NDArray[Any]:
    """The same, but NaN is left to whoever reads the values."""
    detach = getattr(given, "detach", None)
    array = np.asarray(given if detach is None else detach().cpu().numpy())
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected {name} as numbers, got {array.dtype}")
    return one_bit(array)


def one_bit(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array, but bools whose bytes are other than 0 and 1 made anew.

    Pillow hands out images of one bit as bools of 0 and 255. NumPy takes them for true, compiled loops do not.

    >>> one_bit(np.array([0, 255], np.uint8).view(bool)).view(np.uint8)
    array([0, 1], dtype=uint8)
    """
    if array.dtype != bool or not array.size:
        return array
    levels = array.view(np.uint8)
    return levels != 0 if levels.max() > 1 else array
