"""The page of scores in a browser, from disk: what one points at is what was scored, and switches switch."""

import numpy as np
import pytest

from perimetry.metrics import Unavailable
from perimetry.report.score_gallery import gallery
from perimetry.report.score_html import score_html
from perimetry.scoring.results import ImageScore, Scored
from report.score_samples import ALL, HOSTILE, boundaries, boxes, labels, masks

pytestmark = pytest.mark.browser


def point(page, locator, across, up):
    """Put the pointer into an element: shares of its width from the left, and of its height from the top."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    page.tab.mouse.move(box["x"] + across * box["width"], box["y"] + up * box["height"])


def press(page, *keys):
    for key in keys:
        page.tab.keyboard.press(key)


def told(text, before, after):
    return float(text.split(before)[1].split(after)[0].replace("−", "-"))


def digits(value):
    """A number as the page's script tells it."""
    return f"{float(f'{value:.4g}'):g}"


def shown_pictures(page):
    return page.tab.locator(".of-picture:visible").evaluate_all("all => all.map(each => each.dataset.picture)")


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_narrow_screen(open_page, kind, scheme):
    page = open_page(score_html(ALL[kind]()), viewport={"width": 400, "height": 800}, color_scheme=scheme)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400
    page.tab.emulate_media(media="print")
    assert not page.tab.locator("#switches input:visible, #theme:visible, #next:visible").count()


def test_many_classes_fit_too(open_page):
    names = [f"a rather long name of a class {index}" for index in range(60)]
    page = open_page(score_html(labels(classes=names, rows=600)), viewport={"width": 400, "height": 800})
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400


def test_arrow_keys_read_a_curve_and_begin_at_the_chosen_threshold(open_page):
    scored = labels(classes=("no", "yes"), rows=40)
    page = open_page(score_html(scored))
    page.test("plot-roc").focus()
    press(page, "ArrowRight")
    curve = scored.curves[0]

    def expect(index):
        text = page.test("reading-roc").inner_text()
        assert told(text, "FPR ", ",") == pytest.approx(curve.x[index], rel=1e-3)
        assert f"TPR {digits(curve.y[index])}." in text
        assert told(text, "at threshold ", ":") == pytest.approx(curve.thresholds[index], rel=1e-3)
        return text

    assert expect(curve.chosen).endswith("This is the threshold of the largest F1.")
    press(page, "ArrowRight")
    expect(curve.chosen + 1)
    press(page, "End")
    expect(len(curve.x) - 1)
    press(page, "Home")
    assert page.test("reading-roc").inner_text() == "no: at threshold ∞: FPR 0, TPR 0."


def test_pointing_reads_the_nearest_point_of_the_chosen_class(open_page):
    scored = labels(classes=("no", "yes"), rows=40)
    page = open_page(score_html(scored))
    page.test("line-precision-recall").select_option("1")
    plot = page.test("plot-precision-recall")
    assert plot.locator(".line.current").get_attribute("data-line") == "1"
    point(page, plot.locator("svg"), 0.97, 0.5)
    curve = next(each for each in scored.curves if each.label == "yes" and each.kind == "precision_recall")
    text = page.test("reading-precision-recall").inner_text()
    assert text.startswith("yes: at threshold ")
    assert told(text, "recall ", ",") in {float(f"{each:.4g}") for each in curve.x}
    at = plot.locator(".at")
    assert at.get_attribute("visibility") == "visible"
    assert float(at.get_attribute("cx")) > 350


def test_a_sweep_is_read_on_its_logarithmic_axis(open_page):
    scored = boundaries()
    page = open_page(score_html(scored))
    page.test("plot-sweep-0").focus()
    press(page, "ArrowRight")
    text = page.test("reading-sweep-0").inner_text()
    assert text == "threshold 0.4, split and merge error 0.02. This is the chosen threshold."
    dot, ring = (page.tab.locator(f".curve {name}") for name in (".at", ".chosen"))
    for axis in ("cx", "cy"):
        assert float(dot.get_attribute(axis)) == pytest.approx(float(ring.get_attribute(axis)), abs=0.01)


