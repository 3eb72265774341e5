"""`perimetry map`: what units of a model really see, measured by gradient or by occlusion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perimetry.cli import outputs, terminal
from perimetry.cli.loading import named_model
from perimetry.cli.options import Options, byte_count, image_size, region, share, whole
from perimetry.cli.progress import Progress
from perimetry.errors import InputError
from perimetry.files import write_whole

if TYPE_CHECKING:
    import argparse

    from perimetry import UnitMap
    from perimetry.models import LoadedModel

_EPILOG = """\
A unit is layer, layer:channel, layer@row,column or layer:channel@row,column; without a position the centre one.
With --method effective it may be a pattern over layers, such as 'layer*'. --unit may be given several times: --png,
--npz and --resume are then numbered (map-1.png, map-2.png, ...), and the JSON holds a list of maps.
`perimetry inspect MODEL` lists the layers. Without a model: a small trained network; without a photo: a sample photo.
F may be - for the JSON on stdout, which then takes the place of the text."""

_VALUES = ("signed", "absolute", "relative", "l2", "norm", "argmax")
_OCCLUSION_ONLY = ("patch", "stride", "fill", "value", "region", "seed", "memory", "resume")
_EFFECTIVE_ONLY = ("convention",)
_FILES = ("json", "npz", "png", "html")


def _options() -> Options:
    options = Options("map", "What units of a model really see, by gradient or by occlusion.", _EPILOG)
    add = options.add_argument
    add("model", nargs="?", metavar="MODEL", help="the model, named as for `perimetry inspect`")
    add(
        "--unit",
        action="append",
        metavar="U",
        help="what to ask about; may be repeated (default: the centre of the last layer with positions)",
    )
    add("--image", nargs="+", action="extend", metavar="PHOTO", help="photos, or folders of them, to average over")
    add("--size", type=image_size, metavar="HxW", help="size of the image in pixels (default: the model's own)")
    add("--weights", metavar="W", help="none, default (pretrained, may be downloaded), or a file")
    add(
        "--method",
        choices=("effective", "occlusion", "both"),
        default="effective",
        help="effective: the gradient with respect to the image (the default); "
        "occlusion: a patch is moved over the photo; both: one map of each",
    )
    add("--share", type=share, metavar="S", help="measure where the map exceeds this share of its maximum, as 0.1")
    gradient = options.add_argument_group("with --method effective or both")
    gradient.add_argument("--convention", metavar="NAME", help="how gradients are summed up (default: luo2016)")
    add = options.add_argument_group("with --method occlusion or both").add_argument
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
    add("--memory", type=byte_count, metavar="SIZE", help="take no more than this besides the model, as 2GiB")
    add("--resume", metavar="F", help="keep partial results in this file, and go on from those that it holds")
    add = options.add_argument_group("results").add_argument
    add("--png", metavar="F", help="write a picture: the map over the photo")
    add("--npz", metavar="F", help="write the map itself, as NumPy arrays")
    add("--html", metavar="F", help="write one page with all maps, to open in a browser")
    add("--json", metavar="F", help="write what was measured as JSON")
    return options


def run(words: Sequence[str]) -> int:
    """Measure, print and write; returns 0."""
    options = _options().read(words)
    _check(options)
    photos = _photos(options.image)
    model = named_model(options.model, weights=options.weights, size=options.size)
    units: list[str | None] = [*dict.fromkeys(options.unit)] if options.unit else [None]
    maps = _effective(model, photos, units, options) if options.method != "occlusion" else []
    if options.method != "effective":
        occluded = _occluded(model, photos, units, options)
        maps = [each for pair in zip(maps, occluded, strict=True) for each in pair] if maps else occluded
    for target in _write(maps, model, photos, options):
        if target != outputs.STDOUT:
            terminal.progress(f"wrote {target}")
    if options.json != outputs.STDOUT:
        from perimetry.report.map_text import map_text

        form: dict[str, Any] = {"width": terminal.width(), "photo": Path(photos[0]).name, "color": terminal.color()}
        print("\n\n".join(map_text(found, **form) for found in maps))
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be told before the work starts."""
    for method, names in (("occlusion", _OCCLUSION_ONLY), ("effective", _EFFECTIVE_ONLY)):
        given = [name for name in names if getattr(options, name) is not None]
        if given and options.method not in (method, "both"):
            raise InputError(f"--{given[0]} belongs to --method {method}; add that, or leave --{given[0]} out")
    for unit in options.unit or ():
        if _is_pattern(unit) and options.method != "effective":
            raise InputError(f"occlusion maps are made of one unit at a time, not of {unit!r}; name each with --unit")
    for name in ("png", "npz", "html", "resume"):
        if getattr(options, name) == outputs.STDOUT:
            raise InputError(f"--{name} needs the name of a file; only --json can go to stdout")
    outputs.check([getattr(options, name) for name in (*_FILES, "resume")])


