"""Sets of masks: against the metrics on all pixels at once, and scikit-learn."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix as by_sklearn

import perimetry
from perimetry import InputError
from perimetry.metrics import Unavailable, mask_scores

RANDOM = np.random.default_rng(0)
TRUTH = {f"i{index}": RANDOM.integers(0, 4, (9, 7 + index)).astype(np.uint8) for index in range(5)}
TOLD = {
    name: np.where(RANDOM.random(mask.shape) < 0.3, RANDOM.integers(0, 4, mask.shape), mask).astype(np.uint8)
    for name, mask in TRUTH.items()
}
for mask in TRUTH.values():
    mask[0, :3] = 255


def flat(masks):
    return np.concatenate([masks[name].ravel() for name in sorted(masks)])


@pytest.fixture
def folders(tmp_path):
    for role, masks in (("truth", TRUTH), ("told", TOLD)):
        (tmp_path / role).mkdir()
        for name, mask in masks.items():
            image = Image.fromarray(mask)
            image.putpalette([value for level in range(256) for value in (level, 0, 255 - level)])
            assert image.mode == "P"
            image.save(tmp_path / role / f"{name}.png")
    return tmp_path / "truth", tmp_path / "told"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_total_is_that_of_all_pixels_together(folders, workers):
    seen = perimetry.score_masks(*folders, ignore=255, workers=workers)
    all_at_once = mask_scores(flat(TRUTH), flat(TOLD), classes=4, ignore=255)
    assert seen.confusion == all_at_once.confusion
    kept = flat(TRUTH) != 255
    np.testing.assert_array_equal(seen.confusion.counts, by_sklearn(flat(TRUTH)[kept], flat(TOLD)[kept]))
    assert seen.total["miou"] == all_at_once.miou
    assert tuple(seen.total["iou"].values()) == all_at_once.iou
    assert (seen.total["pixels"], seen.total["ignored"]) == (kept.sum(), (~kept).sum())
    for image in seen.images:
        alone = mask_scores(TRUTH[image.name], TOLD[image.name], classes=4, ignore=255)
        assert image.scores["pixel_accuracy"] == alone.pixel_accuracy
        assert image.scores["dice"] == {str(at): dice for at, dice in enumerate(alone.dice)}
        assert image.truth == folders[0] / f"{image.name}.png"


def test_arrays_and_files_agree(folders):
    assert perimetry.score_masks(TRUTH, TOLD, ignore=255).total == perimetry.score_masks(*folders, ignore=255).total


def test_a_stack_is_scored_slice_by_slice(tmp_path):
    stack = np.stack([mask[:, :7] for mask in TRUTH.values()])
    told = np.stack([mask[:, :7] for mask in TOLD.values()])
    np.save(tmp_path / "truth.npy", stack)
    pages = [Image.fromarray(page) for page in told]
    pages[0].save(tmp_path / "told.tif", save_all=True, append_images=pages[1:])
    seen = perimetry.score_masks(tmp_path / "truth.npy", tmp_path / "told.tif", ignore=255)
    assert seen.total["miou"] == mask_scores(stack, told, classes=4, ignore=255).miou
    assert [image.name for image in seen.images] == [f"truth[{index}]" for index in range(5)]


def test_names_of_classes_and_classes_that_no_image_has(folders):
    seen = perimetry.score_masks(*folders, ignore=255, classes=["sky", "road", "car", "tree", "ghost"])
    assert seen.total["iou"]["ghost"] == Unavailable("class 4 is neither in the truth nor predicted")
    assert "ghost" not in seen.images[0].scores["iou"]
    found = seen.to_dict()
    assert found["total"]["iou"]["ghost"] is None
    assert found["total"]["reasons"]["iou"] == {"ghost": "class 4 is neither in the truth nor predicted"}


def test_foreground_takes_all_labels_above_zero_as_one():
    seen = perimetry.score_masks({"a": [[0, 7, 255, 3]]}, {"a": [[0, 2, 0, 0]]}, foreground=True, ignore=255)
    assert seen.confusion.counts.tolist() == [[1, 0], [1, 1]]
    assert seen.classes == ("background", "foreground")


def test_a_picture_shows_what_is_wrong_and_not_ignored():
    seen = perimetry.score_masks({"a": [[0, 1, 255]]}, {"a": [[0, 0, 1]]}, ignore=255)
    picture = seen.images[0].picture()
    assert picture.wrong.tolist() == [[False, True, False]]
    assert picture.ignored.tolist() == [[False, False, True]]


def test_intervals_hold_the_total_and_repeat():
    first, again = (perimetry.score_masks(TRUTH, TOLD, ignore=255, bootstrap=300, seed=4) for _ in range(2))
    assert first.intervals == again.intervals
    for name in ("pixel_accuracy", "mean_accuracy", "miou", "mean_dice"):
        assert first.intervals[name].low <= first.total[name] <= first.intervals[name].high
    one = perimetry.score_masks({"a": [[0, 1]]}, {"a": [[0, 1]]}, bootstrap=10)
    assert one.intervals["miou"] == Unavailable("1 image: an interval needs two or more")


def test_the_statistics_of_intervals_are_the_scores():
    from perimetry.scoring.masks import STATISTICS, _margins

    margins = [_margins(mask_scores(TRUTH[name], TOLD[name], classes=4, ignore=255).confusion) for name in TRUTH]
    whole = mask_scores(flat(TRUTH), flat(TOLD), classes=4, ignore=255)
    for name, statistic in STATISTICS.items():
        assert statistic(margins) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_worst_first():
    seen = perimetry.score_masks(TRUTH, TOLD, ignore=255)
    scores = [image.scores["miou"] for image in seen.worst_first()]
    assert scores == sorted(scores) and len(scores) == 5


@pytest.mark.parametrize(
    ("truth", "told", "settings", "message"),
    [
        ([[0, 255]], [[0, 0]], {}, "holds the label 255; leave it out with --ignore 255"),
        ([[0, 1]], [[0, 2]], {}, "predicted holds the label 2; expected 0 ... 1"),
        ([[0.5, 1]], [[0, 1]], {}, "expected labels"),
        ([[0, 1]], [[0.2, 1]], {}, "expected predicted as labels"),
        ([[0, -1]], [[0, 1]], {}, "truth holds the label -1"),
        ([[0, 1]], [[0, 1]], {"classes": ["a", "a"]}, "each class's name once"),
        ([[0, 1]], [[0, 1]], {"classes": 100_000}, "1 to 4096 classes"),
        ([[0, 1]], [[0, 1]], {"bootstrap": 0}, "one draw or more"),
        ([[0, 1]], [[0, 1]], {"workers": 0}, "one worker or more"),
    ],
)
def test_what_cannot_be_scored_says_why(truth, told, settings, message):
    with pytest.raises(InputError, match=message):
        perimetry.score_masks({"a": truth}, {"a": told}, **settings)


def test_an_error_names_its_image():
    with pytest.raises(InputError) as caught:
        perimetry.score_masks({"a": [[0]], "b": [[1]]}, {"a": [[0]], "b": [[3]]})
    assert caught.value.__notes__ == ["(image b)"]
