"""The warping error as its specification reads: slow, and meant to be read; `warping.py` is the fast form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perimetry.metrics.simple_points import NEIGHBOURS, simple_table

# Each case: its name among the six classes, and whether corners connect its pixels when groups are counted.
CASES = {
    ("object addition", 0): False,
    ("object deletion", 1): False,
    ("hole addition", 0): False,
    ("hole addition", 1): True,
    ("hole deletion", 0): False,
    ("hole deletion", 1): False,
    ("merge", 0): True,
    ("split", 1): False,
}


def warp_by_definition(
    truth: npt.NDArray[np.bool_],
    proposal: npt.NDArray[np.float32],
    threshold: float,
    mask: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.bool_], list[tuple[int, int]]]:
    """Flip simple points of the truth until what differs from the thresholded proposal cannot be flipped.

    All arrays are (H, W). Returns the warped truth, and the remaining mismatches as (row, column) in the order of
    visits.

    >>> warp_by_definition(np.ones((1, 3), bool), np.float32([[1, 0, 0]]), 0.5)
    (array([[ True, False, False]]), [])
    """
    source = np.pad(truth, 1)
    real = np.pad(proposal.astype(np.float32), 1)
    target = ~(real.astype(np.float64) <= threshold)
    allowed = np.ones_like(source) if mask is None else np.pad(mask, 1)
    simple = simple_table()
    while True:
        mismatches = _in_order(np.argwhere((source != target) & allowed), real, threshold)
        flipped = False
        for row, column in mismatches:
            code = sum(int(source[row + y, column + x]) << bit for bit, (y, x) in enumerate(NEIGHBOURS))
            if simple[code]:
                source[row, column] = not source[row, column]
                flipped = True
        if not flipped:
            return source[1:-1, 1:-1], [(row - 1, column - 1) for row, column in mismatches]


def _in_order(places: npt.NDArray[np.intp], real: npt.NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Column by column, then by descending float32 distance from the threshold; the sort is stable."""
    listed = sorted(((int(row), int(column)) for row, column in places), key=lambda place: (place[1], place[0]))
    return sorted(listed, key=lambda place: -np.float32(abs(float(real[place]) - threshold)))


def classes_by_definition(
    warped: npt.NDArray[np.bool_], mismatches: list[tuple[int, int]], radius: int = 20
) -> list[tuple[str, int]]:
    """The class of each remaining mismatch, and the value of its pixel: both together make its case.

    >>> classes_by_definition(np.zeros((3, 3), bool), [(1, 1)])
    [('object addition', 0)]
    """
    from scipy import ndimage

    height, width = warped.shape
    labels = ndimage.label(warped)[0]
    if radius < 1 or radius > width or radius > height:
        radius = 0
    found = []
    for row, column in mismatches:
        value = int(warped[row, column])
        around = _around(labels, row, column)
        if around <= {0}:
            name = "object deletion" if value else "object addition"
        elif len(around) == 1:
            name = "hole addition" if value else "hole deletion"
        elif len(around) > 2:
            name = "split" if value else "merge"
        elif not value:
            name = "hole addition"
        else:
            erased = warped.copy()
            erased[row, column] = False
            y, x = row, column
            if radius:
                window = np.pad(erased, radius)[row : row + 2 * radius + 1, column : column + 2 * radius + 1]
                erased, y, x = window, radius, radius
            name = "split" if len(_around(ndimage.label(erased)[0], y, x)) > 2 else "hole deletion"
        found.append((name, value))
    return found


def _around(labels: npt.NDArray[np.int32], row: int, column: int) -> set[int]:
    """The distinct labels of the neighbours that lie in the image."""
    height, width = labels.shape
    places = [(row + y, column + x) for y, x in NEIGHBOURS]
    return {int(labels[y, x]) for y, x in places if 0 <= y < height and 0 <= x < width}


def groups_by_definition(
    shape: tuple[int, int], mismatches: list[tuple[int, int]], cases: list[tuple[str, int]]
) -> dict[str, int]:
    """How many connected groups each class has; the two cases of a hole class are counted apart, and added.

    >>> groups_by_definition((3, 3), [(0, 0), (1, 1)], [("merge", 0), ("merge", 0)])["merge"]
    1
    """
    from scipy import ndimage

    groups = dict.fromkeys((name for name, _ in CASES), 0)
    for case, by_corners in CASES.items():
        chosen = np.zeros(shape, bool)
        for place, its_case in zip(mismatches, cases, strict=True):
            chosen[place] |= its_case == case
        groups[case[0]] += ndimage.label(chosen, np.ones((3, 3)) if by_corners else None)[1]
    return groups
