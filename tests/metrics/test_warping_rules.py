"""The rules of the ISBI 2012 warping error one by one, on images small enough to be worked out by hand."""

import numpy as np
import pytest

from metrics.proposals import read
from perimetry.metrics import classify, warp, warping_error, warping_scores, warping_sweep
from perimetry.metrics.mismatches import ClassCounts
from perimetry.metrics.warping_by_definition import groups_by_definition


def test_outside_of_the_image_is_background():
    """A pixel on the rim of the image is flipped; with objects all around, it would be a hole."""
    truth, proposal = np.ones((3, 3)), np.ones((3, 3))
    proposal[0, 1] = 0
    assert warping_error(truth, proposal) == 0
    assert warping_error(np.pad(truth, 1, constant_values=1), np.pad(proposal, 1, constant_values=1)) == 1 / 25


def test_labels_above_zero_are_foreground():
    assert warp([[0, 7, -1, 0.5]], [[False, True, False, True]]).differing == 0


def test_what_equals_the_threshold_is_background():
    assert warp([[0, 0, 0]], [[0.25, np.nextafter(np.float32(0.25), 1), 1]], threshold=0.25).differing == 2


@pytest.mark.parametrize(("threshold", "differing"), [(0, 1), (0.5, 1), (1, 0)])
def test_bools_are_probabilities_of_0_and_1(threshold, differing):
    for proposal in ([[True, False]], np.array([[255, 0]], np.uint8), [[1.0, 0.0]]):
        assert warp([[0, 0]], proposal, threshold=threshold).differing == differing


def test_pixels_are_tested_in_the_image_as_it_is_then():
    """Tested on the truth, both ends of the line would be flipped, and its middle left over."""
    assert warp([[1, 1, 1]], [[0, 0, 0]]).places.tolist() == [[0, 2]]


def test_walks_are_repeated_and_nothing_limits_how_far_an_object_grows():
    """Visited from the far end, an object grows by one pixel per walk."""
    truth = np.eye(1, 30)
    found = warp(truth, np.linspace(0.6, 1, 30)[None])
    assert found.error == 0 and found.warped.all()


def test_the_farthest_from_the_threshold_is_visited_first():
    """Of a pair that is to be deleted, the first to be visited goes, and the other is then the last of its object."""
    assert warp([[1, 1]], [[0.2, 0.1]]).places.tolist() == [[0, 0]]
    assert warp([[1, 1]], [[0.1, 0.2]]).places.tolist() == [[0, 1]]


def test_distances_that_are_equal_in_float32_are_ties():
    """In float64 0.5 lies farther from 0.3 than 0.1 does, and would leave two other pixels."""
    assert np.float32(0.5) - 0.3 != 0.3 - np.float64(np.float32(0.1))
    truth, proposal = read(".## ..."), np.where(read("#.. ..#"), np.float32(0.5), np.float32(0.1))
    assert warp(truth, proposal, threshold=0.3).places.tolist() == [[1, 2]]


def test_an_object_shrinks_to_a_pixel_and_does_not_grow_from_none():
    """Three pixels differ in both directions: one remains where the truth has the object, three where it has not."""
    line, nothing = [[1, 1, 1, 0]], [[0, 0, 0, 0]]
    assert classify(warp(line, nothing)).pixels == ClassCounts(object_deletion=1)
    assert classify(warp(nothing, line)).pixels == ClassCounts(object_addition=3)


def test_only_neighbours_in_the_image_tell_the_class():
    """Two objects in a row, with nothing between them but the pixel: two labels, so a hole addition and no merge."""
    assert classify(warp([[1, 0, 1]], [[1, 1, 1]])).pixels == ClassCounts(hole_addition=1)
    assert classify(warp(read("#.# ..."), read("### ..."))).pixels == ClassCounts(merge=1)


def test_an_image_of_one_pixel_is_an_object_without_neighbours():
    """No row of the table is meant for no neighbours at all; the challenge's code falls through to merge and split."""
    assert classify(warp([[0]], [[1]])).pixels == ClassCounts(object_addition=1)
    assert classify(warp([[1]], [[0]])).pixels == ClassCounts(object_deletion=1)


