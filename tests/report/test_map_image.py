"""The picture and the words of a unit's map: colours, outlines, colour bar; properties of pixels, not bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perimetry import InputError, ShapeError, UnitMap
from perimetry.geometry import Box, Span
from perimetry.report.columns import display_width
from perimetry.report.map_colors import Scale, bar, blend
from perimetry.report.map_image import (
    BAR_WIDTH,
    MARGIN,
    MEASURED,
    THEORY,
    enlargement,
    map_png,
    measured_box,
    pixel_values,
)
from perimetry.report.map_text import map_text
from report.map_samples import blob, fields_of, photo, unit_map


def drawn(*arguments):
    return np.asarray(Image.open(io.BytesIO(map_png(*arguments))))


def lightness(colors):
    """Y of the colour, from linear light."""
    linear = (np.asarray(colors, dtype=float) / 255) ** 2.2
    return linear @ np.array((0.2126, 0.7152, 0.0722))


def has(pixels, color):
    return (pixels == color).all(axis=-1)


def test_outlines_stand_where_the_boxes_are():
    page = drawn(unit_map(blob()), photo())
    factor = enlargement(32, 40)
    assert factor == 14
    inside = page[MARGIN : MARGIN + 32 * factor, MARGIN : MARGIN + 40 * factor]
    rows, columns = np.nonzero(has(inside, MEASURED))
    # One pixel of casing on the outside, then two of colour: rows 8 to 16, columns 18 to 26, both included.
    assert (rows.min(), rows.max()) == (8 * factor + 1, 17 * factor - 2)
    assert (columns.min(), columns.max()) == (18 * factor + 1, 27 * factor - 2)
    rows, columns = np.nonzero(has(inside, THEORY))
    assert (rows.min(), columns.min(), columns.max()) == (2 * factor + 1, 12 * factor + 1, 33 * factor - 2)
    assert rows.max() >= 23 * factor - 20  # the last dash may end early


def test_the_solid_line_is_solid_and_the_dashed_one_is_not():
    page = drawn(unit_map(blob()), photo())
    solid = has(page[MARGIN + 8 * 14 + 1, MARGIN + 18 * 14 + 1 : MARGIN + 27 * 14 - 1], MEASURED)
    dashed = has(page[MARGIN + 2 * 14 + 1, MARGIN + 12 * 14 + 1 : MARGIN + 33 * 14 - 1], THEORY)
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.6


def test_a_field_beyond_the_image_is_clipped_and_the_cross_is_left_out():
    box = Box((Span(-40, -1), Span(10, 200)))
    page = drawn(unit_map(blob(), box=Box((Span(-40, 5), Span(10, 200)))), photo())
    rows, columns = np.nonzero(has(page[MARGIN : MARGIN + 448, MARGIN : MARGIN + 560], THEORY))
    assert rows.max() < 6 * 14
    assert columns.min() == 10 * 14 + 1
    assert len(drawn(unit_map(blob(), box=box), photo()))


def test_the_cross_is_at_the_centre_of_the_field():
    page = drawn(unit_map(blob()), photo())
    centre = (MARGIN + round(12.5 * 14), MARGIN + round(22.5 * 14))
    assert tuple(page[centre]) == THEORY
    assert has(page[centre[0] - 7 : centre[0] + 7, centre[1]], THEORY).all()


@pytest.mark.parametrize("root", [True, False])
def test_the_sequential_bar_grows_lighter(root):
    colors = bar(448, 4, Scale(0.0, 3.0, root=root))
    steps = np.diff(lightness(colors[::-1, 0]))
    assert (steps > -2e-3).all()
    assert lightness(colors[0, 0]) > lightness(colors[-1, 0]) + 0.5


def test_the_bar_on_the_page_is_the_bar():
    values = blob() * 5
    page = drawn(unit_map(values), photo())
    left = 2 * MARGIN + 560
    expected = bar(448, BAR_WIDTH, Scale(0.0, 5.0, root=True))
    np.testing.assert_array_equal(page[MARGIN : MARGIN + 448, left : left + BAR_WIDTH], expected)


def test_the_diverging_bar_goes_from_blue_over_gray_to_red():
    colors = bar(449, 1, Scale(-2.0, 2.0, signed=True))[:, 0].astype(int)
    redness = colors[:, 0] - colors[:, 2]
    assert (np.diff(redness[::-1]) >= -2).all()
    assert redness[0] > 100
    assert redness[-1] < -100
    assert abs(redness[224]) <= 1


def test_signed_values_are_red_above_and_blue_below_zero():
    values = blob() - blob(20, 28, 2, 10)
    page = drawn(unit_map(values, threshold=0.9, box=None), photo()).astype(int)
    red, blue, none = (page[MARGIN + row * 14, MARGIN + column * 14] for row, column in ((12, 22), (24, 6), (3, 35)))
    assert red[0] > red[2] + 80
    assert blue[2] > blue[0] + 80
    assert none[0] == none[2]


def test_patches_are_averaged_over_the_pixels_that_they_cover():
    values = np.zeros((7, 9))
    values[1, 2], values[1, 3] = 1, 3
    spread = pixel_values(unit_map(values, patch=(8, 8), method="occlusion"))
    slow = np.zeros((32, 40))
    for row in range(32):
        for column in range(40):
            covering = [
                values[i, j]
                for i in range(7)
                for j in range(9)
                if 4 * i <= row < 4 * i + 8 and 4 * j <= column < 4 * j + 8
            ]
            slow[row, column] = np.mean(covering)
    np.testing.assert_allclose(spread, slow)


def test_the_outline_of_a_signed_map_is_that_of_the_measurement():
    values = np.random.default_rng(0).normal(size=(7, 9)) * (np.arange(7)[:, None] > 3)
    found = unit_map(values, patch=(8, 8), method="occlusion", threshold=0.3)
    box = measured_box(found)
    assert box is not None
    assert box.size == found.measured.extent


def test_pixels_that_no_patch_covered_show_the_photo_alone():
    values = np.ones((2, 2))
    found = unit_map(values, patch=(8, 8), method="occlusion")
    assert np.isnan(pixel_values(found)[20:, :]).all()
    page = np.asarray(Image.open(io.BytesIO(map_png(UnitMap(**fields_of(found) | {"measured": None}), photo()))))
    assert tuple(page[MARGIN + 28 * 14, MARGIN + 4 * 14]) == (200, 200, 200)


def test_the_same_map_gives_the_same_bytes():
    assert map_png(unit_map(blob()), photo()) == map_png(unit_map(blob()), photo())


def test_without_a_photo_and_with_nothing_measured():
    page = drawn(unit_map(np.zeros((32, 40))))
    assert not has(page, MEASURED).any()
    assert page.shape[0] > 448


@pytest.mark.parametrize(("shape", "factor"), [((1, 1), 448), ((7, 300), 13), ((448, 448), 1), ((2000, 3000), 1)])
def test_pictures_are_enlarged_by_a_whole_number(shape, factor):
    assert enlargement(*shape) == factor


def test_a_tiny_image_is_drawn():
    found = unit_map([[1.0]], shape=(1, 1), box=Box((Span(0, 0), Span(0, 0))))
    assert drawn(found, photo((1, 1))).shape[0] > 448


def test_a_photo_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="the map is of 32x40 pixels, the photo has 32x32"):
        map_png(unit_map(blob()), photo((32, 32)))


def test_maps_of_other_axes_are_refused():
    found = unit_map(blob(), measured=None)
    bare = UnitMap(**fields_of(found) | {"image_shape": (32,)})
    with pytest.raises(InputError, match="only maps of two axes can be drawn, this one has 1"):
        map_png(bare)


@given(st.floats(1e-30, 1e30), st.booleans(), st.booleans())
def test_ticks_stand_on_the_bar_in_order(high, signed, root):
    scale = Scale(-high, high, signed=True) if signed else Scale(0.0, high, root=root)
    ticks = scale.ticks()
    places = scale.places(np.array(ticks))
    assert len(ticks) >= 4
    assert (np.diff(places) > 0.05).all()
    assert (places[0], places[-1]) == (0, 1)
    np.testing.assert_allclose(scale.values(places), ticks, atol=1e-9 * high)


def test_gray_alone_where_a_value_is_missing():
    mixed = blend(np.array([[np.nan, 1.0]]), np.full((1, 2), 0.5), Scale(0.0, 1.0))
    assert tuple(mixed[0, 0]) == (128, 128, 128)
    assert tuple(mixed[0, 1]) != (128, 128, 128)


@pytest.mark.parametrize("width", [40, 60, 80, 130])
def test_words_fit_the_width(width):
    text = map_text(unit_map(blob(), notes=("the weights are random " * 5,)), width=width, photo="cat.jpg")
    assert max(map(display_width, text.splitlines())) <= width
    assert "theoretical field  21 px" in text
    assert "9×9 px" in text
    assert "cat.jpg at 32×40 px" in text


def test_words_say_shares_of_the_field_and_of_the_image():
    text = map_text(unit_map(blob()), width=200)
    assert "42.9 % of the theoretical field, 28.1 %×22.5 % of the image" in text  # 9 of 21, of 32 and of 40
    assert "81 px, 18.4 % of the theoretical field, 6.33 % of the image, square root 9.0 px" in text
    assert "luo2016" in text


def test_words_of_a_map_of_zeros():
    text = map_text(unit_map(np.zeros((32, 40)), notes=("nothing moves it",)), width=80)
    assert "nothing: the map is zero everywhere" in text
    assert text.endswith("note: nothing moves it")


def test_words_name_the_centre_unit_and_no_control_characters():
    assert "net · conv, unit 12,22" in map_text(unit_map(blob(), unit="conv"), width=80)
    assert "\x1b" not in map_text(unit_map(blob(), model="\x1b[2Jnet", notes=("\x1b]0;x\x07",)), width=80)
    assert "\x1b" not in map_text(unit_map(blob()), width=80, photo="\x1b[31m.jpg")


def test_words_of_an_occlusion_map_tell_its_settings():
    values = np.ones((7, 9))
    facts = {"fill": "noise", "seed": 3, "positions": 63, "positions_run": 20, "saving_limit": 12.34}
    found = unit_map(values, patch=(8, 8), method="occlusion", facts=facts)
    text = map_text(found, width=200)
    assert "occlusion · signed · patch 8×8 · stride 4 · fill noise, seed 3" in text
    assert "63, of which 20 can reach the unit" in text
    assert "12.3 times fewer" in text
