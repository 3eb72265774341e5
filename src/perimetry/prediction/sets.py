"""The data on which a run is evaluated: its own or other, of the same classes, one split or all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from perimetry.data import Dataset, coco, open_dataset, read_proposals, with_proposals
from perimetry.data.dataset import split_name
from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.training.run import Run
from perimetry.training.samples import FileSamples
from perimetry.training.sets import open_files, open_sets

Boxes = Literal["voc", "coco"]

# The splits that are looked for where none is named.
_USUAL = ("test", "val")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """What is evaluated on. split: None for all of it; boxes: whose definition of average precision is usual for it."""

    data: Dataset
    split: str | None
    boxes: Boxes


def labelled_images(
    run: Run, data: str | Path | Dataset | None = None, *, split: str | None = None, proposals: str | Path | None = None
) -> LabelledImages:
    """The images of a split, in the run's classes.

    data: None for that of the recipe, where "train" and "val" are what training made of it. split: by default "test",
    or "val" where there is none; other data without splits is taken whole. proposals: their file, for networks that
    are given them; of the run's own data by default the recipe's.
    Raises `UnknownNameError` for a split that there is not, `InputError` for data of another task or other classes.
    """
    given = run.recipe.data if data is None else data
    if data is None and not Path(run.recipe.data).exists():
        raise FileError(
            f"{run.recipe.data}, on which {run.path} was trained, is not there; say where it lies now with --data "
            "(data=)"
        )
    if isinstance(given, Dataset):
        found = given
        _check(run, found)
    else:
        found = _own(run) if data is None else _opened(run, given)
    boxes: Boxes = "voc"
    if run.recipe.task == "detection" and not isinstance(given, Dataset) and coco.recognise(Path(given)):
        boxes = "coco"
    part = _own_part(run, found, split) if data is None else _part(found, split)
    if not part.samples:
        raise InputError(f"the split {part.split} of {found.name} holds no image")
    file = proposals or (run.recipe.proposals if data is None else "")
    if file:
        part = with_proposals(part, read_proposals(file))
    return LabelledImages(part, part.split, boxes)


def own_photos(run: Run) -> dict[str, Path]:
    """The files of the images of the run's own data, by name; none where it is not there any more."""
    try:
        return {sample.name: sample.image for sample in _own(run).samples}
    except (FileError, InputError):
        return {}


def _part(data: Dataset, split: str | None) -> Dataset:
    if data.split is not None and split in (None, data.split):
        return data
    if not data.splits:
        if split is not None:
            raise InputError(f"{data.name} has no splits; leave --split out to evaluate on all {len(data)} images")
        return data
    chosen = split or next((name for name in _USUAL if name in data.splits), None)
    if chosen is None:
        raise InputError(f"{data.name} has the splits {', '.join(data.splits)}; choose one with --split (split=)")
    return data.part(chosen)


def _own_part(run: Run, data: Dataset, split: str | None) -> Dataset:
    """A split of the run's own data; where training set images aside for "val", "train" is without them."""
    chosen = split_name(split) if split is not None else next((name for name in _USUAL if name in data.splits), "val")
    if chosen not in ("train", "val"):
        known = dict.fromkeys((*data.splits, "train", "val"))
        if chosen not in data.splits:
            raise UnknownNameError("split", chosen, known=known, advice="there are " + ", ".join(known))
        return data.part(chosen)
    sets = open_sets(run.recipe)
    samples = sets.train if chosen == "train" else sets.val
    assert isinstance(samples, FileSamples)  # as open_sets makes them
    return replace(samples.files, split=chosen)


def _own(run: Run) -> Dataset:
    """The data of the recipe, without the images that training left out."""
    return _in_order(run, partial(open_files, run.recipe))


def _opened(run: Run, path: str | Path) -> Dataset:
    """Other data."""
    return _in_order(run, partial(open_dataset, path, task=run.recipe.task))


def _in_order(run: Run, opened: Callable[..., Dataset]) -> Dataset:
    """What is opened, with labels in the order of the run's classes; opened: takes `classes`."""
    task = run.recipe.task
    found = opened()
    if found.classes == run.classes:
        return found
    # Masks hold numbers; where their classes have no names, fewer may occur than were trained.
    counted = task == "segmentation" and all(name.isdigit() for name in found.classes)
    if counted or (task != "segmentation" and set(found.classes) <= set(run.classes)):
        found = opened(classes=run.classes)
    _check(run, found)
    return found


def _check(run: Run, data: Dataset) -> None:
    if data.task != run.recipe.task:
        raise InputError(f"{data.name} is data for {data.task}, and the run is for {run.recipe.task}")
    if data.classes != run.classes:
        raise InputError(
            f"{data.name} has the classes {_some(data.classes)}, and the run was trained on {_some(run.classes)}; "
            "evaluate on data of the same classes"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
