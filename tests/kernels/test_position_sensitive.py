"""The compiled averages of position-sensitive bins against the readable form, and when each of both runs."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from perimetry.kernels import loops
from perimetry.kernels.position_sensitive_numba import bin_edges, bin_means
from perimetry.ops import position_sensitive, position_sensitive_roi_pool, regions


def edges(count, size, extent):
    """First and last + 1 of bins that overlap, are empty, or reach to the end."""
    first = torch.randint(extent + 1, (count, size))
    return first, (first + torch.randint(4, (count, size))).clamp(max=extent)


def case(*, images=3, classes=7, size=3, height=9, width=11, count=40, dtype=torch.float64):
    torch.manual_seed(0)
    features = torch.randn(images, classes * size * size, height, width, dtype=dtype)
    image = torch.randint(images, (count,)) // 2 * 2  # none in image 1
    return features, image, torch.stack([*edges(count, size, height), *edges(count, size, width)]).int()


@pytest.fixture(params=[1, 3])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "scale"), [(7, 1 / 16), (3, 1 / 8), (1, 0.3), (9, 0.1), (7, 1.7)])
def test_edges_are_those_of_the_readable_form(size, scale, dtype):
    torch.manual_seed(0)
    boxes = torch.cat([torch.zeros(4000, 1), torch.rand(4000, 4) * 700 - 100], 1).to(dtype)
    boxes[::2] = (boxes[::2] * 2).round() / 2  # halves
    boxes[1::4] = boxes[1::4].round()
    boxes[0, 1:] = torch.tensor([-1e30, -1e9, 1e9, 1e30])
    left, right = position_sensitive._bin_edges(boxes[:, 1], boxes[:, 3], size=size, scale=scale, extent=41)
    top, bottom = position_sensitive._bin_edges(boxes[:, 2], boxes[:, 4], size=size, scale=scale, extent=37)
    found = bin_edges(boxes, size=size, scale=scale, height=37, width=41)
    assert torch.equal(found.long(), torch.stack([top, bottom, left, right]))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    "given",
    [{}, {"images": 1, "classes": 1, "size": 1}, {"size": 2, "classes": 5}, {"height": 1, "width": 1}, {"count": 0}],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_readable_form(given, dtype):
    features, image, bins = case(**given, dtype=dtype)
    features.requires_grad_()
    ours, slow = bin_means(features, image, bins), position_sensitive._bin_means(features, image, *bins.long())
    assert_close(ours, slow)
    weights = torch.randn_like(ours)
    for found, expected in zip(*(torch.autograd.grad(each, features, weights) for each in (ours, slow)), strict=True):
        # Sums over a row are taken in another order: what cancels differs in the last places of a double.
        assert_close(found, expected, atol=1e-6 if dtype == torch.float32 else 1e-13, rtol=1e-6)


def test_gradients_of_gradients():
    features, image, bins = case(images=1, classes=1, size=2, height=3, width=3, count=3)
    square = lambda x: bin_means(x, image, bins).pow(2)  # noqa: E731
    assert torch.autograd.gradcheck(square, (features.requires_grad_(),))
    assert torch.autograd.gradgradcheck(square, (features,))


def test_maps_with_channels_last_and_views():
    features, image, bins = case()
    expected = bin_means(features, image, bins)
    assert_close(bin_means(features.contiguous(memory_format=torch.channels_last), image, bins), expected)
    wide = torch.stack([features, features], -1)
    assert_close(bin_means(wide[..., 0], image, bins), expected)
    wide.requires_grad_()
    bin_means(wide[..., 0], image, bins).sum().backward()
    assert not wide.grad[..., 1].any() and wide.grad[..., 0].any()


def test_functional_gradients():
    features, image, bins = case(count=4)
    loss = lambda x: bin_means(x, image, bins).square().sum()  # noqa: E731
    expected = torch.autograd.functional.hvp(loss, features, features)[1]
    along = lambda x: (torch.func.grad(loss)(x) * features).sum()  # noqa: E731
    assert_close(torch.func.grad(along)(features), expected)


class Pool(torch.nn.Module):
    def forward(self, features, boxes):
        return position_sensitive_roi_pool(features, boxes, size=3, scale=1 / 8)


def large():
    """Enough results for the compiled loop."""
    torch.manual_seed(0)
    low = torch.rand(1000, 2) * 60
    return torch.randn(1, 9 * 8, 10, 12), torch.cat([torch.zeros(1000, 1), low, low + torch.rand(1000, 2) * 30], 1)


@pytest.fixture
def runs(monkeypatch):
    """How often the compiled loop was shared out."""
    found, share = [], loops.share
    monkeypatch.setattr(loops, "share", lambda tasks, run: found.append(tasks) or share(tasks, run))
    return found


def test_work_decides(runs):
    features, boxes = large()
    assert len(boxes) * features.shape[1] >= regions.ENOUGH_WORK
    whole = Pool()(features, boxes)
    assert len(runs) == 1
    assert_close(torch.cat([Pool()(features, few) for few in boxes.split(500)]), whole)
    assert_close(Pool()(features.half(), boxes), whole.half(), atol=2e-3, rtol=2e-3)
    assert len(runs) == 1


def test_who_records_a_program_gets_operators(runs):
    features, boxes = large()
    expected = Pool()(features, boxes)
    runs.clear()
    assert_close(torch.export.export(Pool(), (features, boxes)).module()(features, boxes), expected)
    assert_close(torch.compile(Pool(), backend="eager", fullgraph=True)(features, boxes), expected)
    with FlopCounterMode(display=False):
        assert_close(Pool()(features, boxes), expected)
    with FakeTensorMode() as mode:
        assert Pool()(mode.from_tensor(features), mode.from_tensor(boxes)).shape == expected.shape
    assert Pool()(features.to("meta"), boxes.to("meta")).shape == expected.shape
    assert not runs


def test_autocast_keeps_the_precision_of_the_maps(runs):
    features, boxes = large()
    with torch.autocast("cpu"):
        found = Pool()(features, boxes)
    assert len(runs) == 1
    assert_close(found, Pool()(features, boxes), atol=0, rtol=0)
