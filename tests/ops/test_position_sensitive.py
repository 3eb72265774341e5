"""Position-sensitive RoI pooling against a loop that follows R-FCN's layer, and against torchvision's other rule."""

import math

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import perimetry
from perimetry.errors import InputError, ShapeError
from perimetry.ops import position_sensitive_roi_pool


def c_round(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def pool_by_definition(features, boxes, size, scale):
    """The layer's loop in double precision, one output element after the other; differentiable."""
    _, channels, height, width = features.shape
    classes = channels // size**2
    rows = []
    for image, *corners in boxes.double().tolist():
        x1, y1 = (c_round(value) * scale for value in corners[:2])
        x2, y2 = ((c_round(value) + 1) * scale for value in corners[2:])
        bin_w, bin_h = max(x2 - x1, 0.1) / size, max(y2 - y1, 0.1) / size
        for c in range(classes):
            for i in range(size):
                for j in range(size):
                    top = min(max(math.floor(i * bin_h + y1), 0), height)
                    bottom = min(max(math.ceil((i + 1) * bin_h + y1), 0), height)
                    left = min(max(math.floor(j * bin_w + x1), 0), width)
                    right = min(max(math.ceil((j + 1) * bin_w + x1), 0), width)
                    cells = features[int(image), (c * size + i) * size + j, top:bottom, left:right]
                    rows.append(cells.mean() if cells.numel() else features.new_zeros(()))
    shape = (len(boxes), classes, size, size)
    return torch.stack(rows).reshape(shape) if rows else features.new_zeros(shape)


def random_boxes(count, *, images=2, width=200, height=150, seed=0):
    """Boxes inside, across and outside the image, half-integers and crossed corners among them."""
    random = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=random, dtype=torch.float64) * torch.tensor([width * 1.4, height * 1.4]) - 40
    side = torch.rand(count, 2, generator=random, dtype=torch.float64) * torch.tensor([width, height]) - 10
    image = torch.randint(images, (count, 1), generator=random).double()
    boxes = torch.cat([image, low, low + side], 1)
    boxes[::3, 1:] = (boxes[::3, 1:] * 2).round() / 2
    return boxes


@pytest.mark.parametrize(("size", "scale"), [(1, 1 / 16), (3, 1 / 16), (7, 1 / 8), (2, 0.3)])
def test_it_equals_the_loop_of_the_release(size, scale):
    features = torch.randn(2, 3 * size * size, 10, 13, dtype=torch.float64)
    boxes = random_boxes(60)
    assert_close(
        position_sensitive_roi_pool(features, boxes, size=size, scale=scale),
        pool_by_definition(features, boxes, size, scale),
    )


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    size=st.integers(1, 4),
    corners=st.lists(st.integers(-60, 200), min_size=4, max_size=4),
)
def test_any_map_and_half_integer_corners(height, width, size, corners):
    features = torch.arange(2 * size * size * height * width, dtype=torch.float64).reshape(1, -1, height, width)
    boxes = torch.tensor([[0, *(value / 2 for value in corners)]], dtype=torch.float64)
    assert_close(
        position_sensitive_roi_pool(features, boxes, size=size, scale=1 / 16),
        pool_by_definition(features, boxes, size, 1 / 16),
    )


def test_gradients():
    features = torch.randn(2, 2 * 9, 5, 4, dtype=torch.float64, requires_grad=True)
    boxes = random_boxes(5, width=64, height=80)
    assert torch.autograd.gradcheck(lambda x: position_sensitive_roi_pool(x, boxes, size=3, scale=1 / 16), (features,))
    ours = position_sensitive_roi_pool(features, boxes, size=3, scale=1 / 16)
    slow = pool_by_definition(features, boxes, 3, 1 / 16)
    weights = torch.randn_like(ours)
    assert_close(torch.autograd.grad(ours, features, weights), torch.autograd.grad(slow, features, weights))


def test_gradients_of_gradients():
    features = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 0, 0, 40, 30.0]])
    square = lambda x: position_sensitive_roi_pool(x, boxes, size=2, scale=1 / 16).pow(2)  # noqa: E731
    assert torch.autograd.gradgradcheck(square, (features,))


