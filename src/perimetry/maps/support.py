"""support(): exactly which pixels reach a unit, holes and all."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from perimetry.errors import InputError
from perimetry.maps.compact import reshaped, squeezed
from perimetry.maps.reach import EMPTY
from perimetry.maps.receptive import View, walk
from perimetry.records import Network, Value
from perimetry.rules import At, Axes, Bound, Chain, Each, Gather, Relation, Reshape, Window
from perimetry.rules.relations import read_table
from perimetry.tracing.calls import reads_of

Mask = npt.NDArray[np.bool_]


def support(network: Network, layer: str, unit: Sequence[int]) -> torch.Tensor:
    """The exact mask of the pixels that can reach a unit: boolean, of the image's extents (H, W).

    unit: a position on the layer's map, (row, column), for the union over its channels; or a full index into the
    layer's output. Everything counts, global gates too. Where a rule can only give an upper bound, the mask is one.

    Raises `UnknownNameError` for a layer that does not exist, `InputError` for a unit outside the map or a layer that
    depends on an operator without a rule.

    >>> import perimetry
    >>> network = perimetry.trace(torch.nn.Conv2d(1, 1, 3, dilation=2), torch.zeros(1, 1, 7, 7))
    >>> perimetry.support(network, "output", (0, 0))[0].int().tolist()
    [1, 0, 1, 0, 1, 0, 0]
    """
    found = walk(network)
    value = network.layer(layer).value
    try:
        unit = tuple(map(operator.index, unit))
    except TypeError:
        raise InputError(f"expected a unit such as (3, 4), whole numbers, got {unit!r}") from None
    if value in found.unknown:
        node = network.nodes[found.unknown[value]]
        raise InputError(f"layer {layer!r} depends on {node.op}, which has no rule; add one with @perimetry.rule")
    if value not in found.views:  # the image has no influence on it
        _check(tuple(unit), network.values[value].shape[-len(unit) :], layer)
        return torch.zeros(network.image_shape, dtype=torch.bool)
    masks = {value: unit_mask(network.values[value], found.views[value], tuple(unit), layer)}
    for node in reversed(network.nodes):
        for position, output in enumerate(node.outputs):
            mask = masks.pop(output, None) if output is not None else None
            if mask is None:
                continue
            reads = reads_of(network, node, position)
            assert reads is not None, "a known value depends on known operators only"
            for source, relation in reads:
                if network.depends[source.index]:
                    earlier = push(mask, relation, source.shape)
                    known = masks.get(source.index)
                    masks[source.index] = earlier if known is None else known | earlier
    image = np.zeros(network.image_shape, dtype=bool)
    for index, mask in masks.items():
        if network.values[index].kind == "image":
            full = np.broadcast_to(mask, network.values[index].shape)
            others = tuple(axis for axis in range(full.ndim) if axis not in network.image_axes)
            image |= full.any(axis=others)
    return torch.from_numpy(image)


def unit_mask(value: Value, view: View, unit: tuple[int, ...], layer: str) -> Mask:
    """The compact mask of the elements that a unit of a layer consists of; see `support` for what a unit is."""
    dims = map_dimensions(value, view)
    if len(unit) == len(value.shape) and (dims is None or len(unit) != len(view)):
        _check(unit, value.shape, layer)
        mask = np.zeros(value.shape, dtype=bool)
        mask[unit] = True
        return mask
    if len(unit) != len(view):
        raise InputError(
            f"unit {unit} of layer {layer!r} has {len(unit)} indices; expected a position with {len(view)} "
            f"or a full index with {len(value.shape)} (the output's shape is {value.shape})"
        )
    if dims is not None:
        _check(unit, tuple(value.shape[dim] for dim in dims), layer)
        mask = np.ones([1] * len(value.shape), dtype=bool)
        for dim, index in zip(dims, unit, strict=True):
            axis = np.zeros(value.shape[dim], dtype=bool)
            axis[index] = True
            mask = mask & axis.reshape([-1 if d == dim else 1 for d in range(len(value.shape))])
        return mask
    return _composite_mask(value, view, unit, layer)


def map_dimensions(value: Value, view: View) -> list[int] | None:
    """The dimension that carries each image axis, where the tensor is a map; None for tokens and windows."""
    found = []
    for axis, reaches in enumerate(view):
        local = [reach for reach in reaches if reach.global_by is None]
        dims = {dim for reach in local for dim, step in enumerate(reach.steps) if step is not None}
        if not dims and len(value.shape) == len(view) + 2:
            dims = {2 + axis}  # all units are the same along this axis
        if len(dims) != 1:
            return None
        found.append(dims.pop())
    return found if len(set(found)) == len(found) else None


def _composite_mask(value: Value, view: View, unit: tuple[int, ...], layer: str) -> Mask:
    """Tokens and windows: the elements whose span begins where the unit's does, on each image axis."""
    mask = np.ones([1] * len(value.shape), dtype=bool)
    for reaches, index in zip(view, unit, strict=True):
        local = [reach.bounds for reach in reaches if reach.global_by is None]
        if not local:
            _check((index,), (1,), layer)
            continue
        bounds = local[0]
        for other in local[1:]:
            bounds = np.minimum(bounds, other)
        starts = np.unique(bounds[0][bounds[0] < EMPTY])
        _check((index,), (len(starts),), layer)
        mask = mask & (bounds[0] == starts[index])
    return mask


