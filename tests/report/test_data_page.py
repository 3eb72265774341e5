"""The page of a dataset: what is wrong first, in pictures, whatever names files and classes have."""

import re

import pytest

from data.made_folders import HOSTILE, class_folders, image, mask, voc_boxes, voc_masks, xml
from perimetry.data import check
from perimetry.report.data_gallery import MOST_EXAMPLES, MOST_WRONG, gallery
from perimetry.report.data_html import data_html, size_histogram


def spoiled(root):
    """Boxes and names of every kind, some of them wrong."""
    voc_boxes(root, names=("a", "b", HOSTILE.replace("/", ""), "d"), objects=[(HOSTILE, 1, 1, 8, 6)])
    xml(root / "Annotations/a.xml", [(HOSTILE, 1, 1, 30, 6)])
    (root / "JPEGImages/b.jpg").write_bytes(b"")
    xml(root / "Annotations" / f"{HOSTILE}.xml", [("dog", 9, 9, 2, 2), ("dog", 1, 1, 2, 2)])
    return check(root)


def test_names_are_escaped_and_nothing_is_asked_of_a_network(tmp_path):
    page = data_html(spoiled(tmp_path))
    assert HOSTILE not in page and "&lt;img src=x" in page
    assert str(tmp_path.parent) not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert data_html(check(tmp_path)) == page


def test_images_with_problems_come_first_each_with_what_is_wrong(tmp_path):
    shown = gallery(spoiled(tmp_path))
    assert [image.name for image in shown.wrong] == [HOSTILE, "a"]  # errors before warnings; b cannot be shown
    assert shown.wrong[1].remarks == ("box 1 (0, 0, 30, 6) reaches outside the 12×16 pixels",)
    (box,) = shown.wrong[1].boxes
    assert box.outside and box.color == "#ff3c3c"
    assert shown.wrong[1].view == (0.0, 0.0, 20.0, 12)  # a quarter of the image beside it, no more
    assert [image.name for image in shown.examples] == ["d"]
    assert shown.left_out == 1


def test_masks_lie_over_or_beside_their_photo(tmp_path):
    voc_masks(tmp_path, names="abc")
    mask(tmp_path / "SegmentationClass/a.png", height=6)
    mask(tmp_path / "SegmentationClass/b.png", [[7] * 16] * 12)
    shown = gallery(check(tmp_path))
    assert [(image.name, len(image.overlays), image.mask is not None) for image in shown.wrong] == [
        ("b", 2, False),
        ("a", 0, True),
    ]
    assert [kind for kind, _ in shown.wrong[0].overlays] == ["classes", "beyond"]
    assert [name for name, _ in shown.legend] == ["_background_", "cell"]


def test_many_problems_and_classes_stay_small(tmp_path):
    class_folders(tmp_path, splits=None, classes=[f"class {i}" for i in range(30)], count=1)
    for number in range(20):
        image(tmp_path / "class 0" / f"{number}.jpg")
        (tmp_path / "class 1" / f"{number}.jpg").write_bytes((tmp_path / "class 0" / f"{number}.jpg").read_bytes())
    shown = gallery(check(tmp_path))
    assert (len(shown.wrong), shown.left_out, len(shown.examples)) == (MOST_WRONG, 8, MOST_EXAMPLES)
    assert len({image.caption.rpartition(": ")[2] for image in shown.examples}) == MOST_EXAMPLES  # one of each class


def test_the_histogram_counts_every_object(tmp_path):
    voc_boxes(tmp_path, objects=[("cat", 1, 1, 16, 12), ("cat", 1, 1, 1, 1), ("cat", 1, 1, 12, 12)])
    bins = size_histogram(check(tmp_path))["bins"]
    assert sum(int(each["count"]) for each in bins) == 9
    assert (bins[0]["label"], bins[-1]["label"]) == ("1", "11")
    assert size_histogram(check(voc_masks(tmp_path / "b"))) == {}


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_fits_and_runs_nothing_of_the_names(open_page, tmp_path, scheme, width):
    page = open_page(
        data_html(spoiled(tmp_path / "data")), viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert page.test("wrong").locator("figure").count() == 2
    assert page.test("wrong").locator("svg image").first.evaluate("each => each.getBBox().width") == 16
    assert page.tab.title() == "The dataset data"
