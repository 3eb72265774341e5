"""Where branches meet: the reaches of one tensor that was made from several, in as few arrays as stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from perimetry.maps.reach import IRREGULAR, NOTHING, Reach, Step


def join(reaches: Sequence[Reach]) -> tuple[Reach, ...]:
    """The hull of several reaches of one tensor, in as few arrays as stay small.

    What is global stays apart from what is local. Reaches that vary along different dimensions (queries and keys of an
    attention matrix) stay apart too, because a hull over a dimension can be taken of each.
    """
    joined: list[Reach] = []
    for reach in reaches:
        for position, other in enumerate(joined):
            if other is reach:
                break
            if (other.global_by is None) == (reach.global_by is None):
                merged = _merge(other, reach, many=len(joined) >= 4)
                if merged is not None:
                    joined[position] = merged
                    break
        else:
            joined.append(reach)
    return tuple(joined)


def concatenate(operands: Sequence[Sequence[Reach]], dim: int, extents: Sequence[int]) -> tuple[Reach, ...] | None:
    """The reaches of a concatenation along `dim`: what placing each operand and joining them gives, in one step.

    extents: of each operand along `dim`. None where an operand has several local or several global reaches, which
    only placing can tell.
    """
    result = []
    for wanted in (False, True):
        kinds = [[reach for reach in reaches if (reach.global_by is not None) is wanted] for reaches in operands]
        if any(len(reaches) > 1 for reaches in kinds):
            return None
        if any(kinds):
            result.append(_laid_out([reaches[0] if reaches else None for reaches in kinds], dim, extents))
    return tuple(result)


def _laid_out(reaches: Sequence[Reach | None], dim: int, extents: Sequence[int]) -> Reach:
    present = [reach for reach in reaches if reach is not None]
    shape = list(np.broadcast_shapes(*((*r.bounds.shape[: dim + 1], 1, *r.bounds.shape[dim + 2 :]) for r in present)))
    parts = []
    for reach, extent in zip(reaches, extents, strict=True):
        shape[dim + 1] = extent
        parts.append(np.broadcast_to(NOTHING if reach is None else reach.bounds, shape))
    bounds = np.concatenate(parts, axis=dim + 1)
    if bool((bounds == bounds[(slice(None),) * (dim + 1) + (slice(0, 1),)]).all()):
        bounds = bounds[(slice(None),) * (dim + 1) + (slice(0, 1),)]
    steps = list(present[0].steps)
    for reach in present[1:]:
        steps = [_common(a, b) for a, b in zip(steps, reach.steps, strict=True)]
    if steps[dim] is not None:
        steps[dim] = IRREGULAR
    nodes = [reach.global_by for reach in present if reach.global_by is not None]
    return Reach(bounds, tuple(steps), min(nodes) if nodes else None, any(reach.upper_bound for reach in present))


def _merge(first: Reach, second: Reach, *, many: bool) -> Reach | None:
    """One reach for two, or None where they are better kept apart; where there are many already, less is kept apart."""
    carried = [{dim for dim, step in enumerate(reach.steps) if step is not None} for reach in (first, second)]
    if not (carried[0] <= carried[1] or carried[1] <= carried[0]):
        return None
    shape = np.broadcast_shapes(first.bounds.shape, second.bounds.shape)
    if math.prod(shape) > max(first.bounds.size, second.bounds.size, 1 << 14):
        return None
    steps = tuple(_common(a, b) for a, b in zip(first.steps, second.steps, strict=True))
    if math.prod(shape) > 1 << 16 and IRREGULAR in steps and not many:
        return None  # most likely the rows and columns of an attention matrix, flattened for a while
    nodes = [node for node in (first.global_by, second.global_by) if node is not None]
    return Reach(
        np.minimum(first.bounds, second.bounds),
        steps,
        min(nodes) if nodes else None,
        first.upper_bound or second.upper_bound,
    )


def _common(first: Step | None, second: Step | None) -> Step | None:
    if first == second:
        return first
    if first is None or second is None or 0 in (first.period, second.period):
        return IRREGULAR
    if first.advance * second.period != second.advance * first.period:
        return IRREGULAR
    period = math.lcm(first.period, second.period)
    return Step(period, first.advance * period // first.period)
