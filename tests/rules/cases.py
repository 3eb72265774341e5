"""The form of one row in the rule tables: a small network, and how closely its rule must follow the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Body = nn.Module | Callable[[Tensor], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One small network.

    name: the test's id. make: builds the network (a module, or a function of the image). shape: of the image batch.
    exact: the support must equal the gradient's; otherwise it must contain it (the operator depends on data, or has
    no gradient). nested: also test it between two convolutions, where its rule gets spans that are not single pixels.
    endless: the unclipped field holds the clipped one. Not so where a border reads other pixels than an endless map
    would (roll, circular, reflecting and replicating pads). separable: a unit's columns do not depend on its row, so
    that one span per axis tells its hull exactly; otherwise the spans must hold it.
    """

    name: str
    make: Callable[[], Body]
    shape: tuple[int, ...] = (1, 2, 11, 13)
    exact: bool = True
    nested: bool = True
    endless: bool = True
    separable: bool = True


def case(name: str, body: Body, **options: Any) -> Case:
    """A row whose network is a function, or a module without random state that may be shared."""
    return Case(name, lambda: body, **options)
