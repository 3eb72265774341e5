"""Backgrounds without borders: noise that is a function of the pixel's place, the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_LAYERS = ((24, 0.6), (6, 0.3), (1, 0.1))  # cells of so many pixels, and their share of the whole


def texture(rows: Whole, columns: Whole, *, key: int) -> Floats:
    """Smooth noise from -1 to 1 at rows (H,) and columns (W,), which may be any integers: (H, W).

    Grids of random values, interpolated smoothly (value noise), of three sizes. Only additions and products, so that
    every machine computes the same bits.

    >>> here, shifted = texture(np.arange(4), np.arange(6), key=7), texture(np.arange(1, 4), np.arange(6), key=7)
    >>> bool((here[1:] == shifted).all())
    True
    """
    total = np.zeros((len(rows), len(columns)))
    for number, (cell, share) in enumerate(_LAYERS):
        total += share * _layer(rows, columns, cell, key + number)
    return total


def _layer(rows: Whole, columns: Whole, cell: int, key: int) -> Floats:
    (up, down), (left, right) = _smooth(rows, cell), _smooth(columns, cell)
    top = _random(up, left, key) * (1 - right) + _random(up, left + 1, key) * right
    bottom = _random(up + 1, left, key) * (1 - right) + _random(up + 1, left + 1, key) * right
    mixed: Floats = top * (1 - down)[:, None] + bottom * down[:, None]
    return mixed


def _smooth(places: Whole, cell: int) -> tuple[Whole, Floats]:
    """The cell of each place, and how far into it, eased at both ends."""
    part = (places % cell) / cell
    return places // cell, part * part * (3 - 2 * part)


def _random(rows: Whole, columns: Whole, key: int) -> Floats:
    """A number from -1 to 1 for each pair of row and column, by the finaliser of SplitMix64 (Steele et al. 2014)."""
    shift = np.array([30, 27, 31], np.uint64)
    state = rows[:, None].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = state + columns[None, :].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(key % 2**64)
    state = (state ^ (state >> shift[0])) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> shift[1])) * np.uint64(0x94D049BB133111EB)
    state = state ^ (state >> shift[2])
    numbers: Floats = (state >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return numbers
