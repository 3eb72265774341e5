"""The page of scores without a browser: what stands in it, what it bounds, and that names do nothing."""

import base64
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

import perimetry
from perimetry.metrics import BoxPrediction, BoxTruth, ConfusionMatrix, Unavailable
from perimetry.metrics.mismatches import CLASSES
from perimetry.report import score_distribution, score_gallery
from perimetry.report.score_confusion import OTHERS, confusion_view, pooled
from perimetry.report.score_curves import plots
from perimetry.report.score_distribution import distribution
from perimetry.report.score_gallery import gallery
from perimetry.report.score_html import score_html
from perimetry.report.score_pictures import (
    CLASS_COLORS,
    label_colors,
    labels_address,
    overlay_address,
    photo_address,
    read_photo,
)
from perimetry.report.score_plots import Line
from perimetry.report.score_views import classes_table, kinds_of_detections, totals
from perimetry.report.score_words import value_text
from perimetry.scoring.results import ImageScore, ScoreCurve, Scored
from report.elements import Elements
from report.score_samples import ALL, FRUIT, HOSTILE, boundaries, boxes, labels, masks


def pixels_of(address):
    """What a data: address shows, (H, W, 4)."""
    kind, _, data = address.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def data_of(page):
    return json.loads(Elements(page).scripts[0])


def bare(images=(), total=None, **changed):
    return Scored("masks", {}, tuple(images), {} if total is None else total, **changed)


@pytest.mark.parametrize("kind", ALL)
def test_a_page_asks_for_nothing_and_allows_its_own_script_and_style_only(kind):
    page = score_html(ALL[kind]())
    found = Elements(page)
    policy = next(attributes["content"] for tag, attributes in found.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    for text in (found.scripts[1], found.styles[0]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    for tag, attributes in found.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)


@pytest.mark.parametrize("kind", ALL)
def test_the_same_result_gives_the_same_page(kind):
    assert score_html(ALL[kind]()) == score_html(ALL[kind]())


def hostile():
    """Every name that a user's files can give, made hostile."""
    image = ImageScore(HOSTILE, {"miou": 0.5, HOSTILE: Unavailable(HOSTILE)}, facts={HOSTILE: HOSTILE})
    at = np.array([0.5, 0.2])
    curve = ScoreCurve("roc", HOSTILE, HOSTILE, HOSTILE, at, at, at, Unavailable(HOSTILE), 0)
    counts = ConfusionMatrix(np.array([[1, 2], [0, 3]]))
    total = {"miou": Unavailable(HOSTILE), HOSTILE: 1.0, "iou": {HOSTILE: Unavailable(HOSTILE), "b": 0.1}}
    return Scored(
        "masks", {HOSTILE: HOSTILE}, (image, image), total, (HOSTILE, "b"), counts, (curve,), notes=(HOSTILE,)
    )


@pytest.mark.parametrize(
    "scored",
    [hostile(), masks(names=[HOSTILE] * 5, classes=(HOSTILE, "b")), boxes(names=(HOSTILE, "dog"))],
    ids=["all", "masks", "boxes"],
)
def test_hostile_names_are_text(scored):
    found = Elements(score_html(scored))
    assert HOSTILE in found.text
    assert len(found.scripts) == 2
    assert not [attributes for tag, attributes in found.tags if tag == "img" and attributes.get("src") == "x"]


def test_names_that_do_not_print_are_written_out():
    assert "a\\u202eb" in score_html(bare([ImageScore("a\u202eb", {"miou": 0.5})]))


def test_what_is_unavailable_says_why():
    page = score_html(labels())
    assert "unavailable: truth or prediction holds one class only" in Elements(page).text
    table = classes_table(boxes())
    assert table.rows[1] == ("dog", (("–", "no object of this class"),))
    assert table.bars == {(0, 0): 50.0}


def test_totals_begin_with_the_headline_and_leave_classes_to_their_table():
    rows = totals(bare(total={"pixel_accuracy": 0.75, "iou": {"a": 0.5}, "miou": 0.5}, classes=("a",)))
    assert [(row.name, row.value) for row in rows] == [("mean IoU", "0.5000"), ("pixel accuracy", "0.7500")]


def test_kinds_of_detections_have_their_own_table():
    total = {"f1": 0.5, "true": 6, "duplicate": 3, "badly_localised": 0, "background": 1, "ignored": 0, "missed": 12}
    scored = Scored("boxes", {}, (), total)
    assert [row.name for row in totals(scored)] == ["F1"]
    assert [(kind, length) for kind, *_, length in kinds_of_detections(scored)] == [
        ("true", 50.0), ("duplicate", 25.0), ("badly_localised", 0.0), ("background", 8.3), ("ignored", 0.0),
        ("missed", 100.0),
    ]  # fmt: skip
    assert kinds_of_detections(masks(count=1)) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (1.0, "1"), (0.99999, "1.0000"), (12.5, "12.5"), (-3, "−3"), (None, "–"), (3.0, "3")],
)
def test_values_are_told(value, text):
    assert value_text(value) == text


