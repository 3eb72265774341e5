"""`perimetry inspect`: what every layer of one or more models sees, and what it costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from perimetry.cli import outputs, terminal
from perimetry.cli.loading import named_model
from perimetry.cli.options import Options, image_size, positive
from perimetry.errors import InputError, PerimetryError, UnknownNameError
from perimetry.report.visible import SORT_KEYS

if TYPE_CHECKING:
    import argparse

    from perimetry.inspection import Inspection
    from perimetry.models import LoadedModel
    from perimetry.records import ModelRecord

_EPILOG = """\
A model is torchvision:resnet50, timm:convnext_tiny, package.module:function, or a file (.pt2, TorchScript); a bare
name is looked up in that order. Without a model: a small trained network on a sample photo.
A file in place of F may be - for stdout, which then takes the place of the table.
Such a file or function is a program: name only those that you would run."""


def _options() -> Options:
    options = Options("inspect", "What every layer of a model sees, and what it costs.", _EPILOG)
    add = options.add_argument
    add("models", nargs="*", metavar="MODEL", help="what to inspect; several are set side by side")
    add("--image", metavar="PHOTO", help="show the models this photo")
    add("--size", type=image_size, metavar="HxW", help="size of the image in pixels (default: the model's own)")
    add(
        "--weights",
        metavar="W",
        help="none (random: what named models have unless told), default (pretrained, may be downloaded), or a file",
    )
    add(
        "--change",
        metavar="CHANGE",
        action="append",
        default=[],
        help="set beside each model the same with one thing changed: pool:mean, activation:elu, stride:16, or "
        "pool:mean@features.4 for some layers; given again, one change follows the other",
    )
    add("--layers", metavar="PATTERN", help="only layers with names like this: layer4.*, in the table, JSON and CSV")
    add("--depth", type=positive, metavar="N", help="fold the table to names of N parts")
    add("--sort", metavar="KEY", choices=SORT_KEYS, help="order the table by " + ", ".join(SORT_KEYS))
    add("--json", metavar="F", help="write the result as JSON")
    add("--csv", metavar="F", help="write one row per layer as CSV")
    add("--html", metavar="F", help="write the report, one HTML file")
    return options


def run(words: Sequence[str]) -> int:
    """Inspect, print and write; returns 4 where an operator had no rule, else 0."""
    options = _options().read(words)
    if options.change:
        from perimetry.surgery import parse  # torch is loaded here, so only where it is needed

        for text in options.change:
            parse(text)
    outputs.check((options.json, options.csv, options.html))
    if options.weights not in (None, "none", "default") and len(options.models) > 1:
        raise InputError("a file of weights fits one model; name one model")
    result = _inspect(options)
    listed = _listed(result, options.layers)
    if options.json:
        outputs.write(options.json, listed.to_json())
    if options.csv:
        from perimetry.report.csv_text import csv_text
        from perimetry.report.views import flat_rows

        outputs.write(options.csv, csv_text(flat_rows(listed.models)))
    if options.html:
        outputs.write(options.html, result.to_html())
    for target in (options.json, options.csv, options.html):
        if target not in (None, outputs.STDOUT):
            terminal.progress(f"wrote {target}")
    if outputs.STDOUT not in (options.json, options.csv, options.html):
        _print_table(result, options)
    return _tell_unknown(result.models)


def _inspect(options: argparse.Namespace) -> Inspection:
    """One inspection of all models; a photo is prepared as each of them takes it."""
    import perimetry
    from perimetry.images import sample_photo

    records: list[ModelRecord] = []
    photo = None
    names: list[str | None] = options.models or [None]
    image = options.image
    if image is None and not options.models:
        image = str(sample_photo())
    for number, name in enumerate(names, start=1):
        terminal.progress(f"[{number}/{len(names)}] {name or 'EfficientNet-Lite0 (no model was named)'}")
        try:
            model = named_model(name, weights=options.weights, size=options.size)
            found = perimetry.inspect(model, model.input_size if image is None else image)
            records += found.models
            if options.change:
                records.append(_changed(model, options.change, image))
        except PerimetryError as error:
            if len(names) > 1:
                error.add_note(f"(model {number} of {len(names)}: {name})")
            raise
        photo = photo or found.photo
    return perimetry.Inspection(models=tuple(records), photo=photo)


def _changed(model: LoadedModel, changes: Sequence[str], image: str | None) -> ModelRecord:
    """The record of a model after these changes, one after the other, with what they did."""
    import perimetry

    changed: LoadedModel | perimetry.Changed = model
    for text in changes:
        terminal.progress(f"  {text}")
        changed = perimetry.change(changed, text)
    assert isinstance(changed, perimetry.Changed)
    record = perimetry.inspect(changed.model, model.input_size if image is None else image).models[0]
    return replace(record, changes=changed.changes)


def _listed(result: Inspection, pattern: str | None) -> Inspection:
    """The result with only those layers that match."""
    if pattern is None:
        return result
    models = tuple(
        replace(model, layers=tuple(row for row in model.layers if _matches(row.name, pattern)))
        for model in result.models
    )
    if not any(model.layers for model in models):
        known = [row.name for model in result.models for row in model.layers]
        raise UnknownNameError("layer or pattern", pattern, known=known, advice="quote a pattern: --layers 'layer4.*'")
    return replace(result, models=models)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _print_table(result: Inspection, options: argparse.Namespace) -> None:
    from perimetry.report.text import inspection_text

    print(
        inspection_text(
            result.models,
            width=terminal.width(),
            depth=options.depth,
            pattern=options.layers,
            sort=options.sort,
            color=terminal.color(),
        )
    )


def _tell_unknown(models: Sequence[ModelRecord]) -> int:
    """One message per operator without a rule, where it was met first; returns the exit code."""
    sys.stdout.flush()
    for model in models:
        first = {unknown.op: unknown for unknown in reversed(model.unknown)}
        for op, unknown in first.items():
            places = sum(each.op == op for each in model.unknown)
            more = f" ({places} places in all)" if places > 1 else ""
            terminal.say(f"{model.model}: {unknown.message}{more}")
    return 4 if any(model.unknown for model in models) else 0
