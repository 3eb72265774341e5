"""The page of maps in a browser, from disk: what one points at is what was measured."""

from functools import partial

import numpy as np
import pytest
import torch

import perimetry
from perimetry import UnitMap
from perimetry.geometry import Box
from perimetry.report.map_colors import Scale, blend
from perimetry.report.map_html import maps_html
from perimetry.report.map_image import gray_photo, measured_box, pixel_values
from report.map_samples import blob, covered, fields_of, layer_map, photo, unit_map
from report.opened_page import OpenPage

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=alert(1)>"


class MapPage(OpenPage):
    """The page of maps: a canvas to point into, and what it says."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if options.get("java_script_enabled", True):
            self.shows(0)

    def shows(self, index, view="both"):
        self.tab.wait_for_selector(f"canvas[data-map='{index}'][data-view='{view}']", state="attached")

    def point(self, row, column):
        """Put the pointer in the middle of a pixel."""
        canvas = self.test("map")
        canvas.scroll_into_view_if_needed()
        box, (height, width) = canvas.bounding_box(), canvas.evaluate("each => [each.height, each.width]")
        self.tab.mouse.move(
            box["x"] + (column + 0.5) / width * box["width"], box["y"] + (row + 0.5) / height * box["height"]
        )
        self.tab.wait_for_timeout(30)

    def press(self, key):
        self.tab.keyboard.press(key)
        self.tab.wait_for_timeout(30)

    def place(self):
        return tuple(int(each) for each in self.test("map").get_attribute("data-place").split(","))

    def value(self):
        return float(self.test("map").get_attribute("data-value"))

    def sentence(self):
        return self.test("sentence").inner_text()

    def pixels(self):
        """(H, W, 3) bytes of the canvas."""
        told = self.test("map").evaluate(
            """each => {
              const copy = new OffscreenCanvas(each.width, each.height).getContext("2d", {willReadFrequently: true});
              copy.drawImage(each, 0, 0);
              return [each.height, each.width, ...copy.getImageData(0, 0, each.width, each.height).data];
            }"""
        )
        return np.array(told[2:]).reshape(told[0], told[1], 4)[..., :3]

    def outline(self, name):
        """(first row, last row, first column, last column), or None."""
        shape = self.tab.locator(f"#outlines .line[data-box={name}]")
        if shape.get_attribute("visibility") == "hidden":
            return None
        y, x, height, width = (int(shape.get_attribute(each)) for each in ("y", "x", "height", "width"))
        return y, y + height - 1, x, x + width - 1


@pytest.fixture
def open_page(open_page):
    return partial(open_page, kind=MapPage)


def ends(box: Box):
    return tuple(end for span in box.spans for end in (span.low, span.high))


def rough(shape=(32, 40), seed=0):
    return np.random.default_rng(seed).gamma(0.5, size=shape).astype(np.float32)


def test_pointing_tells_the_value_of_the_pixel(open_page):
    found = unit_map(rough())
    page = open_page(maps_html([found], photo()))
    for row, column in ((0, 0), (31, 39), (12, 22), (7, 33)):
        page.point(row, column)
        assert page.place() == (row, column)
        assert page.value() == found.map[row, column]
        told = f"{found.map[row, column]:.5g}"
        assert page.sentence().startswith(f"Row {row}, column {column}: gradient ")
        assert float(page.sentence().split("gradient ")[1].split(",")[0]) == pytest.approx(float(told), rel=1e-4)
    page.point(*np.unravel_index(found.map.argmax(), found.map.shape))
    assert "100 % of the largest" in page.sentence()


def test_pointing_into_a_large_map_is_right_to_three_digits(open_page):
    values = rough((80, 90)) * 1e-6
    found = unit_map(values, shape=(80, 90))
    page = open_page(maps_html([found]))
    for row, column in ((3, 80), (79, 89), (41, 17)):
        page.point(row, column)
        assert page.place() == (row, column)
        assert page.value() == pytest.approx(values[row, column], rel=2.0**-11)
        told = float(page.sentence().split("gradient ")[1].split(",")[0].replace("−", "-"))
        assert told == pytest.approx(values[row, column], rel=6e-3)
    assert "11 significant bits" in page.tab.inner_text("figcaption")


def test_arrow_keys_move_by_pixels_and_stop_at_the_border(open_page):
    found = unit_map(rough())
    page = open_page(maps_html([found]))
    page.test("map").focus()
    page.press("ArrowDown")
    assert page.place() == (13, 22)  # one below the centre of the field
    for key, expected in {
        "ArrowRight": (13, 23),
        "Shift+ArrowUp": (3, 23),
        "ArrowLeft": (3, 22),
        "Home": (3, 0),
        "PageDown": (31, 0),
        "End": (31, 39),
        "ArrowRight ": (31, 39),
    }.items():
        page.press(key.strip())
        assert page.place() == expected
        assert page.value() == found.map[expected]
    assert page.test("sentence").get_attribute("aria-live") == "polite"


def test_pointing_into_an_occlusion_map_tells_the_nearest_patch(open_page):
    found = covered()
    page = open_page(maps_html([found], photo()))
    spread = pixel_values(found)
    for row, column in ((0, 0), (31, 39), (13, 21), (17, 2)):
        page.point(row, column)
        middles = np.array(found.tops) + 3.5, np.array(found.lefts) + 3.5
        expected = tuple(int(np.abs(each - at).argmin()) for each, at in zip(middles, (row, column), strict=True))
        assert page.place() == expected
        assert page.value() == found.map[expected]
        assert f"rows {found.tops[expected[0]]} to {found.tops[expected[0]] + 7}" in page.sentence()
        mean = float(page.sentence().split("its patches ")[1].rstrip(".").replace("−", "-"))
        assert mean == pytest.approx(spread[row, column], rel=1e-4)
    page.test("map").focus()
    page.press("PageUp")
    page.press("Home")
    assert page.place() == (0, 0)
    assert page.value() == found.map[0, 0]


def test_a_missing_value_is_said(open_page):
    values = covered().map.copy()
    values[0, 0] = np.nan
    page = open_page(maps_html([UnitMap(**fields_of(covered()) | {"map": values})]))
    page.point(0, 0)
    assert "Patch 0, 0 (rows 0 to 7, columns 0 to 7): no value." in page.sentence()
    assert "covered by no patch" in page.sentence()


@pytest.mark.parametrize("found", [unit_map(rough()), unit_map(rough() - 0.3), covered()], ids=["one", "two", "patch"])
def test_the_canvas_has_the_colours_of_the_picture(open_page, found):
    values = pixel_values(found)
    root = found.method == "effective"
    plain = blend(values, gray_photo(found, None), Scale.of(values, root=root))
    np.testing.assert_allclose(open_page(maps_html([found])).pixels(), plain, atol=1)
    over = blend(values, gray_photo(found, photo()), Scale.of(values, root=root))
    page = open_page(maps_html([found], photo()))
    np.testing.assert_allclose(page.pixels(), over, atol=3)  # the photo is a JPEG
    page.tab.get_by_label("map", exact=True).check()
    page.shows(0, "map")
    np.testing.assert_allclose(page.pixels(), plain, atol=1)
    page.tab.keyboard.press("ArrowRight")
    page.shows(0, "photo")
    np.testing.assert_allclose(page.pixels(), 200, atol=3)


def test_outlines_are_those_of_the_theory_and_of_the_measurement(open_page):
    maps = [
        unit_map(blob()),
        layer_map("other", order=3, half=2, size=15),
        unit_map(np.zeros((32, 40)), box=None, unit="0"),
    ]
    page = open_page(maps_html(maps))
    for index, found in enumerate(maps):
        page.test("unit").select_option(str(index))
        page.shows(index)
        box = measured_box(found)
        assert page.outline("measured") == (None if box is None else ends(box))
        assert page.outline("theory") == (None if found.target.clipped is None else ends(found.target.clipped))
        caption = page.tab.inner_text("#figure-map figcaption")
        assert [word in caption for word in ("Dashed", "Solid", "Cross")] == [index < 2] * 3


def test_units_and_ways_switch_together(open_page):
    maps = [
        layer_map("a", order=1),
        layer_map("b", order=2),
        covered("b", target=layer_map("b", order=2).target),
        layer_map("c", order=3),
        covered("c", target=layer_map("c", order=3).target),
    ]
    page = open_page(maps_html(maps, photo()))
    gradient, occlusion = (page.tab.get_by_role("radio", name=name) for name in ("gradient", "occlusion"))
    assert occlusion.is_disabled()
    page.test("unit").select_option(label="b")
    page.shows(1)
    gradient.focus()
    page.tab.keyboard.press("ArrowDown")
    page.shows(2)
    assert "occlusion" in page.tab.locator(".abstract:visible").inner_text()
    page.test("unit").focus()
    page.tab.keyboard.press("ArrowDown")
    page.shows(4)  # the next unit, in the same way
    assert occlusion.is_checked()
    page.test("unit").select_option(label="a")
    page.shows(0)
    assert gradient.is_checked()
    page.tab.locator(".all-maps a").nth(4).click()
    page.shows(4)
    assert page.test("unit").input_value() == "3"
    assert page.tab.locator(".all-maps tr[aria-current]").get_attribute("data-map") == "4"
    assert page.tab.locator(".of-map:visible").evaluate_all(
        "all => [...new Set(all.map(each => each.dataset.map))]"
    ) == ["4"]


def test_the_place_is_kept_between_maps_of_one_grid_only(open_page):
    page = open_page(maps_html([layer_map("a", order=1), layer_map("b", order=2), covered("c")]))
    page.point(11, 20)
    page.test("unit").select_option("1")
    page.shows(1)
    assert page.place() == (11, 20)
    page.test("unit").select_option("2")
    page.shows(2)
    assert page.test("map").get_attribute("data-place") == ""


def test_the_plot_shows_every_size_and_selects(open_page):
    maps = [layer_map(f"stage.{order}", order=order, half=order + 1, size=5 + 8 * order) for order in range(8)]
    maps.append(layer_map("head", order=9, size=None))
    page = open_page(maps_html(maps[::-1]))
    theory = page.tab.locator("#plot .mark.theory")
    sizes = [float(each.get_attribute("data-size")) for each in theory.all()]
    assert sizes == pytest.approx([5 + 8 * order for order in range(8)] + [(32 * 40) ** 0.5])
    assert page.tab.locator("#plot .mark.open").count() == 1
    measured = [float(each.get_attribute("data-size")) for each in page.tab.locator("#plot .mark.s0").all()]
    assert measured == pytest.approx([found.measured.size for found in maps])
    heights = [each.bounding_box()["y"] for each in theory.all()[:8]]
    assert heights == sorted(heights, reverse=True)
    assert page.tab.locator("#plot [data-testid=image-line]").count() == 1
    theory.nth(2).hover(force=True)
    assert page.test("plot-sentence").inner_text() == "stage.2: in theory 21 px; gradient, luo2016: 7 px."
    theory.nth(2).click(force=True)
    page.shows(6)
    page.test("plot").focus()
    page.tab.keyboard.press("ArrowRight")
    page.shows(5)
    page.tab.keyboard.press("End")
    page.shows(0)
    assert page.test("unit").input_value() == "0"
    assert "in theory the whole image" in page.test("plot-sentence").inner_text()


def test_the_plot_is_logarithmic_where_sizes_ask_for_it(open_page):
    def labels(sizes):
        page = open_page(maps_html([layer_map(f"l{at}", order=at, half=6, size=size) for at, size in enumerate(sizes)]))
        texts = page.tab.locator("#plot text:not(.unit):not(.strong)").all_text_contents()
        return [int(text) for text in texts]

    assert labels((3, 99))[1] == 2 * labels((3, 99))[0]
    assert 0 in labels((21, 31))


def test_many_units_keep_readable_labels(open_page):
    name = "backbone.body.stage{}.block.residual.conv"
    page = open_page(maps_html([layer_map(name.format(at), order=at, half=3) for at in range(150)]))
    labels = page.tab.locator("#plot text.unit")
    assert 10 < labels.count() < 75
    lefts = labels.evaluate_all("all => all.map(each => each.getBoundingClientRect().right)")
    assert min(np.diff(sorted(lefts))) > 9
    assert labels.nth(3).evaluate("each => each.firstChild.textContent") == "stage9"
    assert labels.nth(3).locator("title").text_content() == name.format(9)


def test_hostile_names_do_nothing_and_long_ones_fit(open_page):
    long = "very_long_name_without_a_break" * 6
    maps = [
        layer_map(HOSTILE, order=1, model=HOSTILE, convention=HOSTILE, notes=(HOSTILE,), facts={HOSTILE: HOSTILE}),
        layer_map(long, order=2, model=HOSTILE, convention=long, notes=(long,), facts={long: long}),
    ]
    page = open_page(maps_html(maps, photo()), viewport={"width": 400, "height": 800})
    for index in (0, 1):
        page.test("unit").select_option(str(index))
        page.shows(index)
        page.tab.locator("#plot .mark").first.hover(force=True)
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert HOSTILE in page.tab.inner_text("h1")
    page.tab.wait_for_timeout(100)


def test_pages_fit_a_narrow_screen_and_print(open_page):
    maps = [unit_map(rough()), covered(), *(layer_map(f"features.{at}.conv", order=at) for at in range(12))]
    for html in (maps_html(maps, photo()), maps_html(maps[:1])):
        page = open_page(html, viewport={"width": 400, "height": 800})
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400
        page.tab.emulate_media(media="print")
        assert not page.tab.locator("#choose:visible, #theme:visible").count()
        assert page.test("map").is_visible()


def test_without_scripts_the_first_picture_and_all_tables_are_there(open_page):
    maps = [unit_map(blob()), covered("other")]
    page = open_page(maps_html(maps, photo()), java_script_enabled=False)
    assert page.tab.locator("#picture").is_visible()
    assert page.outline("measured") == ends(measured_box(maps[0]))
    assert page.tab.locator(".facts:visible").count() == 4
    assert page.test("all-maps").is_visible()
    assert "need JavaScript" in page.tab.inner_text("main")


def test_measured_maps_of_a_network_are_told_as_they_are(open_page):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3, padding=1, stride=2)
    ).eval()
    image = torch.rand(1, 3, 80, 96, generator=torch.Generator().manual_seed(0))
    found = perimetry.effective_fields(network, image)
    maps = [*found.values(), perimetry.occlude(network, image, "2:0@20,20", patch=4, stride=4)]
    page = open_page(maps_html(maps))
    for index, each in enumerate(maps):
        page.test("unit").select_option(str(index))
        page.shows(index)
        row, column = np.unravel_index(np.abs(each.map).argmax(), each.map.shape)
        page.point(each.tops[row] + 1 * (each.patch is not None), each.lefts[column] + 1 * (each.patch is not None))
        assert page.place() == (row, column)
        assert page.value() == pytest.approx(each.map[row, column], rel=2.0**-11)