def test_all_pixels_are_classified_on_the_same_image():
    """Were each erased for good, only the first of the three would part the line."""
    told = classify(warp(read("......... .#######. ........."), read("......... .##...##. .........")))
    assert told.pixels == ClassCounts(split=3) and told.components == ClassCounts(split=1)


@pytest.mark.parametrize("turned", [False, True])
def test_a_radius_beyond_the_shorter_side_looks_at_the_whole_image(turned):
    """A long ring that is cut in its middle is joined at its ends, fourteen pixels away."""
    ring = np.zeros((5, 30), bool)
    ring[1:4, 1:29] = True
    ring[2, 2:28] = False
    cut = ring.copy()
    cut[1, 15] = False
    found = warp(ring.T, cut.T) if turned else warp(ring, cut)
    for radius in (1, 5):
        assert classify(found, radius=radius).pixels == ClassCounts(split=1), radius
    for radius in (-1, 0, 6, 30, 31):
        assert classify(found, radius=radius).pixels == ClassCounts(hole_deletion=1), radius


def test_the_radius_is_20_unless_another_is_given():
    """The ends of the cut ring meet 21 rows below the cut: one row beyond the challenge's window."""
    for rows, seen in ((20, ClassCounts(hole_deletion=1)), (21, ClassCounts(split=1))):
        ring = np.zeros((60, 60), bool)
        ring[30 : 31 + rows, 20:41] = True
        ring[31 : 30 + rows, 21:40] = False
        cut = ring.copy()
        cut[30, 30] = False
        assert classify(warp(ring, cut)).pixels == seen
        assert warping_scores(ring, cut).pixels == seen
        assert warping_sweep(ring, cut, thresholds=[0.5]).by_threshold[0.5].pixels == seen


@pytest.mark.parametrize(
    ("case", "groups"),
    [
        (("object addition", 0), 2),
        (("hole deletion", 0), 2),
        (("merge", 0), 1),
        (("hole addition", 0), 2),
        (("object deletion", 1), 2),
        (("hole addition", 1), 1),
        (("split", 1), 2),
        (("hole deletion", 1), 2),
    ],
)
def test_the_definition_joins_corners_of_merges_and_of_holes_to_be_made_in_the_foreground(case, groups):
    assert groups_by_definition((2, 2), [(0, 0), (1, 1)], [case, case])[case[0]] == groups


@pytest.mark.parametrize("name", ["hole addition", "hole deletion"])
def test_the_two_cases_of_a_hole_are_counted_apart_and_added(name):
    assert groups_by_definition((1, 2), [(0, 0), (0, 1)], [(name, 0), (name, 1)])[name] == 2


@pytest.mark.parametrize(
    ("name", "truth", "proposal", "pixels", "groups"),
    [
        ("object_addition", "..... ..... ..... ..... .....", "..... .#... ..#.. ..... .....", 2, 2),
        ("hole_addition", "##### ##### ##### ##### #####", "##### #.### ##.## ##### #####", 2, 1),
        ("hole_addition", "..... ...#. ..##. ..... .....", "..#.. .#.#. ..##. ..... .....", 2, 2),
        ("hole_deletion", "..... .#... ..#.. ..... .....", "..... ..... ..... ..... .....", 2, 2),
        ("merge", "#.### ##.## ###.#", "##### ##### #####", 3, 1),
        ("split", ".#.. ##.. ..## ..#.", ".#.. #... ...# ..#.", 2, 2),
    ],
)
def test_pixels_that_touch_by_corners_are_grouped_as_the_challenge_does(name, truth, proposal, pixels, groups):
    told = classify(warp(read(truth), read(proposal)))
    assert told.pixels == ClassCounts(**{name: pixels})
    assert told.components == ClassCounts(**{name: groups})


def test_the_lowest_of_equally_good_thresholds_is_told():
    sweep = warping_sweep(read("#.# ..."), [[1, 0.65, 1], [0, 0, 0]], thresholds=[0.9, 0.8, 0.5, 0.7])
    assert (sweep.best_threshold, sweep.isbi_error) == (0.7, 0)
