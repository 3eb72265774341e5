"""`perimetry score KIND`: how well predictions fit the truth, for masks, boundaries, boxes and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perimetry.cli import outputs, terminal
from perimetry.cli.options import Options, number, numbers, positive, whole
from perimetry.cli.progress import Progress
from perimetry.errors import FileError, InputError, UnknownNameError

if TYPE_CHECKING:
    import argparse

    from perimetry.scoring.results import Scored

KINDS = {
    "masks": "labels of pixels: accuracy, IoU, Dice",
    "boundaries": "outlines, segments: pixel and warping error, V-Rand, distances",
    "boxes": "detections: average precision; true, false and missed",
    "labels": "one class or several for each name: rates, curves, top-k",
}
_HELP = """usage: perimetry score KIND --truth T --pred P [options]

How well predictions fit the truth. Files are matched by name; what does not
match is listed first.

kinds:
{kinds}

`perimetry score KIND --help` tells the options of each."""

# Options that are arguments under the same name.
_AS_GIVEN = (
    *("bootstrap", "photos", "ignore", "foreground", "threshold", "radius", "borders", "tolerance", "parts"),
    *("metrics", "iou", "min_score", "coordinates", "sizes", "positive", "ks", "workers"),
)
_FILES = """\
T and P are a folder of PNG, TIFF or NPY files, or one such file; stacks are scored slice by slice.
"""
_EPILOGS = {
    "masks": _FILES + "Masks hold one label per pixel: palette or gray PNG, whole numbers from 0.",
    "boundaries": _FILES
    + """\
Truth: foreground is what is above 0 (the inside of cells). Predictions: one bit, 8 bits (v / 255), 16 bits
(v / 65535) or probabilities; foreground is what is above the threshold.""",
    "boxes": """\
