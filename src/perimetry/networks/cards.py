"""Fidelity cards: what a network takes from its original, which numbers agree with it, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from perimetry.errors import InputError

Task = Literal["classification", "segmentation", "detection"]
Kind = Literal["parameters", "field", "stride", "map", "initial", "setting", "anchors"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of the original that the network built here has too; `perimetry.verification.recount` counts it anew.

    kind and of: "parameters" of the whole network, or of the names that a glob in `of` matches ("conv*|fc?.*" is two);
    "field" and "stride" of the layer `of`, in pixels; "map", its output (C, H, W), or (C,), for one image; "initial",
    the value that every element of the parameter or buffer `of` starts with; "setting", an attribute such as
    "pool5.stride"; "anchors" of an image.
    image: (H, W) in pixels, where the number depends on it; the card's own otherwise.
    options: arguments of the builder, as pairs, for a variant. source: the file or table that has the number.
    """

    kind: Kind
    value: int | float | tuple[float, ...]
    source: str
    of: str = ""
    image: tuple[int, int] | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.of and self.kind not in ("parameters", "anchors"):
            raise InputError(f"a quantity of kind {self.kind!r} is of a layer or parameter; name it in `of`")


def quantities(
    kind: Kind,
    source: str,
    values: Mapping[str, int | float | tuple[float, ...]],
    *,
    image: tuple[int, int] | None = None,
    options: tuple[tuple[str, Any], ...] = (),
) -> tuple[Quantity, ...]:
    """Quantities of one kind and source, by what each is of.

    >>> [quantity.value for quantity in quantities("field", "deploy.prototxt", {"conv1": 11, "pool1": 19})]
    [11, 19]
    """
    return tuple(Quantity(kind, value, source, of=of, image=image, options=options) for of, value in values.items())


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as in the original, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """A published result, quoted; nothing here claims to reproduce it."""

    what: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Card:
    """One network: who published it, how it is built here, what agrees and what does not.

    name: as in "perimetry:NAME"; title: as people call it; build: the function, all arguments optional; image: (H, W)
    that it was published for; paper: authors, title, venue, year; definition: the original files that its facts come
    from. unverified: facts that no original confirms, so that they are leads only.
    """

    name: str
    title: str
    task: Task
    build: Callable[..., nn.Module]
    image: tuple[int, int]
    paper: str
    definition: str
    quantities: tuple[Quantity, ...]
    differences: tuple[Difference, ...] = ()
    results: tuple[Result, ...] = ()
    unverified: tuple[str, ...] = ()
