"""Random small networks of convolutions, pools, resampling, shifts, residuals and gates, against gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import perimetry
from oracles import Function, GradientOracle, hull, positive, sample_units

Recipe = tuple[Any, ...]
IMAGE_SHAPE = (1, 2, 14, 17)


class Joined(nn.Module):
    """Two branches of the same map, joined by a sum, a product, or side by side in the channels."""

    def __init__(self, how: str, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.how, self.first, self.second = how, first, second
        self.reduce = nn.Conv2d(4, 2, 1) if how == "cat" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x), self.second(x)
        return self.reduce({"add": torch.add, "mul": torch.mul, "cat": lambda *ab: torch.cat(ab, 1)}[self.how](a, b))


def _conv(kernel: int, stride: int, dilation: int) -> nn.Module:
    return nn.Conv2d(2, 2, kernel, stride, dilation * (kernel - 1) // 2, dilation, groups=2 if dilation == 1 else 1)


def _gate(x: Tensor) -> Tensor:
    return x * (1 + x.mean((2, 3), keepdim=True))  # a sigmoid would saturate, and its gradient vanish


def _pairs_of_columns(x: Tensor) -> Tensor:
    """Windows of two columns, averaged: reshape, reduce, expand."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h, w // 2, 2)
    return blocks.mean(4, keepdim=True).expand_as(blocks).reshape(n, c, h, w)


PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "crop": lambda x: x[:, :, 1:, :-1],
    "every-other": lambda x: x[:, :, ::2, 1::2],
    "pad": lambda x: F.pad(x, (1, 0, 0, 2), value=1.0),  # a factor of zero would hide the other one
    "reflect": lambda x: F.pad(x, (1, 1, 0, 1), mode="reflect"),
    "shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "average-ceil": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
}
KEEPING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "flip": lambda x: x.flip(3),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "swap-channels": lambda x: x.flip(1),
    "row-mean": lambda x: x + 0.5 * x.mean(3, keepdim=True),
    "gate": _gate,
}


def build(recipe: Recipe) -> nn.Module:
    """The module that a recipe stands for: (kind, numbers) or (join, recipes, recipes)."""
    kind, *details = recipe
    if kind == "conv":
        return _conv(*details)
    if kind == "transposed":
        return nn.ConvTranspose2d(2, 2, *details)
    if kind == "max":
        return nn.MaxPool2d(*details, ceil_mode=True)
    if kind in ("add", "mul", "cat"):
        first, second = (nn.Sequential(*map(build, branch)) for branch in details)
        return Joined(kind, first, second)
    if kind == "pairs":
        return Function(_pairs_of_columns)
    return Function({**PLAIN, **KEEPING}[kind])


keeps_size = st.one_of(
    st.tuples(st.just("conv"), st.sampled_from([1, 3, 5]), st.just(1), st.sampled_from([1, 2])),
    st.tuples(st.just("max"), st.just(3), st.just(1), st.just(1)),
    st.sampled_from([(name,) for name in KEEPING]),
)
branch = st.lists(keeps_size, max_size=2).map(tuple)
changes_size = st.one_of(
    st.tuples(st.just("conv"), st.sampled_from([2, 3, 4]), st.sampled_from([1, 2, 3]), st.just(1)),
    st.tuples(st.just("transposed"), st.sampled_from([2, 3, 4]), st.just(2), st.sampled_from([0, 1])),
    st.tuples(st.just("max"), st.sampled_from([2, 3]), st.just(2), st.sampled_from([0, 1])),
    st.sampled_from([(name,) for name in PLAIN]),
)
joins = st.tuples(st.sampled_from(["add", "mul", "cat"]), branch, branch)
networks = st.lists(st.one_of(keeps_size, changes_size, joins), min_size=2, max_size=6)


def kinds(recipes: Iterable[Recipe]) -> set[str]:
    """All kinds of layers in the recipes, those of branches too."""
    found: set[str] = set()
    for kind, *details in recipes:
        found.add(kind)
        found.update(*(kinds(branch) for branch in details if isinstance(branch, tuple)))
    return found


def runs(recipes: list[Recipe]) -> bool:
    """False for a network that shrinks to nothing or grows too large on the image of `check`."""
    try:
        with torch.no_grad():
            output = nn.Sequential(*map(build, recipes))(torch.rand(IMAGE_SHAPE))
    except RuntimeError:  # a kernel or a pad larger than the map
        return False
    return 0 < output[0, 0].numel() <= 3000


def check(recipes: list[Recipe]) -> None:
    """Compare support, clipped box and unclipped box of some units of the network with gradients."""
    model, image = positive(nn.Sequential(*map(build, recipes))), torch.rand(IMAGE_SHAPE) + 0.5
    network = perimetry.trace(model, image)
    fields = perimetry.fields(network)["output"]
    assert fields.full is not None, fields.reason
    oracle = GradientOracle(model, image)
    for unit in sample_units(oracle.output_shape[2:], 6):
        mask = oracle.support(unit)
        assert torch.equal(perimetry.support(network, "output", unit), mask), f"unit {unit}"
        seen, clipped = hull(mask), fields.full.clipped(unit)
        # A box is told axis by axis. Where a unit reads nothing along one axis (it lies in a pad), what it would have
        # read along the other axis, or by a global operand, is still told.
        told_together = {"gate", "row-mean"} & kinds(recipes) or "pad" in kinds(recipes)
        if seen is None:
            assert clipped.empty or told_together
            continue
        for (first, last), span in zip(seen, clipped.spans, strict=True):
            assert span.low <= first and last <= span.high, f"unit {unit}"
            assert (span.low, span.high) == (first, last) or told_together, f"unit {unit}"
        if {"roll", "reflect"} & kinds(recipes):
            continue  # a border reads other pixels than an endless map would
        for (first, last), span in zip(seen, fields.full.box(unit).spans, strict=True):
            assert span.low <= first and last <= span.high, f"unit {unit}"


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(networks)
def test_random_networks_see_what_their_gradients_reach(recipes: list[Recipe]) -> None:
    assume(runs(recipes))
    check(recipes)


def test_windows_between_convolutions() -> None:
    """Pairs of columns need an even map, which random networks seldom have."""
    check(
        [
            ("conv", 3, 1, 1),
            ("every-other",),
            ("pad",),
            ("crop",),
            ("conv", 3, 1, 1),
            ("nearest",),
            ("pairs",),
            ("conv", 3, 1, 1),
        ]
    )
