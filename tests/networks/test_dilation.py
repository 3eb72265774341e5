"""Dilated networks against the networks they come from: at the original positions the maps are the same."""

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import nn
from torch.testing import assert_close

from perimetry.errors import InputError
from perimetry.networks import dilate
from perimetry.nn import downsample


def _resnet(build):
    model = build(weights=None)
    return nn.Sequential(*list(model.children())[:-2])


class TimmFeatures(nn.Module):
    def __init__(self, name, **more):
        super().__init__()
        self.model = timm.create_model(name, **more)

    def forward(self, x):
        return self.model.forward_features(x)


NETWORKS = {
    "resnet18": lambda: _resnet(torchvision.models.resnet18),
    "resnet50": lambda: _resnet(torchvision.models.resnet50),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(weights=None).features,
    "vgg16": lambda: torchvision.models.vgg16(weights=None).features,
    "densenet121": lambda: torchvision.models.densenet121(weights=None).features,
    "convnext_tiny": lambda: torchvision.models.convnext_tiny(weights=None).features,
    "efficientnet_lite0": lambda: TimmFeatures("efficientnet_lite0"),
    "tf_efficientnet_lite0": lambda: TimmFeatures("tf_efficientnet_lite0"),  # TensorFlow's padding
    "resnet26d": lambda: TimmFeatures("resnet26d"),  # average pooling in its shortcuts
    "resnetblur18": lambda: TimmFeatures("resnetblur18"),
    "poolformer_s12": lambda: TimmFeatures("poolformer_s12"),  # averages of the cells that exist
    "regnetx_002": lambda: TimmFeatures("regnetx_002"),
}


def _ready(model):
    """In eval mode, with statistics that a forgotten padding would show against."""
    generator = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2, generator=generator)
            nn.init.uniform_(part.bias, -0.2, 0.2, generator=generator)
    return model.eval()


def same_at_the_original_positions(model, dilated, size, *, tolerance=1e-5):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = model(image), dilated(image)
    by = [-(-dense // sparse) for dense, sparse in zip(after.shape[2:], before.shape[2:], strict=True)]
    scale = float(before.abs().max())
    assert scale > 0
    assert_close(after[:, :, :: by[0], :: by[1]], before, rtol=tolerance, atol=tolerance * max(scale, 1.0))
    return by


@pytest.mark.parametrize("output_stride", [16, 8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_at_the_original_positions_are_the_same(name, output_stride):
    torch.manual_seed(0)
    model = _ready(NETWORKS[name]())
    dilated = dilate(model, output_stride=output_stride)
    sizes = [(96, 64)] if output_stride < 16 else [(96, 64), (128, 160), (101, 75)]
    for size in sizes:
        by = same_at_the_original_positions(model, dilated, size)
        assert by == [32 // output_stride] * 2 or max(size) % 32, by
    assert [tuple(each.shape) for each in model.parameters()] == [tuple(each.shape) for each in dilated.parameters()]


def test_the_original_is_left_as_it_was_and_shares_nothing():
    model = _ready(NETWORKS["resnet18"]())
    settings, state = repr(model), copy.deepcopy(model.state_dict())
    dilated = dilate(model.train(), output_stride=8)
    assert dilated.training and repr(model) == settings
    assert list(dilated.state_dict()) == list(state)
    for key, value in model.state_dict().items():
        assert_close(value, state[key], rtol=0, atol=0)
        assert_close(dilated.state_dict()[key], value, rtol=0, atol=0)
        assert not value.numel() or dilated.state_dict()[key].data_ptr() != value.data_ptr()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_dilations_are_those_of_torchvision():
    theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
    ours = dilate(torchvision.models.resnet50(weights=None), output_stride=8)
    assert repr(ours) == repr(theirs)


def test_stride_by_stride_is_the_same_as_at_once():
    model = _ready(nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(3, 3, 2, 2), nn.AvgPool2d(3, 2)))))
    image = torch.rand(1, 3, 640, 512)
    at_once = dilate(model, output_stride=8, image=512)
    in_steps = dilate(dilate(model, output_stride=16, image=512), output_stride=8, image=512)
    assert_close(in_steps(image), at_once(image), rtol=0, atol=0)
    assert_close(at_once(image)[:, :, ::8, ::8], model(image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d((2, 3), (2, 1), padding=(1, 1)),
        nn.AvgPool2d(3, 2, padding=1),
        nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
        nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, 2, divisor_override=3),
        nn.AvgPool2d(5, 2, ceil_mode=True),
        nn.LPPool2d(2, 2, 2),
        AvgPool2dSame(3, 2),
        AvgPool2dSame(3, 2, count_include_pad=False),
        MaxPool2dSame(2, 2),
        timm.layers.BlurPool2d(4, stride=2),
        timm.layers.Conv2dSame(4, 4, 5, 2),
        nn.Conv2d(4, 4, 3, 2),
        nn.Conv2d(4, 4, 4, 2, padding=1, groups=2, dilation=2),
        *(downsample(way, 4) for way in ("max", "mean", "lp", "stochastic", "convolution", "blur", "max_blur")),
        *(downsample(way, 4, kernel=3, padding=1) for way in ("lp", "stochastic", "convolution", "blur")),
        *(downsample(way, 4, kernel=3, rounding="ceil") for way in ("max", "mean", "lp", "stochastic", "convolution")),
    ],
    ids=repr,
)
def test_every_layer_in_every_place_at_every_size(pool):
    # The layer where its stride goes, and again where it reads a denser map.
    model = _ready(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), pool, copy.deepcopy(pool), nn.Conv2d(4, 4, 3, padding=1)
        )
    )
    for output_stride in (1, 2):
        dilated = dilate(model, output_stride=output_stride)
        for height, width in ((32, 32), (33, 30), (31, 29), (34, 35), (24, 47)):
            image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
            before, after = model(image), dilated(image)
            by = [int(stride) // min(int(stride), output_stride) for stride in _total_strides(pool)]
            assert_close(after[:, :, :: by[0], :: by[1]], before, rtol=1e-5, atol=1e-5)


def _total_strides(pool):
    stride = pool.stride
    rows, columns = stride if isinstance(stride, tuple) else (stride, stride)
    return rows**2, columns**2


class Same(nn.Module):
    """A network of one function."""

    def __init__(self, function, *, layers):
        super().__init__()
        self.layers = layers
        self.function = function

    def forward(self, x):
        return self.function(self.layers(x))


def _strided():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.Conv2d(4, 4, 3, 2, padding=1))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda x: nn.functional.max_pool2d(x, 3, 2), "max_pool2d_with_indices outside a layer"),
        (lambda x: nn.functional.avg_pool2d(x, 3, 1, 1), "avg_pool2d outside a layer"),
        (lambda x: nn.functional.interpolate(x, scale_factor=2), "upsample_nearest2d outside a layer"),
        (lambda x: nn.functional.pad(x, (1, 1, 1, 1)), "constant_pad_nd outside a layer"),
        (lambda x: x[:, :, ::2, ::2], "slice outside a layer"),
        (lambda x: x.roll(1, 2), "roll outside a layer"),
        (lambda x: x.flatten(2).transpose(1, 2) @ x.flatten(2), "computes attention .bmm."),
    ],
)
def test_what_has_no_dense_form_is_refused(function, told):
    with pytest.raises(InputError, match=told):
        dilate(Same(function, layers=_strided()), output_stride=1)