def test_the_page_holds_every_count_of_the_confusion_matrix():
    scored = labels()
    told = data_of(score_html(scored))["confusion"]
    np.testing.assert_array_equal(told["counts"], scored.confusion.counts)
    assert told["classes"] == list(FRUIT)


def test_shares_and_counts_stand_in_the_cells():
    view = confusion_view(ConfusionMatrix(np.array([[999, 1], [30, 10]])), ["a", "b"])
    shares, counts = view.tables
    assert shares.rows == [[(20, "100"), (1, "<1")], [(15, "75"), (5, "25")]]
    assert [[text for _, text in row] for row in counts.rows] == [["999", "1"], ["30", "10"]]
    assert view.worst == (("b", "a", "30", "75.0 %"), ("a", "b", "1", "0.1 %"))


def test_a_class_without_truth_has_an_empty_row():
    view = confusion_view(ConfusionMatrix(np.array([[0, 0], [2, 2]])), ["a", "b"])
    assert view.tables[0].rows[0] == [(0, ""), (0, "")]


def test_many_classes_are_pooled_and_nothing_is_lost():
    counts = np.random.default_rng(0).integers(9, size=(130, 130))
    found, kept = pooled(counts)
    assert found.shape == (100, 100)
    assert found.sum() == counts.sum()
    rest = [index for index in range(130) if index not in kept]
    assert found[-1, -1] == counts[np.ix_(rest, rest)].sum()
    np.testing.assert_array_equal(found[:-1, -1], counts[np.ix_(kept, rest)].sum(axis=1))
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    assert min(errors[kept]) >= max(errors[rest])
    view = confusion_view(ConfusionMatrix(counts), [f"class {index}" for index in range(130)])
    assert (view.classes[-1], view.pooled) == (OTHERS, 31)


def test_a_thinned_curve_stays_close_and_keeps_its_ends_and_the_chosen_point():
    at = np.linspace(1, 0, 50_000)
    line = Line("", (1 - at) ** 3, np.sqrt(1 - at), at, chosen=12_345)
    thin = line.thinned(200)
    assert len(thin.x) <= 202
    assert (thin.x[0], thin.x[-1]) == (line.x[0], line.x[-1])
    assert thin.at[thin.chosen] == at[12_345]
    np.testing.assert_allclose(np.interp(line.x, thin.x, thin.y), line.y, atol=0.02)


def test_a_curve_is_drawn_where_its_points_are():
    scored = labels(classes=("no", "yes"))
    roc, recall = plots(scored)
    assert [plot.title for plot in (roc, recall)] == ["ROC", "Precision and recall"]
    assert roc.diagonal
    line = roc.lines[0]
    curve = scored.curves[0]
    assert (line.x[line.chosen], line.y[line.chosen]) == (curve.x[curve.chosen], curve.y[curve.chosen])
    frame = roc.frame
    assert roc.path(line).startswith(f"M{frame['left']:g} {frame['bottom']:g}L")
    assert roc.path(line).endswith(f"L{frame['right']:g} {frame['top']:g}")
    assert roc.marks()[0] == (0, *roc.place(curve.x[curve.chosen], curve.y[curve.chosen]))


