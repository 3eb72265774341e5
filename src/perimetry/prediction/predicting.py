"""predict(): what a run tells of images, written as files; what is there already is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from perimetry.data import Dataset, Sample, read_proposals, with_proposals
from perimetry.data.pyramids import bytes_uncounted
from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.images import read_pixels
from perimetry.prediction.folder import PredictionFolder, Settings
from perimetry.prediction.images import samples_of
from perimetry.prediction.tables import check_ids
from perimetry.prediction.views import Crops, Flip, View, check_crops, check_scales, merged, views_of
from perimetry.training.detection import takes_proposals
from perimetry.training.run import Run

Broken = Literal["refuse", "skip"]
Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What came of it: names that were predicted, that were there already, and (name, reason) of broken images.

    files: what to use (masks, boxes.json, labels.csv and scores.csv).
    """

    folder: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]


def predict(
    run: Run,
    images: str | Path,
    *,
    out: str | Path,
    scales: Sequence[float] = (1.0,),
    flip: Flip = "none",
    crops: Crops = "centre",
    threshold: float = 0.0,
    pictures: bool = True,
    broken: Broken = "refuse",
    ids: str | Path | None = None,
    proposals: str | Path | None = None,
    progress: Show | None = None,
) -> Predicted:
    """Write what the run tells of an image, or of all in a folder, into the folder `out`.

    scales, flip, crops: see `views_of`. threshold: boxes of lower scores are left out of all files. broken: "refuse"
    raises for an image that cannot be read, is too small for the network, or has no entry among the proposals, "skip"
    goes on and names it in the result. ids: COCO's annotations whose ids boxes.json takes. proposals: their file, for
    networks that are given them.
    See `PredictionFolder` for what is written; what was told before by the same weights, of an image that has not
    changed, is kept and not told again.
    Raises `FileError`, `InputError`.
    """
    if threshold and run.recipe.task != "detection":
        raise InputError(f"a threshold is of boxes, and the run is for {run.recipe.task}; leave --threshold out")
    if ids is not None and run.recipe.task != "detection":
        raise InputError(f"ids are of boxes, and the run is for {run.recipe.task}; leave --ids out")
    check_proposals(run, proposals)
    check_crops(run, crops, flip)
    if proposals is None and takes_proposals(run.network):
        raise InputError(f"the network of {run.path} is given proposals; name their file with --proposals (proposals=)")
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold from 0 to 1, got {threshold}")
    if broken not in get_args(Broken):
        raise UnknownNameError("broken", broken, known=get_args(Broken), advice='"refuse" or "skip"')
    factors = check_scales(scales)
    samples = samples_of(images, below=run.recipe.task == "classification", without=Path(out))
    if ids is not None:
        check_ids((sample.name for sample in samples), ids)
    if proposals is not None:
        data = Dataset(run.recipe.task, str(images), run.classes, tuple(samples))
        needed = None if broken == "refuse" else ()
        samples = list(with_proposals(data, read_proposals(proposals), needed=needed).samples)
    folder = PredictionFolder.open(out, settings_of(run, factors, flip, crops, threshold))
    done: list[str] = []
    kept: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        for number, sample in enumerate(samples):
            if progress is not None:
                progress(number, len(samples))
            if folder.holds(sample, pictures=pictures):
                kept.append(sample.name)
                continue
            try:
                image = read_pixels(sample.image)
                if proposals is not None and sample.proposals is None:
                    raise InputError(f"{sample.image} has no proposals in {proposals}; an empty list is one")
                with bytes_uncounted():
                    told = merged(told_of(run, sample, image, factors, flip, crops))
            except (FileError, InputError) as error:
                if broken == "refuse":
                    raise
                folder.drop(sample.name)
                skipped.append((sample.name, " ".join([str(error), *getattr(error, "__notes__", ())])))
                continue
            folder.add(sample, image, told, pictures=pictures, labels=run.label_names)
            done.append(sample.name)
    finally:
        folder.save()
    return Predicted(folder.path, tuple(done), tuple(kept), tuple(skipped), folder.finish(ids=ids))


def check_proposals(run: Run, proposals: object) -> None:
    """Raise where proposals are given to a network that takes none."""
    if proposals is not None and not takes_proposals(run.network):
        raise InputError(f"the network of {run.path} takes no proposals; leave --proposals out")


def settings_of(run: Run, scales: tuple[float, ...], flip: Flip, crops: Crops, threshold: float) -> Settings:
    """What decides the predictions of a run."""
    return Settings(
        run=str(run.path),
        checkpoint=run.checkpoint,
        weights=run.weights,
        task=run.recipe.task,
        labels=run.label_names,
        scales=scales,
        flip=flip,
        crops=crops,
        threshold=threshold,
    )


def told_of(
    run: Run, sample: Sample, image: torch.Tensor, scales: tuple[float, ...], flip: Flip, crops: Crops
) -> list[View]:
    """The views of a sample's image, with its proposals where it has some; an error names the image in a note."""
    proposals = None if sample.proposals is None else torch.from_numpy(sample.proposals.copy())
    try:
        return views_of(run, image, scales=scales, flip=flip, crops=crops, proposals=proposals)
    except InputError as error:
        error.add_note(f"(the image {sample.image})")
        raise
