"""`perimetry evaluate RUN`: the scores of a trained run on a split, and with several scales what each costs."""

from __future__ import annotations

from collections.abc import Sequence

from perimetry.cli import outputs, terminal
from perimetry.cli.loading import working_directory_too
from perimetry.cli.options import Options, numbers
from perimetry.cli.progress import Progress

_EPILOG = """\
RUN is the directory that `perimetry train --out RUN` made. The scores are those that `perimetry score` finds of what
`perimetry predict` writes. F may be - for stdout, which then takes the place of the text. Exit codes: 0 done, 2 for bad
input, 3 where a file cannot be read or is not there."""


def add_run_options(options: Options) -> None:
    """What evaluating and predicting have in common."""
    add = options.add_argument
    add("run", metavar="RUN", help="the directory of a run")
    add("--checkpoint", choices=("best", "last"), help="which weights (default: best; last where there is no best)")
    add("--device", metavar="D", help="cpu, or cuda (default: cuda where there is one)")
    add = options.add_argument_group("image pyramid").add_argument
    add("--scales", type=numbers, default=(1.0,), metavar="LIST", help="factors of the tested size, as 0.75,1,1.25")
    add("--flip", action="store_true", help="look at each image mirrored too")
    add("--ten-crop", action="store_true", help="of labels: the corners and the centre, and each of them mirrored")


def _options() -> Options:
    options = Options("evaluate", "Score a trained run on a split of labelled images.", _EPILOG)
    add_run_options(options)
    add = options.add_argument_group("which images").add_argument
    add("--data", metavar="DIR", help="labelled images, laid out as for training (default: the run's own)")
    add("--split", metavar="S", help="which split (default: test, or val where there is none)")
    add("--proposals", metavar="FILE", help="boxes by image, for networks that are given them (see `perimetry train`)")
    add = options.add_argument_group("scores of boxes").add_argument
    add("--boxes", choices=("voc", "coco"), help="whose average precision (default: that usual for the data)")
    told = "tell COCO's recall of objects by size, as 16,48 pixels"
    add("--sizes", type=numbers, default=(), metavar="LIST", help=told)
    add = options.add_argument_group("results").add_argument
    add("--json", metavar="F", help="write all scores as JSON")
    add("--csv", metavar="F", help="write one row per image as CSV")
    add("--html", metavar="F", help="write one page to look at: curves, scores, samples, the worst images, the recipe")
    return options


def run(words: Sequence[str]) -> int:
    """Evaluate, print and write; returns 0."""
    options = _options().read(words)
    files = (options.json, options.csv, options.html)
    outputs.check(files)
    working_directory_too()
    from perimetry.prediction import evaluate, load_run
    from perimetry.training.devices import device_of

    trained = load_run(options.run, checkpoint=options.checkpoint, device=device_of(options.device))
    with Progress("images") as progress:
        found = evaluate(
            trained,
            options.data,
            split=options.split,
            proposals=options.proposals,
            scales=options.scales,
            flip="horizontal" if options.flip else "none",
            crops="ten" if options.ten_crop else "centre",
            boxes=options.boxes,
            sizes=options.sizes,
            progress=progress.show,
        )
    for target, make in zip(files, (found.to_json, found.to_csv, found.to_html), strict=True):
        if target:
            outputs.write(target, make())
            terminal.progress(f"wrote {target}") if target != outputs.STDOUT else None
    if outputs.STDOUT not in files:
        print(found.to_text(width=terminal.width(), color=terminal.color()))
    return 0
