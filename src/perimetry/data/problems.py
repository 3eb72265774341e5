"""What can be wrong with a dataset: kinds of problems, how grave they are, and one record for each that is found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perimetry.data.dataset import Dataset
from perimetry.errors import FileError, InputError

Severity = Literal["error", "warning"]

# Each kind, its severity, and what it is called; in the order in which they are told.
KINDS: dict[str, tuple[Severity, str]] = {
    "broken_file": ("error", "files that cannot be read"),
    "missing_file": ("error", "files that are not there"),
    "annotation": ("error", "annotations that make no sense"),
    "unknown_class": ("error", "classes that are not in the list"),
    "label_range": ("error", "labels out of range"),
    "mask_values": ("error", "masks that hold no labels"),
    "mask_size": ("error", "masks of another size than their image"),
    "degenerate_box": ("error", "boxes without area"),
    "box_beyond": ("error", "boxes wholly outside their image"),
    "turned_boxes": ("error", "boxes of an image before it is turned upright"),
    "doubled_name": ("error", "names that stand for two images"),
    "empty_split": ("error", "splits without an image"),
    "one_class": ("error", "nothing to tell apart"),
    "box_outside": ("warning", "boxes that reach outside their image"),
    "image_size": ("warning", "images of another size than their annotation says"),
    "turned_image": ("warning", "images that are turned by their EXIF orientation"),
    "all_ignored": ("warning", "masks in which every pixel is ignored"),
    "empty_class": ("warning", "classes without an example"),
    "unlabelled": ("warning", "images without a label"),
    "two_splits": ("warning", "images in two splits"),
    "duplicate": ("warning", "the same image in two splits"),
    "two_labels": ("warning", "the same image with two labels"),
}
UNREADABLE = ("broken_file", "missing_file")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong.

    kind: one of `KINDS`; file: where, relative to the dataset where it is inside; sentence: what, without the file.
    sample: the name of the image that it is about, where it is about one.
    """

    kind: str
    file: Path | None
    sentence: str
    sample: str | None = None

    @property
    def severity(self) -> Severity:
        """Whether training could go wrong ("error"), or it is only worth knowing ("warning")."""
        return KINDS[self.kind][0]

    def to_dict(self) -> dict[str, Any]:
        """The problem as plain data."""
        file = None if self.file is None else self.file.as_posix()
        return {"kind": self.kind, "severity": self.severity, "file": file, "sentence": self.sentence}

    def __str__(self) -> str:
        return self.sentence if self.file is None else f"{self.file}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a reader of a layout found: the dataset without what is wrong, and what is wrong, files not opened yet."""

    dataset: Dataset
    problems: tuple[Problem, ...] = ()


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Those that are errors."""
    return [problem for problem in problems if problem.severity == "error"]


def refuse(problems: Sequence[Problem], path: Path) -> None:
    """Raise `FileError` or `InputError` where there is an error: the first, and where all are listed."""
    errors = errors_of(problems)
    if not errors:
        return
    first = next((problem for problem in errors if problem.kind in UNREADABLE), errors[0])
    more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
    advice = (
        f'`perimetry data {path}` lists everything; problems="leave_out", of a recipe broken="skip", goes on without'
    )
    told = f"{path if first.file is None else path / first.file}: {first.sentence}{more}; {advice}"
    raise FileError(told) if first.kind in UNREADABLE else InputError(told)
