"""Depthwise convolutions and their gradients, beside torch's own."""

import pytest
import torch
from torch.nn import functional

from perimetry.training import depthwise
from perimetry.training.depthwise import depthwise_conv2d

# rows and columns of filters; stride, padding, dilation; height and width
CASES = {
    "3": ((3, 3), (1, 1), (1, 1), (1, 1), (6, 7)),
    "3, stride 2, even": ((3, 3), (2, 2), (1, 1), (1, 1), (6, 8)),
    "3, stride 2, odd": ((3, 3), (2, 2), (1, 1), (1, 1), (7, 5)),
    "3, stride 2, nothing around": ((3, 3), (2, 2), (0, 0), (1, 1), (6, 7)),
    "3, stride 3, the last cells unseen": ((3, 3), (3, 3), (0, 0), (1, 1), (8, 10)),
    "5": ((5, 5), (1, 1), (2, 2), (1, 1), (6, 7)),
    "5, stride 2": ((5, 5), (2, 2), (2, 2), (1, 1), (7, 8)),
    "7": ((7, 7), (1, 1), (3, 3), (1, 1), (5, 6)),
    "4, even": ((4, 4), (1, 1), (2, 2), (1, 1), (6, 5)),
    "rows alone": ((1, 5), (1, 2), (0, 2), (1, 1), (4, 7)),
    "columns alone": ((5, 1), (2, 1), (2, 0), (1, 1), (7, 4)),
    "dilated": ((3, 3), (1, 1), (2, 2), (2, 2), (6, 7)),
    "5, dilated, stride 2": ((5, 5), (2, 2), (4, 4), (2, 2), (9, 8)),
    "dilated along one axis": ((3, 5), (1, 1), (1, 2), (1, 2), (5, 10)),
    "1, stride 2": ((1, 1), (2, 2), (0, 0), (1, 1), (5, 6)),
    "more around than a filter reaches": ((1, 3), (1, 1), (1, 3), (1, 1), (4, 5)),
}


def given(sides, size, *, channels=3, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, channels, *size, generator=draw, dtype=torch.float64).to(dtype)
    weight = torch.randn(channels, 1, *sides, generator=draw, dtype=torch.float64).to(dtype)
    bias = torch.randn(channels, generator=draw, dtype=torch.float64).to(dtype)
    return [each.requires_grad_() for each in (images, weight, bias)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_torch_convolves_and_differentiates(case):
    sides, stride, padding, dilation, size = case
    inputs = given(sides, size)
    found = depthwise_conv2d(*inputs, stride=stride, padding=padding, dilation=dilation)
    wanted = functional.conv2d(*inputs, stride, padding, dilation, 3)
    torch.testing.assert_close(found, wanted)
    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, above), torch.autograd.grad(wanted, inputs, above))


@pytest.mark.parametrize("name", ["5, stride 2", "5, dilated, stride 2", "more around than a filter reaches"])
def test_gradients_and_their_gradients(name):
    sides, stride, padding, dilation, size = CASES[name]
    inputs = given(sides, size, channels=2)

    def convolved(*inputs):
        return depthwise_conv2d(*inputs, stride=stride, padding=padding, dilation=dilation)

    assert torch.autograd.gradcheck(convolved, inputs)
    assert torch.autograd.gradgradcheck(convolved, inputs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bfloat16_is_rounded_once(case):
    """Beside double precision: sums are kept in single precision, and rounded to 8 bits."""
    sides, stride, padding, dilation, size = case
    inputs = given(sides, size, channels=32, dtype=torch.bfloat16)
    exact = [each.detach().double().requires_grad_() for each in inputs]
    found = depthwise_conv2d(*inputs, stride=stride, padding=padding, dilation=dilation)
    wanted = functional.conv2d(*exact, stride, padding, dilation, 32)
    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    found_gradients = torch.autograd.grad(found, inputs, above)
    wanted_gradients = torch.autograd.grad(wanted, exact, above.double())
    for one, other in zip((found, *found_gradients), (wanted, *wanted_gradients), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(("asked", "other"), [("images", "weight"), ("weight", "images")])
def test_only_what_is_asked_for_is_computed(monkeypatch, asked, other):
    def fail(*_):
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(depthwise, f"gradient_of_{other}", fail)
    given_by_name = dict(zip(("images", "weight", "bias"), given((3, 3), (5, 5)), strict=True))
    inputs = [each if name == asked else each.detach() for name, each in given_by_name.items()]
    found = depthwise_conv2d(*inputs, stride=(1, 1), padding=(1, 1), dilation=(1, 1))
    (gradient,) = torch.autograd.grad(found.sum(), [given_by_name[asked]])
    assert gradient.shape == given_by_name[asked].shape


def test_gradients_and_images_in_any_layout():
    images, weight, _ = given((5, 5), (6, 6))
    for layout in (torch.contiguous_format, torch.channels_last):
        laid = images.detach().to(memory_format=layout).requires_grad_()
        found = depthwise_conv2d(laid, weight, None, stride=(2, 2), padding=(2, 2), dilation=(1, 1))
        # the gradient of a mean is one number that is told of as many
        (gradient,) = torch.autograd.grad(found.mean((2, 3)).square().sum(), [laid])
        wanted = functional.conv2d(laid, weight, None, 2, 2, 1, 3).mean((2, 3)).square().sum()
        torch.testing.assert_close(gradient, torch.autograd.grad(wanted, [laid])[0])
