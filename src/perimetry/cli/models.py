"""`perimetry models`: what can be named, and the fidelity card of a network of perimetry's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perimetry import __version__
from perimetry.cli import terminal
from perimetry.cli.options import Options
from perimetry.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from perimetry.networks import Card

_EPILOG = """\
The name of one of perimetry's own networks (parsenet, perimetry:vgg16) prints its card: what it was built from, the
numbers that agree with the original, what differs, and published results. Functions and files are models too."""


def run(words: Sequence[str]) -> int:
    """Print a card, or names, one a line, or either as JSON; returns 1 where a number counted anew differs."""
    parser = Options("models", "List the models that can be named, or show the card of one.", _EPILOG)
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="only names like this: 'resnet*', or a part")
    parser.add_argument("--recount", action="store_true", help="count the numbers of a card anew on the network")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(words)
    terminal.progress("asking torchvision and timm")
    from perimetry.models import list_models
    from perimetry.networks import CARDS

    card = CARDS.get((options.pattern or "").lower().removeprefix("perimetry:"))
    if card is not None:
        return _show(card, list_models(options.pattern), as_json=options.json, recount=options.recount)
    if options.recount:
        raise InputError("--recount needs the name of one network with a card: " + ", ".join(CARDS))
    names = list_models(options.pattern)
    if options.json:
        _print_json({"models": names})
        return 0
    if not names:
        raise UnknownNameError("model", options.pattern, known=[name.partition(":")[2] for name in list_models()])
    print("\n".join(names))
    return 0


def _show(card: Card, names: Sequence[str], *, as_json: bool, recount: bool) -> int:
    from perimetry.report.card_views import agrees, card_data, card_text

    counted = _recounted(card) if recount else None
    if as_json:
        _print_json({"models": list(names), "card": card_data(card, counted)})
    else:
        print(card_text(card, width=terminal.width(), recounted=counted))
        others = [name for name in names if name.partition(":")[2] == card.name and name != f"perimetry:{card.name}"]
        if others:
            print(f"\nOther models of that name: {', '.join(others)}")
    return int(counted is not None and not all(agrees(quantity, value) for quantity, value in counted.items()))


def _recounted(card: Card) -> dict[Any, Any]:
    from perimetry.verification import recount

    counted = {}
    for number, quantity in enumerate(card.quantities, start=1):
        terminal.progress(f"[{number}/{len(card.quantities)}] {quantity.kind} {quantity.of}")
        counted[quantity] = recount(card, quantity)
    return counted


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps({"schema": 1, "perimetry": __version__, **data}, indent=1))
