"""Cropping: for a watched unit, the part of the image that it can see stands for the whole, however large that is.

A crop that begins where all strides begin leaves every operator reading the same neighbours. Whether it does is looked
up: each operator on the way to the unit has to read, for each position that the unit needs, the same inputs in both
recordings, one moved against the other, and the same border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from perimetry.errors import InputError
from perimetry.maps.plan import Interval, Needed, Plan, needed_for
from perimetry.maps.replay import ancestors, run_node
from perimetry.maps.targets import Target
from perimetry.maps.tiles import Ints
from perimetry.records import Network
from perimetry.rules import Each, Window

# What these compute depends on the size of the whole map.
_OF_ALL = ("upsample", "adaptive", "roll", "reflection", "replication")
Offset = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the image: first row and column, and how many of each."""

    top: int
    left: int
    height: int
    width: int


def crop_for(plan: Plan, unit: tuple[int, int]) -> Crop | None:
    """The part of the image that a plan's unit needs, on the grid of all strides; None where that is all or unknown."""
    network = plan.program.network
    if not plan.windows_only or any(part in node.op for node in plan.dependent() for part in _OF_ALL):
        return None
    grid = _common_stride(plan)
    seen = needed_for(plan, unit)[network.inputs[0]]
    spans = []
    for axis in range(2):
        first, last = seen[axis]
        extent = network.image_shape[axis]
        begin = max(first, 0) // grid[axis] * grid[axis]
        spans.append((begin, min(extent, -(-(last + 1) // grid[axis]) * grid[axis]) - begin))
    (top, height), (left, width) = spans
    if height < 1 or width < 1 or (height, width) == tuple(network.image_shape):
        return None
    return Crop(top, left, height, width)


def _common_stride(plan: Plan) -> tuple[int, int]:
    """The least number of pixels that is a multiple of every map's stride, per axis."""
    image = plan.program.network.inputs[0]
    strides: dict[int, tuple[Fraction, Fraction]] = {image: (Fraction(1), Fraction(1))}
    common = [1, 1]
    for node in plan.program.nodes:
        rule = plan.tiles.get(node.index)
        if rule is None:
            continue
        operand = rule.operands[0]
        before = strides[operand.value]
        made = [before[axis] * _stride(operand.reads[axis]) for axis in range(2)]
        strides[rule.output] = (made[0], made[1])
        common = [math.lcm(common[axis], made[axis].numerator) for axis in range(2)]
    return common[0], common[1]


def _stride(read: Each | Window) -> Fraction:
    return Fraction(1) if isinstance(read, Each) else Fraction(read.advance, read.period)


def resized(plan: Plan, crop: Crop) -> Network | None:
    """A plan's network as it would be recorded on the crop, as far as the target; None where it would be another.

    Operators that were recorded with the sizes of the map (reshapes) do not run on another size.
    """
    network = plan.program.network
    image = network.values[network.inputs[0]]
    shapes = {image.index: (*image.shape[:2], crop.height, crop.width)}
    made = {
        value.index: torch.empty(shapes.get(value.index, value.shape), dtype=value.dtype, device="meta")
        for value in network.values
        if value.index in shapes or not network.depends[value.index]
    }
    for node in ancestors(network, {plan.target}):
        if any(index is not None and network.depends[index] for index in node.outputs):
            try:
                outputs = run_node(node, made)
            except (RuntimeError, InputError):
                return None
            made.update(outputs)
            shapes.update({index: tuple(output.shape) for index, output in outputs.items()})
    values = tuple(replace(value, shape=shapes.get(value.index, value.shape)) for value in network.values)
    return replace(network, values=values, image_shape=(crop.height, crop.width))


def moved_target(plan: Plan, cropped: Plan, crop: Crop, target: Target) -> Target | None:
    """The same unit in a plan for the cropped image; None where some operator would read something else there."""
    assert target.unit is not None, "a unit is watched"
    unit = (target.unit[0], target.unit[1])
    offsets = _offsets(plan, cropped, crop, needed_for(plan, unit))
    frame = plan.frames[plan.target]
    if offsets is None or len(frame.dims) != 2:
        return None
    shape, new = (each.program.network.values[each.target].shape for each in (plan, cropped))
    places = list(np.unravel_index(np.asarray(target.elements), shape[1:]))
    for dim, offset in zip(frame.dims, offsets[plan.target], strict=True):
        places[dim - 1] = places[dim - 1] - offset
    elements = np.ravel_multi_index(places, new[1:])
    unit = (unit[0] - offsets[plan.target][0], unit[1] - offsets[plan.target][1])
    return replace(target, unit=unit, elements=tuple(int(index) for index in elements))


def _offsets(plan: Plan, cropped: Plan, crop: Crop, needed: Needed) -> dict[int, Offset] | None:
    """How far each map of the crop is moved against that of the image; None where the two do not agree."""
    offsets: dict[int, Offset] = {plan.program.network.inputs[0]: (crop.top, crop.left)}
    for node in plan.program.nodes:
        rule, twin = plan.tiles.get(node.index), cropped.tiles.get(node.index)
        if rule is None or rule.output not in needed:
            continue
        if twin is None:
            return None
        found: set[Offset] = set()
        for operand, same in zip(rule.operands, twin.operands, strict=True):
            before = offsets[operand.value]
            after = [before[axis] / _stride(operand.reads[axis]) for axis in range(2)]
            if any(moved.denominator != 1 for moved in after):
                return None
            made = (int(after[0]), int(after[1]))
            for axis in range(2):
                own = operand.table(axis, rule.frame.extents[axis])
                other = same.table(axis, twin.frame.extents[axis])
                if not _alike(own, other, needed[rule.output][axis], before[axis], made[axis]):
                    return None
            found.add(made)
        if len(found) != 1:
            return None
        offsets[rule.output] = found.pop()
    return offsets


def _alike(own: Ints, other: Ints, wanted: Interval, before: int, after: int) -> bool:
    """Whether the outputs that are wanted read the same inputs in both tables (outputs, taps)."""
    first, last = wanted
    if last < first:
        return True
    if first < after or last - after >= len(other):
        return False
    reads, same = own[first : last + 1], other[first - after : last - after + 1]
    return reads.shape == same.shape and bool((np.where(reads < 0, -1, reads - before) == same).all())
