"""`perimetry models`: what can be named."""

from __future__ import annotations

import json
from collections.abc import Sequence

from perimetry import __version__
from perimetry.cli import terminal
from perimetry.cli.options import Options
from perimetry.errors import UnknownNameError


def run(words: Sequence[str]) -> int:
    """Print the names, one a line, or as JSON."""
    parser = Options("models", "List the models that can be named.", "Functions and files can be named too.")
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="only names like this: 'resnet*', or a part")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(words)
    terminal.progress("asking torchvision and timm")
    from perimetry.models import list_models

    names = list_models(options.pattern)
    if options.json:
        print(json.dumps({"schema": 1, "perimetry": __version__, "models": names}, indent=1))
        return 0
    if not names:
        raise UnknownNameError("model", options.pattern, known=[name.partition(":")[2] for name in list_models()])
    print("\n".join(names))
    return 0
