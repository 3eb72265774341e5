"""Targets: naming a unit, a channel or a score of a layer, and finding its elements."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch

from perimetry.errors import InputError, UnknownNameError
from perimetry.geometry import Box, Field
from perimetry.maps.receptive import Walk
from perimetry.maps.summary import summarise
from perimetry.maps.support import map_dimensions, unit_mask
from perimetry.records import Network

_REST = re.compile(r"(?::(?P<channel>\d+))?(?:@(?P<unit>\d+(?:,\d+)*))?")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about: elements of a layer's output.

    elements: flat indices into one sample of the output (the batch axis left out), one or many.
    unit: the position that was asked for (or the centre), None where the layer is no map.
    field, box, clipped: the unit's theoretical field; None where the layer has none.
    """

    name: str
    layer: str
    value: int
    channel: int | None
    unit: tuple[int, ...] | None
    elements: tuple[int, ...]
    field: Field
    box: Box | None
    clipped: Box | None

    def of(self, output: torch.Tensor) -> torch.Tensor:
        """The target's elements of a batch of outputs: (N, elements)."""
        flat = output.reshape(output.shape[0], -1)
        return flat[:, torch.tensor(self.elements, device=output.device)]


def find_target(found: Walk, name: str) -> Target:
    """The target of that name: `layer`, `layer:channel`, `layer@row,column` or `layer:channel@row,column`.

    Without a position: the centre unit of a map, or everything in a layer that is no map (a score vector). Without a
    channel: all channels. A class score is `output:281`, a segmenter's score at a pixel `output[out]:15@100,120`.

    Raises `UnknownNameError` for a layer that does not exist, `InputError` for a channel or unit outside the layer.
    """
    network = found.network
    layer, channel, unit = _parsed(network, name)
    index = network.layer(layer).value
    if index in found.unknown:
        op = network.nodes[found.unknown[index]].op
        raise InputError(f"layer {layer!r} depends on {op}, which has no rule; add one with @perimetry.rule")
    value, view = network.values[index], found.views.get(index)
    if view is None:
        raise InputError(f"the image has no influence on layer {layer!r}; ask for another layer")
    shape = value.shape
    seen = summarise(view, shape, network.image_shape)
    field = seen.full
    # A vector of scores has no positions; everything else has a unit for each combination of the field's.
    is_vector = len(shape) <= 2 and map_dimensions(value, view) is None
    if unit is None and not is_vector:
        unit = tuple(count // 2 for count in seen.local.units)
    mask = np.ones([1] * len(shape), dtype=bool) if unit is None else unit_mask(value, view, unit, layer)
    mask = np.broadcast_to(mask, shape)[0].copy() if shape else np.ones((1,), dtype=bool)
    if channel is not None:
        mask &= _channel_mask(network, index, channel, layer, map_dimensions(value, view))
    position = unit if unit is not None and len(unit) == len(field.axes) else None
    inside = position is not None and all(i < count for i, count in zip(position, field.units, strict=True))
    return Target(
        name=name,
        layer=layer,
        value=index,
        channel=channel,
        unit=unit,
        elements=tuple(int(i) for i in np.flatnonzero(mask)),
        field=field,
        box=field.box(position) if inside and position is not None else None,
        clipped=field.clipped(position) if inside and position is not None else None,
    )


def default_unit(found: Walk) -> str:
    """The last map whose units see different pixels; the output where there is none."""
    network = found.network
    for layer in reversed(network.layers):
        value = network.values[layer.value]
        view = None if layer.value in found.unknown else found.views.get(layer.value)
        if view is None or not value.dtype.is_floating_point or len(value.shape) <= 2 or 0 in value.shape:
            continue
        if max(summarise(view, value.shape, network.image_shape).full.units) > 1:
            return layer.name
    return network.layers[-1].name


def _parsed(network: Network, name: str) -> tuple[str, int | None, tuple[int, ...] | None]:
    names = {layer.name for layer in network.layers}
    # Layers' own names may end in ":2", so the longest name that fits is taken.
    for end in range(len(name), 0, -1):
        match = _REST.fullmatch(name[end:]) if name[:end] in names else None
        if match is not None:
            channel, unit = match["channel"], match["unit"]
            position = tuple(int(part) for part in unit.split(",")) if unit else None
            return name[:end], int(channel) if channel else None, position
    layer = re.sub(r"(?::\d+)?(?:@.*)?$", "", name) or name
    if layer in names:
        raise InputError(f"cannot read the unit {name!r}; write layer, layer:channel, layer@row,column or both")
    raise UnknownNameError("layer", layer, known=names)


def _channel_mask(
    network: Network, index: int, channel: int, layer: str, dims: list[int] | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    shape = network.values[index].shape
    free = [dim for dim in range(1, len(shape)) if dims is None or dim not in dims]
    if dims is None and len(shape) > 2:
        free = free[-1:]  # tokens (N, T, C)
    if len(free) != 1:
        raise InputError(f"layer {layer!r} of shape {shape} has no single channel axis; leave the channel out")
    dim = free[0]
    if channel >= shape[dim]:
        raise InputError(f"layer {layer!r} has {shape[dim]} channels (0 to {shape[dim] - 1}), not channel {channel}")
    mask = np.zeros(shape[1:], dtype=bool)
    mask[(slice(None),) * (dim - 1) + (channel,)] = True
    return mask
