"""Parts of gradients: windows on maps, for one or many targets at a time, and how they are added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Windows are batched where their common hull is not much larger than the largest of them.
_SLACK = 1.3


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the gradients of some targets with respect to one value; parts add up.

    rows: which target each entry of the tensor's first axis belongs to. On a map (1, C, H, W): tensor (K, C, h, w),
    whose upper left element stands at `corner`. Elsewhere: tensor (K, *shape of the value), corner None.
    """

    rows: tuple[int, ...]
    tensor: torch.Tensor
    corner: tuple[int, int] | None

    @property
    def ends(self) -> tuple[int, int]:
        """One past the last row and column."""
        assert self.corner is not None
        return self.corner[0] + self.tensor.shape[2], self.corner[1] + self.tensor.shape[3]

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the part stands on its map."""
        assert self.corner is not None
        (top, left), (bottom, right) = self.corner, self.ends
        return slice(top, bottom), slice(left, right)

    def of(self, wanted: range) -> list[Part]:
        """The part of some of the targets; nothing where there is none of them."""
        places = [place for place, row in enumerate(self.rows) if row in wanted]
        if len(places) == len(self.rows):
            return [self]
        if not places:
            return []
        adjacent = places == list(range(places[0], places[-1] + 1))
        tensor = self.tensor[places[0] : places[-1] + 1] if adjacent else self.tensor[places]
        return [Part(tuple(self.rows[place] for place in places), tensor, self.corner)]

    def cut(self, values: torch.Tensor) -> torch.Tensor:
        """What stands in the window on a map of values (N, C, H, W): each row's own where there are several images."""
        window = values[(..., *self.window)]
        if values.shape[0] == 1:
            return window.expand(len(self.rows), -1, -1, -1)
        assert self.rows == tuple(range(self.rows[0], self.rows[-1] + 1)), "of several images, rows are adjacent"
        return window[self.rows[0] : self.rows[-1] + 1]


def is_map(shape: Sequence[int]) -> bool:
    """True for (1, C, H, W)."""
    return len(shape) == 4 and shape[0] == 1


def merge(parts: list[Part]) -> list[Part]:
    """The same gradients in as few parts as is worth the padding."""
    if len(parts) < 2:
        return parts
    groups: list[list[Part]] = []
    for part in sorted(parts, key=_area, reverse=True):
        group = next((group for group in groups if _fits(group, part)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    return [_sum(group) if len(group) > 1 else group[0] for group in groups]


def _area(part: Part) -> int:
    return part.tensor.shape[2] * part.tensor.shape[3] if part.corner is not None else 0


def _hull(parts: Sequence[Part]) -> tuple[tuple[int, int], tuple[int, int]]:
    corners, ends = [part.corner or (0, 0) for part in parts], [part.ends for part in parts]
    return (min(c[0] for c in corners), min(c[1] for c in corners)), (max(e[0] for e in ends), max(e[1] for e in ends))


def _fits(group: list[Part], part: Part) -> bool:
    if part.corner is None or group[0].corner is None:
        return part.corner is None and group[0].corner is None
    (top, left), (bottom, right) = _hull([*group, part])
    # A part of targets that are in the group already costs nothing more: both must be added in the end.
    smaller = _area(part) if set(part.rows).isdisjoint(row for each in group for row in each.rows) else _area(group[0])
    return (bottom - top) * (right - left) <= _SLACK * smaller + 16


def _sum(group: list[Part]) -> Part:
    first = group[0]
    if all(p.rows == first.rows and p.corner == first.corner and p.tensor.shape == first.tensor.shape for p in group):
        total = first.tensor
        for part in group[1:]:
            total = total + part.tensor
        return Part(first.rows, total, first.corner)
    rows = tuple(sorted({row for part in group for row in part.rows}))
    place = {row: index for index, row in enumerate(rows)}
    if first.corner is None:
        corner, shape = None, first.tensor.shape[1:]
    else:
        corner, (bottom, right) = _hull(group)
        shape = torch.Size((first.tensor.shape[1], bottom - corner[0], right - corner[1]))
    total = zeros((len(rows), *shape), first.tensor)
    for part in group:
        inside = total
        if part.corner is not None and corner is not None:
            top, left = part.corner[0] - corner[0], part.corner[1] - corner[1]
            inside = total[:, :, top : top + part.tensor.shape[2], left : left + part.tensor.shape[3]]
        places = [place[row] for row in part.rows]
        if places == list(range(places[0], places[0] + len(places))):
            inside[places[0] : places[0] + len(places)] += part.tensor
        else:
            inside.index_add_(0, torch.tensor(places, device=total.device), part.tensor)
    return Part(rows, total, corner)


def zeros(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Zeros with channels last, where that means something."""
    form = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=form).zero_()
