"""Tiles: for each patch of a batch the window of a map that it changes, as rows of one table.

Windows of one batch differ in size. A table with a row per position (its columns are the channels) holds them without
padding, and reading it by index is all that cutting, pasting and padding take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a tensor keeps the positions of a map.

    dims: its dimensions of rows and of columns, or the one that holds both in row-major order. extents: how many rows
    and columns the map has.
    """

    dims: tuple[int, ...]
    extents: tuple[int, int]

    def table(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor as a table with a row for each position."""
        moved = tensor.movedim(self.dims, tuple(range(len(self.dims))))
        return moved.reshape(math.prod(moved.shape[: len(self.dims)]), -1)

    def tensor(self, table: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """A table as a tensor of that shape, but with 1 x rows of the table in place of the map's extents."""
        rest = [extent for dim, extent in enumerate(shape) if dim not in self.dims]
        lead = (1, len(table)) if len(self.dims) == 2 else (len(table),)
        return table.reshape(*lead, *rest).movedim(tuple(range(len(self.dims))), self.dims)

    def reshaped(self, shape: Sequence[int], new: Sequence[int]) -> Frame | None:
        """The frame of the same elements in the same order under another shape; None where rows and columns are mixed.

        >>> Frame((1, 2), (4, 6)).reshaped((1, 4, 6, 32), (24, 32)).dims
        (0,)
        """
        if self.dims[-1] - self.dims[0] >= len(self.dims):
            return None
        inner = math.prod(shape[self.dims[-1] + 1 :])
        for dim, extent in enumerate(new):
            if extent == math.prod(self.extents) and math.prod(new[dim + 1 :]) == inner:
                return Frame((dim,), self.extents)
            if tuple(new[dim : dim + 2]) == self.extents and math.prod(new[dim + 2 :]) == inner:
                return Frame((dim, dim + 1), self.extents)
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Where the windows of a batch lie on a map: first row and column, height and width, each (patches,).

    A window without rows or columns is empty. begins: the table's row at which each window begins. patches, rows,
    columns: of each row of the table, which patch it belongs to and which position of the map it is.
    """

    tops: Ints
    lefts: Ints
    heights: Ints
    widths: Ints
    begins: Ints = field(init=False)
    patches: Ints = field(init=False)
    rows: Ints = field(init=False)
    columns: Ints = field(init=False)

    def __post_init__(self) -> None:
        sizes = self.heights * self.widths
        begins = np.concatenate(([0], np.cumsum(sizes)))
        patches = np.repeat(np.arange(len(sizes)), sizes)
        local = np.arange(begins[-1]) - begins[patches]
        widths = self.widths[patches]
        object.__setattr__(self, "begins", begins)
        object.__setattr__(self, "patches", patches)
        object.__setattr__(self, "rows", self.tops[patches] + local // widths)
        object.__setattr__(self, "columns", self.lefts[patches] + local % widths)

    @classmethod
    def between(cls, rows: Ints, columns: Ints) -> Windows:
        """The windows from first to last row, and first to last column, each (patches, 2)."""
        heights, widths = rows[:, 1] - rows[:, 0] + 1, columns[:, 1] - columns[:, 0] + 1
        empty = (heights < 1) | (widths < 1)
        return cls(rows[:, 0], columns[:, 0], np.where(empty, 0, heights), np.where(empty, 0, widths))

    def __len__(self) -> int:
        """How many rows the table has."""
        return int(self.begins[-1])

    def index(self, patches: Ints, rows: Ints, columns: Ints) -> Ints:
        """The table's row of each patch's position (arrays that broadcast); -1 outside the patch's window."""
        down, across = rows - self.tops[patches], columns - self.lefts[patches]
        inside = (down >= 0) & (down < self.heights[patches]) & (across >= 0) & (across < self.widths[patches])
        return np.where(inside, self.begins[patches] + down * self.widths[patches] + across, -1)

    def flat(self, extents: tuple[int, int]) -> Ints:
        """Each row's position on a map of those extents, counted row by row."""
        return self.rows * extents[1] + self.columns


@dataclass(slots=True)
class Tile:
    """What a batch of patches makes of one value.

    table: (rows of the windows, channels); windows: where they lie; frame, shape: of the value they are parts of.
    """

    table: torch.Tensor
    windows: Windows
    frame: Frame
    shape: tuple[int, ...]
    _change: torch.Tensor | None = None

    def change(self, base: Unchanged, value: int) -> torch.Tensor:
        """The table minus the unchanged map's, and a row of zeros below: what is outside a window did not change."""
        if self._change is None:
            rows = len(self.windows)
            made = self.table.new_empty((rows + 1, self.table.shape[1]))
            places = as_index(self.windows.flat(self.frame.extents), made)
            torch.index_select(base.table(value), 0, places, out=made[:rows])
            torch.sub(self.table, made[:rows], out=made[:rows])
            made[rows] = 0
            self._change = made
        return self._change

    def within(self, windows: Windows, base: Unchanged, value: int) -> torch.Tensor:
        """The table of other windows: the unchanged map, and this tile where the two overlap."""
        if windows is self.windows:
            return self.table
        made = base.rows(value, windows)
        places = windows.index(self.windows.patches, self.windows.rows, self.windows.columns)
        inside = places >= 0
        if inside.all():
            made.index_copy_(0, as_index(places, made), self.table)
        else:
            kept = self.table.index_select(0, as_index(np.flatnonzero(inside), made))
            made.index_copy_(0, as_index(places[inside], made), kept)
        return made

    def add_to(self, table: torch.Tensor, windows: Windows, base: Unchanged, value: int) -> None:
        """Add what `within` would give to a table of other windows, without making it."""
        if windows is self.windows:
            table.add_(self.table)
            return
        places = windows.index(self.windows.patches, self.windows.rows, self.windows.columns)
        inside = np.flatnonzero(places >= 0)
        own = self.table
        if len(inside) < len(places):
            own = own.index_select(0, as_index(inside, own))
        table.index_add_(0, as_index(places[inside], table), own)
        missed = np.ones(len(windows), dtype=bool)
        missed[places[inside]] = False
        outside = np.flatnonzero(missed)
        unchanged = base.table(value)
        taken = unchanged.index_select(0, as_index(windows.flat(self.frame.extents)[outside], unchanged))
        table.index_add_(0, as_index(outside, table), taken)

    def elements(self, base: torch.Tensor, wanted: Sequence[int]) -> torch.Tensor:
        """Elements of the whole map, by flat indices into one sample: (patches, elements).

        base: the unchanged value, which holds what lies outside a window.
        """
        sample = base.shape[1:] if self.frame.dims[0] > 0 else base.shape
        places = np.unravel_index(np.asarray(wanted), sample)
        dims = [dim - (len(base.shape) - len(sample)) for dim in self.frame.dims]
        position = np.ravel_multi_index([places[dim] for dim in dims], [sample[dim] for dim in dims])
        others = [dim for dim in range(len(sample)) if dim not in dims]
        channel = np.zeros_like(position)
        if others:
            channel = np.ravel_multi_index([places[dim] for dim in others], [sample[dim] for dim in others])
        rows, columns = np.divmod(position, self.frame.extents[1])
        patches = np.arange(len(self.windows.tops))[:, None]
        index = self.windows.index(patches, rows[None], columns[None])
        unchanged = base.reshape(-1)[as_index(np.asarray(wanted), base)].expand(len(index), -1)
        flat = as_index(np.maximum(index, 0) * self.table.shape[1] + channel, base)
        if not len(self.windows):
            return unchanged.clone()
        return torch.where(as_index(index, base) >= 0, self.table.reshape(-1)[flat], unchanged)

    def dense(self, base: torch.Tensor) -> torch.Tensor:
        """The whole maps of all patches, one after the other along the first dimension: the windows pasted over."""
        patches, positions = len(self.windows.tops), math.prod(self.frame.extents)
        table = self.frame.table(base)
        made = table.new_empty((patches * positions, table.shape[1]))
        made.view(patches, *table.shape).copy_(table)
        places = self.windows.patches * positions + self.windows.flat(self.frame.extents)
        made.index_copy_(0, as_index(places, made), self.table)
        rest = [extent for dim, extent in enumerate(base.shape) if dim not in self.frame.dims]
        lead = self.frame.extents if len(self.frame.dims) == 2 else (positions,)
        split = made.reshape(patches, *lead, *rest)
        moved = split.movedim(tuple(range(1, 1 + len(lead))), tuple(dim + 1 for dim in self.frame.dims))
        return moved.flatten(0, 1)


class Unchanged:
    """The values of the unchanged run; those that are maps also as tables."""

    def __init__(self, values: Mapping[int, torch.Tensor], frames: Mapping[int, Frame]) -> None:
        self.values = values
        self.frames = frames
        self._tables: dict[int, torch.Tensor] = {}

    def table(self, value: int) -> torch.Tensor:
        """A row for each position of the map, its channels along the row."""
        if value not in self._tables:
            self._tables[value] = self.frames[value].table(self.values[value]).contiguous()
        return self._tables[value]

    def rows(self, value: int, windows: Windows) -> torch.Tensor:
        """A new table of windows of the unchanged map."""
        table = self.table(value)
        return table.index_select(0, as_index(windows.flat(self.frames[value].extents), table))


def as_index(places: Ints, like: torch.Tensor) -> torch.Tensor:
    """Indices as a tensor on the device of another one."""
    return torch.from_numpy(np.ascontiguousarray(places)).to(like.device)
