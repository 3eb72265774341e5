"""Covers: windows of any size cut into tiles of one size, so that they can be computed together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perimetry.maps.tiles import Ints, Windows


class Cover:
    """Tiles of size x size outputs that cover windows; with dilation, of every so manieth row and column.

    count: how many; patches, rows, columns: each tile's patch and first output. tile, place: for every row of the
    windows' table, the tile that computes it and its place there, counted row by row.
    """

    def __init__(self, windows: Windows, size: int, step: tuple[int, int], axes: Sequence[_Lines]) -> None:
        down, across = axes
        many = down.counts[windows.heights] * across.counts[windows.widths]
        begins = np.concatenate(([0], np.cumsum(many)))
        self.count = int(begins[-1])
        self.size, self.step = size, step
        self.patches = np.repeat(np.arange(len(many)), many)
        wide = across.counts[windows.widths]
        local = np.arange(self.count) - begins[self.patches]
        each = np.maximum(wide[self.patches], 1)
        self.rows = windows.tops[self.patches] + down.starts[windows.heights[self.patches], local // each]
        self.columns = windows.lefts[self.patches] + across.starts[windows.widths[self.patches], local % each]
        own = windows.patches
        row_local, column_local = windows.rows - windows.tops[own], windows.columns - windows.lefts[own]
        row_tile = down.tile[windows.heights[own], row_local]
        column_tile = across.tile[windows.widths[own], column_local]
        self.tile = begins[own] + row_tile * wide[own] + column_tile
        self.place = (row_local // step[0] % size) * size + column_local // step[1] % size

    @classmethod
    def of(cls, windows: Windows, size: int, dilation: tuple[int, int]) -> Cover:
        """The cover of all windows of a batch."""
        axes = (_Lines(windows.heights, size, dilation[0]), _Lines(windows.widths, size, dilation[1]))
        return cls(windows, size, dilation, axes)

    def inputs(
        self,
        part: slice,
        source: Windows,
        extents: int | Sequence[int],
        padding: Sequence[int],
        stride: tuple[int, int],
    ) -> Ints:
        """Rows of the source's table that some tiles read: (rows, columns, tiles); its length where that is nothing."""
        high, wide = (extents, extents) if isinstance(extents, int) else extents
        patches = self.patches[part]
        rows = self.rows[part] * stride[0] - padding[0] + self.step[0] * np.arange(high)[:, None]
        columns = self.columns[part] * stride[1] - padding[1] + self.step[1] * np.arange(wide)[:, None]
        found = source.index(patches, rows[:, None], columns[None])
        read: Ints = np.where(found < 0, len(source), found)
        return read

    def goals(self, windows: Windows) -> Ints:
        """For each place of each tile the row of the windows' table that it computes, (places, tiles).

        Places beyond a window are given the row after the last.
        """
        goals = np.full((self.size**2, self.count), len(windows), dtype=np.int64)
        goals[self.place, self.tile] = np.arange(len(windows))
        return goals


class _Lines:
    """Cutting extents 0, 1, ... into runs of `size` indices that are `step` apart.

    counts: runs of each extent; starts: (extents, runs) where each begins; tile: (extents, indices) an index's run.
    """

    def __init__(self, extents: Ints, size: int, step: int) -> None:
        largest = int(extents.max(initial=0))
        self.counts = np.zeros(largest + 1, dtype=np.int64)
        self.starts = np.zeros((largest + 1, max(1, largest)), dtype=np.int64)
        self.tile = np.zeros((largest + 1, max(1, largest)), dtype=np.int64)
        for extent in {int(e) for e in extents}:
            starts = [start for phase in range(min(step, extent)) for start in range(phase, extent, size * step)]
            self.counts[extent] = len(starts)
            self.starts[extent, : len(starts)] = starts
            run_of = {start: run for run, start in enumerate(starts)}
            for index in range(extent):
                phase, along = index % step, index // step
                self.tile[extent, index] = run_of[phase + along // size * size * step]
