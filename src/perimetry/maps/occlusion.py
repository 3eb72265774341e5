"""occlude(): what a unit answers to, by covering each place of the image with a patch; exact, by incremental inference.

Zeiler and Fergus (2014) cover the image with a gray square, Liu et al. (ParseNet, 2015) with noise. Here a network is
run once on the whole image and then, for each patch, only where the patch can change anything (`incremental`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from perimetry.errors import InputError
from perimetry.maps.averaging import summed
from perimetry.maps.changes import Change, kind_of
from perimetry.maps.checkpoint import Checkpoint, Sums
from perimetry.maps.fills import Fill
from perimetry.maps.grid import Grid, spread
from perimetry.maps.measurement import UnitMap, check_threshold, measure, unit_centre
from perimetry.maps.receptive import walk
from perimetry.maps.subject import image_stream, loaded
from perimetry.maps.targets import Target, default_unit, find_target
from perimetry.maps.whole_runs import WholeRuns
from perimetry.maps.window_runs import WindowRuns
from perimetry.records import Network
from perimetry.tracing import trace

if TYPE_CHECKING:
    from PIL import Image

    from perimetry.maps.subject import Images, Model

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
    memory: int | None = None,
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
    region: (top, left, bottom, right), end exclusive: patches lie inside. memory: bytes that may be taken besides the
    model, by the maps of the uncovered image and those of a batch (a note says where they cannot do); None for as many
    as run fastest: what has to be kept, and half a GiB for batches.
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
        work: WindowRuns | WholeRuns
        if subject.takes == "list":
            work = WholeRuns(subject, network, grid, filling, target)
        else:
            work = WindowRuns(subject.module, network, example, grid, filling, target, memory)
        asked = subject.name, network, grid, filling, target, kind, work.batches
        key = "" if checkpoint is None else _key(*asked)
        stream = image_stream(subject, images, seed=seed)[1]
        sums = summed(work, stream, count, kind, Checkpoint(checkpoint, key), progress)
    return _told(subject.name, network, work, grid, filling, target, kind, sums, share, time.perf_counter() - began)


def _told(
    name: str,
    network: Network,
    work: WindowRuns | WholeRuns,
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


def _notes(work: WindowRuns | WholeRuns, largest: float) -> tuple[str, ...]:
    notes = work.notes()
    if largest == 0:
        notes.append("no patch changes the unit at all: a dead unit, or none of its field was covered")
    return tuple(notes)
