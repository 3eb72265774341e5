"""Reach: which pixels of one image axis every unit of a tensor sees, and how a relation carries that on.

A reach holds four numbers per unit: the low and high end of its span, unclipped and clipped. High ends are stored
negated, so that every hull is a minimum. Arrays are compact (see `compact`), so the work per operator is a few numpy
calls on a few hundred numbers, whatever the size of the feature map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from perimetry.maps.compact import blocks, reshaped, squeezed
from perimetry.rules import At, Axes, Bound, Chain, Each, Gather, Relation, Reshape, Window
from perimetry.rules.relations import NO_TAP, read_table, tap_table

Ints = npt.NDArray[np.int32]
Table = npt.NDArray[np.int64]

NOTHING = 2**29  # the low end (and the negated high end) of an empty span
EMPTY = NOTHING // 2  # beyond any real pixel
LARGEST = 1 << 24  # an array of more numbers is given up for one hull, as an upper bound


@dataclass(frozen=True, slots=True)
class Step:
    """How spans move along a dimension: `period` units on, they are `advance` pixels on. (0, 0) is irregular."""

    period: int
    advance: int


IRREGULAR = Step(0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """The spans of a tensor's units on one image axis.

    bounds: (4, *compact dimensions): low, -high, clipped low, -clipped high.
    steps: per dimension, how spans move along it; None for dimensions that do not carry position.
    global_by: the node after which the span was the same for every unit, if that happened.
    upper_bound: True where some rule on the way could not be exact.
    """

    bounds: Ints
    steps: tuple[Step | None, ...]
    global_by: int | None = None
    upper_bound: bool = False

    @property
    def positional(self) -> bool:
        """True where some dimension carries position."""
        return any(step is not None for step in self.steps)


def image_reach(rank: int, dim: int, extent: int) -> Reach:
    """The reach of the image itself: pixel i sees pixel i."""
    pixels = np.arange(extent, dtype=np.int32)
    bounds = np.stack([pixels, -pixels, pixels, -pixels])
    shape = [1] * rank
    shape[dim] = extent
    steps: list[Step | None] = [None] * rank
    steps[dim] = Step(1, 1)
    return Reach(bounds.reshape(4, *shape), tuple(steps))


def pull(reach: Reach, shape: tuple[int, ...], relation: Relation, node: int) -> Reach:
    """The reach of an operator's output through one input of that shape; `node` is who is named if it turns global."""
    if isinstance(relation, Axes):
        placed = [
            read.dim
            for d, read in enumerate(relation.reads)
            if isinstance(read, Window)
            and reach.bounds.shape[d + 1] == 1
            and (shape[d] == 1 or _skips(read, shape[d], relation.shape[read.dim]))
        ]
        if reach.bounds.size * math.prod(relation.shape[dim] for dim in placed) > LARGEST:
            reach = _coarse(reach, node)
        return _pull_axes(reach, shape, relation, node)
    if isinstance(relation, Reshape):
        return _pull_reshape(reach, shape, relation, node)
    if isinstance(relation, Chain):
        for step in relation.steps:
            reach = pull(reach, shape, step, node)
            shape = step.shape
        return reach
    if isinstance(relation, Bound):
        pulled = pull(reach, shape, relation.relation, node)
        return replace(pulled, upper_bound=True) if reach.positional else pulled
    if 4 * max(relation.table.size, math.prod(shape)) > LARGEST:
        reach = _coarse(reach, node)
    return _pull_gather(reach, shape, relation)


@lru_cache(maxsize=1024)
def _skips(window: Window, inputs: int, outputs: int) -> bool:
    """True where some output reads nothing, so that outputs have to be told apart even where all inputs are alike."""
    return bool((read_table(window, inputs, outputs) < 0).all(axis=1).any())


def _coarse(reach: Reach, node: int) -> Reach:
    """One hull for all units, where telling them apart would take too much memory."""
    hull = reach.bounds.reshape(4, -1).min(axis=1, initial=NOTHING).reshape(4, *([1] * len(reach.steps)))
    return Reach(
        hull,
        (None,) * len(reach.steps),
        node if reach.global_by is None else reach.global_by,
        reach.upper_bound or reach.positional,
    )


