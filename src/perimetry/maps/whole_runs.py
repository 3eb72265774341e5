"""WholeRuns: covered images run whole, one at a time, for models that take a list of images (detectors)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from perimetry.errors import InputError
from perimetry.maps.averaging import Position
from perimetry.maps.fills import Fill
from perimetry.maps.grid import Grid
from perimetry.maps.hooked import hooked_output
from perimetry.maps.replay import ancestors, replay, starting_values
from perimetry.maps.targets import Target
from perimetry.models import LoadedModel
from perimetry.records import Network

_TOLERANCE = 1e-4  # of the largest output: the recorded program and the model do the same arithmetic


class WholeRuns:
    """Runs the model itself on each covered image, as far as the target.

    A detector follows the data from its proposals on, so that elements of a later layer belong to other places of the
    image on another image. The program recorded on one image does not: on each image begun, and at each place where
    errors are measured, the two have to agree.
    """

    def __init__(self, subject: LoadedModel, network: Network, grid: Grid, fill: Fill, target: Target) -> None:
        self._subject, self._network = subject, network
        self._grid, self._fill, self._target = grid, fill, target
        self._nodes = ancestors(network, {target.value})
        self.positions: list[Position] = [(i, j) for i in range(len(grid.tops)) for j in range(len(grid.lefts))]
        self.batches = [range(place, place + 1) for place in range(len(self.positions))]
        self.saving = 1.0

    def begin(self, image: torch.Tensor) -> torch.Tensor:
        """Run the image as it is; the target's elements (E,)."""
        self._image, self._filling = image, self._fill.on(image, self._grid.patch)
        return self._compared(image)[0]

    def outputs(self, positions: Sequence[Position]) -> torch.Tensor:
        """The target's elements with the image covered at those positions: (N, E)."""
        return torch.cat([self._made(self._covered(position)) for position in positions])

    def plain(self, position: Position) -> torch.Tensor:
        """The same for one position, compared with the recorded program: (1, E)."""
        return self._compared(self._covered(position))

    def notes(self) -> list[str]:
        """Why nothing is saved."""
        return ["the model takes a list of images, so that it was run whole for each patch"]

    def _covered(self, position: Position) -> torch.Tensor:
        covered, box = self._image.clone(), (..., *self._grid.box(position))
        covered[box] = self._filling if self._filling.shape[2:] == self._grid.patch else self._filling[box]
        return covered

    def _made(self, image: torch.Tensor) -> torch.Tensor:
        """What the model makes of an image; of a layer that is no module's output, what its recorded program does."""
        if not self._network.layer(self._target.layer).module:
            return self._replayed(image)
        made = hooked_output(self._subject, self._network, image, self._target.layer)
        if made is None or tuple(made.shape) != self._network.values[self._target.value].shape:
            raise InputError(self._refusal)
        return self._target.of(made)

    def _replayed(self, image: torch.Tensor) -> torch.Tensor:
        values = replay(self._nodes, starting_values(self._network, image[0]), {self._target.value})
        return self._target.of(values[self._target.value])

    def _compared(self, image: torch.Tensor) -> torch.Tensor:
        made, replayed = self._made(image), self._replayed(image)
        if not float((made - replayed).abs().max()) <= _TOLERANCE * max(float(made.abs().max()), 1e-30):
            raise InputError(self._refusal)
        return made

    @property
    def _refusal(self) -> str:
        return (
            f"which way the model goes to layer {self._target.layer!r} depends on the image's contents, and a patch "
            "changes that; ask for a layer before the proposals, such as rpn.head.cls_logits"
        )
