"""Inception and residual blocks against torchvision's, published parameter counts, and what factorising covers."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import inception, resnet
from torchvision.ops import FeaturePyramidNetwork

import perimetry
from perimetry.errors import UnknownNameError
from perimetry.nn import (
    BasicBlock,
    Bottleneck,
    InceptionNaive,
    InceptionV1,
    InceptionV2,
    InceptionV2Reduction,
    InceptionV3,
)


def count(module, kind=nn.Conv2d):
    """The convolutions' weights, without biases."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, kind))


def test_inception_3a_has_the_published_weights():
    block = InceptionV1(192, ones=64, threes=(96, 128), fives=(16, 32), pooled=32)
    assert count(block) == 163_328
    assert count(block) - count(block.pool) == 157_184  # the figure often quoted leaves the projection out
    assert sum(parameter.numel() for parameter in block.parameters()) == 163_696
    assert block(torch.rand(1, 192, 28, 28)).shape == (1, 256, 28, 28)
    naive = InceptionNaive(192, ones=64, threes=128, fives=32)
    assert count(naive) == 192 * (64 + 128 * 9 + 32 * 25) > 2 * count(block)


def test_branches_are_joined_in_the_papers_order():
    block = InceptionV1(4, ones=2, threes=(2, 3), fives=(2, 4), pooled=1)
    x = torch.rand(1, 4, 6, 6)
    parts = block(x).split([2, 3, 4, 1], 1)
    one, three, five, pool = block.one, block.three, block.five, block.pool
    for part, branch in zip(parts, (one, three, five, pool), strict=True):
        assert_close(part, branch(x))
    assert_close(parts[3], torch.relu(pool[1][0](nn.functional.max_pool2d(x, 3, 1, 1))))
    assert [layer.kernel_size for layer in five.modules() if isinstance(layer, nn.Conv2d)] == [(1, 1), (5, 5)]


def test_two_threes_take_18_weights_for_25():
    block = InceptionV2(8, ones=8, threes=(8, 8), doubles=(8, 8), pooled=8)
    assert count(block.twice) - 8 * 8 == 18 * 8 * 8
    network = perimetry.trace(block.twice.eval(), torch.rand(1, 8, 16, 16))
    assert perimetry.fields(network)["output"].full.size == (5, 5)


@pytest.mark.parametrize("n", [3, 5, 7])
def test_a_pair_of_lines_covers_the_square(n):
    block = InceptionV3(8, ones=8, factored=(8, 8), doubled=(8, 8), pooled=8, n=n)
    assert count(block.factored) - 8 * 8 == 2 * n * 8 * 8
    network = perimetry.trace(block.factored.eval(), torch.rand(1, 8, 16, 16))
    assert perimetry.fields(network)["output"].full.size == (n, n)
    reached = perimetry.support(network, "output", (8, 8))
    assert int(reached.sum()) == n * n


def test_v3_is_torchvisions_with_its_weights():
    theirs = inception.InceptionC(16, channels_7x7=8).eval()
    ours = InceptionV3(16, ones=192, factored=(8, 192), doubled=(8, 192), pooled=192).eval()
    for parameter in theirs.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    # The branches stand in the same order, with their layers in the same order.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 16, 9, 9)
    assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_blocks_are_torchvisions_with_its_weights(stride):
    def shortcut(inside, outside):
        return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    x = torch.randn(2, 16, 9, 9)
    pairs = [
        (BasicBlock(16, 32, stride=stride), resnet.BasicBlock(16, 32, stride, shortcut(16, 32))),
        (Bottleneck(16, 8, version="v1.5", stride=stride), resnet.Bottleneck(16, 8, stride, shortcut(16, 32))),
    ]
    for ours, theirs in pairs:
        ours.load_state_dict(theirs.state_dict())
        assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_shortcut_that_fits_is_left_alone():
    assert Bottleneck(32, 8, version="v1").downsample is None
    assert BasicBlock(32, 32).downsample is None


def test_v1_strides_in_the_first_convolution():
    v1, later = (Bottleneck(16, 8, version=version, stride=2) for version in ("v1", "v1.5"))
    assert (v1.conv1.stride, v1.conv2.stride) == ((2, 2), (1, 1))
    assert (later.conv1.stride, later.conv2.stride) == ((1, 1), (2, 2))


def test_a_bottleneck_has_69632_weights_where_one_wide_3x3_has_589824():
    assert count(Bottleneck(256, 64, version="v1")) == 69_632
    assert nn.Conv2d(256, 256, 3, bias=False).weight.numel() == 589_824


def test_torchvisions_pyramid_needs_no_wrapper():
    neck = FeaturePyramidNetwork([256, 512, 1024, 2048], 256)
    assert sum(parameter.numel() for parameter in neck.parameters()) == 3_344_384  # Detectron's


def test_torchvisions_pyramid_has_fields():
    class Neck(nn.Module):
        def __init__(self):
            super().__init__()
            self.low, self.high = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
            self.neck = FeaturePyramidNetwork([4, 8], 6)

        def forward(self, x):
            low = self.low(x)
            return self.neck({"0": low, "1": self.high(low)})["0"]

    found = perimetry.inspect(Neck().eval(), 32)
    assert not found.models[0].unknown
    assert found.layer("output").field.stride == (2, 2)


def test_a_reduction_passes_its_input_through_a_pool():
    block = InceptionV2Reduction(6, threes=(2, 3), doubles=(2, 4)).eval()
    x = torch.randn(1, 6, 9, 8)
    found = block(x)
    assert found.shape == (1, 3 + 4 + 6, 5, 4)
    assert_close(found[:, 7:], nn.functional.max_pool2d(x, 3, 2, 1))
    strides = [layer.stride[0] for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    assert strides == [1, 2, 1, 1, 2]


def test_the_pooling_of_an_inception_block_is_told():
    with pytest.raises(UnknownNameError, match='"mean" or "max"'):
        InceptionV2(4, ones=2, threes=(2, 3), doubles=(2, 3), pooled=2, pooling="min")
