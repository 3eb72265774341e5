"""The oracle itself: its swaps keep every dependency, and it knows small answers by heart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oracles import (
    GradientOracle,
    Smoothed,
    adaptive_matrix,
    as_module,
    gradient_support,
    hull,
    positive,
    window_matrix,
)

POOLS = {
    "max": nn.MaxPool2d(3, 2, padding=1),
    "max-ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max-dilated": nn.MaxPool2d(2, 1, dilation=2),
    "adaptive": nn.AdaptiveMaxPool2d((3, 2)),
    "amax": lambda x: x.amax(2, keepdim=True),
}


@pytest.mark.parametrize("name", POOLS)
def test_swapped_maximum_depends_on_what_true_maxima_select(name: str) -> None:
    """Over 300 random images each cell of a window of at most 12 wins at least once (missed once in 10^10)."""
    model, image = as_module(POOLS[name]), torch.rand(1, 2, 6, 8)
    swapped = GradientOracle(model, image)
    true = GradientOracle(model, image, draws=300, smooth=False)
    assert swapped.output_shape == true.output_shape
    for row in range(swapped.output_shape[2]):
        for column in range(swapped.output_shape[3]):
            assert torch.equal(swapped.support((row, column)), true.support((row, column)))


def test_swaps_apply_only_inside() -> None:
    x = torch.tensor([-1.0])
    with Smoothed():
        assert F.relu(x) > 0
        assert x.clamp(0, 1) > 0
    assert F.relu(x) == 0


def test_windows_by_heart() -> None:
    """Ceil mode gives the last window what is left; a window that starts in the right padding is dropped."""
    ceil = window_matrix(6, kernel=3, stride=2, padding=0, dilation=1, ceil_mode=True)
    assert ceil.tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert window_matrix(4, kernel=2, stride=2, padding=1, dilation=1, ceil_mode=True).shape == (3, 4)
    assert adaptive_matrix(5, 3).tolist() == [[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1]]


def test_dilated_convolution_has_holes() -> None:
    model = positive(nn.Conv2d(1, 1, 3, dilation=2))
    mask = gradient_support(model, torch.rand(1, 1, 7, 6), None, (1, 0))
    expected = torch.zeros(7, 6, dtype=torch.bool)
    expected[1:6:2, 0:5:2] = True
    assert torch.equal(mask, expected)
    assert hull(mask) == ((1, 5), (0, 4))


def test_positive_leaves_nothing_negative() -> None:
    model = positive(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.PReLU()))
    assert all((parameter > 0).all() for parameter in model.parameters())
    assert not model.training
