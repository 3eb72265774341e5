"""The page of maps without a browser: what stands in it, what it refuses, and how its values are kept."""

import base64
import hashlib
import json
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimetry import InputError, ShapeError, UnitMap
from perimetry.report.map_colors import Scale, bar
from perimetry.report.map_html import maps_html
from perimetry.report.map_image import measured_box
from perimetry.report.map_page_data import EXACT_UP_TO, map_page_data, packed
from perimetry.report.map_views import COLUMNS, map_views, ways_of
from report.elements import Elements
from report.map_samples import blob, covered, fields_of, layer_map, photo, unit_map

HOSTILE = "</script><img src=x onerror=alert(1)>"


def changed(found, **fields):
    return UnitMap(**fields_of(found) | fields)


def unpacked(told, shape):
    """The definition of what `packed` writes."""
    width = told["bits"] // 8
    planes = np.frombuffer(zlib.decompress(base64.b64decode(told["data"])), np.uint8).reshape(width, -1)
    kind = {16: "<f2", 32: "<f4"}[told["bits"]]
    return np.ascontiguousarray(planes.T).view(kind).reshape(shape).astype(np.float64) / told["scale"]


def data_of(page):
    return json.loads(Elements(page).scripts[0])


def attributes_of(page, tag, name):
    return [each[name] for found, each in Elements(page).tags if found == tag and name in each]


def test_small_maps_keep_all_their_bits():
    values = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    values[2, 3] = np.nan
    np.testing.assert_array_equal(unpacked(packed(values), (7, 9)), values)
    assert packed(np.zeros((1, EXACT_UP_TO), np.float32))["bits"] == 32


@given(st.floats(1e-35, 1e37), st.integers(0, 100))
def test_large_maps_are_kept_within_a_2048th(largest, seed):
    generator = np.random.default_rng(seed)
    spread = 10.0 ** -generator.uniform(0, 12, (70, 60)) * generator.choice([-1, 1], (70, 60))
    values = (spread / np.abs(spread).max() * largest).astype(np.float32)
    told = packed(values)
    assert told["bits"] == 16
    found, sizes = unpacked(told, values.shape), np.abs(values.astype(np.float64))
    counted = sizes > 1e-8 * sizes.max()
    np.testing.assert_allclose(found[counted], values[counted], rtol=2.0**-11)
    np.testing.assert_allclose(found, values, atol=1e-8 * sizes.max(), rtol=2.0**-11)


def test_a_large_map_of_zeros_and_missing_values_is_kept():
    values = np.zeros((70, 60), np.float32)
    values[3, 4] = np.nan
    np.testing.assert_array_equal(unpacked(packed(values), values.shape), values)


def test_the_page_holds_the_maps_their_scales_and_outlines():
    maps = [unit_map(blob() * 5), covered()]
    for found, told in zip(maps, data_of(maps_html(maps))["maps"], strict=True):
        np.testing.assert_array_equal(unpacked(told["values"], found.map.shape), found.map)
        assert told["largest"] == pytest.approx(np.abs(found.map).max())
        assert told["theory"] == [2, 22, 12, 32]
        box = measured_box(found)
        assert told["measured"] == [end for span in box.spans for end in (span.low, span.high)]
        assert told["cross"] == [12.5, 22.5]
        assert told["size"] == found.measured.size
        assert told["side"] == 21
    assert told["scale"]["signed"]
    assert not told["scale"]["root"]
    assert [text for _, text in told["ticks"]][2] == "0"


def test_a_field_without_a_box_and_a_map_of_zeros_have_no_outlines():
    told = map_page_data(
        maps := [unit_map(np.zeros((32, 40)), box=None), layer_map("all", order=1, size=None)], map_views(maps, None)
    )["maps"]
    assert [told[0][key] for key in ("theory", "measured", "cross", "size")] == [None] * 4
    assert told[1]["whole"]
    assert told[1]["side"] == pytest.approx((32 * 40) ** 0.5)
    assert "nothing: the map is zero everywhere" in Elements(maps_html(maps)).text


def test_the_bar_has_the_colours_of_the_picture():
    stops = attributes_of(maps_html([unit_map(blob())]), "stop", "stop-color")
    for part, scale in zip((stops[:33], stops[33:]), (Scale(0, 4), Scale(-2, 2, signed=True)), strict=True):
        colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in bar(33, 1, scale)[:, 0]]
        assert part == colors


def test_one_map_has_no_control_that_chooses_nothing():
    page = maps_html([unit_map(blob())])
    tags = [tag for tag, _ in Elements(page).tags]
    assert not {"select", "input", "fieldset"} & set(tags)
    assert 'data-testid="plot"' not in page
    assert 'data-testid="all-maps"' not in page
    assert attributes_of(maps_html([unit_map(blob())], photo()), "input", "name") == ["view"] * 3


def test_ways_of_one_unit_are_chosen_and_need_no_plot():
    page = maps_html([unit_map(blob()), covered()])
    assert attributes_of(page, "input", "name") == ["way"] * 2
    assert "select" not in [tag for tag, _ in Elements(page).tags]
    assert 'data-testid="plot"' not in page


def test_units_stand_in_the_order_of_the_network():
    maps = [layer_map(name, order=order) for name, order in (("deep", 9), ("first", 1), ("middle", 4))]
    page = maps_html(maps)
    assert attributes_of(page, "option", "value") == ["1", "2", "0"]
    assert attributes_of(page, "tr", "data-map") == ["1", "2", "0"]
    assert 'data-testid="plot"' in page


