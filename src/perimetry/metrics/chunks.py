"""Arrays and tensors of any size, walked in pieces that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import one_bit

Given = Tensor | npt.NDArray[Any]

HOST_PIECE = 1 << 16  # elements: a piece, its codes and its counts fit in the second-level cache
DEVICE_PIECE = 1 << 24  # an accelerator wants long pieces

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # which torch stores, and hardly computes with


def as_labels(given: Any, name: str) -> Given:
    """Labels as an array or tensor of whole numbers, of any shape, without a copy.

    Raises `InputError` for other numbers, `ShapeError` for what looks like a colour image (H, W, 3 or 4) of bytes.

    >>> as_labels([[0, 1], [1, 255]], "truth").shape
    (2, 2)
    """
    array = _opened(given, name)
    if _kind(array) == "f" and _size(array):
        raise InputError(
            f"expected {name} as labels (whole numbers), got {array.dtype}; "
            "take the argmax over the class axis, or compare scores with a threshold, first"
        )
    rows_columns, channels = tuple(array.shape[:-1]), array.shape[-1] if array.ndim else 1
    if array.ndim == 3 and channels in (3, 4) and min(rows_columns) > 4 and "uint8" in str(array.dtype):
        raise ShapeError(
            f"expected {name} as labels, one number per pixel, got shape {tuple(array.shape)}, which looks like a "
            "colour image; turn its colours into label numbers first (a palette PNG: do not convert it to RGB)"
        )
    return array


def as_scores(given: Any, name: str) -> Given:
    """Scores as an array or tensor of numbers, of any shape, without a copy; the dtype stays.

    >>> as_scores([0.5, 1], "scores").dtype
    dtype('float64')
    """
    return _opened(given, name)


def same_shape(truth: Given, other: Given, name: str) -> None:
    """Raise `ShapeError` unless both have the same shape."""
    if tuple(truth.shape) != tuple(other.shape):
        raise ShapeError(
            f"expected {name} in the shape of truth, {tuple(truth.shape)}, got {tuple(other.shape)}; "
            "resize the prediction (labels with nearest-neighbour), and give one number per element"
        )


def pieces(*arrays: Given) -> Iterator[tuple[Tensor, ...]]:
    """Walk arrays of one size together, as one-dimensional tensors on the first one's device."""
    flat = [array.reshape(-1) for array in arrays]
    first = flat[0]
    device = first.device if isinstance(first, Tensor) else torch.device("cpu")
    step = HOST_PIECE if device.type == "cpu" else DEVICE_PIECE
    for start in range(0, _size(first), step):
        yield tuple(tensor_of(array[start : start + step]).to(device) for array in flat)


def _opened(given: Any, name: str) -> Given:
    if isinstance(given, Tensor):
        if given.is_complex():
            raise InputError(f"expected {name} as real numbers, got {given.dtype}")
        return given.detach()
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected {name} as numbers, got {array.dtype}")
    return one_bit(array)


def _kind(array: Given) -> str:
    if isinstance(array, Tensor):
        return "f" if array.is_floating_point() else "i"
    return "f" if array.dtype.kind == "f" else "i"


def _size(array: Given) -> int:
    return array.numel() if isinstance(array, Tensor) else array.size


def tensor_of(piece: Given) -> Tensor:
    """A piece as a tensor; copied where torch cannot share it (read-only, a reversed view, wide unsigned types)."""
    if isinstance(piece, Tensor):
        return piece.long() if piece.dtype in UNSIGNED else piece
    if piece.dtype.kind == "u" and piece.dtype.itemsize > 1:
        if piece.dtype.itemsize == 8 and piece.size and piece.max() > np.iinfo(np.int64).max:
            raise InputError(f"a label of {piece.max()} is larger than any that can be counted")
        return torch.from_numpy(piece.astype(np.int64))
    if not piece.dtype.isnative or piece.dtype == np.longdouble:
        return torch.from_numpy(piece.astype(np.float64 if piece.dtype.kind == "f" else np.int64))
    shared = piece.flags.writeable and piece.flags.c_contiguous
    return torch.from_numpy(piece if shared else piece.copy())
