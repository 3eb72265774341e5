"""`perimetry train`: a network on one's own images, by a recipe that each key of is an option."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perimetry.cli import outputs, terminal
from perimetry.cli.options import Options
from perimetry.cli.progress import Progress
from perimetry.training.recipe import choices, defaults, keys_of, make_recipe, meanings, settings_of

if TYPE_CHECKING:
    from perimetry.training.loop import Fitted

# Keys that say what is trained; the others are about how, and are set by --set or in a recipe file.
_OPTIONS = (
    "task", "data", "model", "backbone", "weights", "proposals", "size", "scales", "augmentation", "epochs", "steps",
    "batch", "optimizer", "rate", "hard", "precision", "workers", "seed",
)  # fmt: skip


def _options() -> Options:
    others = [f"  {_told(name)}" for name in meanings() if name not in _OPTIONS]
    epilog = "\n".join(
        (
            "A run that was stopped (Ctrl-C, SIGTERM, killed) goes on with the same command. Several processes:",
            "torchrun --nproc-per-node N -m perimetry train ... F may be - for stdout, which then takes the place of",
            "the text. Exit codes: 0 done, 2 usage or bad input, 3 a file that cannot be read, 130 stopped.",
            "",
            "other keys, as --set KEY=VALUE (lists with commas) or in a recipe file:",
            *others,
        )
    )
    options = Options("train", "Train a network for classification, segmentation or detection.", epilog)
    add = options.add_argument
    add("--recipe", metavar="FILE", help="TOML with keys of a recipe; options and --set stand over it")
    for name in _OPTIONS:
        metavar = name.upper() if not choices(name) else None
        add(f"--{name}", metavar=metavar, choices=choices(name) or None, help=_told(name).partition(": ")[2])
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of a recipe; may be repeated")
    add = options.add_argument_group("running").add_argument
    add("--out", metavar="RUN", required=True, help="directory of the run: made, or taken up again")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train (default: a GPU if any)")
    add("--json", metavar="F", help="write the last and the best scores as JSON, - for stdout")
    return options


def run(words: Sequence[str]) -> int:
    """Train, and print the scores; returns 0."""
    options = _options().read(words)
    outputs.check([options.json])
    keys: dict[str, Any] = keys_of(options.recipe) if options.recipe else {}
    given = {name: getattr(options, name) for name in _OPTIONS}
    keys |= {name: value for name, value in given.items() if value is not None}
    recipe = make_recipe(keys | settings_of(options.set))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # package.module:function is looked for in the working directory too
    from perimetry.training import fit

    with Progress("steps") as progress:
        fitted = fit(recipe, out=options.out, device=options.device, tell=terminal.say, progress=progress.show)
    if os.environ.get("RANK", "0") != "0":
        return 0  # one process of several tells
    if options.json:
        outputs.write(options.json, json.dumps(_content(fitted), indent=1))
    if options.json != outputs.STDOUT:
        print(_text(fitted))
    return 0


def _told(name: str) -> str:
    """A key, its meaning and its default, in one line."""
    default = defaults().get(name)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    shown = shown.lower() if isinstance(default, bool) else shown
    values = f" ({', '.join(choices(name))})" if choices(name) and name not in _OPTIONS else ""
    return f"{name}: {meanings()[name]}{values}" + (f" (default: {shown})" if default not in (None, "", ()) else "")


def _content(fitted: Fitted) -> dict[str, Any]:
    cost = None if fitted.cost is None else fitted.cost.to_dict()
    scores = {"last": dict(fitted.scores), "best": dict(fitted.best)}
    return {"schema": 1, "run": str(fitted.directory), **scores, "cost": cost}


def _text(fitted: Fitted) -> str:
    from perimetry.report.run_words import cost_text

    lines = [f"run   {fitted.directory}"]
    for name, scores in (("last", fitted.scores), ("best", fitted.best)):
        numbers = [f"{key} {value:.4f}" for key, value in scores.items() if isinstance(value, float)]
        at = f" (after step {scores['step']})" if "step" in scores else ""
        lines.append(f"{name}  {', '.join(numbers) or 'not evaluated'}{at}")
    if fitted.cost is not None:
        lines.append(f"cost  {cost_text(fitted.cost)}")
    return "\n".join(lines)
