"""WindowRuns: covered images run by windows (`incremental`), for any recorded network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from perimetry.errors import TraceError, UnknownNameError
from perimetry.maps import batching
from perimetry.maps.averaging import Position
from perimetry.maps.cropping import Crop, crop_for, moved_target, resized
from perimetry.maps.fills import Fill
from perimetry.maps.grid import Grid
from perimetry.maps.incremental import Runner
from perimetry.maps.plan import Plan, make_plan
from perimetry.maps.replay import ancestors, replay, starting_values
from perimetry.maps.targets import Target
from perimetry.maps.tile_convolution import Way
from perimetry.maps.tiles import Tile
from perimetry.maps.wide import Wide
from perimetry.records import Network
from perimetry.tracing import trace


class WindowRuns:
    """Runs all patches of one grid in batches, in order, on one image after another.

    For a watched unit only the part of the image that it sees is run, where that part stands for the whole (see
    `cropping`); full runs, for comparison, are then runs of that part.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        network: Network,
        image: torch.Tensor,
        grid: Grid,
        fill: Fill,
        target: Target,
        memory: int | None,
    ) -> None:
        self._module, self._grid, self._fill = module, grid, fill
        everywhere = [(i, j) for i in range(len(grid.tops)) for j in range(len(grid.lefts))]
        plan = self._planned(network, target, Crop(0, 0, *image.shape[2:]))
        self.saving = plan.saving(everywhere)
        self._crop, self._target, self._plan = self._cropped(plan, image, target)
        if memory is not None and batching.kept_bytes(self._plan) > memory / 2:
            self._plan = self._planned(self._plan.program.network, self._target, self._crop, "smallest")
        touched = self._plan.touched()
        self.positions = [position for position in everywhere if touched[position]]
        self._kept, self._memory = batching.kept_bytes(self._plan), memory
        room = batching.ENOUGH if memory is None else memory - self._kept
        self.batches = batching.batches(self._plan, self.positions, room)
        self._wide: Wide | None = None
        if not plan.windows_only and self.positions:
            recorded = _recorded(module, network, target, (len(self.batches[0]), *image.shape[1:]), image.dtype)
            if recorded is None:  # the model takes one image at a time
                self.batches = [range(place, place + 1) for place in range(len(self.positions))]
                recorded = network
            self._wide = Wide(self._plan, recorded, recorded.layer(target.layer).value)
        self._runner: Runner | None = None

    def _planned(self, network: Network, target: Target, crop: Crop, *way: Way) -> Plan:
        tops, lefts = self._starts(crop)
        return make_plan(network, target.value, _watched(target), tops, lefts, self._grid.patch, *way)

    def _starts(self, crop: Crop) -> tuple[list[int], list[int]]:
        """Where patches begin in a crop: before it, too."""
        return [top - crop.top for top in self._grid.tops], [left - crop.left for left in self._grid.lefts]

    def _cropped(self, plan: Plan, image: torch.Tensor, target: Target) -> tuple[Crop, Target, Plan]:
        """The part of the image to run, the unit in it, and the plan for it."""
        whole, unit = Crop(0, 0, *image.shape[2:]), _watched(target)
        crop = None if unit is None else crop_for(plan, unit)
        if crop is None:
            return whole, target, plan
        recorded = resized(plan, crop)
        if recorded is None:
            return whole, target, plan
        moved = moved_target(plan, make_plan(recorded, target.value, None, [0], [0], (1, 1)), crop, target)
        return (whole, target, plan) if moved is None else (crop, moved, self._planned(recorded, moved, crop))

    def begin(self, image: torch.Tensor) -> torch.Tensor:
        """Run the image as it is; the target's elements (E,)."""
        self._runner = None  # its maps make room for the next image's
        self._image, self._filling = image, self._fill.on(image, self._grid.patch)
        self._runner = Runner(self._plan, self._seen(image), self._wide, *self._starts(self._crop))
        self._uncovered = self._runner.base[self._target.value]
        return self._target.of(self._uncovered)[0]

    def _seen(self, image: torch.Tensor) -> torch.Tensor:
        crop = self._crop
        return image[:, :, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]

    def outputs(self, positions: Sequence[Position]) -> torch.Tensor:
        """The target's elements with the image covered at those positions: (N, E)."""
        assert self._runner is not None, "an image was begun"
        # A network recorded on a batch takes that many, so the last batch is filled up.
        missing = len(self.batches[0]) - len(positions) if self._wide is not None else 0
        full = [*positions, *[positions[-1]] * missing]
        output = self._runner.run(full, self._patches(full))
        return self._read(output)[: len(positions)]

    def _patches(self, positions: Sequence[Position]) -> torch.Tensor:
        if self._filling.shape[2:] == self._grid.patch:
            return self._filling.expand(len(positions), -1, -1, -1)
        return torch.cat([self._filling[(..., *self._grid.box(position))] for position in positions])

    def _read(self, output: Tile | torch.Tensor) -> torch.Tensor:
        if isinstance(output, torch.Tensor):
            return self._target.of(output)
        return output.elements(self._uncovered, self._target.elements)

    def plain(self, position: Position) -> torch.Tensor:
        """The same by a full run of the recorded network: (1, E)."""
        covered = self._image.clone()
        covered[(..., *self._grid.box(position))] = self._patches([position])
        network = self._plan.program.network
        nodes = ancestors(network, {self._target.value})
        run = replay(nodes, starting_values(network, self._seen(covered)), {self._target.value})
        return self._target.of(run[self._target.value])

    def notes(self) -> list[str]:
        """Where the saving ends, if it does; and what no smaller batch could save."""
        notes, blocking = [], self._plan.first_full_operator()
        if blocking is not None:
            notes.append(f"from {blocking} on, every patch changes the whole map, so full maps were computed there")
        if self._memory is not None and self._kept > self._memory:
            notes.append(
                f"the maps of the uncovered image and the filters take {self._kept / 2**20:.3g} MiB, more than the "
                f"{self._memory / 2**20:.3g} MiB that were allowed; a smaller image takes less"
            )
        return notes


def _recorded(
    module: torch.nn.Module, network: Network, target: Target, shape: tuple[int, ...], dtype: torch.dtype
) -> Network | None:
    """The model on a batch of images; None where that does not make the target once for each image."""
    try:
        recorded = trace(module, torch.empty(shape, dtype=dtype, device="meta"))
        made = recorded.values[recorded.layer(target.layer).value].shape
    except (TraceError, UnknownNameError):
        return None
    one = network.values[target.value].shape
    return recorded if made == (shape[0] * one[0], *one[1:]) else None


def _watched(target: Target) -> tuple[int, int] | None:
    """The position of the unit that is watched, if it is one."""
    unit = target.unit
    return (unit[0], unit[1]) if unit is not None and len(unit) == 2 else None
