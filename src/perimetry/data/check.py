"""The check before training: what a dataset holds, and everything that is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from perimetry.data.dataset import IGNORED, Dataset, Sample, Task
from perimetry.data.examining import Examined, examine
from perimetry.data.layouts import LayoutName, list_dataset
from perimetry.data.lists import inside
from perimetry.data.problems import KINDS, Problem, errors_of
from perimetry.data.reading import decoding
from perimetry.data.summary import ClassCount, DataReport
from perimetry.errors import InputError
from perimetry.scoring.pairing import listed

# Splits that are other splits together, where a sample belongs to both.
_JOINED = ("trainval", "all")
_AT_ONCE = 4096  # samples that wait for a thread: what waits takes memory, too

Progress = Callable[[int, int], None]


def check(
    data: Dataset | str | Path,
    *,
    task: Task | None = None,
    split: str | None = None,
    layout: LayoutName | None = None,
    classes: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Open every image and mask, and tell what there is and all that is wrong; nothing that is wrong is raised.

    data: a folder (or CSV or JSON), read as `open_dataset` reads it, or a dataset. workers: threads, by default one for
    each processor. progress: called with how many samples are done, of how many.
    Raises only where there is no dataset to look at: no layout, several, no such split.
    """
    name: LayoutName | None = None
    problems: list[Problem] = []
    if isinstance(data, Dataset):
        if (task, layout, classes) != (None, None, None):
            raise InputError("task, layout and classes belong to a folder; a dataset has them already")
        whole = data
        root = (
            Path(os.path.commonpath([sample.image.parent.resolve() for sample in data.samples]))
            if data.samples
            else Path()
        )
    else:
        listing, name = list_dataset(data, task=task, layout=layout, classes=classes)
        whole = listing.dataset
        problems += listing.problems
        path = Path(data).resolve()
        root = path if path.is_dir() else path.parent
    if workers is not None and workers < 1:
        raise InputError(f"expected one worker or more, got {workers}")
    if not whole.samples and not errors_of(problems):
        raise InputError(f"{data.name if isinstance(data, Dataset) else data} holds no labelled image")
    dataset = whole if split is None else whole.part(split)
    others = {sample.name for sample in whole.samples} - {sample.name for sample in dataset.samples}
    problems = [problem for problem in problems if problem.sample not in others]
    looked_at = whole.splits if split is None else (dataset.split,)
    if bare := [each for each in looked_at if each and not whole.splits[each]]:
        problems.append(Problem("empty_split", None, f"no image is left in {listed(bare)}"))
    examined = _examined(dataset, root, workers, progress)
    for each in examined.values():
        problems += each.problems
    if dataset.task == "segmentation" and not dataset.classes:
        held = {label for each in examined.values() for label in each.pixels if 0 <= label < IGNORED}
        dataset = replace(dataset, classes=tuple(str(label) for label in range(max(held, default=0) + 1)))
    counts = _counts(dataset, examined)
    problems += _of_classes(dataset, counts, examined) if dataset.samples else []
    problems += _of_splits(dataset, examined, root)
    order = {kind: place for place, kind in enumerate(KINDS)}
    return DataReport(
        dataset=dataset,
        layout=name,
        root=root,
        problems=tuple(sorted(problems, key=lambda each: (order[each.kind], str(each.file), each.sentence))),
        sizes={name: each.size for name, each in examined.items() if each.size is not None},
        classes=counts,
        ignored_pixels=sum(each.pixels.get(IGNORED, 0) for each in examined.values()),
    )


