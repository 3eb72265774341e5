"""The warp and its classes: against the definition, on hand-made cases, and on real labels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from metrics.proposals import blurred, distortions, intensities, labels, read
from perimetry.errors import InputError, ShapeError
from perimetry.metrics import (
    classify,
    confusion_matrix,
    isbi_thresholds,
    warp,
    warping_error,
    warping_scores,
    warping_sweep,
)
from perimetry.metrics.mismatches import CLASSES, ClassCounts
from perimetry.metrics.simple_points import is_simple, simple_table
from perimetry.metrics.slices import LEVELS
from perimetry.metrics.warping import compiled
from perimetry.metrics.warping_by_definition import classes_by_definition, groups_by_definition, warp_by_definition


def as_probabilities(proposal):
    if proposal.dtype == np.uint8:
        return proposal.astype(np.float32) / np.float32(255)
    return proposal.astype(np.float32)


def assert_as_defined(truth, proposal, threshold, mask=None, radius=20):
    """The warped image, the order of what remains, every class, and the counts are those of the definition."""
    found = warp(truth, proposal, threshold=threshold, mask=mask)
    warped, mismatches = warp_by_definition(truth > 0, as_probabilities(proposal), threshold, mask)
    np.testing.assert_array_equal(found.warped, warped)
    assert [tuple(place) for place in found.places.tolist()] == mismatches
    told = classify(found, radius=radius)
    cases = classes_by_definition(warped, mismatches, radius)
    assert [CLASSES[index] for index in told.classes] == [name for name, _ in cases]
    assert told.components == ClassCounts.of(groups_by_definition(truth.shape, mismatches, cases))
    assert told.pixels == ClassCounts.of({name: sum(case[0] == name for case in cases) for name in CLASSES})
    return told


def test_a_simple_point_keeps_the_number_of_objects_and_of_holes():
    """In a margin wide enough to close every path, flipping the middle changes neither number exactly when simple.

    A point can also keep both numbers by making and filling at once; those neighbourhoods are told apart by the table's
    known size, 116.
    """
    for code in range(256):
        values = np.zeros((3, 3), bool)
        values.flat[[0, 1, 2, 3, 5, 6, 7, 8]] = [code >> bit & 1 for bit in range(8)]
        counts = []
        for middle in (0, 1):
            values[1, 1] = middle
            wide = np.pad(values, 1)
            counts.append((ndimage.label(wide)[1], ndimage.label(~wide, np.ones((3, 3)))[1]))
        if simple_table()[code]:
            assert counts[0] == counts[1], code
    assert simple_table().sum() == 116
    assert not is_simple(np.zeros((3, 3))) and not is_simple(np.ones((3, 3)))


@st.composite
def cases(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    smooth = draw(st.sampled_from([0, 0.7, 1.5, 3]))
    truth, proposal = (ndimage.gaussian_filter(random.random(shape), smooth) for _ in range(2))
    truth = truth > np.quantile(truth, draw(st.sampled_from([0.2, 0.5, 0.8])))
    proposal = ((proposal - proposal.min()) / max(1e-9, np.ptp(proposal))).astype(np.float32)
    kind = draw(st.sampled_from(["floats", "coarse floats", "levels", "bools"]))
    if kind == "coarse floats":
        proposal = np.round(proposal, 1)
    elif kind == "levels":
        proposal = np.round(255 * proposal).astype(np.uint8)
    elif kind == "bools":
        proposal = proposal > 0.5
    mask = random.random(shape) > 0.3 if draw(st.booleans()) else None
    threshold = draw(st.sampled_from([*isbi_thresholds(), 0.5, 0.3, 1.0, 1 / 255]))
    return truth, proposal, threshold, mask, draw(st.sampled_from([0, 1, 2, 3, 20, 100]))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_random_images_warp_as_defined(case):
    assert_as_defined(*case)


@pytest.mark.parametrize("kind", ["blurred", "shifted", "deformed", "broken", "noisy", "levels"])
def test_real_labels_warp_as_defined(data, kind):
    (label,) = labels(data, 3)
    label = label[:256, 100:356]
    assert_as_defined(label, distortions(label)[kind], 0.5)


def test_real_intensities_warp_as_defined(data):
    (label,) = labels(data, 7)
    assert_as_defined(label[:160, :160], intensities(data, 7)[:160, :160], 0.4)


@pytest.mark.parametrize(
    ("name", "truth", "proposal"),
    [
        ("object_addition", "..... ..... ..... ..... .....", "..... ..... ..#.. ..... ....."),
        ("object_deletion", "..... ..... ..#.. ..... .....", "..... ..... ..... ..... ....."),
        ("hole_addition", "##### ##### ##### ##### #####", "##### ##### ##.## ##### #####"),
        ("hole_deletion", "##### ##### ##.## ##### #####", "##### ##### ##### ##### #####"),
        ("split", "..... ..... ##### ..... .....", "..... ..... ##.## ..... ....."),
        ("merge", "..... ..... ##.## ..... .....", "..... ..... ##### ..... ....."),
    ],
)
def test_each_class_has_its_hand_made_case(name, truth, proposal):
    told = assert_as_defined(read(truth), read(proposal), 0.5)
    assert told.pixels == ClassCounts(**{name: 1})
    assert told.components == ClassCounts(**{name: 1})


def test_a_ring_that_is_closed_beyond_the_window_is_a_split_within_it():
    """The two ends of a cut ring are joined the long way round: seen within radius 1, but for the whole image not."""
    ring = read("....... .#####. .#...#. .#...#. .#...#. .#####. .......")
    cut = ring.copy()
    cut[1, 3] = False
    assert assert_as_defined(ring, cut, 0.5, radius=1).pixels == ClassCounts(split=1)
    assert assert_as_defined(ring, cut, 0.5, radius=0).pixels == ClassCounts(hole_deletion=1)
    assert assert_as_defined(ring, cut, 0.5, radius=20).pixels == ClassCounts(hole_deletion=1)


def test_the_truth_is_warped_toward_the_proposal_and_not_back():
    random = np.random.default_rng(4)
    one, other = (ndimage.gaussian_filter(random.random((64, 64)), 1) > 0.5 for _ in range(2))
    assert warping_error(one, other) != warping_error(other, one)


def test_ties_are_visited_column_by_column():
    """Row by row, the middle of the first row would be left over instead of its right end."""
    truth, proposal = read(".#. .#. ..."), read("#.# #.. ...")
    assert warp(truth, proposal).places.tolist() == [[0, 2]]
    assert warp(truth.T, proposal.T).places.tolist() == [[1, 0]]


def test_thresholds_are_compared_in_float64():
    """102 / 255 in float32 lies above 0.4, though 0.4 in float32 is the same number."""
    level = np.full((3, 3), 102, np.uint8)
    assert np.float32(0.4) == LEVELS[102]
    assert warping_scores(np.zeros((3, 3)), level, threshold=0.4).differing == 9
    assert warping_scores(np.zeros((3, 3)), LEVELS[level], threshold=0.4).differing == 9
    assert warping_scores(np.zeros((3, 3)), LEVELS[level], threshold=float(np.float32(0.4))).differing == 0


def test_levels_are_floats_divided_by_255():
    np.testing.assert_array_equal(LEVELS, [np.float32(value) / np.float32(255) for value in range(256)])


def test_a_masked_pixel_is_neither_flipped_nor_counted():
    truth, proposal = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    mask = np.zeros((4, 4), bool)
    mask[2, 2] = True
    found = warp(truth, proposal, mask=mask)
    assert found.places.tolist() == [[2, 2]] and found.error == 1 / 16 and found.differing == 16


def test_a_stack_is_the_mean_over_its_slices(data):
    stack = np.stack(labels(data, 0, 1))[:, :128, :128]
    proposal = np.stack([blurred(one, 3) for one in stack])
    each = [warping_scores(one, other) for one, other in zip(stack, proposal, strict=True)]
    whole = warping_scores(stack, proposal, threads=2)
    assert whole == each[0].merge(each[1]) == each[1].merge(each[0])
    assert whole.warping_error == pytest.approx((each[0].warping_error + each[1].warping_error) / 2, abs=1e-15)
    assert whole.warping_error == warping_error(stack, proposal)


def test_the_challenge_takes_the_best_threshold_of_splits_and_merges(data):
    (label,) = labels(data, 2)
    truth, proposal = label[:128, :128], intensities(data, 2)[:128, :128]
    sweep = warping_sweep(truth, proposal, threads=2)
    shares = []
    for threshold in isbi_thresholds():
        warped, mismatches = warp_by_definition(truth, as_probabilities(proposal), threshold)
        names = [name for name, _ in classes_by_definition(warped, mismatches)]
        shares.append((names.count("split") + names.count("merge")) / truth.size)
    assert sweep.isbi_error == min(shares)
    assert sweep.best_threshold == isbi_thresholds()[shares.index(min(shares))]


def test_the_challenge_adds_up_its_thresholds():
    added = list(itertools.accumulate([0.0] + [0.1] * 9))
    assert list(isbi_thresholds()) == added
    assert 0.30000000000000004 in added and 0.7999999999999999 in added


def test_a_warped_image_that_was_copied_is_classified_alike():
    from dataclasses import replace

    random = np.random.default_rng(0)
    found = warp(random.random((40, 30)) > 0.5, random.random((40, 30)) > 0.5)
    copied = replace(found, warped=found.warped.copy())
    np.testing.assert_array_equal(classify(found).classes, classify(copied).classes)
    drawn = classify(found).image(40, 30)
    assert (drawn > 0).sum() == len(found.places) and drawn.max() <= len(CLASSES)


def test_memory_order_and_tensors_make_no_difference():
    import torch

    random = np.random.default_rng(1)
    truth, proposal = random.random((31, 45)) > 0.5, random.random((31, 45)).astype(np.float32)
    expected = warp(truth, proposal)
    wide = np.repeat(proposal, 2, axis=1)[:, ::2]
    for one, other in (
        (np.asfortranarray(truth), np.asfortranarray(proposal)),
        (truth, wide),
        (torch.from_numpy(truth), torch.from_numpy(proposal).requires_grad_()),
        (truth.astype(np.int64) * 7, proposal.astype(np.float64)),
    ):
        np.testing.assert_array_equal(warp(one, other).warped, expected.warped)


def test_compiled_says_so_after_the_first_warp():
    classify(warp([[1, 0]], [[0, 1]]))
    assert compiled()


def test_bad_input_is_told():
    image = np.zeros((6, 6))
    with pytest.raises(ShapeError, match=r"truth and proposal differ in size: 6 x 6 and 6 x 7"):
        warp(image, np.zeros((6, 7)))
    with pytest.raises(ShapeError, match="looks like an image with colours"):
        warping_scores(image, np.zeros((6, 6, 3)))
    with pytest.raises(ShapeError, match="with pixels"):
        warp(np.zeros((0, 4)), np.zeros((0, 4)))
    with pytest.raises(ShapeError, match="the mask differs in size"):
        warp(image, image, mask=np.ones((5, 5)))
    with pytest.raises(ShapeError, match="one slice"):
        warp(np.zeros((2, 6, 6)), np.zeros((2, 6, 6)))
    with pytest.raises(InputError, match=r"proposal holds NaN \(1 of 36\)"):
        warp(image, np.where(np.eye(6) * np.arange(6) == 3, np.nan, 0))
    with pytest.raises(InputError, match=r"truth holds NaN"):
        warp(np.full((6, 6), np.nan), image)
    with pytest.raises(InputError, match=r"in \[0, 1\], got -7 ... 9; divide levels"):
        warp(image, np.linspace(-7, 9, 36).reshape(6, 6))
    with pytest.raises(InputError, match="holds 0 and 1 only"):
        warp(image, np.eye(6, dtype=np.uint8))
    with pytest.raises(InputError, match=r"got int64 0 ... 255"):
        warp(image, np.eye(6, dtype=np.int64) * 255)
    with pytest.raises(InputError, match=r"threshold in \[0, 1\], got 1.2"):
        warp(image, image, threshold=1.2)
    with pytest.raises(InputError, match="as numbers"):
        warp([["a"]], image)
    with pytest.raises(InputError, match="different thresholds"):
        warping_sweep(image, image).merge(warping_sweep(image, image, thresholds=[0.5]))


def test_bools_of_bytes_0_and_255_are_bools():
    """Pillow hands out images of one bit like that; the compiled loops took such a proposal for another type."""
    label = np.array([[True, False, True, True], [True, False, False, True]])
    proposal = np.array([[True, True, True, True], [True, False, False, True]])
    odd = [np.where(each, 255, 0).astype(np.uint8).view(bool) for each in (label, proposal)]
    assert warping_scores(*odd) == warping_scores(label, proposal)
    assert confusion_matrix(*odd, classes=2) == confusion_matrix(label, proposal, classes=2)