def test_the_confusion_matrix_is_read_by_pointer_and_keys(open_page):
    scored = labels()
    counts = scored.confusion.counts
    page = open_page(score_html(scored))

    def expect(row, column, ending):
        text = page.test("heat-sentence").inner_text().replace("\u00a0", "")
        assert text.startswith(f"Of {counts[row].sum()} rows of {scored.classes[row]}, {counts[row, column]} (")
        assert text.endswith(ending)

    page.test("heat-shares").locator("tbody tr").nth(1).locator("td").nth(2).hover()
    expect(1, 2, "are told as fig.")
    page.test("heat-shares").focus()
    press(page, "ArrowDown", "ArrowDown", "ArrowDown")
    expect(3, 2, "are told as fig.")
    press(page, "End")
    expect(3, 3, "are told right.")
    assert page.test("heat-shares").locator("td.current").count() == 1
    assert not page.test("heat-counts").is_visible()
    page.tab.get_by_role("button", name="counts").press("Enter")
    assert not page.test("heat-shares").is_visible()
    shown = page.test("heat-counts").locator("tbody td").all_inner_texts()
    assert [int(text or 0) for text in shown] == counts.ravel().tolist()


def test_the_distribution_tells_each_image_and_opens_its_picture(open_page):
    scored = masks(count=20)
    page = open_page(score_html(scored))
    values = [image.scores["miou"] for image in scored.images]
    spread = page.test("spread")
    assert spread.locator(".mark[data-image]").count() == 20
    assert spread.locator(".mark.pictured").count() == 12
    assert float(spread.locator(".median").get_attribute("data-median")) == pytest.approx(np.median(values), rel=1e-5)
    assert f"All together: {scored.total['miou']:.4g}." in page.test("spread-sentence").inner_text()
    spread.focus()
    order = np.argsort(values)
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("Shift+ArrowRight", 11), ("End", 19), ("Home", 0)):
        press(page, key)
        text = page.test("spread-sentence").inner_text()
        name, value = scored.images[order[place]].name, values[order[place]]
        assert text.startswith(f"{name}: mean IoU {digits(value)}, {place + 1} of 20")
        assert ("picture" in text) == (place < 12)
    press(page, "ArrowRight", "Enter")
    assert shown_pictures(page) == ["1"]
    assert page.test("picture").input_value() == "1"
    page.test("spread-score").select_option(label="IoU, apple")
    assert "IoU, apple" in spread.locator("svg").text_content()


def test_bars_add_up_to_the_images(open_page):
    scored = masks(count=20)
    page = open_page(score_html(scored))
    heights = page.tab.locator("#spread .bar").evaluate_all(
        "all => all.map(each => Number(each.getAttribute('height')))"
    )
    top = max(int(text) for text in page.tab.locator("#spread text").all_text_contents() if text.isdigit())
    assert sum(heights) * top / max(heights) == pytest.approx(20)


def test_small_counts_have_a_bar_each(open_page):
    images = tuple(ImageScore(str(at), {"rank": at % 5 + 1}) for at in range(30))
    page = open_page(score_html(Scored("labels", {}, images, {})))
    bars = page.tab.locator("#spread .bar")
    assert bars.count() == 5
    assert len({bar.get_attribute("height") for bar in bars.all()}) == 1


def test_images_without_the_score_are_counted(open_page):
    images = tuple(ImageScore(str(at), {"miou": Unavailable("none") if at < 2 else at / 10}) for at in range(6))
    page = open_page(score_html(Scored("masks", {}, images, {})))
    assert page.test("spread-sentence").inner_text().endswith("2 without this score.")


