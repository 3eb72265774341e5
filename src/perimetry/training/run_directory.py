"""The directory of a run: recipe, versions, metrics, checkpoints; taken up again only by the same recipe."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from perimetry import __version__
from perimetry.errors import FileError, InputError, PerimetryError
from perimetry.files import write_whole
from perimetry.training.holding import held
from perimetry.training.recipe import Recipe, make_recipe

# What may differ when a run is taken up again: how it is run, not what comes out.
_FREE = ("workers", "checkpoint_every", "data", "proposals")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a run keeps what it knows.

    recipe.json: the recipe, classes, and versions; metrics.csv: a row for each number of each step and evaluation;
    checkpoints/: "last" and "best"; tensorboard/: the same numbers, where tensorboard is installed; cost.json: what
    it took; mined.json: what bootstrapping found; not_finite.json: the batch that broke a run.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    def begin(self, recipe: Recipe, facts: Mapping[str, Any]) -> bool:
        """Make the directory, or take it up again; returns whether a run was there.

        facts: kept beside the recipe (classes, the choices made). Raises `InputError` for a directory of another
        recipe, saying what differs, and for one that holds something else.
        """
        file = self.path / "recipe.json"
        there = file.exists()
        if there:
            self._compare(recipe, facts)
        elif self._holds_something_else():
            raise InputError(f"{self.path} holds something else; name a new directory for the run")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {self.path}: {error.strerror}") from error
        if there:
            return True
        versions = {"perimetry": __version__, "torch": torch.__version__, "python": platform.python_version()}
        content = {"schema": 1, "recipe": recipe.to_dict(), "facts": dict(facts), "versions": versions}
        write_whole(file, json.dumps(content, indent=1).encode(), lasting=True)
        return False

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """While open, an error leaves no directory without a checkpoint, which another recipe would be refused for.

        Word of a loss that was not finite is left there too, and so is what was there before, or what another process
        began meanwhile and trains in.
        """
        there = self.path.exists()
        fresh = not there or (self.path.is_dir() and not any(self.path.iterdir()))
        try:
            yield
        except PerimetryError:
            if fresh and self.path.is_dir():
                with suppress(InputError), held(self.path):
                    self._clear()
                    if not there and not any(self.path.iterdir()):
                        self.path.rmdir()
            raise

    def versions(self) -> dict[str, str]:
        """The versions with which the run began: perimetry, torch, python."""
        *_, content = self._read()
        return {str(name): str(version) for name, version in dict(content.get("versions", {})).items()}

    def read(self) -> tuple[Recipe, dict[str, Any]]:
        """The recipe and the facts of a run; raises `FileError` where this is none."""
        recipe, facts, _ = self._read()
        return recipe, facts

    @property
    def mined(self) -> Path:
        """Where the examples are that bootstrapping found."""
        return self.path / "mined.json"

    @property
    def cost(self) -> Path:
        """Where it stands what the run took."""
        return self.path / "cost.json"

    def metrics(self) -> Metrics:
        """The table of numbers so far."""
        return Metrics(self.path / "metrics.csv")

    def _read(self) -> tuple[Recipe, dict[str, Any], Mapping[str, Any]]:
        """The recipe, the facts, and all that recipe.json holds."""
        file = self.path / "recipe.json"
        try:
            content = json.loads(file.read_bytes())
            return make_recipe(content["recipe"]), dict(content["facts"]), content
        except FileNotFoundError:
            raise FileError(f"{self.path} is no directory of a run (it has no recipe.json)") from None
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise FileError(f"{file} is no recipe of a run: {error}") from error

    def _clear(self) -> None:
        """Remove what a run leaves that failed before its first checkpoint, and nothing of one that came further."""
        if any(self.checkpoints.glob("*")) or (self.path / "not_finite.json").exists():
            return
        for folder in (self.checkpoints, self.path / "tensorboard"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.path / "recipe.json", self.path / "metrics.csv", self.cost, self.mined):
            file.unlink(missing_ok=True)

    def _holds_something_else(self) -> bool:
        """Whether something is there that is not what a run leaves that was killed, or found no room, at its start."""
        if not self.path.is_dir():
            return self.path.exists()
        own = (self.checkpoints, *self.path.glob(".recipe.json.*"))
        return any(each not in own for each in self.path.rglob("*"))

    def _compare(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        before, known = self.read()
        old, new = before.to_dict(), recipe.to_dict()
        differing = [f"{key} was {old[key]}, is {new[key]}" for key in new if key not in _FREE and old[key] != new[key]]
        differing += [
            "the images have other names" if key == "names" else f"{key} was {known.get(key)}, is {value}"
            for key, value in facts.items()
            if known.get(key, value) != value
        ]
        if differing:
            nothing = not (self.checkpoints / "last.json").exists()
            remove = "remove this one (it has no checkpoint yet), " if nothing else ""
            raise InputError(
                f"{self.path} is the run of another recipe: {'; '.join(differing)}; name a new directory, {remove}or "
                "give that recipe"
            )


class Metrics:
    """Rows of numbers, kept as CSV and written whole; rows of steps that are run again replace theirs."""

    COLUMNS = ("step", "epoch", "split", "name", "value")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[int, float, str, str, float]] = []
        if path.exists():
            try:
                with path.open(newline="", encoding="utf-8") as file:
                    self._rows = [
                        (int(row["step"]), float(row["epoch"]), row["split"], row["name"], float(row["value"]))
                        for row in csv.DictReader(file)
                    ]
            except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
                raise FileError(f"{path} is no table of metrics: {error}") from error

    def forget_after(self, step: int) -> None:
        """Drop rows of later steps, which are run again."""
        self._rows = [row for row in self._rows if row[0] <= step]

    def add(self, step: int, epoch: float, split: str, numbers: Mapping[str, Any]) -> None:
        """One row for each number; what is no number is left out."""
        self._rows += [
            (step, round(epoch, 6), split, name, float(value))
            for name, value in numbers.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]

    def write(self) -> None:
        """Write the table."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.COLUMNS)
        writer.writerows(self._rows)
        write_whole(self._path, text.getvalue().encode(), lasting=True)

    def names(self) -> list[tuple[str, str]]:
        """(split, name) of every number that there is, in the order in which they came."""
        return list(dict.fromkeys((row[2], row[3]) for row in self._rows))

    def of(self, split: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of one number, in order."""
        return [(row[0], row[4]) for row in self._rows if (row[2], row[3]) == (split, name)]
