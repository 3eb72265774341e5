"""`perimetry predict RUN IMAGE|DIR`: masks, boxes or labels of images by a trained run, as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perimetry.cli import terminal
from perimetry.cli.evaluate import add_run_options
from perimetry.cli.loading import working_directory_too
from perimetry.cli.options import Options, number
from perimetry.cli.progress import Progress

if TYPE_CHECKING:
    from perimetry.prediction import Predicted

_EPILOG = """\
RUN is the directory that `perimetry train --out RUN` made. Into OUT goes, by the run's task: masks/NAME.png (labels in
a palette, as large as the image); boxes.json (COCO's results: continuous coordinates from 0); labels.csv, and
scores.csv for `perimetry score labels`; pictures/NAME.jpg to look at; and predictions.json, by which a second call
keeps what is there already, unless the weights, the settings or the image changed. Exit codes: 0 done, 2 for bad
input, 3 where an image cannot be read or is not there."""


def _options() -> Options:
    options = Options("predict", "Tell masks, boxes or labels of images by a trained run.", _EPILOG)
    add_run_options(options)
    add = options.add_argument
    add("images", metavar="IMAGE|DIR", help="an image, or a folder of images (of labels: and of folders)")
    add("--out", metavar="OUT", required=True, help="the folder for the predictions")
    told = "leave out images that cannot be read, are too small or lack proposals, and say so"
    add("--skip-broken", action="store_true", help=told)
    add("--no-pictures", action="store_true", help="write no pictures to look at")
    add = options.add_argument_group("boxes").add_argument
    add("--threshold", type=number, default=0.0, metavar="X", help="leave out boxes of lower scores (default: 0)")
    add("--ids", metavar="FILE", help="COCO's annotations whose ids boxes.json takes (default: names)")
    add("--proposals", metavar="FILE", help="boxes by image, for networks that are given them (see `perimetry train`)")
    return options


def run(words: Sequence[str]) -> int:
    """Predict, write, and tell what was written; returns 0."""
    options = _options().read(words)
    working_directory_too()
    from perimetry.prediction import load_run, predict
    from perimetry.training.devices import device_of

    trained = load_run(options.run, checkpoint=options.checkpoint, device=device_of(options.device))
    with Progress("images") as progress, _told_to_stop():
        found = predict(
            trained,
            options.images,
            out=options.out,
            scales=options.scales,
            flip="horizontal" if options.flip else "none",
            crops="ten" if options.ten_crop else "centre",
            threshold=options.threshold,
            pictures=not options.no_pictures,
            broken="skip" if options.skip_broken else "refuse",
            ids=options.ids,
            proposals=options.proposals,
            progress=progress.show,
        )
    for _, reason in found.skipped:
        terminal.say(f"skipped: {reason}")
    print(_told(found))
    return 0


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Ctrl-C, with what to do next."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command keeps what was predicted and does the rest") from None


def _told(found: Predicted) -> str:
    parts = [f"{len(found.done)} image{'' if len(found.done) == 1 else 's'} predicted"]
    parts += [f"{len(found.kept)} there already"] if found.kept else []
    parts += [f"{len(found.skipped)} skipped"] if found.skipped else []
    return f"{', '.join(parts)}: {', '.join(map(str, found.files))}"
