"""Tiles: windows of a map, one per patch, and which operators can run on them.

An operator runs on windows where its relation reads rows and columns by windows of one phase (or in place) and it does
not care how large the map is: convolution, pooling, constant padding, and everything that is position by position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from perimetry.maps.program import Program, needs, without_writing
from perimetry.maps.replay import given
from perimetry.records import Network, Node, Value
from perimetry.rules import Axes, Each, Relation, Window
from perimetry.tracing.calls import call_of, reads_of
from perimetry.tracing.operators import describe

Values = Mapping[int, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of a map for each patch of a batch.

    data: the map's dimensions, with the batch of patches in place of the single sample and the window's extent in
    place of the map's; tops, lefts: where each window begins; dims: the dimensions of rows and columns.
    """

    data: torch.Tensor
    tops: list[int]
    lefts: list[int]
    dims: tuple[int, int]

    def elements(self, base: torch.Tensor, wanted: Sequence[int]) -> torch.Tensor:
        """Elements of the whole map, by flat indices into one sample: (patches, elements).

        base: the unchanged map, which holds what lies outside a window.
        """
        places = torch.unravel_index(torch.tensor(wanted), base.shape[1:])
        index: list[torch.Tensor] = [torch.arange(len(self.tops))[:, None]]
        inside = torch.ones((len(self.tops), len(wanted)), dtype=torch.bool)
        for dim, place in enumerate(places, start=1):
            if dim in self.dims:
                begins = torch.tensor(self.tops if dim == self.dims[0] else self.lefts)
                moved = place[None] - begins[:, None]
                inside &= (moved >= 0) & (moved < self.data.shape[dim])
                index.append(moved.clamp(0, self.data.shape[dim] - 1))
            else:
                index.append(place[None])
        unchanged = base[0].reshape(-1)[torch.tensor(wanted)]
        return torch.where(inside.to(base.device), self.data[tuple(index)], unchanged)


@dataclass(frozen=True, slots=True)
class Operand:
    """A map that an operator reads: how its rows and columns are read, and which dimensions they are."""

    value: int
    reads: tuple[Each | Window, Each | Window]
    dims: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileRule:
    """How a node runs on windows.

    output: the value it makes; dims: its rows and columns; fill: what stands beyond the map's border.
    run: from the operands' windows (and the unchanged values, for weights) to the output's windows.
    """

    output: int
    dims: tuple[int, int]
    operands: tuple[Operand, ...]
    fill: float
    run: Callable[[Sequence[torch.Tensor], Values], torch.Tensor]


# Operators that are position by position along rows and columns whatever else they do, and take any extent.
_ANY_EXTENT = frozenset(
    f"aten.{name}"
    for name in (
        "native_batch_norm",
        "cat",
        "clone",
        "_to_copy",
        "native_dropout",
        "permute",
        "transpose",
        "native_layer_norm",
        "_softmax",
        "_log_softmax",
        "hardswish",
        "glu",
        "_prelu_kernel",
        "prelu",
        "mean",
        "amax",
        "sum",
        "alias",
        "detach",
    )
)


def tile_rule(ready: Program, node: Node, dims: Mapping[int, tuple[int, int]]) -> TileRule | None:
    """How a node runs on windows of the maps it reads; None where it needs full maps."""
    network = ready.network
    fold = ready.folds.get(node.index)
    output = fold.output if fold is not None else node.outputs[0]
    reads = reads_of(network, node, 0)
    if output is None or reads is None or node.func is None:
        return None
    changed = [(value, relation) for value, relation in reads if network.depends[value.index]]
    operands = [_operand(value, relation, dims) for value, relation in changed]
    found = [operand for operand in operands if operand is not None]
    if not found or len(found) < len(operands) or (fold is None and _others_used(network, node, output)):
        return None
    axes = [_output_dims(operand) for operand in found]
    if len(set(axes)) != 1 or network.values[output].shape[0] != 1 or 0 in axes[0]:
        return None
    runner = _runner(ready, node, found, axes[0])
    if runner is None:
        return None
    fill, run = runner
    return TileRule(output, axes[0], tuple(found), fill, run)


