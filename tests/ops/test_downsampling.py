"""Downsampling against loops over windows, torch, and (for what is drawn) the probabilities that are meant."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.ops import (
    bilinear_deconvolution,
    bilinear_kernel,
    blur_pool,
    lp_pool,
    max_blur_pool,
    max_pool,
    mean_pool,
    pooled_size,
    stochastic_pool,
    stochastic_pool_mean,
)

WINDOWS = {"kernel": 3, "stride": 2, "padding": 1, "rounding": "ceil"}


def caffe_size(extent, kernel, stride, padding):
    """Caffe's pooling layer, from its source."""
    windows = -(-(extent + 2 * padding - kernel) // stride) + 1
    if padding and (windows - 1) * stride >= extent + padding:
        windows -= 1
    return windows


@settings(max_examples=200, deadline=None)
@given(extent=st.integers(1, 40), kernel=st.integers(1, 7), stride=st.integers(1, 7), padding=st.integers(0, 3))
def test_sizes_are_those_of_torch_and_of_caffe(extent, kernel, stride, padding):
    assume(padding <= kernel // 2 and padding < kernel and extent + 2 * padding >= kernel)
    x = torch.zeros(1, 1, extent, extent)
    size = lambda rounding: pooled_size(extent, kernel=kernel, stride=stride, padding=padding, rounding=rounding)  # noqa: E731
    assert size("floor") == F.max_pool2d(x, kernel, stride, padding).shape[2]
    caffe = caffe_size(extent, kernel, stride, padding)
    if (caffe - 1) * stride >= extent + padding:  # an empty window; only with a stride above the kernel
        assert stride > kernel
        with pytest.raises(ShapeError, match="leave the last one empty"):
            size("ceil")
    else:
        assert size("ceil") == caffe == F.max_pool2d(x, kernel, stride, padding, ceil_mode=True).shape[2]


def windows_of(x, kernel, stride, padding, rounding):
    """((row, column), cells (N, C, k)) of each window, clipped to the map."""
    height, width = x.shape[2:]
    rows, columns = (
        pooled_size(extent, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        for extent in (height, width)
    )
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - padding, j * stride - padding
            yield (i, j), x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel].flatten(2)


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 2)])
@pytest.mark.parametrize("power", [1, 2, 3, 4.5])
def test_lp(power, kernel, stride, padding, rounding):
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    arguments = {"kernel": kernel, "stride": stride, "padding": padding, "rounding": rounding}
    pooled = lp_pool(x, power=power, **arguments)
    for (i, j), cells in windows_of(x, **arguments):
        assert_close(pooled[:, :, i, j], cells.norm(power, dim=2))


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (4, 3, 2), (5, 1, 2)])
def test_maximum_and_mean_are_torchs(kernel, stride, padding, rounding):
    x = torch.randn(2, 2, 8, 9, dtype=torch.float64) - 1
    arguments = {"kernel": kernel, "stride": stride, "padding": padding, "rounding": rounding}
    theirs = (kernel, stride, padding)
    assert_close(max_pool(x, **arguments), F.max_pool2d(x, *theirs, ceil_mode=rounding == "ceil"))
    assert_close(mean_pool(x, **arguments), F.avg_pool2d(x, *theirs, ceil_mode=rounding == "ceil"))


