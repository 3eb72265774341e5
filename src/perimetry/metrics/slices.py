"""Pairs of images that are scored slice by slice: truth, proposal and perhaps a mask, checked where they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import as_array, as_numbers

Array = npt.NDArray[Any]
LEVELS = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float32)
LEVELS.flags.writeable = False


def as_slices(given: Any, name: str) -> Array:
    """An image (H, W) or a stack (S, H, W) as a stack.

    Raises `ShapeError` for other shapes, for what looks like colours, and for no pixels.

    >>> as_slices([[0, 1], [1, 1]], "truth").shape
    (1, 2, 2)
    """
    array = as_numbers(given, name)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ShapeError(f"expected {name} as an image (H, W) or a stack (S, H, W) with pixels, got {array.shape}")
    if array.ndim == 3 and array.shape[-1] in (3, 4) and min(array.shape[:2]) > 4:
        raise ShapeError(f"{name} looks like an image with colours, {array.shape}; give one channel (H, W)")
    return array if array.ndim == 3 else array[None]


def as_pair(truth: Any, proposal: Any, *, names: tuple[str, str] = ("truth", "proposal")) -> tuple[Array, Array]:
    """Two images or stacks of one shape, as stacks; raises `ShapeError` if their shapes differ.

    >>> as_pair([[0, 1]], [[0.2, 0.9]])[1].shape
    (1, 1, 2)
    """
    one, other = as_slices(truth, names[0]), as_slices(proposal, names[1])
    if one.shape != other.shape:
        raise ShapeError(f"{names[0]} and {names[1]} differ in size: {_size(one)} and {_size(other)}")
    return one, other


def as_mask(mask: Any, like: Array) -> npt.NDArray[np.bool_] | None:
    """A mask, where other than zero is allowed, in the shape of a stack; one slice serves all slices.

    >>> as_mask([[0, 255]], np.zeros((2, 1, 2))).tolist()
    [[[False, True]], [[False, True]]]
    """
    if mask is None:
        return None
    slices = as_slices(mask, "mask")
    if slices.shape[1:] != like.shape[1:] or len(slices) not in (1, len(like)):
        raise ShapeError(f"the mask differs in size from the images: {_size(slices)} and {_size(like)}")
    return np.broadcast_to(slices != 0, like.shape)


def as_foreground(truth: Array) -> npt.NDArray[np.bool_]:
    """Where a label is above zero; zero and below are background.

    >>> as_foreground(np.array([[0, 2, -1]])).tolist()
    [[False, True, False]]
    """
    return truth if truth.dtype == bool else as_array(truth, "truth") > 0


def as_proposal(proposal: Array) -> Array:
    """A proposal as bool, 8 bits that stand for v / 255, or float32 probabilities.

    Integers of more bits may hold 0 and 1 only. Raises `InputError` for bytes that are 0 and 1 only (as levels they
    would be nearly black: give them as bool), and for floats outside [-1, 2], which are no probabilities; a little
    overshoot from noise or interpolation is taken as it is.

    >>> as_proposal(np.array([[0, 1]])).dtype, as_proposal(np.array([[0, 102]], np.uint8)).dtype
    (dtype('bool'), dtype('uint8'))
    """
    typed = typed_proposal(proposal)
    if typed.dtype == np.float32:
        low, high = as_array(proposal, "proposal").min(), proposal.max()
        if not (low >= -1 and high <= 2):
            raise InputError(
                f"expected a proposal in [0, 1], got {low:.4g} ... {high:.4g}; "
                "divide levels by 255, apply a sigmoid to logits"
            )
    return typed


def typed_proposal(proposal: Array) -> Array:
    """The same, but what floats hold is left to whoever reads them."""
    if proposal.dtype == bool:
        return proposal
    if proposal.dtype.kind == "f":
        return proposal.astype(np.float32, copy=False)
    low, high = proposal.min(), proposal.max()
    if proposal.dtype == np.uint8:
        if high == 1:
            raise InputError(
                "the 8-bit proposal holds 0 and 1 only, where 255 is expected for certain; give it as bool"
            )
        return proposal
    if low < 0 or high > 1:
        raise InputError(
            f"expected a proposal of bools, 8-bit levels or floats in [0, 1], got {proposal.dtype} {low} ... {high}"
        )
    return proposal.astype(bool)


def as_threshold(threshold: float) -> float:
    """A threshold in [0, 1], in float64.

    >>> as_threshold(0.5)
    0.5
    """
    value = float(threshold)
    if not 0 <= value <= 1:
        raise InputError(f"expected a threshold in [0, 1], got {threshold}")
    return value


def above(proposal: Array, threshold: float) -> npt.NDArray[np.bool_]:
    """Where a proposal is foreground: p > threshold, with p in float32 and the threshold in float64.

    >>> above(np.array([[101, 102]], np.uint8), 0.4).tolist()
    [[False, True]]
    """
    values = proposal.view(np.uint8) if proposal.dtype == bool else proposal
    foreground: npt.NDArray[np.bool_] = values > limit_of(proposal, threshold)
    return foreground


def limit_of(proposal: Array, threshold: float) -> Any:
    """The largest value of the proposal's own type that is still background at a threshold."""
    if proposal.dtype == bool:
        return np.uint8(threshold >= 1)
    if proposal.dtype == np.uint8:
        return np.uint8(np.flatnonzero(LEVELS.astype(np.float64) <= threshold)[-1])
    limit = np.float32(threshold)
    return np.nextafter(limit, np.float32(-1)) if float(limit) > threshold else limit


def _size(slices: Array) -> str:
    """Slices, rows and columns, for a message."""
    count, height, width = slices.shape
    return f"{height} x {width}" if count == 1 else f"{count} slices of {height} x {width}"