def _others_used(network: Network, node: Node, output: int) -> bool:
    """True where a further output of the node (a pooling's indices) is read by another node."""
    others = {index for index in node.outputs if index is not None} - {output}
    if not others:
        return False
    return any(index in others for later in network.nodes[node.index + 1 :] for index in needs(later))


def _operand(value: Value, relation: Relation, dims: Mapping[int, tuple[int, int]]) -> Operand | None:
    if value.index not in dims or not isinstance(relation, Axes):
        return None
    places = dims[value.index]
    rows, columns = relation.reads[places[0]], relation.reads[places[1]]
    if not (isinstance(rows, Each | Window) and isinstance(columns, Each | Window)):
        return None
    simple = all(isinstance(read, Each) or (read.period == 1 and read.edge == "pad") for read in (rows, columns))
    others = [read for dim, read in enumerate(relation.reads) if dim not in places]
    crossed = any(isinstance(read, Each | Window) and read.dim in (rows.dim, columns.dim) for read in others)
    return Operand(value.index, (rows, columns), places) if simple and not crossed else None


def _output_dims(operand: Operand) -> tuple[int, int]:
    return operand.reads[0].dim, operand.reads[1].dim


def _runner(
    ready: Program, node: Node, operands: Sequence[Operand], dims: tuple[int, int]
) -> tuple[float, Callable[[Sequence[torch.Tensor], Values], torch.Tensor]] | None:
    """What stands beyond the border, and how to run; None where the operator cannot run on windows."""
    arguments = call_of(ready.network, node).arguments
    if node.op == "aten.convolution":
        return _convolution(ready, node, arguments, operands)
    if node.op in ("aten.max_pool2d_with_indices", "aten.max_pool2d"):
        form = (arguments["kernel_size"], arguments["stride"] or arguments["kernel_size"])
        spread = arguments["dilation"]
        return float("-inf"), lambda tiles, _: torch.max_pool2d(tiles[0], *form, 0, spread)
    if node.op == "aten.avg_pool2d":
        return _average(arguments)
    if node.op == "aten.constant_pad_nd":
        return float(arguments["value"]), lambda tiles, _: tiles[0]
    in_place = all(isinstance(read, Each) for operand in operands for read in operand.reads)
    takes_any = node.op in _ANY_EXTENT or describe(node.func).pointwise
    if in_place and takes_any and _extents_are_free(ready.network, node, dims):
        return 0.0, _position_by_position(node, [operand.value for operand in operands])
    return None


def _convolution(
    ready: Program, node: Node, arguments: Mapping[str, Any], operands: Sequence[Operand]
) -> tuple[float, Callable[[Sequence[torch.Tensor], Values], torch.Tensor]] | None:
    network = ready.network
    weight, bias = arguments["weight"], arguments["bias"]
    fixed = not network.depends[weight.index] and (bias is None or not network.depends[bias.index])
    if arguments["transposed"] or len(weight.shape) != 4 or not fixed or len(operands) != 1:
        return None
    fold = ready.folds.get(node.index)
    form = (arguments["stride"], [0, 0], arguments["dilation"], False, [0, 0], arguments["groups"])

    def run(tiles: Sequence[torch.Tensor], values: Values) -> torch.Tensor:
        if fold is not None:
            return torch.convolution(tiles[0], fold.weight, fold.bias, *form)
        return torch.convolution(tiles[0], values[weight.index], None if bias is None else values[bias.index], *form)

    return 0.0, run


def _average(
    arguments: Mapping[str, Any],
) -> tuple[float, Callable[[Sequence[torch.Tensor], Values], torch.Tensor]] | None:
    padded = any(arguments["padding"])
    if arguments["ceil_mode"] or (padded and not arguments["count_include_pad"]):
        return None  # the divisor depends on where the window lies
    form = (arguments["kernel_size"], arguments["stride"] or arguments["kernel_size"])
    divisor = arguments["divisor_override"]
    return 0.0, lambda tiles, _: torch.nn.functional.avg_pool2d(tiles[0], *form, divisor_override=divisor)


