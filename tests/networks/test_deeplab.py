"""DeepLab: where its cells lie, its loss on shrunk labels, its side heads, its form on other backbones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.networks import backbone, deeplab_largefov, segmentation_losses


@pytest.mark.parametrize(("window", "side", "cells"), [("3x3", 321, 41), ("4x4", 306, 39), ("7x7", 306, 39)])
def test_the_size_of_the_scores_and_of_the_shrunk_labels_agree(window, side, cells):
    with torch.device("meta"):
        network = deeplab_largefov(window=window)
        images = torch.empty(1, 3, side, side)
        assert network.maps(images, ("drop7",))["drop7"].shape[2:] == (cells, cells)
        assert len(range(network.start, side, 8)) == cells
        assert network(images)["out"].shape == (1, 21, side, side)


def centre_of_first_cell(network):
    """The pixel on which the first cell is centred, and the pixels between cells, layer by layer."""
    start, spacing = 0.0, 1.0
    for layer in network.children():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel, padding, stride, dilation = (
                value[0] if isinstance(value, tuple) else value
                for value in (layer.kernel_size, layer.padding, layer.stride, getattr(layer, "dilation", 1))
            )
            start += spacing * (dilation * (kernel - 1) / 2 - padding)
            spacing *= stride
    return start, spacing


@pytest.mark.parametrize(("window", "start"), [("3x3", 0.0), ("4x4", 0.5), ("7x7", 0.5)])
def test_cells_lie_on_the_pixels_whose_labels_they_are_compared_with(window, start):
    with torch.device("meta"):
        network = deeplab_largefov(window=window)
    assert centre_of_first_cell(network) == (start, 8.0)
    assert abs(network.start - start) <= 0.5, "labels have whole pixels"


@pytest.mark.parametrize(("window", "side"), [("3x3", 65), ("3x3", 60), ("4x4", 58), ("4x4", 66)])
def test_the_loss_on_every_eighth_pixel_is_that_of_the_scores_themselves(window, side):
    with torch.device("meta"):
        network = deeplab_largefov(classes=3, window=window)
    start, cells = network.start, len(range(network.start, side, 8))
    scores = torch.randn(1, 3, cells, cells)
    network.maps = lambda images, wanted: {network.deepest: scores}
    network.fc8 = nn.Identity()
    masks = torch.randint(0, 3, (1, side, side))
    out = network(torch.zeros(1, 3, side, side))
    assert out["out"].shape == (1, 3, side, side)
    found = segmentation_losses(out, masks, every=8, start=start)["out"]
    shrunk = masks[:, start::8, start::8]
    torch.testing.assert_close(found, functional.cross_entropy(scores, shrunk))


def test_side_heads_are_what_training_computed_at_every_eighth_pixel():
    network = deeplab_largefov(classes=3, scales="several").eval()
    images = torch.rand(1, 3, 65, 65)
    with torch.no_grad():
        maps = network.maps(images, ("drop7", "pool1", "pool2", "pool3", "pool4")) | {"data": images}
        expected = network.fc8(maps["drop7"])
        for side, stride in (("data", 8), ("pool1", 4), ("pool2", 2), ("pool3", 1), ("pool4", 1)):
            first = network.get_submodule(f"{side}_conv")
            hidden = functional.conv2d(maps[side], first.weight, first.bias, stride=stride, padding=1).relu()
            expected = expected + network.get_submodule(f"{side}_ms")(
                network.get_submodule(f"{side}_fc")(hidden).relu()
            )
        found = network(images)["out"][..., ::8, ::8]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_several_scales_with_other_windows_have_the_sides_parameters():
    def count(**options):
        with torch.device("meta"):
            return sum(each.numel() for each in deeplab_largefov(**options).parameters())

    for window in ("3x3", "4x4", "7x7"):
        assert count(window=window, scales="several") - count(window=window) == 21_711_550 - 20_505_429


@pytest.mark.parametrize(("stride", "dilation"), [(4, 24), (8, 12), (16, 6), (32, 3)])
def test_the_taps_on_a_backbone_stay_as_far_apart_in_pixels(stride, dilation):
    with torch.device("meta"):
        network = deeplab_largefov(classes=4, backbone="torchvision:resnet18", output_stride=stride)
        assert network.fc6.dilation == (dilation, dilation)
        assert network(torch.empty(2, 3, 75, 100))["out"].shape == (2, 4, 75, 100)


def test_a_backbone_that_is_made_already_is_taken_as_it_is():
    made = backbone("torchvision:resnet18", output_stride=8)
    assert deeplab_largefov(backbone=made).backbone is made
    with pytest.raises(InputError, match="the backbone given has an output stride of 8, not 16"):
        deeplab_largefov(backbone=made, output_stride=16)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: deeplab_largefov(window="5x5"), UnknownNameError, "unknown window '5x5'"),
        (lambda: deeplab_largefov(scales="two"), UnknownNameError, "unknown scales 'two'"),
        (lambda: deeplab_largefov(classes=0), InputError, "classes is at least 1"),
        (lambda: deeplab_largefov(output_stride=16), InputError, "VGG-16 has an output stride of 8 here, not 16"),
        (lambda: deeplab_largefov(window="4x4", backbone="torchvision:resnet18"), InputError, "belong to VGG-16"),
        (lambda: deeplab_largefov(backbone="torchvision:resnet18", output_stride=7), InputError, "7"),
        (
            lambda: deeplab_largefov(window="4x4")(torch.empty(1, 3, 1, 9)),
            ShapeError,
            "this network takes has 2 x 2 pixels, got 1 x 9",
        ),
        (lambda: deeplab_largefov()(torch.empty(1, 1, 9, 9)), ShapeError, r"images of 3 channels \(N, 3, H, W\)"),
    ],
)
def test_what_cannot_be_is_told(call, error, message):
    with torch.device("meta"), pytest.raises(error, match=message):
        call()
