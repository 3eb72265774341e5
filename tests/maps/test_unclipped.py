"""The unclipped field is what an interior unit of a large image sees, and clipping is exact at the borders."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import perimetry
from oracles import GradientOracle, hull, positive, read_module
from perimetry.geometry import Span
from perimetry.maps.reach import _coarse, image_reach


class Pyramid(nn.Module):
    """A small feature pyramid: strides 2 and 4, the coarse level doubled and added to a lateral of the fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 1, 5, 2, 2), nn.MaxPool2d(3, 1, 1))
        self.coarse = nn.Conv2d(1, 1, 3, 2, 1)
        self.lateral = nn.Conv2d(1, 1, 1)
        self.smooth = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        up = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="nearest")
        return self.smooth(self.lateral(fine) + up)


def decoder() -> nn.Module:
    """Down by four, up by four with transposed convolutions, as in a U-Net without its skips."""
    return nn.Sequential(
        nn.Conv2d(1, 1, 3, 2, 1),
        nn.Conv2d(1, 1, 3, 2, 1),
        nn.ConvTranspose2d(1, 1, 4, 2, 1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )


def dilated() -> nn.Module:
    return nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)], nn.AvgPool2d(2))


SMALL: dict[str, Callable[[], nn.Module]] = {"pyramid": Pyramid, "decoder": decoder, "dilated": dilated}


@pytest.mark.parametrize("name", SMALL)
def test_interior_units_see_their_whole_unclipped_box(name: str) -> None:
    """Where the unclipped box lies inside the image, it is the hull of the gradient."""
    model, image = positive(SMALL[name]()), torch.rand(1, 1, 61, 70)
    field = perimetry.fields(perimetry.trace(model, image))["output"].full
    oracle = GradientOracle(model, image, draws=1)
    assert field is not None
    inside = 0
    for row in range(0, field.units[0], 5):
        for column in range(0, field.units[1], 5):
            box = field.box((row, column))
            if box == box.clip((61, 70)):
                inside += 1
                assert tuple((span.low, span.high) for span in box.spans) == hull(oracle.support((row, column)))
    assert inside >= 5


def test_alexnet_interior_unit() -> None:
    """AlexNet's field of 195 fits an image of 323: the unit in the middle sees exactly its unclipped box."""
    with torch.device("meta"):
        model = torchvision.models.alexnet(weights=None)
    model = positive(model.to_empty(device="cpu").features)
    image = torch.rand(1, 3, 323, 355)
    field = perimetry.fields(perimetry.trace(model, image))["output"].full
    assert field is not None
    unit = (field.units[0] // 2, field.units[1] // 2)
    box = field.box(unit)
    assert box == box.clip((323, 355)) and box.size == (195, 195)
    oracle = GradientOracle(model, image, draws=1)
    assert tuple((span.low, span.high) for span in box.spans) == hull(oracle.support(unit))


def test_unclipped_size_does_not_depend_on_the_image() -> None:
    sizes = set()
    for extent in (16, 33, 64):
        model = nn.Sequential(nn.Conv2d(1, 1, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, 2, 1)).eval()
        field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, extent, extent + 5)))["output"].full
        assert field is not None
        sizes.add((field.size, field.stride, field.start))
    assert sizes == {((19, 19), (Fraction(8), Fraction(8)), (-9, -9))}


