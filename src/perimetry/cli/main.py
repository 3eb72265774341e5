"""`perimetry COMMAND`: finds the command, runs it, and turns errors into one message and an exit code.

Exit codes: 0 done; 1 our bug; 2 usage or bad input; 3 an input file that cannot be read; 4 an operator without a rule
(the result is written); 130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from perimetry import __version__
from perimetry.cli.terminal import say
from perimetry.errors import FileError, PerimetryError, UnknownNameError

COMMANDS = {
    "inspect": "what every layer of a model sees, and what it costs",
    "map": "what one unit really sees, by gradient or by occlusion",
    "score": "how well predictions fit the truth: masks, boundaries, boxes, labels",
    "evaluate": "how well a trained run does on labelled images",
    "predict": "masks, boxes or labels of images, by a trained run",
    "data": "what a set of labelled images holds, and what is wrong with it",
    "train": "train a network on them, by a recipe; stop it and go on",
    "models": "list the models that can be named",
    "doctor": "say what is installed and what is missing",
}

_COMMAND_LINES = "\n".join(f"  {name:10}{summary}" for name, summary in COMMANDS.items())

_HELP = f"""usage: perimetry COMMAND [options]

What does each layer of a vision model see, and what does it cost?

commands:
{_COMMAND_LINES}

options:
  -h, --help  this text; `perimetry COMMAND --help` for a command's own
  --version   the version of perimetry

`perimetry inspect` alone inspects a small trained network on a sample photo."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; `arguments` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = _dispatch([word for word in words if word != "--debug"])
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        say(str(stop) or "interrupted")
        return 130
    except BrokenPipeError:
        _close_stdout()
        return 141
    except OSError as error:  # input files raise FileError; what is left is a full disk behind stdout and the like
        _close_stdout()
        say(f"the system refused to go on: {error}")
        return 2
    except SystemExit as stop:  # argparse after --help
        return stop.code if isinstance(stop.code, int) else 0
    except PerimetryError as error:
        say(" ".join([str(error), *getattr(error, "__notes__", ())]))
        if debug:
            traceback.print_exc()
        return 3 if isinstance(error, FileError) else 2
    except Exception as error:  # noqa: BLE001 - everything foreseen is a PerimetryError, so this is ours to mend
        say(f"this is a bug in perimetry: {type(error).__name__}: {error}")
        say("please report it with the command and its output with --debug added")
        if debug:
            traceback.print_exc()
        return 1


def _close_stdout() -> None:
    """Python flushes stdout once more at exit, which must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"perimetry {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        kind = "option" if command.startswith("-") else "command"
        known = ("--help", "--version") if kind == "option" else COMMANDS
        raise UnknownNameError(kind, command, known=known, advice="`perimetry --help` lists the commands")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode still shows something
    code: int = import_module(f"perimetry.cli.{command}").run(rest)
    return code
