"""Change: what is told of a unit that was covered and uncovered, as one number."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from perimetry.errors import InputError, UnknownNameError
from perimetry.maps.targets import Target

Change = Literal["signed", "absolute", "relative", "l2", "norm", "argmax"]
_OF_ONE = ("signed", "absolute", "relative")


def kind_of(value: Change | None, target: Target) -> Change:
    """The change that was asked for: by default "signed" for a single number, "l2" for several.

    Raises `UnknownNameError`, or `InputError` for a change of one number where the target has several.
    """
    if value is None:
        return "signed" if len(target.elements) == 1 else "l2"
    if value not in get_args(Change):
        raise UnknownNameError("value", value, known=get_args(Change))
    if value in _OF_ONE and len(target.elements) != 1:
        raise InputError(
            f"the {value} change is that of one number, and {target.name!r} has {len(target.elements)}; "
            "name a channel, or ask for value 'l2', 'norm' or 'argmax'"
        )
    return value


def changes(covered: torch.Tensor, uncovered: torch.Tensor, kind: Change) -> npt.NDArray[np.float64]:
    """What changed in each of N covered runs: (N,), from elements (N, E) and those of the uncovered run (E,).

    "signed" covered minus uncovered; "absolute" its magnitude; "relative" that divided by the uncovered magnitude;
    "l2" the length of the difference of vectors; "norm" the difference of their lengths, covered minus uncovered;
    "argmax" 1 where the largest element is another one, else 0. Computed in double precision, a run at a time.

    >>> changes(torch.tensor([[0.0, 2.0]]), torch.tensor([3.0, 4.0]), "norm").tolist()
    [-3.0]
    """
    base = uncovered.double()
    if kind == "argmax":
        found = (covered.argmax(dim=1) != uncovered.argmax()).double()
    elif kind == "l2":
        found = torch.stack([(row.double() - base).norm() for row in covered])
    elif kind == "norm":
        found = torch.stack([row.double().norm() - base.norm() for row in covered])
    else:
        found = covered[:, 0].double() - base[0]
        if kind != "signed":
            found = found.abs() / (1.0 if kind == "absolute" else max(float(base[0].abs()), 1e-12))
    return np.asarray(found.cpu().numpy(), dtype=np.float64)
