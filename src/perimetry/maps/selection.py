"""Which units a call asks for: names, a pattern over layers, or the centre of every layer."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import numpy as np

from perimetry.errors import InputError, UnknownNameError
from perimetry.maps.receptive import Walk
from perimetry.maps.support import unit_mask
from perimetry.maps.targets import Target, default_unit, find_target
from perimetry.records import Network


def wanted_targets(found: Walk, units: str | Sequence[str] | None, *, every: bool) -> dict[str, Target]:
    """Targets by the names that were asked for; None stands for every layer, or for the last one with positions."""
    network = found.network
    if units is None and not every:
        units = [default_unit(found)]
    if isinstance(units, str) and (any(mark in units for mark in "*?[") and units not in _names(network)):
        wanted = [name for name in _names(network) if fnmatch.fnmatchcase(name, units)]
        if not wanted:
            raise UnknownNameError("layer", units, known=_names(network))
    elif units is None:
        wanted = _names(network)
    else:
        targets = {name: find_target(found, name) for name in ([units] if isinstance(units, str) else units)}
        for target in targets.values():
            if not network.values[target.value].dtype.is_floating_point:
                raise InputError(f"layer {target.layer!r} holds whole numbers, which have no gradient")
        if not targets:
            raise InputError("expected at least one unit, got none")
        return targets
    return {name: find_target(found, name) for name in wanted if _measurable(found, name)}


def _names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


def _measurable(found: Walk, name: str) -> bool:
    value = found.network.layer(name).value
    if value in found.unknown or value not in found.views:
        return False
    shape = found.network.values[value].shape
    return found.network.values[value].dtype.is_floating_point and 0 not in shape


def elements_of(found: Walk, target: Target) -> tuple[int, ...]:
    """Flat indices into the layer's whole output: windows of tokens stand along the first axis, too."""
    value, view = found.network.values[target.value], found.views[target.value]
    if len(value.shape) and value.shape[0] != 1 and target.unit is not None:
        mask = np.broadcast_to(unit_mask(value, view, target.unit, target.layer), value.shape)
        if target.channel is not None:
            mask = mask & (np.arange(value.shape[-1]) == target.channel)
        return tuple(int(index) for index in np.flatnonzero(mask))
    return target.elements
