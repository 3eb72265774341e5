"""`perimetry data DIR`: what a dataset holds and what is wrong with it, before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perimetry.cli import outputs, terminal
from perimetry.cli.options import Options, positive
from perimetry.cli.progress import Progress
from perimetry.errors import FileError

if TYPE_CHECKING:
    from perimetry.data import DataReport

TASKS = ("classification", "segmentation", "detection")
LAYOUTS = ("folders", "csv", "voc", "pairs", "coco")
_EPILOG = """\
DIR is, for classification, a folder of images for each class (cat/1.jpg, train/cat/1.jpg) or a CSV (path,label);
for segmentation PASCAL VOC's folders, or images beside masks; for detection PASCAL VOC's XML or COCO's JSON.
F may be - for stdout, which then takes the place of the text. Exit codes: 0 where no error was found (warnings do
not count), 3 where a file cannot be read or is not there, 2 for other errors."""


def _options() -> Options:
    options = Options("data", "Check labelled images before training: opens every file, lists all problems.", _EPILOG)
    add = options.add_argument
    add("path", metavar="DIR", help="the dataset: a folder, a CSV or COCO's JSON")
    add("--task", choices=TASKS, help="what it is labelled for (default: recognised)")
    add("--layout", choices=LAYOUTS, help="how it is laid out (default: recognised)")
    add("--split", metavar="S", help="only this split, as train")
    add("--classes", metavar="C", help="class names in the order of their labels (a,b,c or a file with one a line)")
    add("--workers", type=positive, metavar="N", help="files at the same time (default: one for each processor)")
    add = options.add_argument_group("results").add_argument
    add("--json", metavar="F", help="write everything as JSON")
    add("--html", metavar="F", help="write one page to look at, with pictures of what is wrong")
    return options


def run(words: Sequence[str]) -> int:
    """Check, print and write; returns 0, 2 or 3 as told above."""
    options = _options().read(words)
    files = (options.json, options.html)
    outputs.check(files)
    from perimetry.data import check

    with Progress("images") as progress:
        report = check(
            options.path,
            task=options.task,
            layout=options.layout,
            split=options.split,
            classes=None if options.classes is None else _classes(options.classes),
            workers=options.workers,
            progress=progress.show,
        )
    for target, make in zip(files, (report.to_json, report.to_html), strict=True):
        if target:
            outputs.write(target, make())
            terminal.progress(f"wrote {target}") if target != outputs.STDOUT else None
    if outputs.STDOUT not in files:
        print(report.to_text(width=terminal.width(), color=terminal.color()))
    return _exit_code(report)


def _exit_code(report: DataReport) -> int:
    return 3 if report.unreadable else 2 if report.errors else 0


def _classes(text: str) -> list[str]:
    """Names from a list or a file."""
    if not Path(text).is_file():
        return [name.strip() for name in text.split(",")]
    try:
        return [line.strip() for line in Path(text).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{text} cannot be read as a list of names: {error}") from error