def _check(unit: tuple[int, ...], extents: tuple[int, ...], layer: str) -> None:
    if any(not -extent <= index < extent for index, extent in zip(unit, extents, strict=True)):
        raise InputError(f"unit {unit} lies outside layer {layer!r}, whose map has {extents} units")


def push(mask: Mask, relation: Relation, shape: tuple[int, ...]) -> Mask:
    """Which elements of an input of that shape are read for the output elements in the (compact) mask."""
    if isinstance(relation, Bound):
        return push(mask, relation.relation, shape)
    if isinstance(relation, Chain):
        shapes = [shape, *(step.shape for step in relation.steps)]
        for step, before in zip(reversed(relation.steps), reversed(shapes[:-1]), strict=True):
            mask = push(mask, step, before)
        return mask
    if isinstance(relation, Reshape):
        return reshaped(mask, relation.shape, shape, 0)
    if isinstance(relation, Gather):
        read = relation.table[np.broadcast_to(mask, relation.shape)]
        flat = np.zeros(int(np.prod(shape, dtype=np.int64)), dtype=bool)
        flat[read[read >= 0]] = True
        return squeezed(flat.reshape(shape), 0)
    return _push_axes(mask, relation, shape)


def _push_axes(mask: Mask, relation: Axes, shape: tuple[int, ...]) -> Mask:
    named = [read.dim for read in relation.reads if isinstance(read, Each | Window)]
    others = tuple(dim for dim in range(len(relation.shape)) if dim not in named)
    mask = np.asarray(mask.any(axis=others)) if others else mask
    position = {dim: place for place, dim in enumerate(sorted(named))}
    order = [position[dim] for dim in named]
    mask = mask.transpose(order) if order else mask.reshape(())
    result = mask.reshape(_with_gaps(mask.shape, relation))
    for dim, read in enumerate(relation.reads):
        if isinstance(read, Window):
            extent = relation.shape[read.dim]
            spread = np.broadcast_to(result, (*result.shape[:dim], extent, *result.shape[dim + 1 :]))
            reached = np.tensordot(spread, _incidence(read, shape[dim], extent), axes=(dim, 0)) > 0
            result = np.moveaxis(reached, -1, dim)
        elif isinstance(read, At):
            here = np.zeros([shape[dim] if d == dim else 1 for d in range(len(shape))], dtype=bool)
            here[(0,) * dim + (read.index,)] = True
            result = result & here
    return result


def _with_gaps(extents: tuple[int, ...], relation: Axes) -> list[int]:
    """The mask's extents at the input dimensions that were named, 1 at the others."""
    remaining = iter(extents)
    return [next(remaining) if isinstance(read, Each | Window) else 1 for read in relation.reads]


@lru_cache(maxsize=256)
def _incidence(window: Window, inputs: int, outputs: int) -> npt.NDArray[np.float32]:
    """1 where output (row) reads input (column)."""
    table = read_table(window, inputs, outputs)
    matrix = np.zeros((outputs, inputs + 1), dtype=np.float32)
    matrix[np.arange(outputs)[:, None], table] = 1.0  # -1, nothing, falls into the last column
    return matrix[:, :inputs]