def test_lp_is_torchs_on_whole_windows_of_activations():
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    assert_close(lp_pool(x, power=2, kernel=2, stride=2), F.lp_pool2d(x, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_powers_of_half_precision_do_not_overflow(dtype):
    x = torch.full((1, 1, 2, 2), 1000.0, dtype=dtype)
    assert_close(lp_pool(x, power=2, kernel=2, stride=2), x[:, :, :1, :1] * 2)
    assert_close(stochastic_pool_mean(x, kernel=2, stride=2), x[:, :, :1, :1])


def test_a_number_of_zero_still_draws_the_only_activation(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    x = torch.tensor([[[[0.0, 0.0], [7.0, 0.0]]]])
    assert stochastic_pool(x, kernel=2, stride=2).item() == 7


def test_a_window_of_zeros_has_a_gradient_of_zero():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    (lp_pool(x, power=2, kernel=2, stride=2) + stochastic_pool_mean(x, kernel=2, stride=2)).sum().backward()
    assert_close(x.grad, torch.zeros_like(x))


def test_stochastic_pooling_draws_by_probability():
    x = torch.tensor([[1.0, 2.0], [-3.0, 5.0]]).expand(1, 4000, 2, 2)
    drawn = stochastic_pool(x, kernel=2, stride=2, generator=torch.Generator().manual_seed(0)).flatten()
    shares = [(drawn == value).double().mean().item() for value in (1, 2, 5)]
    # Four standard deviations of 4,000 draws are below 0.032.
    assert shares == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.032)
    assert sum(shares) == pytest.approx(1)  # what is negative is never drawn
    assert stochastic_pool_mean(x, kernel=2, stride=2)[0, 0, 0, 0].item() == pytest.approx((1 + 4 + 25) / 8)


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_the_weighted_mean_over_windows(rounding):
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    arguments = {"kernel": 3, "stride": 2, "padding": 1, "rounding": rounding}
    pooled = stochastic_pool_mean(x, **arguments)
    drawn = stochastic_pool(x, **arguments)
    assert drawn.shape == pooled.shape
    for (i, j), cells in windows_of(x.relu(), **arguments):
        weights = cells / cells.sum(2, keepdim=True).clamp(min=1e-300)
        assert_close(pooled[:, :, i, j], (weights * cells).sum(2))
        assert (drawn[:, :, i, j, None] == torch.cat([cells, torch.zeros_like(cells[..., :1])], 2)).any(2).all()


def test_what_is_drawn_follows_the_generator_alone():
    x = torch.rand(1, 3, 8, 8)
    draw = lambda seed: stochastic_pool(x, kernel=2, stride=2, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    state = torch.get_rng_state()
    assert_close(draw(1), draw(1), rtol=0, atol=0)
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_gradient_goes_to_what_was_drawn():
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    pooled = stochastic_pool(x, kernel=2, stride=2)
    pooled.sum().backward()
    assert sorted(x[x.grad == 1].tolist()) == sorted(pooled.flatten().tolist())
    assert x.grad.sum() == pooled.numel()


@pytest.mark.parametrize(("kernel", "weights"), [(1, [1]), (2, [1, 1]), (3, [1, 2, 1]), (5, [1, 4, 6, 4, 1])])
def test_blurring(kernel, weights):
    x = torch.randn(1, 2, 7, 8, dtype=torch.float64)
    taps = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    padded = F.pad(x, (kernel // 2,) * 4, mode="reflect")
    pooled = blur_pool(x, kernel=kernel, stride=2, padding=kernel // 2)
    for i in range(pooled.shape[2]):
        for j in range(pooled.shape[3]):
            cells = padded[:, :, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]
            assert_close(pooled[:, :, i, j], (cells * (taps[:, None] * taps)).sum((2, 3)))


def test_blurring_is_timms():
    timm = pytest.importorskip("timm")
    x = torch.randn(1, 3, 9, 10)
    assert_close(blur_pool(x, stride=2, padding=1), timm.layers.BlurPool2d(3, filt_size=3, stride=2)(x))


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_the_blurred_maximum(rounding):
    x = torch.randn(1, 2, 8, 9, dtype=torch.float64)
    pooled = max_blur_pool(x, kernel=3, stride=2, rounding=rounding)
    assert pooled.shape == F.max_pool2d(x, 3, 2, ceil_mode=rounding == "ceil").shape
    if rounding == "floor":
        dense = F.max_pool2d(x, 3, 1)
        assert_close(pooled, blur_pool(dense, stride=2, padding=1)[:, :, : pooled.shape[2], : pooled.shape[3]])
    assert_close(
        max_blur_pool(x, kernel=3, stride=2, rounding=rounding, taps=1),
        F.max_pool2d(x, 3, 2, ceil_mode=rounding == "ceil"),
    )


def test_gradients():
    x = (torch.randperm(2 * 5 * 6).double() - 20).reshape(1, 2, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: lp_pool(x, power=3, **WINDOWS), (x,), eps=1e-4, rtol=1e-3)
    assert torch.autograd.gradcheck(lambda x: stochastic_pool_mean(x + 0.5, **WINDOWS), (x,))
    assert torch.autograd.gradcheck(lambda x: max_pool(x, **WINDOWS), (x,))
    assert torch.autograd.gradcheck(lambda x: mean_pool(x, **WINDOWS), (x,))
    assert torch.autograd.gradcheck(lambda x: blur_pool(x, **WINDOWS), (x,))
    assert torch.autograd.gradcheck(lambda x: max_blur_pool(x, **WINDOWS), (x,))
    assert torch.autograd.gradcheck(lambda x: bilinear_deconvolution(x, kernel=4, stride=2), (x,))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 64])
def test_the_filler_of_caffe(size):
    half = -(-size // 2)
    centre = (2 * half - 1 - half % 2) / (2 * half)
    expected = [[(1 - abs(x / half - centre)) * (1 - abs(y / half - centre)) for x in range(size)] for y in range(size)]
    assert_close(bilinear_kernel(size), torch.tensor(expected, dtype=torch.float64))


def test_deconvolution_is_interpolation_away_from_the_border():
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    up = bilinear_deconvolution(x, kernel=8, stride=4, padding=2)
    expected = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    assert_close(up[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: lp_pool(x, power=0.5, kernel=2, stride=2), InputError, "power is at least 1"),
        (lambda x: lp_pool(x, power=2, kernel=2, stride=0), InputError, "got kernel 2, stride 0, padding 0"),
        (lambda x: blur_pool(x, stride=2, padding=3), InputError, "padding below the kernel"),
        (lambda x: blur_pool(x, stride=2, rounding="up"), UnknownNameError, "unknown rounding 'up'"),
        (lambda x: stochastic_pool(x, kernel=9, stride=2), ShapeError, "a window of 9 does not fit 5 cells"),
        (lambda x: stochastic_pool(x[0], kernel=2, stride=2), ShapeError, "add a batch axis"),
        (lambda x: max_blur_pool(x, kernel=2, stride=2, taps=4), InputError, "odd side of a centred blur"),
        (lambda x: max_blur_pool(x, kernel=5, stride=2), ShapeError, "a map of 1 x 1 cannot be mirrored"),
        (lambda x: bilinear_kernel(0), InputError, "side of a kernel"),
        (lambda x: bilinear_deconvolution(x, kernel=2, stride=2, padding=2), InputError, "padding below the kernel 2"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(1, 2, 5, 5))
