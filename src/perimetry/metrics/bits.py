"""Bytes of 0 and 1 read eight at a time, for compiled loops."""

from __future__ import annotations

import numpy as np

from perimetry.metrics.compiling import inlined

_GATHER = np.uint64(0x0102040810204080)
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # each of its 64 stretches of six bits is another number
_BIT_OF = np.zeros(64, np.int64)
for _bit in range(64):
    _BIT_OF[(int(_DE_BRUIJN) << _bit & (1 << 64) - 1) >> 58] = _bit


@inlined
def gathered(word):
    """The low bits of a word's eight bytes, which are 0 or 1, as one byte; the first byte's is the lowest."""
    return (word * _GATHER) >> np.uint64(56)


@inlined
def lowest_bit(word):
    """The number of the lowest bit that is set in a word other than 0."""
    return _BIT_OF[((word & (~word + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]


@inlined
def without_lowest(word):
    """The word without its lowest bit."""
    return word & (word - np.uint64(1))
