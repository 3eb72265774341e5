"""Whether the neighbours of an erased pixel are joined within a window of at most 63 columns: 64 columns to a word."""

from __future__ import annotations

import numpy as np

from perimetry.metrics.compiling import inlined, loop

WIDEST = 31  # the largest radius whose window's row fits a word
AHEAD = 64  # zeros before a row's first column
ONE = np.uint64(1)


@inlined
def _stretch(bits, row, column, count):
    """So many columns of a row, the first in bit 0; bits: (H, blocks) words, one of zeros on either side of a row."""
    place = column + AHEAD
    word, shift = place // 64, np.uint64(place % 64)
    value = bits[row, word] >> shift
    if shift:
        value |= bits[row, word + 1] << (np.uint64(64) - shift)
    return value & ((ONE << np.uint64(count)) - ONE)


@inlined
def _filled(mask, seeds):
    """The runs of a mask that hold a seed, whole; the mask's highest bit is 0."""
    # Added to its run, a seed carries upward to the run's end and clears what it passes.
    seeds |= mask & ~(mask + seeds)
    for shift in (1, 2, 4, 8, 16, 32):
        seeds |= mask & (seeds >> np.uint64(shift))
        mask &= mask >> np.uint64(shift)
    return seeds


@loop
def is_joined(bits, row, column, reach, masks, filled):
    """Whether all neighbours in the foreground lie in one 4-connected part of the window once the pixel is erased.

    masks, filled: room for a word per row of the window.
    """
    height = bits.shape[0]
    top, bottom = max(0, row - reach), min(height, row + reach + 1)
    rows = bottom - top
    for y in range(rows):
        masks[y] = _stretch(bits, top + y, column - reach, 2 * reach + 1)
        filled[y] = 0
    middle = row - top
    masks[middle] &= ~(ONE << np.uint64(reach))
    ring = np.uint64(7) << np.uint64(reach - 1)
    for y in range(max(0, middle - 1), min(rows, middle + 2)):
        near = masks[y] & ring
        if near:
            filled[y] = _filled(masks[y], near & (~near + ONE))
            break
    changed = True
    while changed:
        changed = False
        for y in range(1, rows):
            seeds = filled[y] | (filled[y - 1] & masks[y])
            if seeds != filled[y]:
                filled[y] = _filled(masks[y], seeds)
                changed = True
        for y in range(rows - 2, -1, -1):
            seeds = filled[y] | (filled[y + 1] & masks[y])
            if seeds != filled[y]:
                filled[y] = _filled(masks[y], seeds)
                changed = True
        missing = np.uint64(0)
        for y in range(max(0, middle - 1), min(rows, middle + 2)):
            missing |= masks[y] & ring & ~filled[y]
        if not missing:
            return True
    return False