def test_models_are_kept_apart():
    maps = [layer_map("conv", order=1, model=model) for model in ("one", "two")]
    page = maps_html(maps)
    assert attributes_of(page, "optgroup", "label") == ["one", "two"]
    assert attributes_of(page, "option", "value") == ["0", "1"]


def test_ways_say_what_tells_them_apart():
    assert ways_of([unit_map(blob()), covered()]) == ["gradient, luo2016", "occlusion, signed"]
    clashing = ways_of([covered(patch=(8, 8)), covered(patch=(4, 4))])
    assert "patch 8×8" in clashing[0]
    assert "patch 4×4" in clashing[1]
    assert ways_of([covered(), covered()]) == ["occlusion, signed", "occlusion, signed (2)"]


def test_the_tables_hold_the_measurement_and_the_run():
    maps = [unit_map(blob(), notes=("the weights are random",)), covered()]
    text = " ".join(re.sub("<[^>]+>", " ", maps_html(maps, photo()).replace("<wbr>", "")).split())
    for piece in (
        "81 px, 18.4 % of the theoretical field, 6.33 % of the image",
        "square root of the area 9.0 px",
        "9×9",
        "the weights are random.",
        "grid of patches 7×9",
        "patch 8×8 px stride of the patch 4×4 px",
        "12.3 times fewer",
        "seed 3",
        "cat.jpg",
    ):
        assert piece in text
    assert "run seconds" not in text
    measured = maps[0].measured
    cells = dict(zip((name for name, _ in COLUMNS), map_views(maps, None)[0].cells, strict=True))
    assert (cells["field"], cells["inside"], cells["area"], cells["extent"]) == ("21", "21×21", "81", "9×9")
    for key, radius in measured.radii.items():
        assert cells[key] == f"{radius:.3g}"
    for key, share in measured.shares.items():
        assert float(cells[key].removesuffix(" %")) == pytest.approx(100 * share, rel=5e-3)


def test_the_seed_is_told_only_where_noise_fills():
    found = covered(facts={"fill": "mean", "seed": 5, "saving_limit": float("inf"), "mine": {"a": [1, 2.5]}})
    run = dict(map_views([found], None)[0].run)
    assert "seed" not in run
    assert run["multiply-adds against a full pass for each"] == "none: no patch reaches the unit"
    assert run["mine"] == "a 1, 2.5"


def test_hostile_names_are_text():
    maps = [
        unit_map(blob(), model=HOSTILE, unit=HOSTILE, convention=HOSTILE, notes=(HOSTILE,), facts={HOSTILE: HOSTILE}),
        covered(HOSTILE + "\x1b[2J\u202e", model="{{ 7*7 }}", facts={"fill": HOSTILE}),
    ]
    named = photo()
    page = maps_html(maps, type(named)(HOSTILE, named.height, named.width, named.pixels))
    elements = Elements(page)
    assert HOSTILE not in page.replace("<wbr>", "")
    assert HOSTILE in elements.text
    assert "{{ 7*7 }}" in elements.text
    assert len(elements.scripts) == 2
    assert [each.get("id") for tag, each in elements.tags if tag == "img"] == ["picture"]
    for letter in ("\x1b", "\u202e"):
        assert letter not in page
    assert data_of(page)["maps"][0]["unit"] == HOSTILE


def test_the_page_asks_for_nothing_and_allows_only_its_own_script_and_style():
    page = maps_html([unit_map(blob()), covered(), layer_map("a", order=2)], photo())
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "action", "data-photo", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    policy = next(each["content"] for _, each in elements.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for text in (elements.scripts[-1], elements.styles[0]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "@import" not in page
    assert page.count("url(") == page.count("url(#bar-")


def test_ids_are_there_once():
    page = maps_html([unit_map(blob()), covered(), layer_map("a", order=2)], photo())
    ids = [each["id"] for _, each in Elements(page).tags if "id" in each]
    assert len(ids) == len(set(ids))
    named = [
        each[key] for _, each in Elements(page).tags for key in ("aria-labelledby", "aria-describedby") if key in each
    ]
    assert set(named) <= set(ids)


def test_the_same_maps_give_the_same_page():
    slow = covered(facts=covered().facts | {"run_seconds": 99.0})
    assert maps_html([covered()], photo()) == maps_html([slow], photo())


def test_sixteen_maps_of_pixels_stay_small():
    rows = np.hypot(*np.mgrid[-112:112, -112:112])
    generator = np.random.default_rng(0)
    maps = []
    for order in range(16):
        reach = 12 + 14 * order  # fields grow past the image, as those of ResNet-50's blocks
        values = np.exp(-((rows / reach) ** 2) * 8) * generator.gamma(2.0, size=rows.shape) * (rows < reach)
        maps.append(unit_map(values, shape=(224, 224), unit=f"layer.{order}"))
    assert len(maps_html(maps, photo((224, 224))).encode()) < 1_500_000


def test_no_maps_are_refused():
    with pytest.raises(InputError, match="expected at least one map, got none; pass the results"):
        maps_html([])


def test_maps_of_other_axes_are_refused():
    with pytest.raises(InputError, match="only maps of two axes can be drawn, 'conv@12,22' has 1"):
        maps_html([unit_map(blob()), changed(unit_map(blob(), measured=None), image_shape=(32,))])


def test_a_photo_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="the map is of 32x40 pixels, the photo has 32x32"):
        maps_html([unit_map(blob())], photo((32, 32)))
