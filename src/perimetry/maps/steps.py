"""Steps: what an operator that runs on windows is given, and the rule that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from perimetry.maps.tiles import Frame, Ints, Tile, Unchanged, Windows
from perimetry.rules import Each, Window
from perimetry.rules.relations import read_table


class Scratch:
    """Memory that operators use one after the other; keeping it saves the kernel from handing out pages again."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def take(self, name: str, count: int, like: torch.Tensor) -> torch.Tensor:
        """That many numbers of the kind of another tensor; their contents are anything."""
        key = name, like.dtype, like.device
        if key not in self._buffers or self._buffers[key].numel() < count:
            self._buffers[key] = like.new_empty(count)
        return self._buffers[key][:count]


@dataclass(frozen=True, slots=True)
class Operand:
    """A map that an operator reads: how its rows and columns are read, and where it keeps them."""

    value: int
    reads: tuple[Each | Window, Each | Window]
    frame: Frame

    def table(self, axis: int, outputs: int) -> Ints:
        """The inputs that each of so many outputs reads along an axis, (outputs, taps); -1 where nothing is read."""
        read = self.reads[axis]
        return (
            np.arange(outputs)[:, None]
            if isinstance(read, Each)
            else read_table(read, self.frame.extents[axis], outputs)
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One operator to be run on a batch.

    tiles: of its operands; windows: of its output; scratch: room that operators share; spare: True where nobody reads
    the first operand afterwards, so that its memory may be written.
    """

    tiles: Sequence[Tile]
    windows: Windows
    base: Unchanged
    scratch: Scratch
    spare: bool = False


Run = Callable[[Step], torch.Tensor]  # makes the table of the output's windows


@dataclass(frozen=True, slots=True)
class TileRule:
    """How a node runs on windows: the value it makes, where that keeps its positions, and what it reads.

    run: makes the table of the output's windows. kept: bytes of filters that it lays out anew and
    keeps. scratch: bytes of room that it needs while it runs, whatever the batch.
    """

    output: int
    frame: Frame
    operands: tuple[Operand, ...]
    run: Run
    kept: int = 0
    scratch: int = 0