def test_box_of_every_unit_of_a_chain() -> None:
    """Each unit's box stands at start + unit * stride, and is cut at the image."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 2, 1)).eval()
    field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, 16, 24)))["output"].full
    assert field is not None and field.units == (4, 6)
    for unit in range(6):
        assert field.axes[1].span(unit) == Span(4 * unit - 3, 4 * unit + 3)
        assert field.axes[1].clipped(unit) == Span(max(0, 4 * unit - 3), min(23, 4 * unit + 3))


def test_clipped_hull_ends_in_a_hole() -> None:
    """Two taps five apart, the left one in the padding: the clipped hull is one pixel, not the box cut off."""
    model = positive(nn.Conv2d(1, 1, 2, dilation=5, padding=3))
    field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, 12, 12)))["output"].full
    assert field is not None
    assert field.box((0, 0)).spans[0] == Span(-3, 2)
    assert field.clipped((0, 0)).spans[0] == Span(2, 2)


def test_doubling_has_stride_one_half() -> None:
    model = nn.Upsample(scale_factor=2)
    field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, 8, 8)))["output"].full
    assert field is not None
    assert field.size == (1, 1) and field.stride == (Fraction(1, 2), Fraction(1, 2))


def test_transposed_convolution_is_not_uniform() -> None:
    """Kernel 3, stride 2: units see one pixel or two in turn; the size is the largest."""
    model = nn.ConvTranspose2d(1, 1, 3, 2, 1)
    field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, 8, 8)))["output"].full
    assert field is not None
    assert field.size == (2, 2) and field.stride == (Fraction(1, 2), Fraction(1, 2)) and not field.uniform


def test_one_axis_may_be_global_alone() -> None:
    """A mean over the rows leaves the columns local."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.AdaptiveAvgPool2d((1, None)))
    field = perimetry.fields(perimetry.trace(model.eval(), torch.rand(1, 1, 9, 12)))["output"].full
    assert field is not None
    assert field.size == (None, 3) and field.stride == (Fraction(0), Fraction(1))
    assert not field.whole_image


def test_fields_of_inner_layers_match_gradients_too() -> None:
    """A layer in the middle of the network, one that an in-place activation overwrites later."""
    model = positive(
        nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3), nn.ReLU(inplace=True))
    )
    image = torch.rand(1, 1, 15, 17)
    network = perimetry.trace(model, image)
    oracle = GradientOracle(model, image, read_module("2"))
    for unit in [(0, 0), (2, 3), (4, 5)]:
        assert torch.equal(perimetry.support(network, "2", unit), oracle.support(unit))
        assert torch.equal(perimetry.support(network, "3", unit), oracle.support(unit))


@pytest.mark.parametrize("extent", [8, 16, 64])
def test_pyramid_on_a_small_image_is_not_global(extent: int) -> None:
    """Where the coarse level has shrunk to one unit, doubling it is still resampling, not image-level pooling."""
    model = nn.Sequential(nn.Conv2d(1, 1, 8, 8), nn.Upsample(scale_factor=2)).eval()
    answer = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, extent, extent)))["output"]
    assert answer.full is not None and answer.full.size == (8, 8)
    assert answer.full.stride == (Fraction(4), Fraction(4)) and answer.global_by is None


def test_shuffling_a_map_of_one_row_gives_two_units() -> None:
    """Each row of the shuffled map is a unit of its own, although both see the same pixels."""
    model = nn.Sequential(nn.Conv2d(1, 4, (4, 1)), nn.PixelShuffle(2)).eval()
    field = perimetry.fields(perimetry.trace(model, torch.rand(1, 1, 4, 6)))["output"].full
    assert field is not None and field.units == (2, 12)
    assert field.clipped((1, 3)).spans == (Span(0, 3), Span(1, 1))


def test_fields_on_a_large_image_are_those_on_a_small_one() -> None:
    """The guard against large arrays took the size of the map for that of its compact bounds: all became the image."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)).eval()
    small, large = (
        perimetry.fields(perimetry.trace(model.to_empty(device="cpu"), torch.empty(1, 3, side, side, device="meta")))
        for side in (256, 16384)
    )
    for name, told in small.items():
        assert told.full is not None
        assert large[name].full is not None
        assert not large[name].upper_bound
        assert (large[name].full.size, large[name].full.stride, large[name].full.start) == (
            told.full.size,
            told.full.stride,
            told.full.start,
        ), name


def test_a_hull_given_up_twice_is_still_marked_as_an_upper_bound() -> None:
    """The second operator that found too many units to tell apart dropped the mark of the first."""
    reach = image_reach(4, 3, 8)
    once = _coarse(reach, 1)
    assert once.upper_bound
    assert _coarse(once, 2).upper_bound
