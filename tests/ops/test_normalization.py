"""Normalisation across channels and global context, against loops over channels, torch and published figures."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from perimetry.errors import InputError, ShapeError
from perimetry.ops import (
    global_context,
    l2_normalize,
    local_response_norm,
    lrn_caffe,
    lrn_paper,
    lrn_tensorflow,
    lrn_within_channel,
    unpool,
)

X = torch.randn(2, 7, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_l2_against_the_norm():
    scale = torch.rand(7, dtype=torch.float64) * 20
    assert_close(l2_normalize(X, scale), X / X.norm(dim=1, keepdim=True) * scale[:, None, None], rtol=1e-9, atol=0)


def test_epsilon_stands_inside_the_root():
    # Four channels of 1e-6: norm 2e-6, so 2e-6 / sqrt(4e-12 + 1e-10), where torch's clamped norm would give 1.
    tiny = torch.full((1, 4, 1, 1), 1e-6, dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    assert l2_normalize(tiny, ones).norm().item() == pytest.approx(0.196, abs=5e-4)
    assert F.normalize(tiny, eps=1e-10).norm().item() == pytest.approx(1.0)


def test_l2_of_zeros_has_a_finite_gradient():
    zeros = torch.zeros(1, 3, 2, 2, requires_grad=True)
    l2_normalize(zeros, torch.ones(3)).sum().backward()
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_l2_of_large_half_precision(dtype):
    large = torch.full((1, 4, 1, 1), 1e4, dtype=dtype)  # its squares overflow half precision
    assert_close(l2_normalize(large, torch.ones(4, dtype=dtype)), torch.full_like(large, 0.5))


def lrn_by_definition(x, low, high, alpha, beta, k):
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        around = x[:, max(0, c - low) : min(x.shape[1], c + high + 1)]
        out[:, c] = x[:, c] / (k + alpha * (around**2).sum(1)) ** beta
    return out


@pytest.mark.parametrize("n", [1, 3, 4, 5, 20])
def test_the_papers_convention(n):
    assert_close(lrn_paper(X, n=n, alpha=0.3), lrn_by_definition(X, n // 2, n // 2, 0.3, 0.75, 2.0))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 20])
def test_caffes_convention_is_torchs(size):
    assert_close(lrn_caffe(X, size=size, alpha=0.3, k=2.0), F.local_response_norm(X, size, alpha=0.3, beta=0.75, k=2.0))


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
def test_tensorflows_convention(radius):
    assert_close(lrn_tensorflow(X, depth_radius=radius), lrn_by_definition(X, radius, radius, 1.0, 0.5, 1.0))


def test_torch_needs_five_times_alpha_for_the_paper():
    large = X * 100
    assert_close(lrn_paper(large), lrn_caffe(large, k=2.0, alpha=5e-4))
    assert (lrn_paper(large) / lrn_caffe(large, k=2.0, alpha=1e-4) - 1).abs().max() > 0.2


def test_within_a_channel():
    padded = F.pad(X, (1, 1, 1, 1)) ** 2
    means = sum(padded[:, :, i : i + 3, j : j + 4] for i in range(3) for j in range(3)) / 9
    assert_close(lrn_within_channel(X, size=3, alpha=0.5), X / (1 + 0.5 * means) ** 0.75)


def test_gradients():
    x = X[:1, :, :2, :2].clone().requires_grad_()
    scale = torch.rand(7, dtype=torch.float64, requires_grad=True)
    for function in (lrn_paper, lrn_caffe, lrn_tensorflow):
        assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradcheck(lambda x: lrn_within_channel(x, size=3, alpha=1.0), (x,))
    assert torch.autograd.gradcheck(l2_normalize, (x, scale))
    assert torch.autograd.gradcheck(
        lambda x, scale: global_context(x, local_scale=scale, context_scale=scale * 2), (x, scale)
    )


def test_context_stands_behind_the_features():
    local, context = torch.rand(7).double(), torch.rand(7).double()
    mixed = global_context(X, local_scale=local, context_scale=context)
    assert mixed.shape == (2, 14, 3, 4)
    mean = X.flatten(2).mean(2)
    for row in range(3):
        for column in range(4):
            here = X[:, :, row, column]
            assert_close(mixed[:, :7, row, column], F.normalize(here) * local, rtol=1e-8, atol=1e-8)
            assert_close(mixed[:, 7:, row, column], F.normalize(mean) * context, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: l2_normalize(X, torch.ones(3)), ShapeError, r"one scale for each of 7 channels, got \(3,\)"),
        (lambda: l2_normalize(X[0], torch.ones(7)), ShapeError, r"add a batch axis with features\[None\]"),
        (lambda: l2_normalize(X, torch.ones(7), eps=0), InputError, "eps is what keeps"),
        (lambda: local_response_norm(X, before=-1, after=0, alpha=1), InputError, "neighbouring channels"),
        (lambda: local_response_norm(X, before=1, after=1, alpha=0, k=0), InputError, "k or alpha"),
        (lambda: lrn_paper(X, n=0), InputError, "n counts channels"),
        (lambda: lrn_caffe(X, size=0), InputError, "size counts channels"),
        (lambda: lrn_within_channel(X, size=2, alpha=1), InputError, "odd side of a window, got 2"),
        (lambda: unpool(X, height=2, width=2), ShapeError, "one vector per image"),
        (
            lambda: global_context(X[:, :, :0], local_scale=X[0, :, 0, 0], context_scale=X[0, :, 0, 0]),
            ShapeError,
            "cell",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