def _extents_are_free(network: Network, node: Node, dims: tuple[int, int]) -> bool:
    """True where no operand that stays unchanged is a map itself: a window would meet the whole of it."""
    output = node.outputs[0]
    assert output is not None
    rank = len(network.values[output].shape)
    arguments = call_of(network, node).arguments
    if node.op == "aten.native_layer_norm":
        return max(dims) < rank - len(arguments["normalized_shape"])
    if node.op in ("aten._softmax", "aten._log_softmax", "aten.cat", "aten.glu"):
        return arguments["dim"] % rank not in dims
    for index in needs(node):
        value = network.values[index]
        if network.depends[index] or len(value.shape) <= 1 or node.op == "aten.native_batch_norm":
            continue
        lead = rank - len(value.shape)
        if any(value.shape[dim - lead] != 1 for dim in dims if dim >= lead):
            return False
    return True


def _position_by_position(
    node: Node, changed: Sequence[int]
) -> Callable[[Sequence[torch.Tensor], Values], torch.Tensor]:
    function = without_writing(node)

    def run(tiles: Sequence[torch.Tensor], values: Values) -> torch.Tensor:
        merged = {**{index: values[index] for index in needs(node) if index in values}}
        merged.update(zip(changed, tiles, strict=True))
        args = [given(argument, merged) for argument in node.args]
        result = function(*args, **{name: given(item, merged) for name, item in node.kwargs.items()})
        made: torch.Tensor = result[0] if isinstance(result, list | tuple) else result
        return made

    return run


def assemble(
    base: torch.Tensor, tile: Tile, tops: Sequence[int], lefts: Sequence[int], height: int, width: int, fill: float
) -> torch.Tensor:
    """The windows of a map that begin at (tops, lefts): the unchanged map with each tile pasted over it.

    base: the unchanged map, one sample. What lies beyond the map holds `fill`.
    """
    row_dim, column_dim = tile.dims
    as_it_is = (tile.data.shape[row_dim], tile.data.shape[column_dim]) == (height, width)
    if as_it_is and tile.tops == list(tops) and tile.lefts == list(lefts):
        return tile.data
    shape = list(base.shape)
    extents = shape[row_dim], shape[column_dim]
    shape[0], shape[row_dim], shape[column_dim] = len(tops), height, width
    last = base.ndim == 4 and tile.dims == (2, 3)
    inside = all(top >= 0 and top + height <= extents[0] for top in tops)
    inside = inside and all(left >= 0 and left + width <= extents[1] for left in lefts)
    order = torch.channels_last if last else torch.contiguous_format
    made = torch.empty(shape, dtype=base.dtype, device=base.device, memory_format=order)
    if not inside:
        made.fill_(fill)
    size = tile.data.shape[row_dim], tile.data.shape[column_dim]
    for place, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        window = made[place]
        kept = _overlap((top, left), (height, width), (0, 0), extents)
        _crop(window, kept, (top, left), tile.dims).copy_(_crop(base[0], kept, (0, 0), tile.dims))
        begin = (tile.tops[place], tile.lefts[place])
        new = _overlap((top, left), (height, width), begin, (begin[0] + size[0], begin[1] + size[1]))
        if new[0] < new[1] and new[2] < new[3]:
            _crop(window, new, (top, left), tile.dims).copy_(_crop(tile.data[place], new, begin, tile.dims))
    return made


def _overlap(
    begin: tuple[int, int], size: tuple[int, int], first: tuple[int, int], end: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Rows and columns (first, end, first, end) that a window shares with a box, in the map's coordinates."""
    return (
        max(begin[0], first[0]),
        min(begin[0] + size[0], end[0]),
        max(begin[1], first[1]),
        min(begin[1] + size[1], end[1]),
    )


def _crop(
    sample: torch.Tensor, box: tuple[int, int, int, int], begin: tuple[int, int], dims: tuple[int, int]
) -> torch.Tensor:
    """A box of one sample (whose batch axis is gone) that begins at `begin` in the map's coordinates."""
    rows = sample.narrow(dims[0] - 1, box[0] - begin[0], max(0, box[1] - box[0]))
    return rows.narrow(dims[1] - 1, box[2] - begin[1], max(0, box[3] - box[2]))


def densify(base: torch.Tensor, tile: Tile) -> torch.Tensor:
    """Full maps for a batch of tiles: the unchanged map with each tile pasted over it."""
    height, width = base.shape[tile.dims[0]], base.shape[tile.dims[1]]
    zeros = [0] * len(tile.tops)
    return assemble(base, tile, zeros, zeros, height, width, 0.0)
