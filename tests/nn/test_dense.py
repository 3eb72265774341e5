"""Layers over denser maps: the fields that are told are those that gradients have, and they export."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.testing import assert_close

import perimetry
from perimetry.networks import dilate
from perimetry.nn import DenseMeanPool, DenseWindows, downsample

LAYERS = {
    "max": lambda: nn.MaxPool2d(2, 2),
    "mean": lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
    "convolution": lambda: nn.Conv2d(4, 4, 2, 2),
    "same": lambda: Conv2dSame(4, 4, 5, 2),
    "phases": lambda: downsample("lp", 4),
    "blur": lambda: downsample("blur", 4, kernel=3, padding=1),
}


def _dense(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer, copy.deepcopy(layer), nn.Conv2d(4, 4, 3, padding=1))
    return dilate(model.eval(), output_stride=1).double()


@pytest.mark.parametrize("name", LAYERS)
def test_the_field_is_what_gradients_reach(name):
    model = _dense(name)
    told = perimetry.inspect(model, torch.zeros(1, 3, 40, 36, dtype=torch.float64)).layer("3")
    assert not told.upper_bound
    reached = torch.zeros(40, 36, dtype=torch.float64)
    for _ in range(20):
        image = torch.rand(1, 3, 40, 36, dtype=torch.float64, requires_grad=True)
        scores = model(image)
        (scores[0, :, scores.shape[2] // 2, scores.shape[3] // 2] * torch.rand(4, dtype=torch.float64)).sum().backward()
        reached += image.grad.abs().sum((0, 1))
    extents = [reached.sum(1 - axis).nonzero().flatten() for axis in (0, 1)]
    assert told.local_field.size == tuple(int(each[-1] - each[0]) + 1 for each in extents)


@pytest.mark.parametrize("name", LAYERS)
def test_dense_layers_export_and_have_gradients(name):
    model = _dense(name)
    image = torch.rand(1, 3, 16, 12, dtype=torch.float64, requires_grad=True)
    assert_close(torch.export.export(model, (image.detach(),)).module()(image), model(image))
    assert torch.autograd.gradcheck(model, (image[:, :, :6, :7],), fast_mode=True)


def test_the_mean_of_a_dense_map_by_the_definition():
    windows = DenseWindows(kernel=3, stride=2, padding=1, density=2)
    features = torch.rand(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    for divisor in ("padded", "cells", 5):
        pooled = DenseMeanPool(windows, windows, divisor=divisor)(features)
        for row in range(pooled.shape[2]):
            for column in range(pooled.shape[3]):
                places = [(row + 2 * a, column + 2 * b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                cells = [features[..., i, j] for i, j in places if 0 <= i < 9 and 0 <= j < 8]
                # The padding ends one original cell, two dense ones, behind the last original cell's place.
                padded = sum(-2 <= i < 12 and -2 <= j < 10 for i, j in places)
                by = {"padded": padded, "cells": len(cells)}.get(divisor, divisor)
                assert_close(pooled[..., row, column], torch.stack(cells).sum(0) / by)


def test_a_window_that_does_not_fit_is_told():
    with pytest.raises(perimetry.ShapeError, match="a window of 5 does not fit 3 cells with 0 padded"):
        DenseWindows(kernel=5, stride=2, density=2).frame(6)