def _photos(given: Sequence[str] | None) -> list[str]:
    """The files to measure on: folders are replaced by the photos in them."""
    from perimetry.images import photos_in, sample_photo

    files: list[str] = []
    for name in given or [str(sample_photo())]:
        files += [str(file) for file in photos_in(name)] if Path(name).is_dir() else [name]
    return files


def _is_pattern(unit: str) -> bool:
    """True for a pattern over layers; brackets belong to names, as in output[out]:15."""
    return "*" in unit or "?" in unit


def _effective(
    model: LoadedModel, photos: list[str], units: list[str | None], options: argparse.Namespace
) -> list[UnitMap]:
    import perimetry

    asked: dict[str, Any] = {} if options.convention is None else {"convention": options.convention}
    with Progress("photos") as progress:
        asked["progress"] = progress.show
        if len(units) == 1 and not _is_pattern(units[0] or ""):
            found = [perimetry.effective_field(model, photos, units[0], **asked)]
        else:
            names = [unit for unit in units if unit is not None]
            plain = [name for name in names if not _is_pattern(name)]
            known = perimetry.effective_fields(model, photos, plain, **asked) if plain else {}
            by_name: dict[str, UnitMap] = {}
            for name in names:
                if _is_pattern(name):
                    by_name |= perimetry.effective_fields(model, photos, name, **asked)
                else:
                    by_name[name] = known[name]
            found = list(by_name.values())
    return found if options.share is None else [each.with_share(options.share) for each in found]


def _occluded(
    model: LoadedModel, photos: list[str], units: list[str | None], options: argparse.Namespace
) -> list[UnitMap]:
    import perimetry

    names = ("patch", "stride", "fill", "value", "region", "seed", "memory", "share")
    asked: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    found = []
    for unit, resume in zip(units, outputs.numbered(options.resume, len(units)), strict=True):
        with Progress("positions") as progress:
            found.append(perimetry.occlude(model, photos, unit, **asked, checkpoint=resume, progress=progress.show))
    return found


def _write(maps: list[UnitMap], model: LoadedModel, photos: list[str], options: argparse.Namespace) -> list[str]:
    """Write the files that were asked for; their names, in order."""
    written = []
    if options.json:
        told = {"schema": 1, "maps": [found.to_dict() for found in maps]}
        single = len(maps) == 1
        outputs.write(options.json, maps[0].to_json() if single else json.dumps(told, indent=1, allow_nan=False))
        written.append(options.json)
    photo = model.photo(photos[0])[1] if options.png or options.html else None
    for found, npz, png in zip(
        maps, outputs.numbered(options.npz, len(maps)), outputs.numbered(options.png, len(maps)), strict=True
    ):
        if npz:
            found.save_npz(npz)
        if png:
            from perimetry.report.map_image import map_png

            write_whole(png, map_png(found, photo))
        written += [name for name in (npz, png) if name]
    if options.html:
        from perimetry.report.map_html import maps_html

        outputs.write(options.html, maps_html(maps, photo))
        written.append(options.html)
    return written