def _pull_axes(reach: Reach, shape: tuple[int, ...], relation: Axes, node: int) -> Reach:
    bounds, rank = reach.bounds, len(relation.shape)
    targets: list[tuple[int, int]] = []
    steps: list[Step | None] = [None] * rank
    lost = False
    for dim, read in enumerate(relation.reads):
        step = reach.steps[dim]
        if isinstance(read, Each):
            targets.append((read.dim, dim))
            steps[read.dim] = step
        elif isinstance(read, Window):
            bounds, step = _through_window(bounds, dim, step, read, shape[dim], relation.shape[read.dim])
            targets.append((read.dim, dim))
            steps[read.dim] = step
        else:
            lost = lost or (step is not None and not isinstance(read, At))
            if bounds.shape[dim + 1] != 1:
                if isinstance(read, At):
                    bounds = bounds.take([read.index], axis=dim + 1)
                else:  # of no unit at all, nothing is seen
                    bounds = bounds.min(axis=dim + 1, keepdims=True, initial=NOTHING)
    targets.sort()
    kept = [dim for _, dim in targets]
    if kept != sorted(kept):
        rest = [dim for dim in range(len(shape)) if dim not in kept]
        bounds = bounds.transpose(0, *(dim + 1 for dim in kept), *(dim + 1 for dim in rest))
        extents = [bounds.shape[position + 1] for position in range(len(kept))]
    else:
        extents = [bounds.shape[dim + 1] for dim in kept]
    compact = [1] * rank
    for (target, _), extent in zip(targets, extents, strict=True):
        compact[target] = extent
    turned = lost and all(step is None for step in steps)
    return Reach(
        bounds.reshape(4, *compact),
        tuple(steps),
        node if turned and reach.global_by is None else reach.global_by,
        reach.upper_bound,
    )


def _through_window(
    bounds: Ints, dim: int, step: Step | None, window: Window, inputs: int, outputs: int
) -> tuple[Ints, Step | None]:
    axis = dim + 1
    table = read_table(window, inputs, outputs)
    nothing = (table < 0).all(axis=1)
    if bounds.shape[axis] == 1 and (step is None or inputs > 1):
        step = None if step is None else IRREGULAR
        if not nothing.any():
            return bounds, step
        shape = [1] * bounds.ndim
        shape[axis] = outputs
        clipped = np.where(nothing.reshape(shape), NOTHING, bounds[2:])
        untapped = nothing if window.edge == "cut" else (tap_table(window, outputs) == NO_TAP).all(axis=1)
        unclipped = np.where(untapped.reshape(shape), NOTHING, bounds[:2])
        return np.concatenate(np.broadcast_arrays(unclipped, clipped)), step
    clipped = _gather_min(bounds[2:], table, axis)
    if step is None or window.edge == "cut":
        unclipped = _gather_min(bounds[:2], table, axis)
        known = step if not nothing.any() and not _spelt_out(window, outputs) else None
        moved = None if step is None else (_step_through(known, window) if known else IRREGULAR)
        return np.concatenate((unclipped, clipped)), moved
    if step.period == 0 or step.period > bounds.shape[axis]:
        step = infer_step(bounds, axis) or IRREGULAR
    taps = tap_table(window, outputs)
    if taps.min() >= 0 and taps.max() < inputs:
        unclipped = _gather_min(bounds[:2], taps, axis)
    elif step.period == 0:
        # Nothing is known of how the map would go on, so what is beyond it adds nothing.
        inside = (taps >= 0) & (taps < inputs)
        unclipped = _gather_min(bounds[:2], np.where(inside, taps, -1), axis)
    else:
        unclipped = _gather_beyond(bounds[:2], window, (inputs, outputs), axis, step)
    return np.concatenate((unclipped, clipped)), _step_through(step, window)


def _gather_min(bounds: Ints, table: Table, axis: int) -> Ints:
    """The minimum over each row of the table; -1 reads nothing."""
    if (table < 0).any():
        empty = np.full((*bounds.shape[:axis], 1, *bounds.shape[axis + 1 :]), NOTHING, dtype=np.int32)
        bounds = np.concatenate((bounds, empty), axis=axis)
    gathered = bounds.take(table, axis=axis)
    smallest: Ints = gathered.min(axis=axis + 1)
    return smallest


def _gather_beyond(bounds: Ints, window: Window, extents: tuple[int, int], axis: int, step: Step) -> Ints:
    """As `_gather_min` for taps that may lie beyond the map, where it goes on periodically."""
    index, shift, missing = _continued(window, *extents, step)
    gathered = bounds.take(index, axis=axis)
    shape = [1] * gathered.ndim
    shape[axis], shape[axis + 1] = index.shape
    offsets = shift.reshape(shape)
    # Empty spans stay empty wherever they are moved, because NOTHING is beyond any pixel.
    gathered[0] += offsets[0]
    gathered[1] -= offsets[0]
    if missing is not None:
        gathered = np.where(missing.reshape(shape), NOTHING, gathered)
    smallest: Ints = gathered.min(axis=axis + 1)
    return smallest


