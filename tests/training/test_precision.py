"""In which numbers a step computes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from perimetry.training.precision import autocast


class Convolutions(TorchDispatchMode):
    """Notes in which precision convolutions and their gradients are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, torch.dtype]] = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if "convolution" in str(function):
            backward = "backward" in str(function)
            self.found.append(("backward" if backward else "forward", arguments[0].dtype))
        return function(*arguments, **(named or {}))


def dtypes(network: nn.Module, precision: str) -> list[tuple[str, torch.dtype]]:
    with Convolutions() as noted:
        with autocast(precision, torch.device("cpu")):
            loss = network(torch.ones(1, 4, 8, 8)).float().sum()
        loss.backward()
    return noted.found


def test_bfloat16_for_all_convolutions_on_cpus():
    usual, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    assert dtypes(usual, "bfloat16") == [("forward", torch.bfloat16), ("backward", torch.bfloat16)]
    assert dtypes(depthwise, "bfloat16") == [("forward", torch.bfloat16), ("backward", torch.bfloat16)]
    assert dtypes(usual, "float32") == [("forward", torch.float32), ("backward", torch.float32)]


def test_wide_filters_of_depthwise_convolutions_have_their_gradients_in_parts():
    of_images = ("forward", torch.bfloat16)  # the convolution with turned filters
    found = dtypes(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 7, padding=3, groups=4)), "bfloat16")
    assert found[2:-1] == [of_images, *[("backward", torch.bfloat16)] * 3]


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"groups": 4}, (3, 3)),
        ({"stride": 2, "padding": 1, "groups": 4}, (3, 3)),
        ({"stride": (1, 2), "padding": (2,), "dilation": [1], "groups": 4}, (5, 5)),
        ({"padding": "same", "groups": 4}, (3, 5)),
        ({"padding": "same", "dilation": (2, 1), "groups": 4}, (4, 3)),
        ({"padding": "valid", "groups": 4}, (3, 3)),
    ],
)
@pytest.mark.parametrize("filters", [1, 3], ids=lambda filters: f"{filters} filters a channel")
def test_depthwise_convolutions_as_torch_takes_them(options, sides, filters):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, 8, 9, generator=draw).bfloat16().requires_grad_()
    weight = torch.randn(4 * filters, 1, *sides, generator=draw).bfloat16().float().requires_grad_()
    bias = torch.randn(4 * filters, generator=draw).bfloat16().float().requires_grad_()
    inputs = (images, weight, bias)
    with autocast("bfloat16", torch.device("cpu")):
        found = functional.conv2d(*inputs, **options)
    wanted = functional.conv2d(*(each.float() for each in inputs), **options)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, rtol=2**-8, atol=1e-5)
    above = torch.randn(wanted.shape, generator=draw).bfloat16()
    found_gradients = torch.autograd.grad(found, inputs, above)
    wanted_gradients = torch.autograd.grad(wanted, inputs, above.float())
    for one, other in zip(found_gradients, wanted_gradients, strict=True):
        # Where filters share a channel, its gradient is a sum of numbers that were rounded, and may cancel out.
        torch.testing.assert_close(one.float(), other.float(), rtol=2**-7, atol=2**-4 if filters > 1 else 1e-5)


def test_one_image_without_a_batch_is_not_taken_for_channels():
    image, weight = torch.ones(1, 4, 8), torch.ones(2, 1, 3, 3)
    with autocast("bfloat16", torch.device("cpu")):
        assert functional.conv2d(image, weight).shape == (2, 2, 6)


def test_double_precision_stays_as_autocast_leaves_it():
    images, weight = torch.ones(1, 4, 8, 8, dtype=torch.float64), torch.ones(4, 1, 3, 3, dtype=torch.float64)
    with autocast("bfloat16", torch.device("cpu")):
        assert functional.conv2d(images, weight, groups=4).dtype == torch.float64


@pytest.mark.parametrize("side", [32, 33])
def test_a_step_of_timms_layers_that_pad_as_tensorflow_does(side):
    """Gradients in bfloat16 lie as near to those in double precision as torch's own in bfloat16."""
    from timm.layers import Conv2dSame

    draw = torch.Generator().manual_seed(0)
    layer = Conv2dSame(8, 8, 5, stride=2, groups=8, bias=False)
    images = torch.randn(2, 8, side, side, generator=draw)
    with autocast("bfloat16", torch.device("cpu")):
        found = torch.autograd.grad(layer(images).square().mean(), [layer.weight])[0]
    exact = torch.autograd.grad(layer(images).square().mean(), [layer.weight])[0]
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02 * exact.abs().max().item())


def test_hooks_copies_and_exports_work_after_a_step():
    network = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.ReLU6(inplace=True))
    seen = []
    network[0].register_forward_hook(lambda _layer, _given, output: seen.append(output.dtype))
    before = set(vars(network[0]))
    images = torch.ones(1, 4, 8, 8)
    with autocast("bfloat16", torch.device("cpu")):
        network(images).float().sum().backward()
    assert set(vars(network[0])) == before
    wanted = network(images)
    assert seen == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(copy.deepcopy(network)(images), wanted)
    torch.testing.assert_close(torch.export.export(network, (images,)).module()(images), wanted)
