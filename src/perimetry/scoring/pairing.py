"""Which prediction belongs to which truth: by name, and told in full before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perimetry.errors import FileError, InputError
from perimetry.scoring.pages import SUFFIXES, Array, Pages, open_pages, pages_of_array

Progress = Callable[[int, int], None]
# A folder, a file, or arrays or files by name.
Given = str | Path | Mapping[str, Any]
Photos = str | Path | Mapping[str, Path] | None
LISTED = 20


class UnmatchedError(InputError):
    """Truth and predictions that do not fit together.

    problems: one sentence for each kind of problem, with the names.
    """

    def __init__(self, problems: Sequence[str], common: int) -> None:
        advice = f"; --only-common (only_common=True) scores the {common} that fit" if common else ""
        super().__init__("; ".join(problems) + advice)
        self.problems = tuple(problems)
        self.common = common


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One image of the truth and its prediction, read when asked; `mask` and `photo` where there are any.

    palette: whether the prediction holds indices of a palette, which are no levels.
    """

    name: str
    truth: Callable[[], Array]
    predicted: Callable[[], Array]
    mask: Callable[[], Array] | None
    truth_path: Path | None
    predicted_path: Path | None
    photo: Path | None
    palette: bool = False


def listed(names: Iterable[str]) -> str:
    """Names in a sentence; of many, the first twenty.

    >>> listed(["a", "b"])
    'a, b'
    """
    every = list(names)
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")


def paired(
    truth: Given,
    predicted: Given,
    *,
    only_common: bool = False,
    names: Iterable[str] | None = None,
    masks: Given | None = None,
    photos: Photos = None,
) -> tuple[list[Slice], tuple[str, ...]]:
    """The images of both, one by one in the order of their names, and notes on what was left out.

    Two files are paired whatever their names. names: only these. Raises `UnmatchedError`, `FileError`, `InputError`.
    """
    true, told = opened(truth, "truth"), opened(predicted, "predictions")
    both_files = all(not isinstance(each, Mapping) and Path(each).is_file() for each in (truth, predicted))
    if both_files and names is None:
        told = dict(zip(true, told.values(), strict=True))
    covers = {} if masks is None else opened(masks, "masks")
    if len(covers) == len(true) == 1:
        covers = dict(zip(true, covers.values(), strict=True))
    unfit = {
        name: f"{name} ({true[name].size_text}, {what} {other[name].size_text})"
        for name in true
        for what, other in (("predicted", told), ("mask", covers))
        if name in other and not _fit(true[name], other[name], single=what == "mask")
    }
    kept, notes = common_names(true, told, names=names, only_common=only_common, unfit=unfit)
    if masks is not None and (bare := [name for name in kept if name not in covers]):
        raise InputError(f"no mask for {len(bare)} of {len(kept)} images: {listed(bare)}; give one for each, or none")
    shown = photos_by_name(photos)
    found = [each for name in kept for each in _slices(name, true[name], told[name], covers.get(name), shown.get(name))]
    return found, notes


def common_names(
    truth: Iterable[str],
    predicted: Iterable[str],
    *,
    names: Iterable[str] | None = None,
    only_common: bool = False,
    unfit: Mapping[str, str] | None = None,
    complete: bool = True,
) -> tuple[list[str], tuple[str, ...]]:
    """The names that both have, in order, and notes; raises `UnmatchedError` for the rest unless `only_common`.

    unfit: what is to be told of names whose sizes differ; complete: whether all of the truth needs a prediction.

    >>> common_names(["a", "b"], ["b", "c"], only_common=True)
    (['b'], ('left out: no prediction for 1 of 2: a', 'left out: no truth for 1 prediction: c'))
    """
    true, told = set(truth), set(predicted)
    if names is not None:
        wanted = set(names)
        if unknown := sorted(wanted - true):
            raise InputError(f"the truth lacks {len(unknown)} of the {len(wanted)} images asked for: {listed(unknown)}")
        true, told = true & wanted, told & wanted
    missing, extra = sorted(true - told) if complete else [], sorted(told - true)
    texts = [text for name, text in (unfit or {}).items() if name in true]
    problems = []
    if missing:
        problems.append(f"no prediction for {len(missing)} of {len(true)}: {listed(missing)}")
    if extra:
        problems.append(f"no truth for {len(extra)} prediction{'s' if len(extra) > 1 else ''}: {listed(extra)}")
    if texts:
        problems.append(f"sizes differ: {listed(texts)}")
    kept = sorted((true & told if complete else true) - set(unfit or {}))
    if problems and not (only_common and kept):
        raise UnmatchedError(problems, len(kept))
    return kept, tuple(f"left out: {problem}" for problem in problems)


def opened(given: Given, what: str) -> dict[str, Pages]:
    """The images of a folder, a file, or arrays and files by name."""
    if isinstance(given, Mapping):
        if not given:
            raise InputError(f"the {what} are empty; give one image or more")
        return {
            str(name): open_pages(each) if isinstance(each, Path) else pages_of_array(each, f"{what}[{name!r}]")
            for name, each in given.items()
        }
    path = Path(given)
    if not path.is_dir():
        return {path.stem: open_pages(path)}
    by_name: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or not file.is_file():
            continue
        if file.stem in by_name:
            raise InputError(
                f"{path} holds {by_name[file.stem].name} and {file.name}, both named {file.stem}; keep one"
            )
        by_name[file.stem] = file
    if not by_name:
        raise InputError(f"there is no image in the folder {path} ({what}; looked for {', '.join(SUFFIXES)})")
    return {name: open_pages(file) for name, file in by_name.items()}


def photos_by_name(folder: Photos) -> dict[str, Path]:
    """The photos in a folder by name; those that are given by name as they are."""
    from perimetry.images import photos_in

    if folder is None or isinstance(folder, Mapping):
        return dict(folder or {})
    if not Path(folder).is_dir():
        raise FileError(f"no such folder of photos: {folder}")
    return {file.stem: file for file in photos_in(folder)}


def _fit(truth: Pages, other: Pages, *, single: bool) -> bool:
    """Whether sizes agree; a single mask serves every slice."""
    return truth.shape == other.shape or (single and other.count == 1 and truth.shape[1:] == other.shape[1:])


def _slices(name: str, truth: Pages, predicted: Pages, mask: Pages | None, photo: Path | None) -> Iterable[Slice]:
    for index in range(truth.count):
        yield Slice(
            name if truth.count == 1 else f"{name}[{index}]",
            _reader(truth, index),
            _reader(predicted, index),
            None if mask is None else _reader(mask, index if mask.count > 1 else 0),
            truth.path,
            predicted.path,
            photo if truth.count == 1 else None,
            predicted.palette,
        )


def _reader(pages: Pages, index: int) -> Callable[[], Array]:
    return lambda: pages.page(index)
