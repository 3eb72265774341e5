"""Which rows of a model's table are shown: by depth, by name, in which order."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from perimetry.errors import UnknownNameError
from perimetry.records import LayerRecord, ModelRecord

SortKey = Literal["order", "field", "stride", "parameters", "macs", "activation_bytes"]
SORT_KEYS: tuple[str, ...] = get_args(SortKey)

# With no depth asked for, the deepest one that gives no more rows than this is taken: about one screen.
ROWS_BY_DEFAULT = 40

# "head.conv:2[out]": the second call, the output named "out"; the module's path is "head.conv".
_SUFFIX = re.compile(r"(:\d+)?(\[[^\[\]]*\])*$")


@dataclass(frozen=True, slots=True)
class VisibleLayers:
    """The rows to show, and what they leave out.

    hidden: layers that stand inside shown containers; depth: the depth shown, None for all; deepest: the depth that
    shows everything.
    """

    layers: tuple[LayerRecord, ...]
    hidden: int
    depth: int | None
    deepest: int

    @property
    def message(self) -> str:
        """What is left out, and how to see it; empty where nothing is."""
        return f"{self.hidden} more inside; --depth {self.deepest} shows all" if self.hidden else ""


@dataclass(frozen=True, slots=True)
class Enclosing:
    """Where a row stands among the containers.

    depths: of the containers around it; has_parts: its own parts are rows too; model: it is the model itself, which
    stands around all the others at depth 0.
    """

    depths: tuple[int, ...]
    has_parts: bool
    model: bool


def visible_layers(
    model: ModelRecord, depth: int | None = None, pattern: str | None = None, sort: str | None = None
) -> VisibleLayers:
    """The rows to show of a model: a container at the depth stands for its parts, leaves above it are shown.

    depth: names deep, from 1; by default the deepest with at most 40 rows, or all rows when there is a pattern.
    pattern: a glob on names, which may pick containers too. sort: one of `SORT_KEYS`, largest first except "order".
    Raises `UnknownNameError` for an unknown sort key.
    """
    if sort is not None and sort not in SORT_KEYS:
        raise UnknownNameError("sort key", sort, known=SORT_KEYS, advice="it can be " + ", ".join(SORT_KEYS))
    enclosing = _enclosing(model.layers)
    deepest = max((layer.depth for layer in model.layers), default=1)
    if pattern is not None and depth is None:
        rows = list(model.layers)
    else:
        if depth is None:
            depth = _default_depth(model.layers, enclosing, deepest)
        rows = _at_depth(model.layers, enclosing, depth)
    leaves = sum(not layer.container for layer in rows)
    hidden = 0 if pattern is not None else sum(not layer.container for layer in model.layers) - leaves
    if pattern is not None:
        rows = [layer for layer in rows if layer.name == pattern or fnmatchcase(layer.name, pattern)]
    return VisibleLayers(tuple(_sorted(rows, sort)), hidden, depth, deepest)


def _at_depth(layers: tuple[LayerRecord, ...], enclosing: list[Enclosing], depth: int) -> list[LayerRecord]:
    """Leaves and the outermost containers at that depth or below: each cost is told once."""
    return [
        layer
        for layer, around in zip(layers, enclosing, strict=True)
        if not any(each >= depth for each in around.depths)
        and (not around.has_parts or (not around.model and layer.depth >= depth))
    ]


def _default_depth(layers: tuple[LayerRecord, ...], enclosing: list[Enclosing], deepest: int) -> int:
    for depth in range(deepest, 1, -1):
        if len(_at_depth(layers, enclosing, depth)) <= ROWS_BY_DEFAULT:
            return depth
    return 1


def _enclosing(layers: tuple[LayerRecord, ...]) -> list[Enclosing]:
    """Where each row stands among the containers.

    A container comes after its parts, so it takes the earlier rows under its path that no earlier call of the same
    module has taken: that keeps the calls of a module called twice apart.
    """
    paths = [_SUFFIX.sub("", layer.name, count=1) for layer in layers]
    outermost = _model_rows(layers)
    for index in outermost:
        paths[index] = ""
    containers = {path for layer, path in zip(layers, paths, strict=True) if layer.container}
    depths: list[list[int]] = [[] for _ in layers]
    waiting: dict[str, list[int]] = {path: [] for path in containers}
    filled: set[str] = set()
    for index, (layer, path) in enumerate(zip(layers, paths, strict=True)):
        if layer.container:
            for part in waiting[path]:
                depths[part].append(0 if index in outermost else layer.depth)
                filled.add(path)
            waiting[path] = []
        prefixes = {path[:end] for end, letter in enumerate(path) if letter in "./"} | ({""} if path else set())
        for prefix in prefixes & containers:
            waiting[prefix].append(index)
    return [
        Enclosing(tuple(each), layer.container and path in filled, index in outermost)
        for index, (each, layer, path) in enumerate(zip(depths, layers, paths, strict=True))
    ]


def _model_rows(layers: tuple[LayerRecord, ...]) -> set[int]:
    """The rows of the model itself, which stand last: "output", or "output[out]" and so on for several outputs."""
    found: set[int] = set()
    for index in range(len(layers) - 1, -1, -1):
        layer, last = layers[index], layers[-1]
        named = _SUFFIX.sub("", layer.name, count=1) in ("", "output")
        several = layer.name.endswith("]") and last.name.endswith("]") and layer.op == last.op
        if not (layer.container and named and (index == len(layers) - 1 or several)):
            break
        found.add(index)
    return found


def _sorted(rows: list[LayerRecord], sort: str | None) -> list[LayerRecord]:
    if sort in (None, "order"):
        return rows
    keys = {
        "field": _field_area,
        "stride": _stride_area,
        "parameters": lambda layer: layer.parameters,
        "macs": lambda layer: layer.macs,
        "activation_bytes": lambda layer: layer.activation_bytes,
    }
    return sorted(rows, key=keys[sort], reverse=True)


def _field_area(layer: LayerRecord) -> float:
    """Pixels in the local field: infinite for the whole image, below everything where unknown."""
    field = layer.local_field
    if field is None:
        return -1
    return math.prod(math.inf if size is None else size for size in field.size)


def _stride_area(layer: LayerRecord) -> float:
    field = layer.local_field
    return -1 if field is None else float(math.prod(field.stride))