def test_errors_over_magnitudes_have_a_logarithmic_axis():
    at = np.array([0.0, 0.5])

    def plot(*errors):
        curve = ScoreCurve("sweep", "", "threshold", "warping_error", at, np.array(errors), at, Unavailable(""), 1)
        return plots(bare(curves=(curve,)))[0]

    wide = plot(0.05, 0.0005)
    assert wide.log
    assert wide.y_range == pytest.approx((1e-4, 0.1))
    assert [text for _, text in wide.ticks()["y"]] == ["1e−4", "0.001", "0.01", "0.1"]
    assert not plot(0.05, 0.01).log
    assert not plot(0.05, 0.0).log


def test_points_without_a_value_are_left_out():
    at = np.array([0.0, 0.5, 1.0])

    def told(*errors):
        curve = ScoreCurve("sweep", "", "threshold", "error", at, np.array(errors), at, Unavailable(""), 2)
        return data_of(score_html(bare(curves=(curve,))))["plots"]

    assert told(0.1, np.nan, 0.2)[0]["lines"][0]["points"] == [[0, 0.1, 0], [1, 0.2, 1]]
    assert told(0.1, np.nan, 0.2)[0]["lines"][0]["chosen"] == 1
    assert told(np.nan, np.nan, np.nan) == []


def test_an_infinite_threshold_can_be_told():
    told = data_of(score_html(labels()))["plots"][0]["lines"][0]["points"]
    assert told[0] == [0.0, 0.0, "∞"]


def test_the_distribution_holds_all_scores_that_vary():
    told = distribution(masks())
    assert [score["name"] for score in told["scores"][:3]] == ["mean IoU", "pixel accuracy", "IoU, apple"]
    assert told["scores"][0]["values"] == [float(f"{image.scores['miou']:.6g}") for image in masks().images]
    assert [score["name"] for score in distribution(labels())["scores"]] == ["score"]  # correct is 0 or 1


def test_missing_values_are_null_and_one_image_has_no_distribution():
    images = [ImageScore(str(at), {"miou": Unavailable("none") if at == 1 else at / 10}) for at in range(3)]
    assert distribution(bare(images))["scores"][0]["values"] == [0.0, None, 0.2]
    assert distribution(bare(images[:1])) is None
    assert data_of(score_html(bare(images[:1])))["distribution"] is None


def test_with_many_images_the_numbers_in_the_page_are_bounded(monkeypatch):
    monkeypatch.setattr(score_distribution, "MOST_NUMBERS", 50)
    images = [ImageScore(str(at), {"miou": at / 20, "b": float(at), "iou": {"c": at / 7}}) for at in range(20)]
    told = distribution(bare(images))
    assert [score["name"] for score in told["scores"]] == ["mean IoU", "b"]
    assert told["left_out"] == 1
    assert "1 more score is not offered" in Elements(score_html(bare(images))).text


def test_of_very_many_images_the_worst_and_an_even_choice_are_drawn(monkeypatch):
    monkeypatch.setattr(score_distribution, "MOST_IMAGES", 300)
    values = np.random.default_rng(0).permutation(1000) / 1000
    told = distribution(bare(ImageScore(str(at), {"miou": value}) for at, value in enumerate(values.tolist())))
    drawn = sorted(told["scores"][0]["values"])
    assert len(drawn) <= 300
    assert drawn[:50] == [at / 1000 for at in range(50)]
    assert np.diff(drawn[50:]) == pytest.approx(0.004)
    assert [values[place] for place in told["places"]] == told["scores"][0]["values"]