@lru_cache(maxsize=1024)
def _continued(
    window: Window, inputs: int, outputs: int, step: Step
) -> tuple[Table, Ints, npt.NDArray[np.bool_] | None]:
    """For each tap an index inside the map and how many pixels on from it the tap is; and where there is no tap."""
    taps = tap_table(window, outputs)
    missing = taps == NO_TAP
    last = inputs - step.period
    index = np.where(taps < 0, taps % step.period, taps)
    index = np.where(taps >= inputs, last + (taps - last) % step.period, index)
    index = np.where(missing, 0, index)
    shift = np.where(missing, 0, (taps - index) // step.period * step.advance).astype(np.int32)
    return index, shift, missing if bool(missing.any()) else None


def _step_through(step: Step | None, window: Window) -> Step:
    """How spans move along the output of a window over a dimension along which they move by `step`."""
    if step is None or step.period == 0 or window.advance == 0:
        return IRREGULAR
    cycles = step.period // math.gcd(abs(window.advance), step.period)
    advance = step.advance * (window.advance * cycles) // step.period
    return Step(window.period * cycles, advance)


def _spelt_out(window: Window, outputs: int) -> bool:
    """True for a window that lists every output on its own, so that its period says nothing."""
    return window.period > 1 and window.period >= outputs


def infer_step(bounds: Ints, axis: int, limit: int = 64) -> Step | None:
    """The shortest period after which spans repeat, moved by a constant; None where there is none."""
    extent = bounds.shape[axis]
    if extent < 2 or bounds.size > LARGEST >> 4:
        return None
    low, high = np.moveaxis(bounds[0], axis - 1, 0), np.moveaxis(bounds[1], axis - 1, 0)
    if bool((low > EMPTY).any()):
        return None
    line = low[(slice(None),) + (0,) * (low.ndim - 1)]  # most periods fail on one line already
    for period in range(1, min(limit, extent // 2 if extent > 3 else extent - 1) + 1):
        advance = line[period] - line[0]
        if not bool((line[period:] - line[:-period] == advance).all()):
            continue
        moved = low[period:] - low[:-period]
        if bool((moved == advance).all()) and bool((high[period:] - high[:-period] == -advance).all()):
            return Step(period, int(advance))
    return None


def _pull_reshape(reach: Reach, shape: tuple[int, ...], relation: Reshape, node: int) -> Reach:
    if shape == relation.shape:
        return reach
    if 0 in shape:  # a detector that found nothing: no unit, and no blocks of equal extent to go by
        nothing = np.full((4, *(1 for _ in relation.shape)), NOTHING, dtype=np.int32)
        return Reach(nothing, (None,) * len(relation.shape), reach.global_by, reach.upper_bound)
    bounds = reshaped(reach.bounds, shape, relation.shape, 1)
    steps = _reshaped_steps(reach, shape, relation.shape, bounds)
    moved = any(step is not None and extent > 1 for step, extent in zip(reach.steps, shape, strict=True))
    # Several units that all see the same pixels: position was lost before this reshape, which makes it plain.
    turned = moved and reach.global_by is None and all(step is None for step in steps)
    return Reach(bounds, steps, node if turned else reach.global_by, reach.upper_bound)


def _reshaped_steps(
    reach: Reach, before: tuple[int, ...], after: tuple[int, ...], bounds: Ints
) -> tuple[Step | None, ...]:
    steps: list[Step | None] = [None] * len(after)
    for (i, i_end), (j, j_end) in blocks(before, after):
        carried = [reach.steps[dim] for dim in range(i, i_end) if reach.steps[dim] is not None]
        if not carried or j == j_end:  # of a single unit that is squeezed away, nothing is left to carry a step
            continue
        wide = [dim for dim in range(j, j_end) if after[dim] > 1]
        alone = [dim for dim in range(i, i_end) if before[dim] > 1]
        if len(alone) == len(wide) == 1 and bounds.shape[wide[0] + 1] > 1:
            steps[wide[0]] = carried[0]
            continue
        if not alone and i_end - i == j_end - j == 1:
            steps[j] = carried[0]  # a map of one unit still has its stride
            continue
        if not alone or not any(reach.steps[dim] is not None for dim in alone):
            # A map of one unit, spread over several by what was beside it (pixel shuffle of one row).
            steps[wide[0] if wide else j] = IRREGULAR
        for dim in range(j, j_end):
            if bounds.shape[dim + 1] > 1:
                steps[dim] = infer_step(bounds, dim + 1) or IRREGULAR
    return tuple(steps)


def _pull_gather(reach: Reach, shape: tuple[int, ...], relation: Gather) -> Reach:
    if reach.bounds.size == 4 and reach.global_by is not None:
        return replace(
            reach, bounds=reach.bounds.reshape(4, *([1] * len(relation.shape))), steps=(None,) * len(relation.shape)
        )
    full = np.broadcast_to(reach.bounds, (4, *shape)).reshape(4, -1)
    full = np.concatenate((full, np.full((4, 1), NOTHING, dtype=np.int32)), axis=1)
    bounds = squeezed(full.take(relation.table, axis=1), 1)
    steps: list[Step | None] = [None] * len(relation.shape)
    if reach.positional:
        for dim in range(len(relation.shape)):
            # With as many dimensions as before each keeps its part; otherwise any that varies may carry position.
            same_rank = len(relation.shape) == len(shape)
            carries = reach.steps[dim] is not None if same_rank else bounds.shape[dim + 1] > 1
            if carries:
                steps[dim] = infer_step(bounds, dim + 1) or IRREGULAR
    return Reach(bounds, tuple(steps), reach.global_by, reach.upper_bound)