def test_single_precision_of_a_large_map():
    # One map of large values beside one of small ones: sums over all pixels above must not lose the small ones.
    features = torch.cat([torch.full((1, 1, 60, 100), 1e4), torch.full((1, 1, 60, 100), 1e-3)], 1)
    features[0, 1] += torch.rand(60, 100) * 1e-3
    boxes = random_boxes(50, images=1, width=1600, height=960)
    ours = position_sensitive_roi_pool(features, boxes, size=1, scale=1 / 16)
    assert_close(ours, pool_by_definition(features.double(), boxes, 1, 1 / 16).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_precisions(dtype):
    features = torch.randn(1, 4, 6, 6).to(dtype)
    boxes = torch.tensor([[0, 5, 7, 60, 50.0]])
    ours = position_sensitive_roi_pool(features, boxes, size=2, scale=1 / 16)
    assert ours.dtype == dtype
    assert_close(ours, pool_by_definition(features.double(), boxes, 2, 1 / 16).to(dtype))


def test_no_boxes_give_an_empty_result_with_a_gradient():
    features = torch.randn(1, 9, 4, 4, requires_grad=True)
    pooled = position_sensitive_roi_pool(features, torch.empty(0, 5), size=3, scale=1 / 16)
    assert pooled.shape == (0, 1, 3, 3)
    pooled.sum().backward()
    assert_close(features.grad, torch.zeros_like(features))


def test_a_box_outside_the_map_is_zero():
    boxes = torch.tensor([[0, 5000, 5000, 5100, 5100.0], [0, -900, -900, -800, -800]])
    assert not position_sensitive_roi_pool(torch.ones(1, 4, 8, 8), boxes, size=2, scale=1 / 16).any()


def test_the_vote_of_a_full_box_is_the_mean_over_its_bins():
    features = torch.randn(1, 2 * 4, 8, 8, dtype=torch.float64)
    pooled = position_sensitive_roi_pool(features, torch.tensor([[0, 0, 0, 127, 127.0]]), size=2, scale=1 / 16)
    halves = features.reshape(2, 2, 2, 2, 4, 2, 4)  # class, bin, rows in halves, columns in halves
    expected = [halves[:, i, j, i, :, j].mean((1, 2)) for i in range(2) for j in range(2)]
    assert_close(pooled.mean((2, 3))[0], torch.stack(expected).mean(0))


def test_torchvision_never_reads_the_last_row_and_column():
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 3, 3] = 16
    boxes = torch.tensor([[0, 0, 0, 63, 63.0]])
    assert position_sensitive_roi_pool(features, boxes, size=1, scale=1 / 16).item() == 1
    assert torchvision.ops.ps_roi_pool(features, boxes, 1, 1 / 16).item() == 0


def test_torchvision_differs_on_nearly_all_boxes():
    features = torch.randn(1, 21 * 49, 38, 63)
    low = torch.rand(100, 2) * torch.tensor([600.0, 350.0])
    boxes = torch.cat([torch.zeros(100, 1), low, low + 20 + torch.rand(100, 2) * 200], 1)
    ours = position_sensitive_roi_pool(features, boxes, size=7, scale=1 / 16)
    theirs = torchvision.ops.ps_roi_pool(features, boxes, 7, 1 / 16)
    assert int(((ours - theirs).abs().amax((1, 2, 3)) > 1e-4).sum()) > 90


@pytest.mark.parametrize(
    ("features", "boxes", "message"),
    [
        (torch.ones(9, 4, 4), torch.zeros(1, 5), r"expected feature maps \(N, C, H, W\), got \(9, 4, 4\)"),
        (torch.ones(1, 9, 4, 4, dtype=torch.long), torch.zeros(1, 5), "floating-point features, got torch.int64"),
        (torch.ones(1, 8, 4, 4), torch.zeros(1, 5), "3 x 3 bins need a multiple of 9 channels, got 8"),
        (torch.ones(1, 9, 4, 4), torch.zeros(1, 4), r"expected boxes \(K, 5\).*got \(1, 4\)"),
        (torch.ones(1, 9, 4, 4), torch.tensor([[1, 0, 0, 9, 9.0]]), r"image indices 0 \.\.\. 0 .* got 1 \.\.\. 1"),
        (torch.ones(1, 9, 4, 4), torch.tensor([[0, 0, 0, 9, torch.nan]]), "expected finite boxes"),
    ],
)
def test_what_does_not_fit_is_refused(features, boxes, message):
    with pytest.raises((ShapeError, InputError), match=message):
        position_sensitive_roi_pool(features, boxes, size=3, scale=1 / 16)


def test_a_scale_of_nothing_is_refused():
    with pytest.raises(InputError, match="scale is cells per pixel, above 0"):
        position_sensitive_roi_pool(torch.ones(1, 9, 4, 4), torch.zeros(1, 5), size=3, scale=0)


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=4, padding=1)

    def forward(self, image, boxes):
        return position_sensitive_roi_pool(self.conv(image), boxes, size=2, scale=1 / 4)


def test_it_runs_under_fields_and_export():
    image, boxes = torch.randn(1, 3, 32, 32), torch.tensor([[0, 3, 4, 20, 25.0]])
    found = perimetry.inspect(Head().eval(), (image, boxes))
    assert not found.models[0].unknown
    assert found.layer("output").field is not None
    head = Head().eval()
    program = torch.export.export(head, (image, boxes)).module()
    assert_close(program(image, boxes), head(image, boxes))
