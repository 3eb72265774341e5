"""Simple points: the pixels that can be flipped without changing the topology of a binary image."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt

# The eight neighbours as (row, column) steps; neighbour i is bit i of a neighbourhood's code.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def is_simple(neighbourhood: npt.ArrayLike) -> bool:
    """Whether the middle of a binary neighbourhood (3, 3) can change its value and leave the topology as it is.

    The foreground is 4-connected, the background 8-connected: the middle is simple if exactly one 4-connected group of
    its foreground neighbours touches it by a side, and its background neighbours form exactly one 8-connected group
    (Bertrand and Malandain 1994). The value of the middle itself does not matter.

    >>> is_simple([[0, 0, 0], [1, 1, 0], [1, 1, 0]]), is_simple([[0, 0, 0], [1, 0, 1], [0, 0, 0]])
    (True, False)
    """
    values = np.asarray(neighbourhood) != 0
    if values.shape != (3, 3):
        raise ValueError(f"expected a neighbourhood (3, 3), got {values.shape}")
    ring = [(1 + row, 1 + column) for row, column in NEIGHBOURS]
    objects = _groups([place for place in ring if values[place]], by_corners=False)
    background = _groups([place for place in ring if not values[place]], by_corners=True)
    touching = [group for group in objects if any(1 in place for place in group)]
    return len(touching) == 1 and len(background) == 1


def _groups(places: list[tuple[int, int]], *, by_corners: bool) -> list[set[tuple[int, int]]]:
    """Places of the grid, gathered by side neighbourhood or also by corners."""
    groups: list[set[tuple[int, int]]] = [{place} for place in places]
    for one, other in itertools.combinations(places, 2):
        rows, columns = abs(one[0] - other[0]), abs(one[1] - other[1])
        if max(rows, columns) == 1 and (by_corners or rows + columns == 1):
            first = next(group for group in groups if one in group)
            second = next(group for group in groups if other in group)
            if first is not second:
                groups.remove(second)
                first |= second
    return groups


@cache
def simple_table() -> npt.NDArray[np.uint8]:
    """1 for each of the 256 codes of a neighbourhood whose middle is simple; bit i stands for `NEIGHBOURS[i]`.

    >>> int(simple_table().sum())
    116
    """
    table = np.zeros(256, np.uint8)
    for code in range(256):
        values = np.zeros((3, 3), bool)
        for bit, (row, column) in enumerate(NEIGHBOURS):
            values[1 + row, 1 + column] = code >> bit & 1
        table[code] = is_simple(values)
    table.flags.writeable = False
    return table
