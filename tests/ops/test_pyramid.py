"""Spatial pyramid pooling against loops over cells, on maps and on boxes; the historical rules and where they end."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

import perimetry
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.ops import caffe_windows, paper_windows, pyramid_pool, roi_max_pool, roi_pyramid_pool, spp_cells
from perimetry.ops.regions import ENOUGH_WORK


def pool_by_definition(features, levels, reduction):
    """Each bin, cell by cell, as spm_pool of the release: (N, C, H, W) to (N, C * bins)."""
    height, width = features.shape[2:]
    found = []
    for n in levels:
        for c in range(features.shape[1]):
            for i in range(n):
                for j in range(n):
                    rows = slice(math.floor(i * height / n), math.ceil((i + 1) * height / n))
                    columns = slice(math.floor(j * width / n), math.ceil((j + 1) * width / n))
                    cells = features[:, c, rows, columns].flatten(1)
                    found.append(cells.amax(1) if reduction == "max" else cells.mean(1))
    return torch.stack(found, 1)


def caffe_by_definition(features, bins, reduction):
    """Caffe's pooling as its SPP layer asks for it: windows clipped to the map, means over the padded window."""
    (kh, ph), (kw, pw) = (caffe_windows(extent, bins) for extent in features.shape[2:])
    height, width = features.shape[2:]
    found = []
    for i in range(bins):
        for j in range(bins):
            top, left = i * kh - ph, j * kw - pw
            bottom, right = min(top + kh, height + ph), min(left + kw, width + pw)
            area = (bottom - top) * (right - left)
            cells = features[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)].flatten(2)
            found.append(cells.amax(2) if reduction == "max" else cells.sum(2) / area)
    return torch.stack(found, 2).flatten(1)


def caffe_fills(extent, bins):
    """Whether Caffe accepts the padding, and each window then holds a cell of the map."""
    window = math.ceil(extent / bins)
    padding = (window * bins - extent + 1) // 2
    starts = [i * window - padding for i in range(bins)]
    return padding < window and all(max(start, 0) < min(start + window, extent) for start in starts)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 15),
    width=st.integers(1, 15),
    levels=st.sampled_from([(4, 2, 1), (6, 3, 2, 1), (1,), (5, 7)]),
    reduction=st.sampled_from(["max", "mean"]),
)
def test_any_size_gives_the_same_length(height, width, levels, reduction):
    features = torch.randn(2, 3, height, width, dtype=torch.float64)
    pooled = pyramid_pool(features, levels=levels, reduction=reduction)
    assert pooled.shape == (2, 3 * sum(n * n for n in levels))
    assert_close(pooled, pool_by_definition(features, levels, reduction))


def test_many_maps_give_what_each_gives():
    features = torch.randn(12, 60, 9, 14, requires_grad=True)  # enough results for the compiled loop
    features.data[3, 5, 2, 2] = torch.nan
    together, each = (
        pyramid_pool(features, levels=(6, 4, 2, 1, 5)),
        [pyramid_pool(one, levels=(6, 4, 2, 1, 5)) for one in features.split(1)],
    )
    assert features.numel() >= ENOUGH_WORK > features[0].numel()
    assert_close(together, torch.cat(each), atol=0, rtol=0, equal_nan=True)
    weights = torch.randn_like(together)
    found, expected = (torch.autograd.grad(value, features, weights)[0] for value in (together, torch.cat(each)))
    assert_close(found, expected)
    with torch.no_grad():
        assert_close(pyramid_pool(features, levels=(6, 4, 2, 1, 5)), together, atol=0, rtol=0, equal_nan=True)


def test_the_bins_of_spp_net():
    assert pyramid_pool(torch.randn(1, 256, 13, 13), levels=(6, 3, 2, 1)).shape == (1, 12800)


def test_the_papers_rule_is_wrong_for_fourteen_pairs():
    wrong = []
    for extent in range(1, 60):
        for bins in (1, 2, 3, 4, 6):
            try:
                window, stride = paper_windows(extent, bins)
            except ShapeError:
                wrong += [(extent, bins)] if extent >= bins else []  # a map smaller than the bins has no stride at all
            else:
                assert (extent - window) // stride + 1 == bins
    assert len(wrong) == 14
    assert (7, 4) in wrong and (10, 6) in wrong