T is a PASCAL VOC folder (Annotations/*.xml) or COCO's annotations in JSON. P is a JSON list of
{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, in the coordinates of the truth unless
--coordinates says otherwise; ids may be names; for VOC they are file names, and class names or, with --classes,
indices.""",
    "labels": """\
T is a CSV with the columns name,label (several labels: a;b, or a column of 0 and 1 for each class).
P has the same, or name and score_CLASS for each class, or, of two classes, name,label,score.""",
}
_STDOUT = "\nF may be - for stdout, which then takes the place of the text."


def _options(kind: str) -> Options:
    options = Options(f"score {kind}", f"Score {KINDS[kind]}.", _EPILOGS[kind] + _STDOUT)
    add = options.add_argument
    add("--truth", metavar="T", required=True, help="what is true")
    add("--pred", metavar="P", required=True, help="what was predicted")
    {"masks": _masks, "boundaries": _boundaries, "boxes": _boxes, "labels": _labels}[kind](options)
    add = options.add_argument_group("which images").add_argument
    add("--names", metavar="FILE", help="score only the names in this file, one a line")
    add("--only-common", action="store_true", help="leave out what has no partner or another size, with a note")
    if kind != "labels":
        add("--photos", metavar="DIR", help="photos of the same names, for the pictures of --html")
    add = options.add_argument_group("results").add_argument
    add("--bootstrap", type=positive, metavar="N", help="tell 95 %% intervals from N draws of the images")
    add("--seed", type=whole, metavar="N", help="seed of the draws (default: 0)")
    add("--json", metavar="F", help="write all scores as JSON")
    add("--csv", metavar="F", help="write one row per image as CSV")
    add("--html", metavar="F", help="write one page to look at, with the worst images")
    return options


def _masks(options: Options) -> None:
    add = options.add_argument
    add("--ignore", type=whole, metavar="N", help="the label of the truth that stands for no class, as 255")
    add("--classes", metavar="C", help="names from label 0 on (a,b,c or a file with one a line), or how many")
    add("--foreground", action="store_true", help="all labels above 0 are one class")
    add("--workers", type=positive, default=1, metavar="N", help="images at the same time (default: 1)")


def _boundaries(options: Options) -> None:
    add = options.add_argument
    chosen = options.add_mutually_exclusive_group()
    chosen.add_argument("--threshold", type=number, metavar="X", help="of the foreground, 0 to 1 (default: 0.5)")
    chosen.add_argument(
        "--sweep",
        action="store_true",
        help="try 0, 0.1 ... 0.9 as the ISBI challenge, and take the one with the fewest pixels of splits and merges",
    )
    add(
        "--parts",
        metavar="LIST",
        type=lambda text: text.split(","),
        help="what to tell besides the pixel error: warping,segments,outlines (default: all)",
    )
    add("--mask", metavar="M", help="where pixels may be warped: files like T, or one for all slices")
    add("--radius", type=whole, metavar="N", help="of the window that tells splits (default: 20; 0: the whole image)")
    add("--borders", choices=("given", "thinned"), help="thinned: part segments by lines of one pixel (default: given)")
    add("--tolerance", type=number, metavar="X", help="of the boundary F, in pixels (default: 2)")
    add("--workers", type=positive, default=1, metavar="N", help="images at the same time (default: 1)")


def _boxes(options: Options) -> None:
    add = options.add_argument
    add(
        "--metric",
        action="append",
        dest="metrics",
        choices=("voc07", "voc10", "coco", "recall"),
        help="may be repeated (default: voc07 and voc10; for COCO's truth coco); recall: of proposals of no class",
    )
    add("--iou", type=number, metavar="X", help="overlap from which on a detection is true (default: 0.5)")
    add("--min-score", type=number, metavar="X", help="for precision, recall, F1 (default: where F1 is largest)")
    add("--classes", metavar="C", help="class names in order (a,b,c or a file with one a line), for VOC")
    add(
        "--coordinates",
        choices=("truth", "coco"),
        help="of P: those of the truth, or coco: continuous from 0, as `perimetry predict` writes (default: truth)",
    )
    add("--sizes", type=numbers, metavar="LIST", help="with --metric coco: recall of objects by size, as 16,48 pixels")


def _labels(options: Options) -> None:
    add = options.add_argument
    add("--classes", metavar="C", help="class names in order (a,b,c or a file with one a line)")
    add("--truth-columns", metavar="N,L", help="what T calls its name and label (default: name,label)")
    add("--positive", metavar="CLASS", help="of two classes the one that is looked for (default: the second)")
    add("--threshold", type=number, metavar="X", help="the score from which on a label is told")
    add("--top-k", type=positive, nargs="+", dest="ks", metavar="K", help="accuracies among the K best (default: 1 5)")


def run(words: Sequence[str]) -> int:
    """Score, print and write; returns 0."""
    if not words or words[0] in ("-h", "--help"):
        print(_HELP.format(kinds="\n".join(f"  {kind:12}{summary}" for kind, summary in KINDS.items())))
        return 0 if words else 2
    kind, *rest = words
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, known=KINDS, advice="one of " + ", ".join(KINDS) + " comes after score")
    options = _options(kind).read(rest)
    if options.seed is not None and options.bootstrap is None:
        raise InputError("--seed belongs to --bootstrap; add that, or leave --seed out")
    files = (options.json, options.csv, options.html)
    outputs.check(files)
    from perimetry.scoring.pairing import UnmatchedError

    try:
        scored = _scored(kind, options)
    except UnmatchedError as error:
        for problem in error.problems:
            terminal.say(problem)
        more = f"; --only-common scores the {error.common} that fit" if error.common else ""
        terminal.say(f"nothing was scored, since truth and predictions do not match{more}")
        return 2
    for target, make in zip(files, (scored.to_json, scored.to_csv, scored.to_html), strict=True):
        if target:
            outputs.write(target, make())
            terminal.progress(f"wrote {target}") if target != outputs.STDOUT else None
    if outputs.STDOUT not in files:
        from perimetry.report.score_text import score_text

        print(score_text(scored, width=terminal.width(), color=terminal.color()))
    return 0


def _scored(kind: str, options: argparse.Namespace) -> Scored:
    """Call the function of that kind with the options that were given."""
    import perimetry

    asked: dict[str, Any] = {"only_common": options.only_common, "seed": options.seed or 0}
    asked |= {name: getattr(options, name) for name in _AS_GIVEN if getattr(options, name, None) is not None}
    if options.names is not None:
        asked["names"] = _lines(options.names)
    if getattr(options, "classes", None) is not None:
        asked["classes"] = _classes(options.classes, counted=kind == "masks")
    if getattr(options, "mask", None) is not None:
        asked["masks"] = options.mask
    if getattr(options, "truth_columns", None) is not None:
        columns = tuple(options.truth_columns.split(","))
        if len(columns) != 2:
            raise InputError(f"expected two columns as name,label, got --truth-columns {options.truth_columns!r}")
        asked["columns"] = columns
    if getattr(options, "sweep", False):
        from perimetry.metrics import isbi_thresholds

        asked["sweep"] = isbi_thresholds()
    score: Callable[..., Scored] = getattr(perimetry, f"score_{kind}")
    with Progress("images") as progress:
        tell = progress.show if kind != "boundaries" else _announcing(progress.show)
        return score(options.truth, options.pred, **asked, progress=tell)


def _announcing(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """The same, with word of the compilation that the first warp of an installation waits for."""
    from perimetry.metrics import warping

    told = warping.compiled()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if not told:
            terminal.say("compiling the warp's loops for this machine, once; it takes some seconds")
            told = True
        show(done, total)

    return tell


def _classes(text: str, *, counted: bool) -> int | list[str]:
    """Class names from a list or a file, or how many there are."""
    if counted and text.isascii() and text.isdigit():
        return int(text[:9])
    if Path(text).is_file():
        return _lines(text)
    if "," in text:
        return [name.strip() for name in text.split(",")]
    raise InputError(f"--classes {text}: there is no such file, and no comma in it; give a,b,c or a file of names")


def _lines(file: str) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file} cannot be read as a list of names: {error}") from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise InputError(f"{file} is empty; expected one name a line")
    return names
