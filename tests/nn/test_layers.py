"""Layers against the functions they stand for, and all of them under fields, inspect, export and copying."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import perimetry
from perimetry import ops
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.nn import (
    BasicBlock,
    BilinearDeconvolution,
    Bottleneck,
    EarlyFusion,
    GlobalContext,
    InceptionNaive,
    InceptionV1,
    InceptionV2,
    InceptionV2Reduction,
    InceptionV3,
    L2Normalize,
    LateFusion,
    LocalResponseNorm,
    LPDownsample,
    MaxBlurDownsample,
    PositionSensitiveRoIPool,
    RoIMaxPool,
    SpatialPyramidPooling,
    StochasticDownsample,
    WithinChannelNorm,
    downsample,
)

WAYS = ("max", "mean", "lp", "stochastic", "convolution", "blur", "max_blur")


class Fused(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head((4, 4), classes=3)

    def forward(self, x):
        return self.head([x, x.mean((2, 3), keepdim=True)])


# Each layer on 4 channels, and the field of its middle unit (None: the whole map). The map is 9 x 9.
LAYERS = {
    **{
        f"downsample-{way}": (lambda way=way: downsample(way, 4, kernel=3, padding=1), 5 if way == "max_blur" else 3)
        for way in WAYS
    },
    "downsample-ceil": (lambda: downsample("mean", 4, kernel=2, rounding="ceil"), 2),
    "l2": (lambda: L2Normalize(4), 1),
    "lrn-paper": (LocalResponseNorm.paper, 1),
    "lrn-caffe": (LocalResponseNorm.caffe, 1),
    "lrn-tensorflow": (LocalResponseNorm.tensorflow, 1),
    "lrn-within-channel": (lambda: WithinChannelNorm(size=3, alpha=1.0), 3),
    "pyramid": (lambda: SpatialPyramidPooling((3, 1)), None),
    "global-context": (lambda: GlobalContext(4), None),
    "early-fusion": (lambda: Fused(EarlyFusion), None),
    "late-fusion": (lambda: Fused(LateFusion), None),
    "deconvolution": (lambda: BilinearDeconvolution(kernel=4, stride=2), 2),
    "inception-naive": (lambda: InceptionNaive(4, ones=2, threes=2, fives=2), 5),
    "inception-v1": (lambda: InceptionV1(4, ones=2, threes=(2, 3), fives=(2, 3), pooled=2), 5),
    "inception-v2": (lambda: InceptionV2(4, ones=2, threes=(2, 3), doubles=(2, 3), pooled=2), 5),
    "inception-v2-max": (
        lambda: InceptionV2(4, ones=2, threes=(2, 3), doubles=(2, 3), pooled=2, pooling="max"),
        5,
    ),
    "inception-v2-reduction": (lambda: InceptionV2Reduction(4, threes=(2, 3), doubles=(2, 3)), 5),
    "inception-v3": (lambda: InceptionV3(4, ones=2, factored=(2, 3), doubled=(2, 3), pooled=2, n=3), 5),
    "basic": (lambda: BasicBlock(4, 8, stride=2), 7),
    "bottleneck-v1": (lambda: Bottleneck(4, 2, version="v1", stride=2), 5),
    "bottleneck-v1.5": (lambda: Bottleneck(4, 2, version="v1.5", stride=2), 3),
    "bottleneck-dilated": (lambda: Bottleneck(4, 2, version="v1", dilation=2), 5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_a_field(name):
    make, side = LAYERS[name]
    layer = make().eval()
    found = perimetry.inspect(layer, (torch.rand(1, 4, 9, 9),))
    field = found.layer("output").field
    assert not found.models[0].unknown
    assert field.size == (side, side)
    if name in ("global-context", "early-fusion", "late-fusion"):
        assert found.layer("output").local_field.size == (1, 1)  # the context is the same for every unit


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_exports_copies_and_has_gradients(name):
    layer = LAYERS[name][0]().eval()
    x = torch.rand(2, 4, 9, 9)
    assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))
    assert_close(copy.deepcopy(layer)(x), layer(x))
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert repr(layer)


def test_all_ways_of_downsampling_give_the_same_size():
    for rounding in ("floor", "ceil"):
        for kernel, stride, padding in ((2, 2, 0), (3, 2, 0), (3, 2, 1)):
            for extent in (7, 8):
                arguments = {"kernel": kernel, "stride": stride, "padding": padding, "rounding": rounding}
                side = ops.pooled_size(extent, **arguments)
                for way in WAYS:
                    pooled = downsample(way, 4, **arguments)(torch.rand(1, 4, extent, extent))
                    assert pooled.shape == (1, 4, side, side), (way, arguments)


def test_stochastic_pooling_draws_in_training_only():
    x = torch.rand(1, 3, 8, 8)
    layer = StochasticDownsample(generator=torch.Generator().manual_seed(0))
    expected = ops.stochastic_pool(x, kernel=2, stride=2, generator=torch.Generator().manual_seed(0))
    assert_close(layer(x), expected, rtol=0, atol=0)
    assert not torch.equal(layer(x), expected)
    assert_close(layer.eval()(x), ops.stochastic_pool_mean(x, kernel=2, stride=2))


def test_options_of_one_way_reach_its_function():
    x = torch.rand(1, 3, 8, 8)
    assert_close(LPDownsample(power=3)(x), ops.lp_pool(x, power=3, kernel=2, stride=2))
    assert_close(MaxBlurDownsample(taps=5)(x), ops.max_blur_pool(x, kernel=2, stride=2, taps=5))


def test_layers_over_boxes_are_their_functions():
    x, boxes = torch.rand(1, 8, 9, 9), torch.tensor([[0, 3, 4, 60, 50.0]])
    assert_close(
        PositionSensitiveRoIPool(size=2, scale=1 / 8)(x, boxes),
        ops.position_sensitive_roi_pool(x, boxes, size=2, scale=1 / 8),
    )
    assert_close(RoIMaxPool(size=(3, 2), scale=1 / 8)(x, boxes), ops.roi_max_pool(x, boxes, size=(3, 2), scale=1 / 8))


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (LocalResponseNorm.paper(n=4, alpha=0.2), lambda x: ops.lrn_paper(x, n=4, alpha=0.2)),
        (LocalResponseNorm.caffe(size=3, alpha=0.2), lambda x: ops.lrn_caffe(x, size=3, alpha=0.2)),
        (LocalResponseNorm.tensorflow(depth_radius=2), lambda x: ops.lrn_tensorflow(x, depth_radius=2)),
    ],
)
def test_conventions_are_kept(layer, function):
    x = torch.rand(2, 9, 3, 3)
    assert_close(layer(x), function(x))


def test_scales_start_at_ten_and_are_learned():
    context = GlobalContext(1024)
    scales = [parameter for name, parameter in context.named_parameters() if name.endswith("scale")]
    assert sum(scale.numel() for scale in scales) == 2048  # ParseNet's gammas
    assert all((scale == 10).all() for scale in scales)


def test_early_fusion_is_late_fusion_for_a_linear_score():
    early, late = EarlyFusion((4, 6, 5), classes=3).double(), LateFusion((4, 6, 5), classes=3).double()
    for mine, theirs in zip(early.normalize, late.normalize, strict=True):
        mine.scale.data = theirs.scale.data = torch.rand_like(mine.scale) * 20
    early.score.weight.data = torch.cat([score.weight.data for score in late.scores], 1)
    early.score.bias.data = sum(score.bias.data for score in late.scores)
    maps = [torch.randn(2, 4, 5, 7).double(), torch.randn(2, 6, 5, 7).double(), torch.randn(2, 5, 1, 1).double()]
    assert_close(early(maps), late(maps), rtol=1e-12, atol=1e-12)


def test_the_deconvolution_has_nothing_to_learn():
    layer = BilinearDeconvolution(kernel=64, stride=32)
    assert not list(layer.parameters()) and not layer.state_dict()
    assert layer(torch.ones(1, 21, 16, 16)).shape == (1, 21, 544, 544)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: downsample("average", 4), UnknownNameError, "unknown way of downsampling 'average'.*one of max, mean"),
        (lambda: downsample("max", 4, kernel=0), InputError, "got kernel 0, stride 2, padding 0"),
        (lambda: downsample("max", 4, stride=0), InputError, "got kernel 2, stride 0, padding 0"),
        (lambda: downsample("lp", 4, rounding="round"), UnknownNameError, "unknown rounding 'round'"),
        (lambda: LPDownsample(power=0), InputError, "power is at least 1"),
        (lambda: MaxBlurDownsample(taps=2), InputError, "odd side"),
        (lambda: L2Normalize(3, eps=0), InputError, "above 0"),
        (lambda: LocalResponseNorm(before=-1, after=0, alpha=1), InputError, "at least 0"),
        (lambda: LocalResponseNorm.caffe(size=0), InputError, "size counts channels"),
        (lambda: SpatialPyramidPooling(()), InputError, "levels are bins a side"),
        (lambda: EarlyFusion((), classes=3), InputError, "at least one map"),
        (lambda: LateFusion((4,), classes=3)([]), InputError, "expected 1 maps, got 0"),
        (lambda: LateFusion((4,), classes=3)([torch.ones(1, 5, 2, 2)]), ShapeError, r"expected a map \(N, 4, H, W\)"),
        (
            lambda: EarlyFusion((1, 1), classes=3)([torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)]),
            ShapeError,
            "expected maps of 4 x 4 or of one cell, got 2 x 2",
        ),
        (lambda: InceptionV3(4, ones=1, factored=(1, 1), doubled=(1, 1), pooled=1, n=4), InputError, "odd side"),
        (lambda: Bottleneck(4, 2, version="v2"), UnknownNameError, "unknown version 'v2'"),
        (lambda: BasicBlock(4, 2, stride=0), InputError, "stride and dilation are at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