def test_pictures_are_those_of_the_worst_images():
    scored = masks(count=20)
    shown = gallery(scored)
    assert [image.name for image in shown.images] == [image.name for image in scored.worst_first()[:12]]
    assert shown.left_out == 8
    assert "8 images have none, to keep it small" in Elements(score_html(scored)).text
    places = {image.name: index for index, image in enumerate(scored.images)}
    expected = {str(places[image.name]): at for at, image in enumerate(shown.images)}
    assert data_of(score_html(scored))["pictures"] == expected


def test_pictures_stop_at_a_size(monkeypatch):
    first = gallery(masks(count=4)).images[0].size
    monkeypatch.setattr(score_gallery, "MOST_BYTES", int(2.5 * first))
    shown = gallery(masks(count=4))
    assert (len(shown.images), shown.left_out) == (2, 2)


def test_the_pictures_of_a_mask_show_truth_prediction_and_difference():
    scored = masks(count=1)
    picture, shown = scored.images[0].picture(), gallery(scored).images[0]
    colors = np.array(label_colors(4))
    truth, predicted = (pixels_of(layer.address)[..., :3] for layer in shown.layers)
    np.testing.assert_array_equal(truth[1:], colors[picture.truth][1:])
    assert (truth[0] == 128).all()
    np.testing.assert_array_equal(predicted, colors[picture.predicted])
    over = pixels_of(shown.overlays[0].address)
    np.testing.assert_array_equal(over[..., 3] > 0, picture.wrong)


def test_the_pictures_of_boundaries_show_each_class_of_mismatch():
    picture, shown = boundaries().images[-1].picture(), gallery(boundaries()).images[0]
    assert shown.name == "slice2"
    found = {layer.key: layer for layer in shown.overlays}
    assert {"merge", "hole-addition"} <= set(found)
    for index, name in enumerate(CLASSES):
        marked = picture.classes == index + 1
        if not marked.any():
            assert name.replace(" ", "-") not in found
            continue
        layer = found[name.replace(" ", "-")]
        drawn = pixels_of(layer.address)
        np.testing.assert_array_equal(drawn[..., 3] > 0, marked)
        assert tuple(drawn[marked][0, :3]) == CLASS_COLORS[index]
        assert layer.count == marked.sum()
    np.testing.assert_array_equal(pixels_of(shown.layers[0].address)[..., 0] > 128, picture.truth)


def test_boxes_are_drawn_by_kind():
    shown = gallery(boxes()).images[0]
    assert [box.kind for box in shown.boxes] == [
        "found", "missed", "missed", "difficult", "true", "duplicate", "badly_localised", "background", "ignored",
    ]  # fmt: skip
    assert (shown.boxes[4].left, shown.boxes[4].top, shown.boxes[4].width, shown.boxes[4].height) == (5, 5, 20, 19)
    assert shown.boxes[4].score == "0.90"
    assert dict(shown.facts)["missed"] == "2"


def test_boxes_of_an_image_of_unknown_size_fit():
    shown = gallery(boxes(size=None)).images[0]
    assert (shown.height, shown.width) == (56, 79)


def test_of_very_many_boxes_the_best_are_drawn(monkeypatch):
    monkeypatch.setattr(score_gallery, "MOST_BOXES", 2)
    shown = gallery(boxes()).images[0]
    assert [box.score for box in shown.boxes if box.score] == ["0.90", "0.80"]
    assert shown.remarks == ("the 2 detections of the highest scores are drawn, of 5",)


def test_large_pictures_are_shrunk_and_keep_every_mark():
    marked = np.zeros((1500, 701), bool)
    marked[1499, 700] = marked[7, 3] = True
    drawn = pixels_of(overlay_address(marked, (1, 2, 3)))
    assert drawn.shape == (500, 234, 4)
    assert np.argwhere(drawn[..., 3]).tolist() == [[2, 1], [499, 233]]
    assert pixels_of(labels_address(np.zeros((1500, 701), np.uint8), [(9, 9, 9)])).shape[:2] == (500, 234)
    assert pixels_of(labels_address(np.zeros((1, 2000), np.uint8), [(9, 9, 9)])).shape[:2] == (1, 500)
    assert pixels_of(photo_address(np.zeros((1500, 701, 3), np.uint8))).shape[:2] == (500, 234)


