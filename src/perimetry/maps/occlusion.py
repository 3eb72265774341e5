"""occlude(): what a unit answers to, by covering each place of the image with a patch; exact, by incremental inference.

Zeiler and Fergus (2014) cover the image with a gray square, Liu et al. (ParseNet, 2015) with noise. Here a network is
run once on the whole image and then, for each patch, only where the patch can change anything (`incremental`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from perimetry.errors import InputError
from perimetry.maps import batching
from perimetry.maps.averaging import Position, summed
from perimetry.maps.changes import Change, kind_of
from perimetry.maps.checkpoint import Checkpoint, Sums
from perimetry.maps.fills import Fill
from perimetry.maps.grid import Grid, spread
from perimetry.maps.incremental import Runner
from perimetry.maps.measurement import UnitMap, check_threshold, measure, unit_centre
from perimetry.maps.plan import make_plan
from perimetry.maps.receptive import walk
from perimetry.maps.replay import ancestors, replay, starting_values
from perimetry.maps.subject import image_stream, loaded
from perimetry.maps.targets import Target, default_unit, find_target
from perimetry.maps.tiles import Tile
from perimetry.maps.whole_runs import WholeRuns
from perimetry.maps.wide import Wide
from perimetry.records import Network
from perimetry.tracing import trace

if TYPE_CHECKING:
    from PIL import Image

    from perimetry.maps.subject import Images, Model

DEFAULT_MEMORY = 1 << 30
SHARE = 0.1  # of the largest change: what counts as answered to
Progress = Callable[[int, int], None]


def occlude(
    model: Model,
    images: Images,
    unit: str | None = None,
    *,
    patch: tuple[int, int] | int = 16,
    stride: tuple[int, int] | int = 8,
    fill: str | Path | torch.Tensor | Image.Image = "noise",
    value: Change | None = None,
    share: float = SHARE,
    region: tuple[int, int, int, int] | None = None,
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> UnitMap:
    """Cover each place of an image with a patch and tell how much a unit changes; the mean over images.

    model: a module in eval mode, a name, or a `LoadedModel`. images: a batch (N, C, H, W), a photo, a folder, a list
    of these, or a number of images of Gaussian noise drawn from `seed`. Any number: one is in memory at a time.
    unit: as in `find_target`; None for the centre of the last layer that has positions, as in `effective_field`.
    A classifier's scores are "output", or "output:281" for one. patch, stride: pixels (rows, columns); patches lie
    wholly inside the image, the first at (0, 0), and what a last stride does not reach is not covered.
    fill: "noise" (one patch of Gaussian noise with each image's mean and deviation per channel, drawn from `seed`),
    "mean" (each image's, per channel), "blur" (the image itself, blurred by half a patch), "constant:V" (V in the
    units of the prepared image), a photo, or another image of the same shape.
    value, of each image before the mean is taken: "signed" change of a single number (covered minus uncovered),
    "absolute", "relative" (to that image's uncovered magnitude), "l2" (length of the change of a vector), "norm"
    (change of the vector's own length, signed), "argmax" (1 where the largest element is another one, so that the
    mean is the share of the images where it is). By default "signed" for one element, "l2" for more.
    share: the measured field is where the mean magnitude of the change exceeds this share of its maximum.
    region: (top, left, bottom, right), end exclusive: patches lie inside. memory: bytes that may be
    taken besides the model: by the maps of the uncovered image and those of a batch; a note says where they cannot do.
    checkpoint: a file that partial results are kept in; a run that finds its own continues from it, to the same
    result bit for bit. progress: called with the patches done and their number, over all images.

    `facts["largest_error"]` is the largest difference of a change from that by a full pass, tried where the change is
    largest on each image, and at two more places on the first.
    Raises `InputError`, `ShapeError`, `UnknownNameError`, `FileError` or `TrainingModeError`.

    >>> import perimetry
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, bias=False), torch.nn.ReLU()).eval()
    >>> _ = torch.nn.init.ones_(model[0].weight)
    >>> found = occlude(model, torch.ones(1, 1, 6, 6), "1@1,1", patch=2, stride=2, fill="constant:0")
    >>> found.map.tolist()
    [[-1.0, -2.0, 0.0], [-2.0, -4.0, 0.0], [0.0, 0.0, 0.0]]
    """
    began = time.perf_counter()
    check_threshold(share)
    subject = loaded(model)
    count, _ = image_stream(subject, images, seed=seed)
    example = next(image_stream(subject, images, seed=seed)[1])
    shown = ([example[0]],) if subject.takes == "list" else example
    network = trace(subject.module, shown, name=subject.name)
    found = walk(network)
    target = find_target(found, unit or default_unit(found))
    if network.values[target.value].shape[0] != 1:
        raise InputError(
            f"layer {target.layer!r} keeps windows or regions on its first axis, {network.values[target.value].shape}; "
            "ask for the layer that puts them together again"
        )
    grid = Grid.on(example.shape, patch, stride, region)
    kind = kind_of(value, target)
    filling = Fill.of(fill, subject, seed)
    with torch.no_grad():
        filling.on(example, grid.patch)  # what cannot fill is told before the work
        work: _Work | WholeRuns
        if subject.takes == "list":
            work = WholeRuns(subject, network, grid, filling, target)
        else:
            work = _Work(subject.module, network, example, grid, filling, target, memory)
        asked = subject.name, network, grid, filling, target, kind, work.batches
        key = "" if checkpoint is None else _key(*asked)
        stream = image_stream(subject, images, seed=seed)[1]
        sums = summed(work, stream, count, kind, Checkpoint(checkpoint, key), progress)
    return _told(subject.name, network, work, grid, filling, target, kind, sums, share, time.perf_counter() - began)


def _told(
    name: str,
    network: Network,
    work: _Work | WholeRuns,
    grid: Grid,
    fill: Fill,
    target: Target,
    kind: Change,
    sums: Sums,
    share: float,
    seconds: float,
) -> UnitMap:
    rows, columns = len(grid.tops), len(grid.lefts)
    means = []
    for total in (sums.total, sums.magnitude):
        whole = np.zeros((rows, columns))
        if work.positions:
            whole[tuple(zip(*work.positions, strict=True))] = total / sums.finished
        means.append(whole)
    mean, magnitude = means
    shape = (network.image_shape[0], network.image_shape[1])
    largest = float(magnitude.max(initial=0.0))
    measured = measure(
        spread(magnitude, grid.tops, grid.lefts, grid.patch, shape),
        centre=unit_centre(target, shape),
        threshold=share,
        field_box=target.clipped,
    )
    return UnitMap(
        model=name,
        unit=target.name,
        method="occlusion",
        convention=kind,
        map=mean.astype(np.float32),
        tops=tuple(grid.tops),
        lefts=tuple(grid.lefts),
        patch=grid.patch,
        image_shape=shape,
        target=target,
        measured=measured if largest > 0 else None,
        images=sums.finished,
        facts={
            "fill": fill.name,
            "seed": fill.seed,
            "stride": list(grid.stride),
            "region": list(grid.region),
            "positions": rows * columns,
            "positions_run": len(work.positions),
            "saving_limit": float(work.saving),
            "batch": max(map(len, work.batches), default=0),
            "largest_change": largest,
            "largest_error": sums.error,
            "error_of_largest_change": sums.error / largest if largest else 0.0,
            "run_seconds": seconds,
        },
        notes=_notes(work, largest),
        magnitude=None if sums.finished == 1 or kind not in ("signed", "norm") else magnitude.astype(np.float32),
    )


class _Work:
    """Running all patches of one grid in batches, in order, on one image after another."""

    def __init__(
        self,
        module: Any,
        network: Network,
        image: torch.Tensor,
        grid: Grid,
        fill: Fill,
        target: Target,
        memory: int,
    ) -> None:
        self._network, self._grid, self._fill, self._target = network, grid, fill, target
        watched = target.unit if target.unit is not None and len(target.unit) == 2 else None
        asked = network, target.value, watched, grid.tops, grid.lefts, grid.patch
        plan = make_plan(*asked)
        if batching.kept_bytes(plan) > memory / 2:
            plan = make_plan(*asked, "smallest")
        self._plan = plan
        touched = plan.touched()
        everywhere = [(i, j) for i in range(len(grid.tops)) for j in range(len(grid.lefts))]
        self.positions = [position for position in everywhere if touched[position]]
        self.saving = plan.saving(everywhere)
        self._kept, self._memory = batching.kept_bytes(plan), memory
        self.batches = batching.batches(plan, self.positions, memory - self._kept)
        self._wide: Wide | None = None
        if not plan.windows_only and self.positions:
            shape = (len(self.batches[0]), *image.shape[1:])
            recorded = trace(module, torch.empty(shape, dtype=image.dtype, device="meta"))
            self._wide = Wide(plan, recorded, recorded.layer(target.layer).value)
        self._runner: Runner | None = None

    def begin(self, image: torch.Tensor) -> torch.Tensor:
        """Run the image as it is; the target's elements (E,)."""
        self._runner = None  # its maps make room for the next image's
        self._image, self._filling = image, self._fill.on(image, self._grid.patch)
        self._runner = Runner(self._plan, image, self._wide, self._grid.tops, self._grid.lefts)
        self._uncovered = self._runner.base[self._target.value]
        return self._target.of(self._uncovered)[0]

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
        nodes = ancestors(self._network, {self._target.value})
        run = replay(nodes, starting_values(self._network, covered), {self._target.value})
        return self._target.of(run[self._target.value])

    def notes(self) -> list[str]:
        """Where the saving ends, if it does; and what no smaller batch could save."""
        notes, blocking = [], self._plan.first_full_operator()
        if blocking is not None:
            notes.append(f"from {blocking} on, every patch changes the whole map, so full maps were computed there")
        if self._kept > self._memory:
            notes.append(
                f"the maps of the uncovered image and the filters take {self._kept / 2**20:.3g} MiB, more than the "
                f"{self._memory / 2**20:.3g} MiB that were allowed; a smaller image takes less"
            )
        return notes


def _key(
    name: str, network: Network, grid: Grid, fill: Fill, target: Target, kind: Change, batches: list[range]
) -> str:
    """What a checkpoint belongs to, the images apart: the same model, patches, unit, value and batches."""
    image = network.values[network.inputs[0]]
    asked = [name, image.shape, str(image.dtype), grid.tops, grid.lefts, grid.patch, fill.name, fill.seed]
    digest = hashlib.sha256(json.dumps([*asked, target.name, kind, [batch.stop for batch in batches]]).encode())
    tensors = [value.tensor for value in network.values if value.kind in ("parameter", "buffer")]
    for tensor in (fill.picture, *tensors):
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _notes(work: _Work | WholeRuns, largest: float) -> tuple[str, ...]:
    notes = work.notes()
    if largest == 0:
        notes.append("no patch changes the unit at all: a dead unit, or none of its field was covered")
    return tuple(notes)
