"""Sets of boundary images: against the metrics on stacks."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import perimetry
from perimetry import InputError
from perimetry.errors import UnknownNameError
from perimetry.metrics import (
    Unavailable,
    boundary_f,
    classify,
    isbi_thresholds,
    pixel_error,
    segment_scores,
    surface_scores,
    warp,
    warping_scores,
    warping_sweep,
)

RANDOM = np.random.default_rng(1)
LABELS = np.stack([ndimage.gaussian_filter(RANDOM.standard_normal((40, 48)), 3) > 0 for _ in range(4)])
NOISY = np.clip(
    ndimage.gaussian_filter(LABELS.astype(float), (0, 1, 1)) + 0.2 * RANDOM.standard_normal(LABELS.shape), 0, 1
)
LEVELS = (NOISY * 255).round().astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    for role, stack in (("truth", LABELS), ("told", LEVELS)):
        (tmp_path / role).mkdir()
        for index, image in enumerate(stack):
            Image.fromarray(image).save(tmp_path / role / f"{index:02}.png")
    return tmp_path / "truth", tmp_path / "told"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_total_is_that_of_the_stack(folders, workers):
    seen = perimetry.score_boundaries(*folders, workers=workers)
    whole, segments, surface = (
        warping_scores(LABELS, LEVELS),
        segment_scores(LABELS, LEVELS),
        surface_scores(LABELS, LEVELS > 127),
    )
    assert seen.total["pixel_error"] == whole.pixel_error
    assert seen.total["warping_error"] == whole.warping_error
    assert seen.total["mismatches"] == whole.mismatches == sum(image.scores["mismatches"] for image in seen.images)
    assert {name: seen.total[name] for name in whole.pixels.as_dict()} == whole.pixels.as_dict()
    assert seen.total["components"] == whole.components.as_dict()
    assert seen.total["v_rand"] == segments.v_rand and seen.total["v_info"] == segments.v_info
    assert seen.total["hausdorff"] == surface.hausdorff
    assert seen.total["boundary_f"] == boundary_f(LABELS, LEVELS > 127)
    assert seen.images[2].scores["pixel_error"] == pixel_error(LABELS[2], LEVELS[2])


def test_a_sweep_takes_the_threshold_of_the_set(folders):
    seen = perimetry.score_boundaries(*folders, sweep=isbi_thresholds())
    swept = warping_sweep(LABELS, LEVELS)
    best = swept.best_threshold
    assert (seen.total["isbi_error"], seen.total["isbi_threshold"]) == (swept.isbi_error, best)
    assert seen.total["warping_error"] == swept.by_threshold[best].warping_error
    assert seen.total["v_rand"] == segment_scores(LABELS, LEVELS, threshold=best).v_rand
    curve = next(each for each in seen.curves if each.label == "warping_error")
    assert curve.x[curve.chosen] == best
    assert curve.y.tolist() == [swept.by_threshold[each].warping_error for each in isbi_thresholds()]
    assert seen.images[0].scores["isbi_error"] == warping_sweep(LABELS[0], LEVELS[0]).isbi_error


def test_files_of_every_form_agree(tmp_path, folders):
    np.save(tmp_path / "labels.npy", LABELS)
    pages = [Image.fromarray(page) for page in LEVELS]
    pages[0].save(tmp_path / "levels.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "levels.npy", LEVELS.astype(np.float32) / np.float32(255))
    np.save(tmp_path / "wide.npy", LEVELS.astype(np.uint16) * 257)
    totals = [
        perimetry.score_boundaries(truth, told, parts=["warping"]).total
        for truth, told in (
            folders,
            *((tmp_path / "labels.npy", tmp_path / name) for name in ("levels.tif", "levels.npy", "wide.npy")),
        )
    ]
    assert all(total == totals[0] for total in totals)


def test_a_mask_restricts_the_warp(tmp_path):
    mask = np.zeros(LABELS.shape[1:], np.uint8)
    mask[:20] = 255
    given = (
        {f"{index}": image for index, image in enumerate(LABELS)},
        {f"{index}": each for index, each in enumerate(LEVELS)},
    )
    seen = perimetry.score_boundaries(*given, masks=dict.fromkeys(given[0], mask), parts=["warping"])
    assert seen.total["mismatches"] == warping_scores(LABELS, LEVELS, mask=mask).mismatches
    assert "mask restricts" in seen.notes[-1]
    with pytest.raises(InputError, match="no mask for 3 of 4 images: 1, 2, 3"):
        perimetry.score_boundaries(*given, masks={"0": mask})
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "truth.npy", LABELS)
    one = perimetry.score_boundaries(tmp_path / "truth.npy", {"truth": LEVELS}, masks=tmp_path / "mask.npy")
    assert one.total["mismatches"] == seen.total["mismatches"]


def test_a_picture_shows_the_class_of_each_mismatch():
    seen = perimetry.score_boundaries({"a": LABELS[0]}, {"a": LEVELS[0]}, threshold=0.4, radius=5)
    found = warp(LABELS[0], LEVELS[0], threshold=0.4)
    picture = seen.images[0].picture()
    np.testing.assert_array_equal(picture.classes, classify(found, radius=5).image(40, 48))
    np.testing.assert_array_equal(picture.warped, found.warped)
    assert np.count_nonzero(picture.classes) == seen.images[0].scores["mismatches"] > 0


def test_parts_are_left_out_and_the_pixel_error_stays():
    seen = perimetry.score_boundaries({"a": LABELS[0]}, {"a": LEVELS[0]}, parts=["segments"])
    assert seen.total["pixel_error"] == pixel_error(LABELS[0], LEVELS[0])
    assert "warping_error" not in seen.total and "hausdorff" not in seen.total and "v_rand" in seen.total


def test_an_image_without_foreground_has_its_reason_and_leaves_the_mean():
    empty = np.zeros_like(LABELS[0])
    seen = perimetry.score_boundaries({"a": LABELS[0], "b": empty}, {"a": LEVELS[0], "b": LEVELS[1]}, bootstrap=50)
    assert seen.images[1].scores["v_rand"] == Unavailable("no foreground in the truth")
    assert seen.images[1].scores["hausdorff"] == Unavailable("no outline in the truth")
    assert seen.total["v_rand"] == seen.images[0].scores["v_rand"]
    assert seen.intervals["v_rand"].undefined > 0
    alone = perimetry.score_boundaries({"b": empty}, {"b": LEVELS[1]})
    assert alone.total["v_rand"] == Unavailable("no foreground in the truth (no image has this score)")


@pytest.mark.parametrize(
    ("told", "settings", "message"),
    [
        ([[0.0, np.nan]], {}, "proposal holds NaN"),
        ([[0.0, 7.0]], {}, r"expected a proposal in \[0, 1\]"),
        (np.array([[0, 1]], np.uint8), {}, "holds 0 and 1 only"),
        ([[0.0, 1.0]], {"threshold": 2}, r"a threshold in \[0, 1\]"),
        ([[0.0, 1.0]], {"parts": ["segments"], "sweep": [0.5]}, "ask for the part 'warping' too"),
        ([[0.0, 1.0]], {"parts": ["outlines"], "tolerance": -1}, "a tolerance of 0 pixels or more"),
    ],
)
def test_what_cannot_be_scored_says_why(told, settings, message):
    with pytest.raises(InputError, match=message):
        perimetry.score_boundaries({"a": [[0, 1]]}, {"a": told}, **settings)


def test_unknown_parts_and_palettes_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown part 'warp'; did you mean 'warping'"):
        perimetry.score_boundaries({"a": [[0, 1]]}, {"a": [[0.0, 1.0]]}, parts=["warp"])
    image = Image.fromarray(LEVELS[0])
    image.putpalette([0, 1, 2] * 256)
    image.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="indices of a palette, which are no levels"):
        perimetry.score_boundaries({"a": LABELS[0]}, tmp_path)
