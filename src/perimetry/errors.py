"""The exceptions that perimetry raises: each says what was given, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PerimetryError(Exception):
    """The root of every error that perimetry raises on purpose."""


class InputError(PerimetryError):
    """An argument, image, model or option that cannot be used as given."""


class ShapeError(InputError):
    """A tensor or image whose shape does not fit."""


class TrainingModeError(InputError):
    """A model whose answers depend on the batch because it is in training mode."""


class MissingExtraError(InputError):
    """An optional library is needed and is not installed.

    package: the distribution to install; extra: perimetry's extra that brings it, if there is one.
    """

    def __init__(self, package: str, *, needed_for: str, extra: str | None = None) -> None:
        how = f"pip install 'perimetry[{extra}]'" if extra else f"pip install {package}"
        super().__init__(f"{needed_for} needs the package {package}, which is not installed; run: {how}")
        self.package = package
        self.extra = extra


class UnknownNameError(InputError):
    """A name (model, layer, option value) that is not known; carries the nearest known names.

    >>> print(UnknownNameError("model", "resnet5O", known=["resnet50", "vgg16"]))
    unknown model 'resnet5O'; did you mean 'resnet50'?
    """

    def __init__(self, kind: str, name: str, *, known: Iterable[str], advice: str = "") -> None:
        suggestions = tuple(difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.6))
        message = f"unknown {kind} {name!r}"
        if suggestions:
            message += "; did you mean " + " or ".join(repr(each) for each in suggestions) + "?"
        if advice:
            message += f" ({advice})"
        super().__init__(message)
        self.kind = kind
        self.name = name
        self.suggestions = suggestions


class WeightsError(InputError):
    """Weights that could not be fetched or do not fit the model."""


class FileError(PerimetryError):
    """An input file that cannot be read (missing, corrupt, too large, of an unknown kind)."""


class TraceError(InputError):
    """The model could not be run on the example that was given."""


def first_line(error: BaseException) -> str:
    r"""The first line of what another library's error says, at most 200 letters, or its kind where it says nothing.

    >>> first_line(RuntimeError("sizes do not match\nException raised from ...")), first_line(MemoryError())
    ('sizes do not match', 'MemoryError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
