"""The warping error of Jain et al. (CVPR 2010) as the ISBI 2012 challenge computes it, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.errors import InputError, ShapeError
from perimetry.metrics.arrays import as_array
from perimetry.metrics.mismatches import CLASSES, ClassCounts, Mismatches
from perimetry.metrics.slices import (
    LEVELS,
    as_foreground,
    as_mask,
    as_pair,
    as_proposal,
    as_threshold,
    limit_of,
    typed_proposal,
)

ISBI_RADIUS = 20
# The cases of `classification.py`, as indices into CLASSES.
CLASS_OF_CASE = np.array([0, 3, 5, 2, 1, 2, 4, 3], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A truth that was warped toward a proposal, and the mismatches that no flip of a simple point removes.

    warped: (H, W); places: (M, 2) rows and columns of the mismatches, in the order of visits; differing: pixels where
    truth and proposal differed before, mask or not.
    """

    warped: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int32]
    threshold: float
    differing: int

    @property
    def error(self) -> float:
        """The warping error: the share of pixels that remain mismatched."""
        return len(self.places) / self.warped.size


def warp(truth: Any, proposal: Any, *, threshold: float = 0.5, mask: Any = None) -> Warp:
    """Warp one slice of the truth toward a proposal by flipping simple points (4-connected foreground).

    truth: (H, W), above zero is foreground; proposal: (H, W) of bool, 8-bit levels (v / 255) or probabilities,
    foreground where it exceeds the threshold; mask: (H, W), pixels other than zero may be flipped and count as
    mismatches. Pixels are visited by their distance from the threshold, the farthest first, ties column by column,
    until a walk flips none. `warp_by_definition` says the same slowly. Raises `InputError`, `ShapeError`.

    >>> found = warp([[0, 1, 1, 0], [0, 0, 0, 0]], [[1, 1, 0, 1], [0, 0, 0, 0]])
    >>> found.warped.astype(int).tolist(), found.places.tolist(), found.error
    ([[1, 1, 0, 0], [0, 0, 0, 0]], [[0, 3]], 0.125)
    """
    slices, proposals = as_pair(truth, proposal)
    if len(slices) != 1:
        raise ShapeError(f"expected one slice (H, W), got {len(slices)}; `warping_scores` takes stacks")
    allowed = as_mask(mask, slices)
    label = as_foreground(slices)[0]
    return warp_slice(
        label, typed_proposal(proposals)[0], as_threshold(threshold), None if allowed is None else allowed[0]
    )


def warp_slice(
    label: npt.NDArray[np.bool_], proposal: npt.NDArray[Any], threshold: float, mask: npt.NDArray[np.bool_] | None
) -> Warp:
    """`warp` on arrays that were checked: a label of bools, a proposal as `typed_proposal` gives it."""
    from perimetry.metrics import relaxation as loops
    from perimetry.metrics.simple_points import simple_table

    height, width = label.shape
    stride = loops.row_stride(width)
    if (height + 2) * stride >= 2**31:
        raise InputError(f"a slice of {height} x {width} pixels is too large: 2^31 with its margins is the limit")
    levels = proposal.view(np.uint8) if proposal.dtype == bool else proposal
    state = np.zeros((height + 2) * stride + loops.MARGIN, np.uint8)
    places, columns = np.empty(label.size, np.int32), np.empty(label.size, np.int32)
    allowed = np.empty((0, 0), np.uint8) if mask is None else _bytes(mask)
    limit = limit_of(proposal, threshold)
    values = np.empty(label.size, levels.dtype)
    count, differing, plausible = loops.find_mismatches(
        _bytes(label), np.ascontiguousarray(levels), limit, allowed, state, stride, places, columns, values
    )
    if not plausible and proposal.dtype == np.float32:
        as_proposal(as_array(proposal, "proposal"))  # raises, and says what is wrong
    order, visited = loops.by_column(places[:count], columns[:count], values[:count], width)
    if proposal.dtype == np.float32:
        # Floats that are not negative are ordered as their bits are; the farthest comes first.
        keys = ~np.abs(visited.astype(np.float64) - threshold).astype(np.float32).view(np.uint32)
    else:
        keys = _ranks(threshold, 2 if proposal.dtype == bool else 256)[visited]
    left = loops.relax(state, stride, loops.by_key(order, keys), simple_table())
    rows, over = np.divmod(left, np.int32(stride))
    warped = state[: (height + 2) * stride].reshape(height + 2, stride)[1:-1, loops.MARGIN : loops.MARGIN + width]
    return Warp(warped.view(bool), np.stack((rows - 1, over - loops.MARGIN), 1), threshold, int(differing))


