"""Conventions of effective fields: what is differentiated, and how gradients become a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

Convention = Literal["luo2016", "replknet2022", "replknet2022-linear", "openerf", "norm"]


@dataclass(frozen=True, slots=True)
class Definition:
    """One way to turn a unit and gradients into a map.

    target: what is differentiated, from the unit's elements y: "sum" over channels, "rectified sum" of max(y, 0),
    "mean", or "norm", the square root of the sum of squares. of_image: from one image's gradient (C, H, W) to (H, W).
    of_all: from the mean over images to the map.
    """

    target: Literal["sum", "rectified sum", "mean", "norm"]
    of_image: Callable[[torch.Tensor], torch.Tensor]
    of_all: Callable[[torch.Tensor], torch.Tensor]
    source: str

    def differentiated(self, y: torch.Tensor) -> torch.Tensor:
        """The number whose gradient is asked, from a unit's elements (n)."""
        if self.target == "rectified sum":
            return y.relu().sum()
        if self.target == "norm":
            norm: torch.Tensor = torch.linalg.vector_norm(y)
            return norm
        return y.mean() if self.target == "mean" else y.sum()

    def slope(self, y: torch.Tensor) -> torch.Tensor:
        """The derivative of that number with respect to each element; 0 for a norm or a rectifier at 0."""
        leaf = y.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self.differentiated(leaf), leaf)
        return found


def _magnitude(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.abs().sum(0)


def _rectified_then_summed(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.clamp(min=0).sum(0)


def _averaged_then_rectified(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.mean(0).clamp(min=0)


def _as_it_is(total: torch.Tensor) -> torch.Tensor:
    return total


def _by_maximum(total: torch.Tensor) -> torch.Tensor:
    return total / total.max() if total.max() > 0 else total


def _logarithm_by_maximum(total: torch.Tensor) -> torch.Tensor:
    return _by_maximum(torch.log10(total + 1))


def _by_sum(total: torch.Tensor) -> torch.Tensor:
    return total / total.sum() if total.sum() > 0 else total


CONVENTIONS: dict[str, Definition] = {
    "luo2016": Definition("sum", _magnitude, _as_it_is, "Luo, Li, Urtasun and Zemel 2016"),
    "replknet2022": Definition(
        "rectified sum", _rectified_then_summed, _logarithm_by_maximum, "Ding, Zhang, Han and Ding 2022 (RepLKNet)"
    ),
    "replknet2022-linear": Definition(
        "rectified sum", _rectified_then_summed, _by_maximum, "Ding et al. 2022, without the logarithm"
    ),
    "openerf": Definition("mean", _averaged_then_rectified, _by_sum, "the package openerf (Kim et al. 2023)"),
    "norm": Definition("norm", _magnitude, _as_it_is, "Luo et al. 2016, with the L2 norm of y in place of its sum"),
}
