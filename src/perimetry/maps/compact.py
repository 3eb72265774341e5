"""Compact arrays: an array over a tensor's dimensions that keeps extent 1 wherever nothing varies.

Fields vary along one or two dimensions of a tensor and are the same along channels and samples, so an array of
shape (1, 1, 56, 1) can stand for one of shape (8, 256, 56, 56).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def blocks(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """How a reshape splits into independent blocks: [first, last) dimensions before and after, equal in elements.

    >>> blocks((2, 6, 5), (2, 2, 3, 5))
    [((0, 1), (0, 1)), ((1, 2), (1, 3)), ((2, 3), (3, 4))]
    """
    found = []
    i = j = 0
    while i < len(before) or j < len(after):
        first_i, first_j = i, j
        left = before[i] if i < len(before) else 1
        right = after[j] if j < len(after) else 1
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while left != right:
            if left < right:
                left *= before[i]
                i += 1
            else:
                right *= after[j]
                j += 1
        found.append(((first_i, i), (first_j, j)))
    return found


def reshaped(array: Array, before: tuple[int, ...], after: tuple[int, ...], lead: int) -> Array:
    """Reshape a compact array whose first `lead` axes are not the tensor's, expanding only what has to be."""
    shape: list[int] = list(array.shape[:lead])
    expanded: list[int] = list(array.shape[:lead])
    for (i, i_end), (j, j_end) in blocks(before, after):
        compact = array.shape[lead + i : lead + i_end]
        if all(extent == 1 for extent in compact):
            expanded += compact
            shape += [1] * (j_end - j)
        elif i_end - i == 1 and j_end - j == 1:
            expanded += compact
            shape += compact
        else:
            expanded += before[i:i_end]
            shape += after[j:j_end]
    if tuple(expanded) != array.shape:
        array = np.broadcast_to(array, expanded)
    return squeezed(array.reshape(shape), lead)


def squeezed(array: Array, lead: int) -> Array:
    """Give extent 1 to every dimension along which nothing varies."""
    for axis in range(lead, array.ndim):
        if array.shape[axis] > 1:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            if bool((array == first).all()):
                array = first
    return array
