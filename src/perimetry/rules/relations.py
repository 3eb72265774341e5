"""The vocabulary of rules: which input positions an output position reads.

A rule answers with a *relation* per input. Everything else (hulls, exact supports, what a changed pixel can touch) is
derived from relations, so that a rule says one thing once. Relations:

- `Axes`: each input dimension is read on its own (the same index, a window, all of it ...); nearly every operator.
- `Reshape`: the same elements in the same order under another shape.
- `Gather`: an explicit table of flat input indices.
- `Chain`: several of these, from input to output.
- `Bound`: one of these that may be too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Edge = Literal["pad", "cut", "clamp", "reflect", "wrap"]


@dataclass(frozen=True, slots=True)
class Each:
    """Output index i of dimension `dim` reads input index i."""

    dim: int


@dataclass(frozen=True, slots=True)
class Window:
    """Output index i of dimension `dim` reads the input indices `advance * (i // period) + tap`.

    taps: for each of the `period` phases (i % period), the taps; (0,) everywhere would be `Each`.
    edge: what reading beyond the input means. "pad": nothing is there in the image, and an unclipped field goes on as
    if the map continued; "cut": nothing is there, clipped or not; "clamp", "reflect", "wrap": another index is read.
    """

    dim: int
    taps: tuple[tuple[int, ...], ...]
    period: int = 1
    advance: int = 1
    edge: Edge = "pad"


@dataclass(frozen=True, slots=True)
class Whole:
    """Every output position reads all indices of this input dimension (a sum, a matrix product, statistics)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The only index of this input dimension is read by every output position (broadcasting)."""


@dataclass(frozen=True, slots=True)
class At:
    """Index `index` of this input dimension is read by every output position (selecting)."""

    index: int


Read = Each | Window | Whole | Spread | At


@dataclass(frozen=True, slots=True)
class Axes:
    """One `Read` per input dimension; `shape` is the output's.

    Output dimensions that no read names hold the same field at every index.
    """

    reads: tuple[Read, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same (row-major) order, from any shape to `shape`."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Gather:
    """Output element e reads the input element with flat index `table[e]`, or nothing where that is negative."""

    table: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's shape, which is the table's."""
        return tuple(self.table.shape)


@dataclass(frozen=True, slots=True)
class Chain:
    """Relations applied one after the other, from the input towards the output."""

    steps: tuple[Axes | Reshape | Gather, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A relation that may be too large: which of the positions are read depends on the data."""

    relation: Axes | Reshape | Gather | Chain


Relation = Axes | Reshape | Gather | Chain | Bound


def window(dim: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, *, edge: Edge = "pad") -> Read:
    """The window of a convolution or pooling: output i reads i * stride - padding + dilation * (0 ... kernel - 1).

    >>> window(2, kernel=3, stride=2, padding=1)
    Window(dim=2, taps=((-1, 0, 1),), period=1, advance=2, edge='pad')
    """
    if kernel == 1 and stride == 1 and padding == 0:
        return Each(dim)
    return Window(dim, (tuple(dilation * tap - padding for tap in range(kernel)),), 1, stride, edge)


def shifted(dim: int, offset: int, *, edge: Edge = "cut") -> Read:
    """Output i reads input i + offset: a crop for positive offsets, a placement or pad for negative ones."""
    return Window(dim, ((offset,),), 1, 1, edge)


def elementwise(shape: Sequence[int], out_shape: Sequence[int]) -> Axes:
    """The relation of an operand of that shape that is broadcast against the output, as in addition."""
    lead = len(out_shape) - len(shape)
    reads: list[Read] = []
    for dim, extent in enumerate(shape):
        spread = extent == 1 and out_shape[lead + dim] != 1
        reads.append(Spread() if spread else Each(lead + dim))
    return Axes(tuple(reads), tuple(out_shape))


def everything(shape: Sequence[int], out_shape: Sequence[int]) -> Axes:
    """Every output element reads the whole tensor."""
    return Axes((Whole(),) * len(shape), tuple(out_shape))


def bound(shape: Sequence[int], out_shape: Sequence[int]) -> Bound:
    """Every output element may read any element of the tensor; which ones depends on the data."""
    return Bound(everything(shape, out_shape))


def permuted(order: Sequence[int], shape: Sequence[int]) -> Axes:
    """Output dimension d is input dimension order[d]; `shape` is the output's."""
    reads: list[Read] = [Whole()] * len(order)
    for dim, source in enumerate(order):
        reads[source] = Each(dim)
    return Axes(tuple(reads), tuple(shape))


NO_TAP = -(2**40)


@lru_cache(maxsize=4096)
def tap_table(window: Window, outputs: int) -> npt.NDArray[np.int64]:
    """The input indices that each output index names, before any edge rule: (outputs, taps).

    Phases with fewer taps repeat one of theirs; a phase without taps holds `NO_TAP`.
    """
    width = max(1, max(len(taps) for taps in window.taps))
    phases = np.full((window.period, width), NO_TAP, dtype=np.int64)
    for phase, taps in enumerate(window.taps):
        if taps:
            phases[phase, : len(taps)] = taps
            phases[phase, len(taps) :] = taps[-1]
    index = np.arange(outputs)
    table = phases[index % window.period]
    base = (window.advance * (index // window.period))[:, None]
    return np.where(table == NO_TAP, NO_TAP, table + base)


@lru_cache(maxsize=4096)
def read_table(window: Window, inputs: int, outputs: int) -> npt.NDArray[np.int64]:
    """The input indices that are really read, after the edge rule: (outputs, taps); -1 where nothing is read."""
    table = tap_table(window, outputs)
    missing = table == NO_TAP
    if window.edge == "clamp":
        table = np.clip(table, 0, inputs - 1)
    elif window.edge == "wrap":
        table = table % inputs
    elif window.edge == "reflect":
        turn = max(1, 2 * (inputs - 1))
        folded = np.abs(table) % turn
        table = np.where(folded >= inputs, turn - folded, folded)
    else:
        missing = missing | (table < 0) | (table >= inputs)
    return np.where(missing, -1, table)
