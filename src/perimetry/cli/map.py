"""`perimetry map`: what one unit of a model really sees, measured by gradient or by occlusion."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perimetry.cli import outputs, terminal
from perimetry.cli.loading import named_model
from perimetry.cli.options import Options, byte_count, image_size, region, whole
from perimetry.errors import InputError
from perimetry.files import write_whole

if TYPE_CHECKING:
    import argparse

    from perimetry import UnitMap
    from perimetry.models import LoadedModel

_EPILOG = """\
A unit is layer, layer:channel, layer@row,column or layer:channel@row,column; without a position the centre one.
`perimetry inspect MODEL` lists the layers. Without a model: a small trained network; without a photo: a sample photo.
F may be - for the JSON on stdout, which then takes the place of the text."""

_VALUES = ("signed", "absolute", "relative", "l2", "argmax")
_OCCLUSION_ONLY = ("patch", "stride", "fill", "value", "region", "seed", "memory", "resume")
_EFFECTIVE_ONLY = ("convention",)


def _options() -> Options:
    options = Options("map", "What one unit of a model really sees, by gradient or by occlusion.", _EPILOG)
    add = options.add_argument
    add("model", nargs="?", metavar="MODEL", help="the model, named as for `perimetry inspect`")
    add("--unit", metavar="U", help="what to ask about (default: the centre of the last layer with positions)")
    add("--image", nargs="+", action="extend", metavar="PHOTO", help="photos, or folders of them, to measure on")
    add("--size", type=image_size, metavar="HxW", help="size of the image in pixels (default: the model's own)")
    add("--weights", metavar="W", help="none, default (pretrained, may be downloaded), or a file")
    add(
        "--method",
        choices=("effective", "occlusion"),
        default="effective",
        help="effective: the gradient with respect to the image (the default); "
        "occlusion: a patch is moved over one photo",
    )
    gradient = options.add_argument_group("with --method effective")
    gradient.add_argument("--convention", metavar="NAME", help="how gradients are summed up (default: luo2016)")
    add = options.add_argument_group("with --method occlusion").add_argument
    add("--patch", type=image_size, metavar="HxW", help="size of the patch in pixels (default: 16)")
    add("--stride", type=image_size, metavar="HxW", help="how far the patch moves at a time (default: 8)")
    add(
        "--fill",
        metavar="FILL",
        help="noise (the default), mean, blur, constant:V (V as the model takes pixels), or a photo",
    )
    add(
        "--value",
        choices=_VALUES,
        help="what is told of the unit's change (default: signed for one number, l2 for several)",
    )
    add("--region", type=region, metavar="T,L,B,R", help="only patches inside this part of the image")
    add("--seed", type=whole, metavar="N", help="seed of the noise (default: 0)")
    add("--memory", type=byte_count, metavar="SIZE", help="stay below this, for example 2GiB")
    add("--resume", metavar="F", help="keep partial results in this file, and go on from those that it holds")
    add = options.add_argument_group("results").add_argument
    add("--png", metavar="F", help="write a picture: the map over the photo")
    add("--npz", metavar="F", help="write the map itself, as NumPy arrays")
    add("--json", metavar="F", help="write what was measured as JSON")
    return options


def run(words: Sequence[str]) -> int:
    """Measure, print and write; returns 0."""
    options = _options().read(words)
    _check(options)
    photos = _photos(options.image)
    model = named_model(options.model, weights=options.weights, size=options.size)
    found = _occluded(model, photos, options) if options.method == "occlusion" else _effective(model, photos, options)
    if options.json:
        outputs.write(options.json, found.to_json())
    if options.npz:
        found.save_npz(options.npz)
    if options.png:
        from perimetry.report.map_image import map_png

        write_whole(options.png, map_png(found, model.photo(photos[0])[1]))
    for target in (options.json, options.npz, options.png):
        if target not in (None, outputs.STDOUT):
            terminal.progress(f"wrote {target}")
    if options.json != outputs.STDOUT:
        from perimetry.report.map_text import map_text

        print(map_text(found, width=terminal.width(), photo=Path(photos[0]).name, color=terminal.color()))
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be told before the work starts."""
    for method, names in (("occlusion", _OCCLUSION_ONLY), ("effective", _EFFECTIVE_ONLY)):
        given = [name for name in names if getattr(options, name) is not None]
        if given and options.method != method:
            raise InputError(f"--{given[0]} belongs to --method {method}; add that, or leave --{given[0]} out")
    for name in ("png", "npz", "resume"):
        if getattr(options, name) == outputs.STDOUT:
            raise InputError(f"--{name} needs the name of a file; only --json can go to stdout")
    outputs.check((options.json, options.npz, options.png, options.resume))


def _photos(given: Sequence[str] | None) -> list[str]:
    """The files to measure on: folders are replaced by the photos in them."""
    from perimetry.images import photos_in, sample_photo

    files: list[str] = []
    for name in given or [str(sample_photo())]:
        files += [str(file) for file in photos_in(name)] if Path(name).is_dir() else [name]
    return files


def _effective(model: LoadedModel, photos: list[str], options: argparse.Namespace) -> UnitMap:
    import perimetry

    asked: dict[str, Any] = {} if options.convention is None else {"convention": options.convention}
    with Progress("photos") as progress:
        return perimetry.effective_field(model, photos, options.unit, **asked, progress=progress.show)


def _occluded(model: LoadedModel, photos: list[str], options: argparse.Namespace) -> UnitMap:
    import perimetry

    if len(photos) > 1:
        raise InputError(f"occlusion maps are made of one photo at a time, got {len(photos)}; name one")
    names = ("patch", "stride", "fill", "value", "region", "seed", "memory")
    asked: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "fill" in asked and Path(asked["fill"]).is_file():
        asked["fill"] = model.photo(asked["fill"])[0]
    with Progress("positions") as progress:
        return perimetry.occlude(
            model, photos[0], options.unit, **asked, checkpoint=options.resume, progress=progress.show
        )


class Progress:
    """One line at a terminal that tells how much is done and how long the rest will take; silent elsewhere."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.started = time.monotonic()
        self.first: int | None = None  # what was done at the first call: a resumed run starts with more than nothing
        self.shown = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        """Tell it, at most five times a second."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = done, now
        if not sys.stderr.isatty() or (now - self.shown < 0.2 and done < total):
            return
        self.shown = now
        fresh, spent = done - self.first, now - self.started
        left = f", about {duration(spent * (total - done) / fresh)} left" if fresh > 0 and done < total else ""
        print(f"\r\x1b[Kperimetry: {done} of {total} {self.noun}{left}", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.2), duration(75), duration(7300)
    ('5 s', '1 min 15 s', '2 h 1 min')
    """
    whole_seconds = int(-(-seconds // 1))
    minutes, rest = divmod(whole_seconds, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
