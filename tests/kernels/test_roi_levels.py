"""The compiled levels of boxes, maxima and means, against the readable form, and when each of both runs."""

import pytest
import torch
from torch.testing import assert_close

from perimetry.kernels import loops
from perimetry.kernels.roi_maxima_numba import level_maxima
from perimetry.kernels.roi_means_numba import level_means
from perimetry.ops import pyramid_pool, roi_pooling, roi_pyramid_pool


def random_cells(count, *, images, height, width):
    x, y = (torch.randint(extent, (count, 2)).sort(1).values for extent in (width, height))
    image = torch.randint(images, (count,)) // 2 * 2  # none in image 1
    return torch.stack([image, x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


def case(*, images=3, channels=37, height=13, width=17, count=30, dtype=torch.float64):
    torch.manual_seed(0)
    features = torch.randn(images, channels, height, width, dtype=dtype)
    return features, random_cells(count, images=images, height=height, width=width)


def compiled(features, cells, levels, reduction):
    if reduction == "mean":
        return level_means(features, cells, levels)
    return level_maxima(features, cells, levels, positions=features.requires_grad)


@pytest.fixture(params=[1, 3])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("given", "levels"),
    [
        ({}, (6, 3, 2, 1)),
        ({}, (1, 4, 6, 2, 1)),
        ({"channels": 1}, (7,)),
        ({"height": 1, "width": 1}, (4, 2, 1)),
        ({"count": 0}, (3, 1)),
        ({"images": 1, "channels": 2, "height": 200, "width": 190}, (11, 7, 5)),  # places need more than 16 bits
    ],
)
def test_values_and_gradients_are_those_of_the_readable_form(given, levels, dtype, reduction):
    features, cells = case(**given, dtype=dtype)
    features.requires_grad_()
    ours = compiled(features, cells, levels, reduction)
    slow = roi_pooling._pyramid(features, cells, levels, reduction)
    assert_close(ours, slow)
    assert_close(compiled(features.detach(), cells, levels, reduction), slow.detach())
    weights = torch.randn_like(ours)
    for found, expected in zip(*(torch.autograd.grad(each, features, weights) for each in (ours, slow)), strict=True):
        # Up to thirty boxes of fifty bins add up in another order.
        assert_close(found, expected, atol=2e-5 if dtype == torch.float32 else 1e-13, rtol=1e-5)


@pytest.mark.parametrize("form", [compiled, roi_pooling._pyramid])
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_gradients_of_gradients(form, reduction):
    features, cells = case(images=1, channels=2, height=3, width=4, count=3)
    square = lambda x: form(x, cells, (3, 1), reduction).pow(2)  # noqa: E731
    assert torch.autograd.gradcheck(square, (features.requires_grad_(),))
    assert torch.autograd.gradgradcheck(square, (features,))


@pytest.mark.parametrize("form", [compiled, roi_pooling._pyramid])
def test_the_first_of_equal_cells_gets_the_gradient(form):
    features = torch.zeros(1, 2, 5, 7, requires_grad=True)
    cells = torch.tensor([[0, 1, 1, 6, 4]])
    form(features, cells, (4, 2, 1), "max")[:, -2:].sum().backward()
    expected = torch.zeros(5, 7)
    expected[1, 1] = 1
    assert_close(features.grad[0], expected.expand(2, 5, 7))


@pytest.mark.parametrize("form", [compiled, roi_pooling._pyramid])
def test_equal_cells_of_a_coarse_bin_whose_bins_overlap(form):
    # The last row's first column comes after the first row's last one, whichever finer bin holds them.
    features = torch.zeros(1, 1, 6, 6)
    features[0, 0, 1, 2] = features[0, 0, 2, 0] = 1
    features.requires_grad_()
    form(features, torch.tensor([[0, 0, 0, 5, 5]]), (2, 1), "max")[:, -1].sum().backward()
    assert features.grad.nonzero().tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize("form", [compiled, roi_pooling._pyramid])
def test_values_that_are_not_finite(form):
    features = torch.randn(1, 3, 8, 9)
    features[0, 0, 2, 3] = torch.nan
    features[0, 1] = -torch.inf
    features[0, 2, 4, 4] = torch.inf
    cells = torch.tensor([[0, 0, 0, 8, 7], [0, 2, 1, 5, 4]])
    cut = [features[:, :, :, :], features[:, :, 1:5, 2:6]]
    expected = torch.cat([pyramid_pool(each, levels=(6, 4, 2, 1)) for each in cut])
    assert_close(form(features, cells, (6, 4, 2, 1), "max"), expected, equal_nan=True)


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_maps_with_channels_last_and_views(reduction):
    features, cells = case()
    expected = compiled(features, cells, (3, 1), reduction)
    assert_close(compiled(features.contiguous(memory_format=torch.channels_last), cells, (3, 1), reduction), expected)
    assert_close(compiled(torch.stack([features, features], -1)[..., 1], cells, (3, 1), reduction), expected)


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_functional_gradients(reduction):
    torch.manual_seed(0)
    features = torch.randn(1, 64, 8, 9)
    cells = random_cells(100, images=1, height=8, width=9)
    loss = lambda x: roi_pyramid_pool(x, cells, levels=(6, 3), reduction=reduction).square().sum()  # noqa: E731
    found = torch.func.grad(loss)(features)
    expected = features.clone().requires_grad_()
    loss(expected).backward()
    assert_close(found, expected.grad)


class Pool(torch.nn.Module):
    def __init__(self, reduction):
        super().__init__()
        self.reduction = reduction

    def forward(self, features, cells):
        return roi_pyramid_pool(features, cells, levels=(7, 6, 2), reduction=self.reduction)


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_who_records_a_program_gets_operators(reduction, monkeypatch):
    features, cells = case(channels=32, dtype=torch.float32)
    runs, share = [], loops.share
    monkeypatch.setattr(loops, "share", lambda tasks, run: runs.append(tasks) or share(tasks, run))
    pool = Pool(reduction)
    expected = pool(features, cells)
    assert len(runs) == 1
    runs.clear()
    count, height, width = torch.export.Dim("count"), torch.export.Dim("height"), torch.export.Dim("width")
    program = torch.export.export(pool, (features, cells), dynamic_shapes=({2: height, 3: width}, {0: count}))
    assert_close(program.module()(features, cells), expected)
    fewer, smaller = cells[:7].minimum(torch.tensor([2, 8, 9, 8, 9])), features[:, :, :10, :9]
    assert_close(program.module()(smaller, fewer), pool(smaller, fewer))
    assert_close(torch.compile(pool, backend="eager", fullgraph=True)(features, cells), expected)
    assert pool(features.to("meta"), cells.to("meta")).shape == expected.shape
    assert not runs