def test_the_papers_rule_on_the_map_of_spp_net():
    features = torch.randn(1, 2, 13, 13)
    assert [paper_windows(13, n) for n in (6, 3, 2, 1)] == [(3, 2), (5, 4), (7, 6), (13, 13)]
    expected = [
        F.max_pool2d(features, window, stride).flatten(1) for window, stride in ((3, 2), (5, 4), (7, 6), (13, 1))
    ]
    assert_close(pyramid_pool(features, levels=(6, 3, 2, 1), windows="paper"), torch.cat(expected, 1))
    # At this size it is the adaptive rule.
    assert_close(pyramid_pool(features, levels=(6, 3, 1), windows="paper"), pyramid_pool(features, levels=(6, 3, 1)))


@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize("bins", [1, 2, 4, 8])
def test_caffes_rule(bins, reduction):
    refused = []
    for extent in range(1, 30):
        features = torch.randn(1, 2, extent, 32) - 1
        try:
            pooled = pyramid_pool(features, levels=(bins,), reduction=reduction, windows="caffe")
        except ShapeError:
            refused.append(extent)
        else:
            assert_close(pooled, caffe_by_definition(features, bins, reduction))
    assert refused == [extent for extent in range(1, 30) if not caffe_fills(extent, bins)]
    assert len(refused) == {1: 0, 2: 1, 4: 4, 8: 16}[bins]


@pytest.mark.parametrize("windows", ["adaptive", "paper", "caffe"])
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_gradients(windows, reduction):
    features = torch.randperm(2 * 6 * 7).double().reshape(1, 2, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: pyramid_pool(x, levels=(2, 1), windows=windows, reduction=reduction), (features,)
    )


