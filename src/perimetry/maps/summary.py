"""From reaches to a `Field`: size, stride, start and per-unit bounds of a layer, full and local."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from perimetry.geometry import AxisField, Field
from perimetry.maps.reach import EMPTY, IRREGULAR, Ints, Reach, Step, infer_step

_MANY = 1 << 20  # more combinations of units than this are told as one hull


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """The full and the local field of a tensor's units, and the node that made the full one global."""

    full: Field
    local: Field
    global_by: int | None
    upper_bound: bool


def summarise(view: Sequence[Sequence[Reach]], shape: tuple[int, ...], extents: tuple[int, ...]) -> FieldSummary:
    """Tell a view as fields. Units stand along the dimensions that carry position on each image axis."""
    local_reaches = [[reach for reach in reaches if reach.global_by is None] for reaches in view]
    carried = [_carrying(reaches) for reaches in local_reaches]
    full_axes, local_axes = [], []
    nodes = []
    for axis, reaches in enumerate(view):
        shared = any(carried[axis] & other for place, other in enumerate(carried) if place != axis)
        local = _axis_field(local_reaches[axis], carried[axis], shape, shared=shared)
        gates = [reach for reach in reaches if reach.global_by is not None]
        nodes += [reach.global_by for reach in gates if reach.global_by is not None]
        alike = shape[len(shape) - len(view) + axis] if len(shape) == len(view) + 2 else 1
        whole = _whole(gates, local, extents[axis], alike) if gates else None
        local_axes.append(local or whole or _nothing())
        full_axes.append(whole or local or _nothing())
    full, local_field = Field(tuple(full_axes)), Field(tuple(local_axes))
    same = all(a is b for a, b in zip(full_axes, local_axes, strict=True))
    bound = any(reach.upper_bound for reaches in view for reach in reaches)
    return FieldSummary(full, full if same else local_field, min(nodes) if nodes else None, bound)


def _carrying(reaches: Sequence[Reach]) -> set[int]:
    return {dim for reach in reaches for dim, step in enumerate(reach.steps) if step is not None}


def _axis_field(reaches: Sequence[Reach], dims: set[int], shape: tuple[int, ...], *, shared: bool) -> AxisField | None:
    if not reaches:
        return None
    if len(dims) == 1 and not shared:
        dim = next(iter(dims))
        bounds = _hull(reaches, (dim,), (shape[dim],))
        steps = {reach.steps[dim] for reach in reaches if reach.steps[dim] is not None}
        step = steps.pop() if len(steps) == 1 else None
        if step is None or step == IRREGULAR:
            step = infer_step(bounds, 1)
        return _told(bounds, step)
    kept = tuple(sorted(dims))
    extents = tuple(shape[dim] for dim in kept)
    if math.prod(extents) > _MANY:
        kept, extents = (), ()
    bounds = _hull(reaches, kept, extents).reshape(4, -1)
    return _told(_distinct(bounds), None)


def _hull(reaches: Sequence[Reach], kept: tuple[int, ...], extents: tuple[int, ...]) -> Ints:
    """The hull over all reaches and over every dimension that is not kept: (4, *extents)."""
    result: Ints | None = None
    for reach in reaches:
        others = tuple(dim + 1 for dim in range(len(reach.steps)) if dim not in kept)
        bounds = reach.bounds.min(axis=others) if others else reach.bounds
        result = bounds if result is None else np.minimum(result, bounds)
    assert result is not None
    return np.broadcast_to(result, (4, *extents))


def _distinct(bounds: Ints) -> Ints:
    """Units told apart by where their span begins, in that order: for tokens, windows and other composite layouts."""
    bounds = bounds[:, bounds[0] < EMPTY]
    starts, groups = np.unique(bounds[0], return_inverse=True)
    hull = np.full((4, max(1, len(starts))), 2 * EMPTY, dtype=np.int32)
    if len(starts):
        for row in range(4):
            np.minimum.at(hull[row], groups.ravel(), bounds[row])
    return hull


def _told(bounds: Ints, step: Step | None) -> AxisField | None:
    low, high, clipped_low, clipped_high = bounds[0], -bounds[1], bounds[2], -bounds[3]
    seen, seen_clipped = low < EMPTY, clipped_low < EMPTY
    # Where a border mirrors or wraps around, a unit sees pixels that the map continued for ever would not show it.
    outer_low, outer_high = np.minimum(low, clipped_low), np.maximum(high, clipped_high)
    rows = np.stack(
        (
            np.where(seen | seen_clipped, outer_low, 0),
            np.where(seen | seen_clipped, outer_high, -1),
            np.where(seen_clipped, clipped_low, 0),
            np.where(seen_clipped, clipped_high, -1),
        ),
        axis=1,
    )
    sizes = (high - low + 1)[seen]
    if not sizes.size:
        return None
    starts = low[seen]
    moves = np.diff(starts)
    if step is not None and step.period > 0:
        stride = Fraction(step.advance, step.period)
    elif len(starts) > 1:
        stride = Fraction(int(starts[-1] - starts[0]), len(starts) - 1)
    else:
        stride = Fraction(0)
    mirrored = bool((outer_low < low).any()) or bool((outer_high > high).any())
    uniform = not mirrored and bool((sizes == sizes[0]).all()) and bool((moves == float(stride)).all())
    return AxisField(int(sizes.max()), stride, int(starts[0]), uniform, rows)


def _whole(gates: Sequence[Reach], local: AxisField | None, extent: int, alike: int) -> AxisField:
    """Every unit sees the whole axis; clipped, what the gates and the unit itself really reach.

    alike: how many units there are where all are the same.
    """
    # A tensor without elements (no box was found) has units that see nothing.
    nothing = np.full(4, 2 * EMPTY, dtype=np.int32)
    hulls = [reach.bounds.reshape(4, -1).min(axis=1) for reach in gates if reach.bounds.size]
    reached = np.min([nothing, *hulls], axis=0)
    low, high = (int(reached[2]), -int(reached[3])) if reached[2] < EMPTY else (0, -1)
    units = local.units if local is not None else alike
    rows = np.empty((units, 4), dtype=np.int32)
    rows[:] = (0, extent - 1, low, high)
    if local is not None:
        own = np.asarray(local.bounds)
        seen = own[:, 3] >= own[:, 2]
        rows[seen, 2] = np.minimum(rows[seen, 2], own[seen, 2])
        rows[seen, 3] = np.maximum(rows[seen, 3], own[seen, 3])
    return AxisField(None, Fraction(0), 0, True, rows)


def _nothing() -> AxisField:
    return AxisField(0, Fraction(0), 0, True, ((0, -1, 0, -1),))
