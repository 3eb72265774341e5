"""The report in a browser, from disk: it draws what Python computed, and nothing else happens."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import perimetry
from perimetry.report.html import inspection_fragment, inspection_page
from report.opened_page import OpenPage
from report.synthetic import HOSTILE_SCRIPT, awkward_network, photo, residual_network

pytestmark = pytest.mark.browser

CLIENT = """([row, column]) => {
  const stage = document.querySelector('[data-testid=stage]');
  stage.scrollIntoView({block: 'center'});
  const at = new DOMPoint(column, row).matrixTransform(stage.getScreenCTM());
  return [at.x, at.y];
}"""


class Page(OpenPage):
    """The report of fields: layers to select, and boxes that are drawn."""

    def select(self, name):
        index = self.tab.evaluate(
            "(name) => [...document.querySelectorAll('#layers li')].findIndex("
            "(item) => item.firstChild.textContent === name)",
            name,
        )
        assert index >= 0, name
        self.tab.locator("#layers li").nth(index).click()

    def point(self, row, column):
        self.tab.mouse.move(*self.tab.evaluate(CLIENT, [row, column]))

    def unit(self):
        return tuple(int(each) for each in self.test("stage").get_attribute("data-unit").split(","))

    def box(self, name):
        """(low, high) per axis as the overlay says, checked against the geometry that is drawn."""
        rectangle = self.test(name)
        low = [int(each) for each in rectangle.get_attribute("data-low").split(",")]
        high = [int(each) for each in rectangle.get_attribute("data-high").split(",")]
        if all(last >= first for first, last in zip(low, high, strict=True)):
            drawn = [float(rectangle.get_attribute(each)) for each in ("y", "x", "height", "width")]
            assert drawn == [*low, *(last - first + 1 for first, last in zip(low, high, strict=True))]
            assert rectangle.get_attribute("visibility") == "visible"
        else:
            assert rectangle.get_attribute("visibility") == "hidden"
        return tuple(zip(low, high, strict=True))


@pytest.fixture
def open_page(open_page):
    return partial(open_page, kind=Page)


def nearest(axis, position, extent):
    """What the page promises: the unit with the nearest field centre, by proportion where all centres are equal."""
    centres = [(bounds[0] + bounds[1] + 1) / 2 for bounds in axis.bounds]
    if centres[0] == centres[-1]:
        return min(len(centres) - 1, max(0, int(position / extent * len(centres))))
    return min(range(len(centres)), key=lambda unit: (abs(centres[unit] - position), unit))


def spans(box):
    return tuple((span.low, span.high) for span in box.spans)


def check_drawing(page, field, unit):
    assert page.unit() == unit
    assert page.box("field-unclipped") == spans(field.box(unit))
    assert page.box("field-clipped") == spans(field.clipped(unit))


@pytest.mark.parametrize("name", ["stem.conv", "stage1.1.conv2", "stage3.1/add", "stage2", "head.pool"])
def test_pointing_draws_what_python_computed(open_page, name):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    page.select(name)
    field = model.layer(name).local_field
    for position in ((0.3, 0.3), (63.4, 95.2), (31.8, 12.6), (7.2, 80.1)):
        page.point(*position)
        expected = tuple(map(nearest, field.axes, position, model.image_shape))
        check_drawing(page, field, expected)


@pytest.mark.parametrize("name", ["gate", "up", "bins"])
def test_pointing_follows_fractions_gates_and_uneven_units(open_page, name):
    model = awkward_network()
    page = open_page(inspection_page([model], None))
    page.select(name)
    for position in ((5.1, 40.7), (60.3, 90.9)):
        page.point(*position)
        field = model.layer(name).local_field
        check_drawing(page, field, tuple(map(nearest, field.axes, position, model.image_shape)))


def test_the_overlay_lies_on_the_photo(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    page.select("stage1.0.conv1")
    page.point(30, 50)
    whole = page.test("photo").bounding_box()
    scale = whole["width"] / 96
    drawn = page.test("field-clipped").evaluate(
        "(each) => { const box = each.getBBox(), to = each.getScreenCTM();"
        "const at = new DOMPoint(box.x, box.y).matrixTransform(to); return [at.x, at.y, box.width, box.height]; }"
    )
    (top, bottom), (left, right) = page.box("field-clipped")
    assert drawn[0] == pytest.approx(whole["x"] + left * scale, abs=0.5)
    assert drawn[1] == pytest.approx(whole["y"] + top * scale, abs=0.5)
    assert drawn[2:] == [right - left + 1, bottom - top + 1]


def test_arrow_keys_move_over_units_and_stop_at_the_border(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    page.select("stage2.0.conv1")
    field = model.layer("stage2.0.conv1").local_field
    page.point(33, 33)
    row, column = page.unit()
    page.test("stage").focus()
    page.tab.mouse.move(0, 0)
    for key, expected in {
        "ArrowDown": (row + 1, column),
        "ArrowRight": (row + 1, column + 1),
        "ArrowUp": (row, column + 1),
        "ArrowLeft": (row, column),
        "Home": (row, 0),
        "End": (row, 11),
        "PageDown": (7, 11),
    }.items():
        page.tab.keyboard.press(key)
        check_drawing(page, field, expected)
    page.tab.keyboard.press("ArrowDown")
    page.tab.keyboard.press("ArrowRight")
    check_drawing(page, field, (7, 11))
    assert "Unit (7, 11) of stage2.0.conv1" in page.test("sentence").inner_text()


def test_numbers_are_told_in_words(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    page.select("stage1.0.conv1")
    page.point(0.1, 0.1)
    assert page.test("size").inner_text() == "11"
    assert page.test("stride").inner_text() == "4"
    assert page.test("start").inner_text() == "−5"
    assert page.test("rows").inner_text() == "−5 to 5"
    assert page.test("rows-clipped").inner_text() == "0 to 5"
    assert page.test("sentence").get_attribute("aria-live") == "polite"


def test_the_list_of_layers_works_by_keyboard_and_filter(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    stage = page.test("stage")
    page.test("layers").focus()
    page.tab.keyboard.press("Home")
    assert stage.get_attribute("data-layer") == "stem.conv"
    page.tab.keyboard.press("ArrowDown")
    assert stage.get_attribute("data-layer") == "stem.relu"
    page.tab.keyboard.press("End")
    assert stage.get_attribute("data-layer") == "head"
    active = page.test("layers").get_attribute("aria-activedescendant")
    assert page.tab.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.test("filter").fill("stage2")
    assert page.tab.locator("#layers li:visible").count() == 9
    page.tab.keyboard.press("ArrowDown")
    assert stage.get_attribute("data-layer") == "stage2.0.conv1"


def test_the_full_field_can_be_drawn_instead(open_page):
    model = awkward_network()
    page = open_page(inspection_page([model], photo()))
    page.select("gate")
    page.point(20, 20)
    unit = page.unit()
    page.tab.get_by_role("button", name="full field", exact=True).click()
    assert page.test("stage").get_attribute("data-kind") == "full"
    assert page.box("field-unclipped") == spans(model.layer("gate").field.box(unit))
    assert page.test("size").inner_text() == "whole image"
    assert "gate.avgpool" in page.test("sentence").inner_text()


def test_an_unknown_field_says_why_and_draws_nothing(open_page):
    page = open_page(inspection_page([awkward_network()], photo()))
    page.select("neck.warp")
    assert "no rule for operator custom.warp" in page.test("sentence").inner_text()
    assert not page.test("field-clipped").is_visible()


def test_a_hostile_name_does_nothing(open_page):
    page = open_page(inspection_page([awkward_network()], photo()))
    page.select(HOSTILE_SCRIPT)
    assert page.test("stage").get_attribute("data-layer") == HOSTILE_SCRIPT
    assert page.test("layer").inner_text() == HOSTILE_SCRIPT
    page.tab.wait_for_timeout(100)


def test_the_table_sorts_by_mouse_and_keyboard(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))

    def order():
        return [
            int(each)
            for each in page.tab.eval_on_selector_all(
                "table.layers tbody tr", "rows => rows.map(row => row.dataset.index)"
            )
        ]

    button = page.tab.locator("button[data-sort=macs]")
    button.click()
    assert order() == sorted(range(33), key=lambda index: (-model.layers[index].macs, index))
    assert button.locator("xpath=..").get_attribute("aria-sort") == "descending"
    button.focus()
    page.tab.keyboard.press("Enter")
    assert order() == sorted(range(33), key=lambda index: (model.layers[index].macs, index))
    assert button.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    page.tab.locator("button[data-sort=order]").press("Space")
    assert order() == list(range(33))
    assert page.tab.locator("th[aria-sort=ascending]").count() == 1
    page.tab.locator("table.layers a", has_text="stage3.0.conv2").click()
    assert page.test("stage").get_attribute("data-layer") == "stage3.0.conv2"


def test_the_plot_shows_image_strides_and_where_nothing_new_is_seen(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()))
    plot = page.test("plot")
    assert plot.locator("[data-testid=image-line]").count() == 2
    assert plot.locator("[data-testid=unproductive]").count() == 1
    assert plot.locator(".strip text").all_text_contents() == ["2", "4", "8", "16"]
    assert plot.locator(".point").count() == sum(not layer.container for layer in model.layers)
    plot.locator(".point[data-index='7']").click(force=True)
    assert page.test("stage").get_attribute("data-layer") == model.layers[7].name
    page.tab.get_by_role("button", name="linear").click()
    assert plot.locator(".point").count() == sum(not layer.container for layer in model.layers)


def test_several_models_can_be_switched_and_are_plotted_together(open_page):
    models = [residual_network(), residual_network("synthetic:deep", blocks=(3, 4, 6)), awkward_network()]
    page = open_page(inspection_page(models, photo()))
    assert page.test("series").count() == 3
    assert page.test("comparison").is_visible()
    page.tab.locator("#model-switch button").nth(1).click()
    assert page.tab.locator("table.layers:visible").get_attribute("data-model") == "1"
    page.select("stage3.5.conv2")
    page.point(10, 10)
    field = models[1].layer("stage3.5.conv2").local_field
    check_drawing(
        page, field, tuple(nearest(axis, 10, extent) for axis, extent in zip(field.axes, (64, 96), strict=True))
    )


def test_dark_and_light_follow_the_system_and_the_button(open_page):
    html = inspection_page([residual_network()], photo())
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark = open_page(html, color_scheme="light"), open_page(html, color_scheme="dark")
    colours = [each.tab.evaluate(background) for each in (light, dark)]
    assert colours[0] != colours[1]
    light.tab.locator("#theme").click()
    assert light.tab.evaluate(background) == colours[1]
    assert light.tab.locator("#theme").get_attribute("aria-pressed") == "true"
    light.tab.emulate_media(media="print")
    assert light.tab.evaluate(background) == "rgb(255, 255, 255)"
    assert not light.tab.locator("#layers").is_visible()


@pytest.mark.parametrize("image", [(64,), (16, 32, 32)])
def test_signals_and_volumes_have_everything_but_the_overlay(open_page, image):
    model = residual_network(image=image)
    page = open_page(inspection_page([model], None))
    assert not page.test("stage").is_visible()
    assert "two axes" in page.tab.locator("#no-stage").inner_text()
    page.select("stage1.0.conv1")
    assert page.test("size").inner_text() == "11"
    assert page.test("plot").locator(".point").count() > 10


def test_a_narrow_window_does_not_scroll_sideways(open_page):
    page = open_page(
        inspection_page([awkward_network(), residual_network()], photo()), viewport={"width": 360, "height": 800}
    )
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_the_tables_are_complete(open_page):
    model = residual_network()
    page = open_page(inspection_page([model], photo()), java_script_enabled=False)
    assert page.tab.locator("table.layers tbody tr").count() == len(model.layers)


def test_the_notebook_fragment_shows_the_table_and_touches_nothing_else(open_page):
    page = open_page(
        f"<!doctype html><table id=other><tr><td>1</td></tr></table>{inspection_fragment([awkward_network()], None)}"
    )
    assert page.tab.locator(".perimetry-inspection tbody tr").count() == len(awkward_network().layers)
    assert page.tab.evaluate("getComputedStyle(document.querySelector('#other td')).textAlign") == "start"


def test_a_traced_network_is_drawn_as_it_was_computed(open_page):
    torch = pytest.importorskip("torch")
    import perimetry

    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 7, stride=2, padding=3),
        torch.nn.MaxPool2d(3, 2, ceil_mode=True),
        torch.nn.Conv2d(4, 4, 3, dilation=3),
        torch.nn.Upsample(scale_factor=2, mode="bilinear"),
    )
    result = perimetry.inspect(network.eval(), (48, 72))
    page = open_page(result.to_html())
    for row in result.models[0].layers:
        page.select(row.name)
        for position in ((3.3, 60.2), (40.6, 20.9)):
            page.point(*position)
            check_drawing(page, row.local_field, tuple(map(nearest, row.local_field.axes, position, (48, 72))))


def test_every_negative_start_has_a_true_minus(open_page):
    """Of several starts only the first did in the figure, and none in the table."""
    record = perimetry.inspect(torch.nn.Conv2d(3, 4, (3, 7), padding=(1, 3)).eval(), 32).models[0]
    page = open_page(inspection_page([record], None))
    page.select("output")
    assert "−1, −3" in page.test("readout").inner_text()
    assert page.tab.locator("table", has_text="−1, −3").count() == 1
    assert "-3" not in page.tab.inner_text("main")
