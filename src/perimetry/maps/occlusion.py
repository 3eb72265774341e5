"""occlude(): what a unit answers to, by covering each place of the image with a patch; exact, by incremental inference.

Zeiler and Fergus (2014) cover the image with a gray square, Liu et al. (ParseNet, 2015) with noise. Here a network is
run once on the whole image and then, for each patch, only where the patch can change anything (`incremental`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.maps.batching import batches
from perimetry.maps.checkpoint import Checkpoint
from perimetry.maps.incremental import Runner
from perimetry.maps.measurement import UnitMap, measure
from perimetry.maps.plan import Plan, make_plan
from perimetry.maps.receptive import walk
from perimetry.maps.replay import ancestors, replay, starting_values
from perimetry.maps.subject import image_stream, loaded
from perimetry.maps.targets import Target, find_target
from perimetry.maps.tiles import Tile
from perimetry.maps.wide import Wide
from perimetry.records import Network
from perimetry.tracing import trace

if TYPE_CHECKING:
    from PIL import Image

    from perimetry.maps.subject import Model

Change = Literal["signed", "absolute", "relative", "l2", "argmax"]
DEFAULT_MEMORY = 1 << 30
SHARE = 0.1  # of the largest change: what counts as answered to
Progress = Callable[[int, int], None]


def occlude(
    model: Model,
    image: torch.Tensor | str | Path | Image.Image,
    unit: str | None = None,
    *,
    patch: tuple[int, int] | int = 16,
    stride: tuple[int, int] | int = 8,
    fill: str | torch.Tensor = "noise",
    value: Change | None = None,
    region: tuple[int, int, int, int] | None = None,
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> UnitMap:
    """Cover each place of one image with a patch and tell how much a unit changes.

    model: a module in eval mode, a name, or a `LoadedModel`. image: (1, C, H, W) prepared for the model, or a photo.
    unit: as in `find_target`; None for the model's output. patch, stride: pixels (rows, columns); patches lie wholly
    inside the image, the first at (0, 0), and what a last stride does not reach is not covered.
    fill: "noise" (one patch of Gaussian noise with the image's mean and deviation per channel, drawn from `seed`),
    "mean" (the image's, per channel), "blur" (the image itself, blurred by half a patch), "constant:V" (V in the
    units of the prepared image), or another image of the same shape.
    value: "signed" change of a single number (covered minus uncovered), "absolute", "relative" (to the uncovered
    magnitude), "l2" of the change of a vector, "argmax" (1 where the largest element is another one). By default
    "signed" for one element, "l2" for more.
    region: (top, left, bottom, right), end exclusive: patches lie inside. memory: bytes that a batch may take.
    checkpoint: a file that partial results are kept in; a run that finds its own continues from it, to the same
    result bit for bit. progress: called with the patches done and their number.

    Raises `InputError`, `ShapeError`, `UnknownNameError` or `TrainingModeError`.

    >>> import perimetry
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, bias=False), torch.nn.ReLU()).eval()
    >>> _ = torch.nn.init.ones_(model[0].weight)
    >>> found = occlude(model, torch.ones(1, 1, 6, 6), "1@1,1", patch=2, stride=2, fill="constant:0")
    >>> found.map.tolist()
    [[-1.0, -2.0, 0.0], [-2.0, -4.0, 0.0], [0.0, 0.0, 0.0]]
    """
    began = time.perf_counter()
    subject = loaded(model)
    count, images = image_stream(subject, image)
    if count != 1:
        raise InputError(f"expected one image to cover, got {count}; call occlude for each")
    example = next(images)
    network = trace(subject.module, example, name=subject.name)
    target = find_target(walk(network), unit or network.layers[-1].name)
    if network.values[target.value].shape[0] != 1:
        raise InputError(
            f"layer {target.layer!r} keeps windows or regions on its first axis, {network.values[target.value].shape}; "
            "ask for the layer that puts them together again"
        )
    grid = _grid(example, _pair(patch, "patch"), _pair(stride, "stride"), region)
    kind = _kind(value, target)
    filling = _filling(fill, example, grid.patch, seed)
    with torch.no_grad():
        watched = target.unit if target.unit is not None and len(target.unit) == 2 else None
        plan = make_plan(network, target.value, watched, grid.tops, grid.lefts, grid.patch)
        work = _Work(subject.module, network, plan, example, grid, filling, target, memory)
        key = _key(subject.name, network, example, grid, filling, target, work.batch)
        outputs = work.run(Checkpoint(checkpoint, key), progress)
        base = target.of(work.uncovered)[0].float().numpy()
        error = work.error(outputs, base)
    changes = _change(outputs, base, kind)
    largest = float(np.abs(changes).max(initial=0.0))
    measured = None
    if largest > 0:
        centre = _centre(target, network.image_shape)
        measured = measure(
            _spread(changes, grid, network.image_shape), centre=centre, threshold=SHARE, field_box=target.clipped
        )
    return UnitMap(
        model=subject.name,
        unit=target.name,
        method="occlusion",
        convention=kind,
        map=changes.astype(np.float32),
        tops=tuple(grid.tops),
        lefts=tuple(grid.lefts),
        patch=grid.patch,
        image_shape=(network.image_shape[0], network.image_shape[1]),
        target=target,
        measured=measured,
        images=1,
        facts={
            "fill": fill if isinstance(fill, str) else "image",
            "seed": seed,
            "positions": len(grid.tops) * len(grid.lefts),
            "positions_run": int(work.touched.sum()),
            "saving_limit": float(work.saving),
            "batch": work.batch,
            "largest_change": largest,
            "largest_error": error,
            "error_of_largest_change": error / largest if largest else 0.0,
            "run_seconds": time.perf_counter() - began,
        },
        notes=_notes(plan, largest),
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """Where patches are put: their first rows and columns, and their size."""

    tops: list[int]
    lefts: list[int]
    patch: tuple[int, int]


def _pair(given: tuple[int, int] | int, name: str) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int) else tuple(given)
    if len(pair) != 2 or any(not isinstance(each, int) or each < 1 for each in pair):
        raise InputError(f"expected {name} as pixels such as 16 or (16, 24), got {given!r}")
    return pair[0], pair[1]


def _grid(
    image: torch.Tensor, patch: tuple[int, int], stride: tuple[int, int], region: tuple[int, int, int, int] | None
) -> Grid:
    if image.ndim != 4:
        raise ShapeError(f"expected an image (1, C, H, W) to cover, got {tuple(image.shape)}")
    height, width = image.shape[2:]
    top, left, bottom, right = region or (0, 0, height, width)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(f"region {region} does not lie inside the image of {height}x{width} pixels")
    if patch[0] > bottom - top or patch[1] > right - left:
        where = f"the region of {bottom - top}x{right - left}" if region else f"the image of {height}x{width}"
        raise InputError(f"a patch of {patch[0]}x{patch[1]} pixels is larger than {where}; give a smaller one")
    rows = list(range(top, bottom - patch[0] + 1, stride[0]))
    return Grid(rows, list(range(left, right - patch[1] + 1, stride[1])), patch)


def _kind(value: Change | None, target: Target) -> Change:
    if value is None:
        return "signed" if len(target.elements) == 1 else "l2"
    if value not in get_args(Change):
        raise UnknownNameError("value", value, known=get_args(Change))
    if value in ("signed", "absolute", "relative") and len(target.elements) != 1:
        raise InputError(
            f"the {value} change is that of one number, and {target.name!r} has {len(target.elements)}; "
            "name a channel, or ask for value 'l2' or 'argmax'"
        )
    return value


def _filling(fill: str | torch.Tensor, image: torch.Tensor, patch: tuple[int, int], seed: int) -> torch.Tensor:
    """An image to cut patches from, (1, C, H, W), or one patch for all places, (1, C, rows, columns)."""
    mean = image.mean(dim=(2, 3), keepdim=True)
    if isinstance(fill, torch.Tensor):
        if fill.shape[-3:] != image.shape[1:]:
            raise ShapeError(f"expected an image to fill with of shape {tuple(image.shape)}, got {tuple(fill.shape)}")
        return fill.reshape(image.shape).to(image)
    if fill == "noise":
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, image.shape[1], *patch), generator=generator).to(image)
        return noise * image.std(dim=(2, 3), keepdim=True) + mean
    if fill == "mean":
        return mean.expand(1, -1, *patch)
    if fill == "blur":
        return _blurred(image, patch)
    name, _, number = fill.partition(":")
    if name == "constant":
        try:
            return torch.full((1, image.shape[1], *patch), float(number)).to(image)
        except ValueError:
            raise InputError(f"expected a number in fill 'constant:V', got {fill!r}") from None
    raise UnknownNameError("fill", fill, known=("noise", "mean", "blur", "constant:0"))


def _blurred(image: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """The image under a Gaussian of half a patch, with its border repeated."""
    for axis, extent in ((2, patch[0]), (3, patch[1])):
        deviation = max(extent / 2, 0.5)
        reach = max(1, min(round(3 * deviation), image.shape[axis] - 1))
        taps = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
        kernel = (taps / taps.sum()).to(image).reshape(1, 1, *((-1, 1) if axis == 2 else (1, -1)))
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = torch.nn.functional.pad(image, pad, mode="replicate")
        channels = image.shape[1]
        image = torch.nn.functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return image


class _Work:
    """Running all patches of one grid in batches of one size, in order."""

    def __init__(
        self,
        module: Any,
        network: Network,
        plan: Plan,
        image: torch.Tensor,
        grid: Grid,
        filling: torch.Tensor,
        target: Target,
        memory: int,
    ) -> None:
        self._network, self._plan, self._image = network, plan, image
        self._grid, self._filling, self._target = grid, filling, target
        self.touched = plan.touched()
        everywhere = [(i, j) for i in range(len(grid.tops)) for j in range(len(grid.lefts))]
        self._positions = [position for position in everywhere if self.touched[position]]
        self.saving = plan.saving(everywhere)
        self._batches = batches(plan, self._positions, memory)
        self.batch = max(map(len, self._batches), default=0)
        wide = None
        if not plan.windows_only and self._positions:
            shape = (self.batch, *image.shape[1:])
            recorded = trace(module, torch.empty(shape, dtype=image.dtype, device="meta"))
            wide = Wide(plan, recorded, recorded.layer(target.layer).value)
        self._runner = Runner(plan, image, wide, grid.tops, grid.lefts)

    @property
    def uncovered(self) -> torch.Tensor:
        """The target's layer on the image as it is."""
        return self._runner.base[self._target.value]

    def run(self, kept: Checkpoint, progress: Progress | None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The target's elements for every grid position: (grid rows, grid columns, elements)."""
        elements = len(self._target.elements)
        results = kept.load((len(self._positions), elements))
        for batch in self._batches:
            if batch.stop <= kept.done:
                continue
            chosen = [self._positions[place] for place in batch]
            # A network recorded on a batch takes that many, so the last batch is filled up.
            full = chosen + [chosen[-1]] * (self.batch - len(chosen) if self._runner.wide is not None else 0)
            output = self._runner.run(full, self._patches(full))
            results[batch.start : batch.stop] = self._read(output)[: len(chosen)].float().cpu().numpy()
            kept.save(results, batch.stop)
            if progress is not None:
                progress(batch.stop, len(self._positions))
        kept.finish(results, len(self._positions))
        base = self._target.of(self.uncovered)[0].float().cpu().numpy()
        everywhere = np.broadcast_to(base, (*self.touched.shape, elements)).copy()
        if self._positions:
            rows, columns = zip(*self._positions, strict=True)
            everywhere[list(rows), list(columns)] = results
        return everywhere

    def _patches(self, positions: Sequence[tuple[int, int]]) -> torch.Tensor:
        rows, columns = self._grid.patch
        if self._filling.shape[2:] == (rows, columns):
            return self._filling.expand(len(positions), -1, -1, -1)
        corners = [(self._grid.tops[i], self._grid.lefts[j]) for i, j in positions]
        return torch.cat([self._filling[:, :, t : t + rows, left : left + columns] for t, left in corners])

    def _read(self, output: Tile | torch.Tensor) -> torch.Tensor:
        if isinstance(output, torch.Tensor):
            return self._target.of(output)
        return output.elements(self.uncovered, self._target.elements)

    def error(self, outputs: Any, base: Any) -> float:
        """The largest difference from full runs of the recorded network, at three places: most changed, first, last."""
        if not self._positions:
            return 0.0
        most = np.unravel_index(int(np.abs(outputs - base).max(axis=2).argmax()), self.touched.shape)
        nodes = ancestors(self._network, {self._target.value})
        worst = 0.0
        for i, j in {(int(most[0]), int(most[1])), self._positions[0], self._positions[-1]}:
            covered = self._image.clone()
            top, left = self._grid.tops[i], self._grid.lefts[j]
            rows, columns = self._grid.patch
            covered[:, :, top : top + rows, left : left + columns] = self._patches([(i, j)])
            run = replay(nodes, starting_values(self._network, covered), {self._target.value})
            full = self._target.of(run[self._target.value])[0].float().cpu().numpy()
            worst = max(worst, float(np.abs(full - outputs[i, j]).max()))
        return worst


def _change(outputs: Any, base: Any, kind: Change) -> np.ndarray[Any, np.dtype[np.float32]]:
    moved = outputs - base
    changes: np.ndarray[Any, np.dtype[np.float32]]
    if kind == "l2":
        changes = np.sqrt((moved**2).sum(axis=2))
    elif kind == "argmax":
        changes = (outputs.argmax(axis=2) != base.argmax()).astype(np.float32)
    elif kind == "signed":
        changes = moved[:, :, 0]
    else:
        changes = np.abs(moved[:, :, 0]) / (1.0 if kind == "absolute" else max(float(abs(base[0])), 1e-12))
    return changes


def _spread(changes: Any, grid: Grid, image_shape: tuple[int, ...]) -> Any:
    """The magnitude of change per pixel of the image: the mean over the patches that cover it, 0 where none does."""
    total, covers = np.zeros(image_shape), np.zeros(image_shape)
    for i, top in enumerate(grid.tops):
        for j, left in enumerate(grid.lefts):
            box = (slice(top, top + grid.patch[0]), slice(left, left + grid.patch[1]))
            total[box] += abs(changes[i, j])
            covers[box] += 1
    return total / np.maximum(covers, 1)


def _centre(target: Target, image_shape: tuple[int, ...]) -> tuple[float, float]:
    if target.box is not None and not target.box.empty:
        rows, columns = target.box.spans
        return (rows.low + rows.high) / 2, (columns.low + columns.high) / 2
    return (image_shape[0] - 1) / 2, (image_shape[1] - 1) / 2


def _key(name: str, network: Network, image: torch.Tensor, grid: Grid, filling: Any, target: Target, batch: int) -> str:
    """What a checkpoint belongs to: the same model, image, patches, unit and batches."""
    digest = hashlib.sha256(json.dumps([name, grid.tops, grid.lefts, grid.patch, target.name, batch]).encode())
    tensors = [value.tensor for value in network.values if value.kind in ("parameter", "buffer")]
    for tensor in (image, filling, *(tensor for tensor in tensors if tensor is not None)):
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _notes(plan: Plan, largest: float) -> tuple[str, ...]:
    notes = []
    blocking = plan.first_full_operator()
    if blocking is not None:
        notes.append(f"from {blocking} on, every patch changes the whole map, so full maps were computed there")
    if largest == 0:
        notes.append("no patch changes the unit at all: a dead unit, or none of its field was covered")
    return tuple(notes)
