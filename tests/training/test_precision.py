"""In which numbers a step computes."""

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


def test_bfloat16_for_all_but_depthwise_convolutions_on_cpus():
    usual, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3, groups=4)
    assert dtypes(usual, "bfloat16") == [("forward", torch.bfloat16), ("backward", torch.bfloat16)]
    assert dtypes(depthwise, "bfloat16") == [("forward", torch.float32), ("backward", torch.float32)]
    assert dtypes(usual, "float32") == [("forward", torch.float32), ("backward", torch.float32)]


def test_depthwise_convolutions_give_bfloat16_on():
    images, weight = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(4, 1, 3, 3)
    with autocast("bfloat16", torch.device("cpu")):
        found = functional.conv2d(images.bfloat16(), weight, None, 1, 1, 1, 4)
    wanted = functional.conv2d(images.bfloat16().float(), weight, None, 1, 1, 1, 4)
    torch.testing.assert_close(found, wanted.bfloat16(), rtol=0, atol=0)