def _ranks(threshold: float, levels: int) -> npt.NDArray[np.uint32]:
    """The rank of each level in the order of visits: by descending distance from the threshold, equals alike."""
    values = LEVELS if levels > 2 else np.array([0, 1], np.float32)
    distances = np.abs(values.astype(np.float64) - threshold).astype(np.float32)
    return np.unique(-distances, return_inverse=True)[1].astype(np.uint32)


def _bytes(values: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Bools as bytes, in one piece of memory."""
    return np.ascontiguousarray(values).view(np.uint8)


def classify(found: Warp, *, radius: int = ISBI_RADIUS) -> Mismatches:
    """The class of each mismatch that a warp left, all told on the same warped image.

    radius: of the window in which a foreground pixel that touches one object is tried; below 1, or larger than a
    side, the window is the whole image (slow). The challenge passes 20. `classes_by_definition` says the same slowly.

    >>> bridge = [[1, 0, 1], [1, 0, 1], [1, 0, 1]], [[1, 0, 1], [1, 1, 1], [1, 0, 1]]
    >>> classify(warp(*bridge)).pixels.merge
    1
    """
    from perimetry.metrics import classification, runs
    from perimetry.metrics.relaxation import MARGIN, row_stride

    height, width = found.warped.shape
    stride = row_stride(width)
    state = _state_of(found.warped, stride)
    places = ((found.places[:, 0] + 1) * stride + found.places[:, 1] + MARGIN).astype(np.int32)
    bounds = np.empty((width + 1) // 2 * 2 * height, np.int32)
    first, hints, bits = runs.find_runs(state[: (height + 2) * stride].view(np.uint64), stride, height, width, bounds)
    cases = np.empty(len(places), np.uint8)
    reach = radius if 1 <= radius <= min(width, height) else 0
    parents = runs.join_runs(first, bounds)
    classification.classify(state, stride, width, first, hints, bits, bounds, parents, places, reach, cases)
    groups = classification.count_groups(state, stride, places, cases, np.array(classification.BY_CORNERS))
    return Mismatches(found.places, CLASS_OF_CASE[cases], _counts(np.bincount(cases, minlength=8)), _counts(groups))


def _state_of(warped: npt.NDArray[np.bool_], stride: int) -> npt.NDArray[np.uint8]:
    """The padded state that a warped image is a view of; made anew for an image that is not."""
    from perimetry.metrics.relaxation import MARGIN

    height, width = warped.shape
    base = warped.base
    if isinstance(base, np.ndarray) and base.dtype == np.uint8 and base.shape == ((height + 2) * stride + MARGIN,):
        return base
    state = np.zeros((height + 2) * stride + MARGIN, np.uint8)
    state[: (height + 2) * stride].reshape(height + 2, stride)[1:-1, MARGIN : MARGIN + width] = warped
    return state


def _counts(by_case: npt.NDArray[np.int64]) -> ClassCounts:
    """Counts of the eight cases as counts of the six classes."""
    by_class = np.bincount(CLASS_OF_CASE, by_case, minlength=len(CLASSES)).astype(int)
    return ClassCounts.of(dict(zip(CLASSES, by_class.tolist(), strict=True)))


def compiled() -> bool:
    """Whether the loops were compiled before for this Python, so that the first warp does not take seconds.

    >>> compiled() in (True, False)
    True
    """
    from perimetry.metrics import classification, relaxation

    return all(_is_compiled(loop) for loop in (relaxation.find_mismatches, relaxation.relax, classification.classify))


def _is_compiled(loop: Any) -> bool:
    """Whether a loop is in memory, or in numba's cache and there younger than its source."""
    if loop.signatures:
        return True
    source = Path(loop.py_func.__code__.co_filename)
    indices = Path(loop.stats.cache_path).glob(f"{source.stem}.{loop.py_func.__qualname__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)