def test_what_comes_before_the_stride_that_changes_may_be_anything():
    class Early(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = _strided()

        def forward(self, x):
            return self.layers(nn.functional.avg_pool2d(nn.functional.pad(x, (1, 1, 1, 1)), 3, 1))

    model = Early().eval()
    assert same_at_the_original_positions(model, dilate(model, output_stride=2), (32, 32)) == [2, 2]


def test_strides_that_a_network_does_not_have_are_refused():
    model = NETWORKS["resnet18"]()
    for wrong in (0, -8, 3, 12, 24, 64, 8.5):
        with pytest.raises(InputError, match=r"own stride is 32; an output stride is one of 1, 2, 4, 8, 16, 32, got"):
            dilate(model, output_stride=wrong)
    assert repr(dilate(model, output_stride=32)) == repr(model)


def test_a_layer_at_two_strides_is_refused():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 3, 2, padding=1)

        def forward(self, x):
            return self.stem(self.stem(x))

    with pytest.raises(InputError, match=r"stem is used at several strides \(2 calls\)"):
        dilate(Reused(), output_stride=1)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_attention_is_refused(name):
    with pytest.raises(InputError, match=r"attention|takes images"):
        dilate(timm.create_model(name), output_stride=8)


def test_a_head_that_takes_one_size_is_told():
    model = nn.Sequential(_strided(), nn.Flatten(), nn.Linear(4 * 64 * 64, 10))
    with pytest.raises(InputError, match=r"give its convolutional part alone, such as model\.features"):
        dilate(model, output_stride=2)


def test_repeated_borders_are_refused_where_cells_lie_closer():
    model = nn.Sequential(_strided(), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(InputError, match=r"1 \(Conv2d\) cannot be dilated: its padding_mode='reflect'"):
        dilate(model, output_stride=2)


def test_a_pooling_shared_under_two_names_is_dilated_under_both():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, 2, padding=1)
            shared = nn.MaxPool2d(3, 1, 1)
            self.one = nn.Sequential(shared, nn.Conv2d(4, 4, 1))
            self.other = nn.Sequential(shared, nn.Conv2d(4, 4, 3, padding=1))

        def forward(self, x):
            x = self.stem(x)
            return torch.cat([self.one(x), self.other(x)], 1)

    model = Branches().eval()
    dilated = dilate(model, output_stride=1)
    assert dilated.one[0] is dilated.other[0] is not model.one[0]
    assert same_at_the_original_positions(model, dilated, (32, 32)) == [2, 2]


def test_a_network_that_cannot_be_copied_is_told():
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 3, 2)))
    with pytest.raises(InputError, match=r"Sequential cannot be copied, .*torch\.nn\.utils\.parametrizations"):
        dilate(model, output_stride=1)
