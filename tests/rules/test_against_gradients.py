"""Every rule against gradients: the support of each unit is where its gradient is, and lies in its span."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import perimetry
from oracles import Function, GradientOracle, as_module, hull, positive, sample_units
from perimetry.records import Network
from rules import (
    attention_cases,
    convolution_cases,
    indexing_cases,
    joining_cases,
    layout_cases,
    pointwise_cases,
    pooling_cases,
    reduction_cases,
    resampling_cases,
)
from rules.cases import Case

TABLES = (
    convolution_cases,
    pooling_cases,
    resampling_cases,
    layout_cases,
    joining_cases,
    reduction_cases,
    attention_cases,
    indexing_cases,
    pointwise_cases,
)
ALL = [case for table in TABLES for case in table.CASES]
NESTED = [case for case in ALL if case.nested]


class Nested(nn.Module):
    """A strided convolution, the body, and, where the body gives a map, another convolution."""

    def __init__(self, body: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels = shape[1]
        self.stem = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.body = body
        with torch.no_grad():
            result = copy.deepcopy(body).eval()(torch.rand(shape) + 0.5)
        self.head = nn.Conv2d(result.shape[1], 2, (2, 3), padding=1) if result.dim() == 4 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


def ask(model: nn.Module, image: Tensor) -> tuple[Network, GradientOracle]:
    """Trace the model and set up its oracle. An output with as many axes as the image has gets one more in front.

    (Two indices mean a position, four mean an element: with two axes the two could not be told apart.)
    """
    network = perimetry.trace(model, image)
    if len(network.values[network.layer("output").value].shape) == len(network.image_axes):
        model = nn.Sequential(model, Function(lambda y: y[None] * 1))
        network = perimetry.trace(model, image)
    return network, GradientOracle(model, image)


def is_map(network: Network, shape: tuple[int, ...]) -> bool:
    """True where units stand along the last axes of (N, C, rows, columns), in the image's order."""
    local = perimetry.fields(network)["output"].local
    return local is not None and len(shape) == 2 + len(local.units) and local.units == shape[2:]


def check(model: nn.Module, image: Tensor, case: Case) -> None:
    """Compare `perimetry.support` and both fields of the model's output with the gradient oracle."""
    network, oracle = ask(model, image)
    shape = oracle.output_shape
    assert tuple(network.image_shape) == tuple(image.shape[axis] for axis in network.image_axes)
    fields = perimetry.fields(network)["output"]
    assert fields.reason is None, fields.reason
    positions = sample_units(shape[2:], 7) if case.separable and is_map(network, shape) else []
    for unit in [*positions, *sample_units(shape, 6)]:
        expected = oracle.support(unit if len(unit) == len(shape) else (0, slice(None), *unit), network.image_axes)
        found = perimetry.support(network, "output", unit)
        assert found.dtype == torch.bool and found.shape == expected.shape
        assert not (expected & ~found).any(), difference("misses", unit, expected, found)
        if case.exact and not fields.upper_bound:
            assert not (found & ~expected).any(), difference("has too many", unit, expected, found)
    assert not case.exact or not fields.upper_bound, "an upper bound where the rule could be exact"
    if case.separable and is_map(network, shape):
        check_boxes(network, oracle, case)


def check_boxes(network: Network, oracle: GradientOracle, case: Case) -> None:
    """The clipped box is the gradient's hull, and the unclipped span holds it; on units of a map."""
    fields = perimetry.fields(network)["output"]
    field = fields.full
    assert field is not None
    for unit in sample_units(field.units, 10, seed=1):
        seen = hull(oracle.support((0, slice(None), *unit), network.image_axes))
        clipped, box = field.clipped(unit), field.box(unit)
        if seen is None:
            assert not (case.exact and case.separable) or clipped.empty, (
                f"unit {unit}: clipped {clipped}, but nothing is seen"
            )
            continue
        claimed = tuple((span.low, span.high) for span in clipped.spans)
        for (first, last), (low, high), span in zip(seen, claimed, box.spans, strict=True):
            assert low <= first and last <= high, f"unit {unit}: clipped {claimed} does not hold {seen}"
            if case.endless:
                assert span.low <= first and last <= span.high, f"unit {unit}: unclipped {box} does not hold {seen}"
        if case.exact and case.separable and not fields.upper_bound:
            assert claimed == seen, f"unit {unit}: clipped {claimed}, gradient {seen}"


def difference(what: str, unit: tuple[int, ...], expected: Tensor, found: Tensor) -> str:
    """One line for a failed comparison: the hulls and the counts."""
    masks = {"gradient": expected, "support": found}
    told = ", ".join(f"{name} {hull(mask)} ({int(mask.sum())} px)" for name, mask in masks.items())
    return f"unit {unit}: {what}: {told}"


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_alone(case: Case) -> None:
    """The operator right on the image."""
    model = positive(as_module(case.make()))
    check(model, torch.rand(case.shape) + 0.5, case)


@pytest.mark.parametrize("case", NESTED, ids=lambda case: case.name)
def test_nested(case: Case) -> None:
    """The operator between convolutions: its rule gets spans, its result is asked for in spans."""
    n, c, h, w = case.shape
    model = positive(Nested(as_module(case.make()), case.shape))
    check(model, torch.rand(n, c, 2 * h - 1, 2 * w - 1) + 0.5, case)


def test_names_are_different() -> None:
    names = [case.name for case in ALL]
    assert sorted(set(names)) == sorted(names)