def _examined(dataset: Dataset, root: Path, workers: int | None, progress: Progress | None) -> dict[str, Examined]:
    tell = progress or (lambda _done, _all: None)
    tell(0, len(dataset))
    found: dict[str, Examined] = {}

    def look(sample: Sample) -> Examined:
        return examine(sample, dataset, root)

    with decoding(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            for start in range(0, len(dataset), _AT_ONCE):
                batch = dataset.samples[start : start + _AT_ONCE]
                for sample, result in zip(batch, pool.map(look, batch), strict=True):
                    found[sample.name] = result
                    tell(len(found), len(dataset))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _counts(dataset: Dataset, examined: Mapping[str, Examined]) -> tuple[ClassCount, ...]:
    """How often each class occurs: images, and objects or pixels."""
    images: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    by_split: dict[str, Counter[int]] = {split: Counter() for split in dataset.splits}
    held_in: dict[str, list[str]] = {}
    for split, names in dataset.splits.items():
        for name in names:
            held_in.setdefault(name, []).append(split)
    for sample in dataset.samples:
        amounts = _amounts(sample, examined[sample.name])
        images.update(amounts.keys())
        totals.update(amounts)
        for split in held_in.get(sample.name, ()):
            by_split[split].update(amounts.keys())
    return tuple(
        ClassCount(
            name=name,
            label=label,
            images=images[label],
            objects=totals[label] if dataset.task == "detection" else None,
            pixels=totals[label] if dataset.task == "segmentation" else None,
            by_split={split: counts[label] for split, counts in by_split.items()},
        )
        for label, name in enumerate(dataset.classes, start=1 if dataset.task == "detection" else 0)
    )


def _amounts(sample: Sample, examined: Examined) -> Mapping[int, int]:
    """How much of each label a sample holds."""
    if sample.objects is not None:
        return Counter(sample.objects.labels)
    return examined.pixels if sample.label is None else {sample.label: 1}


def _of_classes(dataset: Dataset, counts: Sequence[ClassCount], examined: Mapping[str, Examined]) -> Iterable[Problem]:
    """Classes without an example, in all and in the split to train on, and sets with nothing to tell apart."""
    held = [each for each in counts if each.images]
    if empty := [each.name for each in counts if not each.images]:
        told = f"{len(empty)} of {len(counts)} classes have no example: {listed(empty)}"
        yield Problem("empty_class", None, told)
    for split in ("train", "trainval"):
        if rare := [each.name for each in held if each.by_split.get(split) == 0]:
            told = f"{len(rare)} of {len(counts)} classes have no example in {split}: {listed(rare)}"
            yield Problem("empty_class", None, told)
    if not held:
        if dataset.task == "detection":
            yield Problem("one_class", None, "no image has an object: there is only background to learn from")
    elif len(held) == 1 and dataset.task != "detection":
        told = (
            f"every {'image' if dataset.task == 'classification' else 'counted pixel'} is of the class {held[0].name}"
        )
        if any(each.pixels.get(IGNORED) for each in examined.values()):
            told += f" ({IGNORED} is ignored; masks in black and white need 0 and 1, or one bit)"
        yield Problem("one_class", None, told)


def _of_splits(dataset: Dataset, examined: Mapping[str, Examined], root: Path) -> Iterable[Problem]:
    """Samples in two splits, and images of the same bytes in two splits or with two labels."""
    samples = {sample.name: sample for sample in dataset.samples}
    held: dict[str, set[str]] = {name: set() for name in samples}
    for split, names in dataset.splits.items():
        for name in names if split not in _JOINED else ():
            held[name].add(split)
    for name, splits in held.items():
        if len(splits) > 1:
            told = f"stands in {' and in '.join(sorted(splits))}"
            yield Problem("two_splits", inside(samples[name].image, root), told, name)
    first: dict[bytes, list[str]] = {}
    for name, each in examined.items():
        if each.digest is None:
            continue
        for other in first.setdefault(each.digest, []):
            here, there = held[name], held[other]
            if here and there and not here & there:
                told = (
                    f"is the same as {other}, in {' and '.join(sorted(there))}; it is in {' and '.join(sorted(here))}"
                )
                yield Problem("duplicate", inside(samples[name].image, root), told, name)
                break
        for other in first[each.digest]:
            if samples[name].label != samples[other].label:
                told = f"is the same as {other}, which has another label"
                yield Problem("two_labels", inside(samples[name].image, root), told, name)
                break
        if len(first[each.digest]) < 20:  # a placeholder that stands for thousands is told of often enough
            first[each.digest].append(name)