def random_cells(count, height, width, images=2):
    random = torch.Generator().manual_seed(0)
    x = torch.randint(width, (count, 2), generator=random).sort(1).values
    y = torch.randint(height, (count, 2), generator=random).sort(1).values
    image = torch.randint(images, (count,), generator=random)
    return torch.stack([image, x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize(
    ("height", "width", "levels"),
    [(13, 17, (6, 3, 2, 1)), (1, 1, (4, 2, 1)), (60, 58, (7, 5)), (20, 20, (1, 4, 6, 2, 1))],
)
def test_on_boxes_it_is_the_pyramid_of_each_box_cut_out(height, width, levels, reduction):
    features = torch.randn(2, 3, height, width, dtype=torch.float64)
    cells = random_cells(40, height, width)
    cells[0] = torch.tensor([0, 0, 0, min(56, width - 1), height - 1])  # 57 cells in 7 bins: 7 * (57 / 7) is above 57
    expected = [
        pyramid_pool(features[i : i + 1, :, y1 : y2 + 1, x1 : x2 + 1], levels=levels, reduction=reduction)
        for i, x1, y1, x2, y2 in cells.tolist()
    ]
    assert_close(roi_pyramid_pool(features, cells, levels=levels, reduction=reduction), torch.cat(expected))
    half = roi_pyramid_pool(features.half(), cells, levels=levels, reduction="max")
    assert_close(half, roi_pyramid_pool(features.half().double(), cells, levels=levels, reduction="max").half())


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_gradients_on_boxes(reduction):
    features = torch.randperm(2 * 5 * 6).double().reshape(1, 2, 5, 6).requires_grad_()
    cells = random_cells(4, 5, 6, images=1)
    assert torch.autograd.gradcheck(
        lambda x: roi_pyramid_pool(x, cells, levels=(3, 1), reduction=reduction), (features,), nondet_tol=1e-12
    )


def cells_by_definition(box, height, width, step, offset0, offset):
    """spm_pool_caffe_mex's rounding for one box whose pixels are counted from 1; cells come out counted from 0."""
    l, t, r, b = box  # noqa: E741 - their names
    x0, y0 = (math.floor((v - offset0 + offset) / step + 0.5) + 1 for v in (l, t))
    x1, y1 = (math.ceil((v - offset0 - offset) / step - 0.5) + 1 for v in (r, b))
    if x0 > x1:
        x0 = x1 = int((x0 + x1) / 2)
    if y0 > y1:
        y0 = y1 = int((y0 + y1) / 2)
    clip = lambda v, last: min(last, max(1, v)) - 1  # noqa: E731
    return [clip(x0, width), clip(y0, height), clip(x1, width), clip(y1, height)]


@settings(max_examples=60, deadline=None)
@given(
    box=st.lists(st.integers(-50, 700).map(lambda v: v / 2), min_size=4, max_size=4),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_boxes_become_cells_as_in_the_release(box, height, width):
    ours = spp_cells(torch.tensor([[0, *box]]), height=height, width=width, step=15, offset0=12, offset=6.5)
    assert ours[0, 1:].tolist() == cells_by_definition([v + 1 for v in box], height, width, 15, 12, 6.5)


def test_no_boxes():
    features = torch.randn(1, 3, 8, 8)
    for reduction in ("max", "mean"):
        for levels in ((6, 1), (7,)):
            pooled = roi_pyramid_pool(features, torch.empty(0, 5), levels=levels, reduction=reduction)
            assert pooled.shape == (0, 3 * sum(n * n for n in levels))


def test_gradients_of_overlapping_boxes_add_up():
    features = torch.zeros(1, 1, 6, 6)
    features[0, 0, 2, 3] = 1
    features.requires_grad_()
    boxes = torch.tensor([[0, 0, 0, 5, 5.0], [0, 2, 1, 4, 4], [0, 3, 2, 3, 2], [0, 4, 4, 5, 5]])
    roi_max_pool(features, boxes, size=1, scale=1.0).sum().backward()
    assert features.grad[0, 0, 2, 3] == 3  # the maximum of three boxes, and not of the fourth


def test_roi_max_pooling_against_cells():
    features = torch.randn(1, 2, 9, 9)
    boxes = torch.tensor([[0, 8, 8, 71, 39.0]])  # cells 1 ... 9, cut to 8, and 1 ... 5, halves going up
    pooled = roi_max_pool(features, boxes, size=(5, 1), scale=1 / 8)
    assert_close(pooled[0, :, :, 0], features[0, :, 1:6, 1:].amax(2))
    assert roi_max_pool(features.half(), boxes.half(), size=2, scale=1 / 8).dtype == torch.float16


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: pyramid_pool(x, levels=()), InputError, "levels are bins a side"),
        (lambda x: pyramid_pool(x, levels=(0,)), InputError, "levels are bins a side"),
        (lambda x: pyramid_pool(x, reduction="sum"), UnknownNameError, "unknown reduction 'sum'"),
        (lambda x: pyramid_pool(x, windows="papper"), UnknownNameError, "did you mean 'paper'"),
        (lambda x: pyramid_pool(x[:, :, :0]), ShapeError, "at least one cell"),
        (lambda x: pyramid_pool(x, levels=(8,), windows="paper"), ShapeError, "7 cells give no stride for 8 bins"),
        (lambda x: pyramid_pool(x, levels=(3,), windows="caffe"), InputError, r"1, 2, 4, 8 \.\.\. bins"),
        (
            lambda x: roi_pyramid_pool(x, torch.tensor([[0, 0, 0, 7, 6]])),
            InputError,
            "whole cells inside the map of 7 x 7",
        ),
        (lambda x: roi_pyramid_pool(x, torch.tensor([[0, 0.5, 0, 3, 3]])), InputError, "whole cells"),
        (lambda x: roi_max_pool(x, torch.zeros(1, 5), size=2, scale=-1), InputError, "scale is cells per pixel"),
        (lambda x: roi_max_pool(x, torch.zeros(1, 5), size=(2, 0), scale=1), InputError, "size counts bins"),
        (lambda x: spp_cells(torch.zeros(1, 4), height=2, width=2, step=16), ShapeError, r"expected boxes \(K, 5\)"),
        (
            lambda x: spp_cells(torch.zeros(1, 5), height=0, width=2, step=16),
            ShapeError,
            "at least one cell, got 0 x 2",
        ),
        (lambda x: spp_cells(torch.zeros(1, 5), height=2, width=2, step=0), InputError, "step is pixels per cell"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.randn(1, 3, 7, 7))


class Head(torch.nn.Module):
    def __init__(self, reduction):
        super().__init__()
        self.conv, self.reduction = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), reduction

    def forward(self, image, cells):
        return roi_pyramid_pool(self.conv(image), cells, levels=(3, 1), reduction=self.reduction)


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_it_runs_under_inspect(reduction):
    found = perimetry.inspect(Head(reduction).eval(), (torch.randn(1, 3, 32, 32), torch.tensor([[0, 1, 1, 5, 6.0]])))
    assert not found.models[0].unknown
