"""Opening a folder as a dataset: which layout it has, recognised from what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from perimetry.data import class_folders, coco, pairs, tables, voc
from perimetry.data.dataset import IGNORED, TASKS, Dataset, Sample, Task
from perimetry.data.lists import distinct
from perimetry.data.problems import Listing, Problem, errors_of, refuse
from perimetry.data.reading import decoding, read_mask
from perimetry.errors import FileError, InputError, UnknownNameError

LayoutName = Literal["folders", "csv", "voc", "pairs", "coco"]
Problems = Literal["refuse", "leave_out"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a dataset.

    looked_for: what tells it, for people; recognise: whether a folder (or a file) has it; read: what is in it, with
    classes in the order given, or None.
    """

    name: LayoutName
    task: Task
    looked_for: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, Sequence[str] | None], Listing]
    of_file: bool = False


LAYOUTS = (
    Layout("folders", "classification", class_folders.LOOKED_FOR, class_folders.recognise, class_folders.read),
    Layout("csv", "classification", tables.LOOKED_FOR, tables.recognise, tables.read, of_file=True),
    Layout("voc", "segmentation", voc.MASKS_LOOKED_FOR, voc.recognise_masks, voc.read_masks),
    Layout("pairs", "segmentation", pairs.LOOKED_FOR, pairs.recognise, pairs.read),
    Layout("voc", "detection", voc.BOXES_LOOKED_FOR, voc.recognise_boxes, voc.read_boxes),
    Layout("coco", "detection", coco.LOOKED_FOR, coco.recognise, coco.read, of_file=True),
)


def open_dataset(
    path: str | Path,
    *,
    task: Task | None = None,
    split: str | None = None,
    layout: LayoutName | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems = "refuse",
) -> Dataset:
    """The labelled images in a folder (or in a CSV or a JSON), or one split of them; images are not opened yet.

    task, layout: recognised from what is there, where only one fits. classes: their names in the order of their labels.
    problems: "refuse" raises for the first error that the layout shows (a broken annotation, a listed image that is not
    there), "leave_out" goes on with what is right; `check` tells all, also of the images themselves.

    Of masks without names of classes the labels are counted, which reads them all: the classes are "0", "1", ...

    Raises `FileError` for what cannot be read or is not there, `InputError` for the rest, with what was looked for.
    """
    if problems not in get_args(Problems):
        raise UnknownNameError("value of problems", problems, known=get_args(Problems))
    listing = list_dataset(path, task=task, layout=layout, classes=classes)[0]
    if problems == "refuse":
        refuse(listing.problems, Path(path))
    dataset = listing.dataset if split is None else listing.dataset.part(split)
    return _with_classes(dataset, listing.dataset, path, problems)


def open_sound(
    path: str | Path, *, task: Task | None = None, classes: Sequence[str] | None = None
) -> tuple[Dataset, list[Problem]]:
    """As `open_dataset` without any image that an error of the layout is about, and those errors.

    With `open_dataset(problems="leave_out")` an image stays that lost an object, to be learnt as background; not here.
    Raises as `open_dataset` does.
    """
    listing = list_dataset(path, task=task, classes=classes)[0]
    errors = errors_of(listing.problems)
    wrong = {problem.sample for problem in errors}
    sound = listing.dataset.of(sample.name for sample in listing.dataset.samples if sample.name not in wrong)
    return _with_classes(sound, sound, path, "leave_out"), errors


def list_dataset(
    path: str | Path,
    *,
    task: Task | None = None,
    layout: LayoutName | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[Listing, LayoutName]:
    """What a folder holds and what is wrong with it, before any image is opened, and by which layout it was read."""
    root = Path(path)
    if not root.exists():
        raise FileError(f"no such folder: {path}")
    chosen = _layout(root, task, layout)
    given = None if classes is None else distinct([str(name) for name in classes], "classes")
    # An absolute path has a name, which "." has not.
    return chosen.read(root.resolve(), given), chosen.name


def _layout(root: Path, task: Task | None, name: LayoutName | None) -> Layout:
    """The one layout that fits; raises `InputError` where none does, or several."""
    for kind, given, known in (("task", task, TASKS), ("layout", name, get_args(LayoutName))):
        if given is not None and given not in known:
            raise UnknownNameError(kind, str(given), known=known, advice="it can be " + ", ".join(known))
    fitting = [each for each in LAYOUTS if task in (None, each.task) and name in (None, each.name)]
    if not fitting:
        ways = ", ".join(each.name for each in LAYOUTS if each.task == task)
        raise InputError(f"no data for {task} is laid out as {name}; there is {ways}")
    if root.is_file():
        fitting = [each for each in fitting if each.of_file]
    found = [each for each in fitting if each.recognise(root)]
    if len(found) == 1:
        return found[0]
    if not found:
        looked = "; ".join(f"{each.looked_for} ({each.task})" for each in fitting)
        wrong_task = [each for each in LAYOUTS if task is not None and root.is_dir() and each.recognise(root)]
        there = f"; it looks like data for {' or '.join(each.task for each in wrong_task)}" if wrong_task else ""
        raise InputError(f"{root} has no layout that is known{there}; looked for: {looked or 'a CSV or a JSON'}")
    told = "; ".join(f"{each.task} by {each.name} ({each.looked_for})" for each in found)
    option = "--task (task=)" if len({each.task for each in found}) > 1 else "--layout (layout=)"
    raise InputError(f"{root} can be read in {len(found)} ways; choose with {option}: {told}")


def _with_classes(part: Dataset, whole: Dataset, path: str | Path, problems: Problems) -> Dataset:
    """The part, its classes counted in all masks where none are named; raises `InputError` where it has no images."""
    if not part.samples:
        raise InputError(f"{path} holds no labelled image; `perimetry data {path}` tells what is there")
    named = part.task != "segmentation" or bool(part.classes)
    return part if named else replace(part, classes=_counted(whole, problems))


def _counted(dataset: Dataset, problems: Problems) -> tuple[str, ...]:
    """The labels that masks hold, as names, from 0 to the largest."""

    def labels(sample: Sample) -> set[int]:
        assert sample.mask is not None  # as of all samples of segmentation
        try:
            return set(np.unique(read_mask(sample.mask)).tolist())
        except (FileError, InputError):
            if problems == "refuse":
                raise
            return set()

    with decoding(), ThreadPoolExecutor(os.cpu_count()) as pool:
        held = set().union(*pool.map(labels, dataset.samples)) - {IGNORED}
    most = max(held, default=0)
    if most > IGNORED or min(held, default=0) < 0:
        raise InputError(f"the masks of {dataset.name} hold labels from {min(held)} to {most}; expected 0 to 255")
    return tuple(str(label) for label in range(most + 1))