@pytest.mark.parametrize("kind", ["masks", "boundaries", "boxes"])
def test_pictures_are_switched_by_buttons_and_by_choice(open_page, kind):
    scored = ALL[kind]()
    page = open_page(score_html(scored))
    last = len(gallery(scored).images) - 1
    assert shown_pictures(page) == ["0"]
    assert page.tab.locator("#before").is_disabled()
    page.tab.locator("#next").press("Enter")
    assert shown_pictures(page) == ["1"]
    page.test("picture").select_option(str(last))
    assert shown_pictures(page) == [str(last)]
    assert page.tab.locator("#next").is_disabled()
    assert page.tab.locator(".of-picture:visible img").evaluate_all("all => all.every(each => each.naturalWidth > 0)")


def test_marks_of_boundaries_are_switched_by_class_and_what_lies_under_them(open_page):
    page = open_page(score_html(boundaries()))
    merge = page.tab.locator(".of-picture:visible img[data-kind=merge]")
    assert merge.is_visible()
    page.tab.get_by_role("checkbox", name="merge").focus()
    press(page, " ")
    assert not page.tab.locator("img[data-kind=merge]:visible").count()
    page.tab.locator("#next").click()
    assert not page.tab.locator("img[data-kind=merge]:visible").count()
    assert page.tab.locator("img[data-kind=hole-addition]:visible").count() == 1
    page.tab.get_by_role("radio", name="prediction").check()
    bases = page.tab.locator("img.base:visible").evaluate_all("all => all.map(each => each.dataset.base)")
    assert bases == ["prediction"]
    assert page.tab.locator("img.widened:visible").count() > 0
    page.tab.get_by_label("widened").uncheck()
    assert not page.tab.locator("img.widened").count()


def test_marks_lie_exactly_over_the_picture(open_page):
    page = open_page(score_html(boundaries()))
    boxes_of = page.tab.locator(".of-picture:visible img:visible").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect()).map(each => [each.x, each.y, each.width, each.height])"
    )
    assert len(boxes_of) > 2
    for box in boxes_of[1:]:
        assert box == pytest.approx(boxes_of[0], abs=0.6)


def test_boxes_are_switched_by_kind(open_page):
    page = open_page(score_html(boxes()))
    found = page.tab.locator(".of-picture:visible [data-kind=found]")
    assert not found.is_visible()
    page.tab.get_by_label("object that was found").check()
    assert found.is_visible()
    page.tab.get_by_label("on background").uncheck()
    assert not page.tab.locator("[data-kind=background]:visible").count()
    assert page.tab.locator("[data-kind=duplicate]:visible").count() == 1
    texts = page.tab.locator(".of-picture:visible [data-kind=true] text").all_text_contents()
    assert texts == ["cat 0.90"]


def test_hostile_names_do_nothing_and_long_ones_fit(open_page):
    long = "very_long_name_without_a_break" * 6
    for scored in (
        masks(names=[HOSTILE, long] * 2 + [HOSTILE], classes=(HOSTILE, long)),
        labels(classes=(HOSTILE, long), rows=30),
        boxes(names=(HOSTILE, long)),
    ):
        page = open_page(score_html(scored), viewport={"width": 400, "height": 800})
        if scored.confusion is not None:
            page.test("heat-shares").focus()
            press(page, "ArrowRight")
            assert HOSTILE in page.test("heat-sentence").inner_text()
        if page.test("spread").count():
            page.test("spread").focus()
            press(page, "ArrowRight", "ArrowRight")
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 400
        page.tab.wait_for_timeout(50)


def test_without_scripts_all_tables_and_pictures_are_there(open_page):
    page = open_page(score_html(masks()), java_script_enabled=False)
    assert page.tab.locator(".of-picture:visible").count() == 5
    assert page.test("totals").is_visible()
    assert page.test("heat-shares").is_visible()
    assert "need JavaScript" in page.tab.inner_text("main")


def test_the_theme_can_be_changed(open_page):
    page = open_page(score_html(masks(count=2)), color_scheme="light")
    before = page.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.tab.locator("#theme").press("Enter")
    assert page.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") != before