def test_a_photo_stands_in_the_page_where_it_fits(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), (10, 200, 30)).save(path)
    shown = gallery(masks(count=1, photo=path)).images[0]  # the mask has half its size
    assert abs(pixels_of(shown.photo)[0, 0, :3].astype(int) - (10, 200, 30)).max() <= 3
    assert gallery(boundaries(photo=path, shape=(48, 64))).images[0].layers[0].key == "photo"
    remarks = gallery(boxes(photo=path, size=(60, 20))).images[0].remarks
    assert remarks == ("the photo photo.png is not shown: it has 64×48 pixels, the image 20×60",)


def test_a_photo_that_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "photo<b>.jpg"
    path.write_bytes(b"no photo")
    assert "The photo photo&lt;b&gt;.jpg could not be read" in score_html(boxes(photo=path)).replace("<wbr>", "")
    assert read_photo(tmp_path / "none.png") is None
    pages = [Image.new("L", (4, 3)), Image.new("L", (4, 3))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert read_photo(tmp_path / "pages.tif") is None
    pages[0].save(tmp_path / "photo.eps")  # its reader starts another program
    assert read_photo(tmp_path / "photo.eps") is None
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    assert read_photo(tmp_path / "cut.png") is None


def test_levels_of_sixteen_bits_are_spread(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[1000, 3000]], np.uint16)).save(path)
    assert read_photo(path)[0, :, 0].tolist() == [0, 255]


def test_colors_of_labels_differ():
    assert len(set(label_colors(100))) == 100


@pytest.mark.parametrize("kind", ["masks", "boundaries", "boxes", "labels"])
def test_a_result_without_images_or_curves_has_a_page(kind):
    page = score_html(Scored(kind, {}, (), {}))
    assert "0 images" in page or "0 rows" in page


def test_results_of_scoring_have_pages_with_their_pictures():
    generator = np.random.default_rng(0)
    truth = {name: generator.integers(3, size=(16, 20)) for name in "abc"}
    told = {name: np.where(generator.random((16, 20)) < 0.2, 1, mask) for name, mask in truth.items()}
    cells = {name: mask > 0 for name, mask in truth.items()}
    proposals = {name: mask > 0 for name, mask in told.items()}
    objects = {name: BoxTruth([[1, 1, 9, 9]], ["cat"]) for name in "abc"}
    found = {name: BoxPrediction([[1, 1, 9, 8 + at]], [0.5 + at / 10], ["cat"]) for at, name in enumerate("abc")}
    for scored, plotted in (
        (perimetry.score_masks(truth, told, bootstrap=5), 0),
        (perimetry.score_boundaries(cells, proposals, sweep=[0.2, 0.5], parts=["warping"]), 3),
        (perimetry.score_boxes(objects, found), 1),
    ):
        assert [image.name for image in gallery(scored).images] == [image.name for image in scored.worst_first()]
        page = scored.to_html()
        assert len(data_of(page)["plots"]) == plotted
        assert [attributes for _, attributes in Elements(page).tags if attributes.get("data-testid") == "picture-2"]
    scores = {"x": {"cat": 0.9, "dog": 0.1}, "y": {"cat": 0.6, "dog": 0.4}, "z": {"cat": 0.2, "dog": 0.8}}
    page = perimetry.score_labels({"x": "cat", "y": "dog", "z": "dog"}, scores).to_html()
    assert len(data_of(page)["plots"]) == 2
    assert 'id="gallery"' not in page


def test_images_without_the_headline_are_not_called_worst():
    scored = boundaries()
    images = tuple(ImageScore(each.name, {"pixel_error": 0.1}, look=each.look) for each in scored.images)
    text = Elements(score_html(Scored("boundaries", {}, images, {"pixel_error": 0.1}))).text
    assert "worst" not in text.split("Image by image")[0].split("Scores of all")[1]
    assert "In the order given" in text
