"""Outlines and distances: against loops over all pairs, scikit-image and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import directed_hausdorff
from skimage.metrics import hausdorff_distance as by_skimage

from metrics.proposals import labels, shifted
from perimetry.errors import InputError
from perimetry.metrics import (
    Unavailable,
    average_surface_distance,
    boundary_f,
    boundary_iou,
    boundary_matches,
    boundary_overlap,
    hausdorff_distance,
    surface_scores,
)
from perimetry.metrics.boundaries import outline


@st.composite
def masks(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    return [random.random(shape) < draw(st.sampled_from([0, 0.2, 0.6, 0.9, 1])) for _ in range(2)]


def outline_by_definition(mask):
    height, width = mask.shape
    drawn = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        sides = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        drawn[row, column] = any(0 <= y < height and 0 <= x < width and not mask[y, x] for y, x in sides)
    return drawn


def nearest(places, others):
    return np.array([min(np.hypot(*(place - other)) for other in others) for place in places])


@settings(max_examples=100, deadline=None)
@given(masks(), st.sampled_from([0, 1, 1.5, 2, 4]))
def test_outlines_match_as_defined(pair, tolerance):
    truth, proposal = pair
    np.testing.assert_array_equal(outline(truth), outline_by_definition(truth))
    true, proposed = np.argwhere(outline(truth)), np.argwhere(outline(proposal))
    told = boundary_matches(truth, proposal, tolerance=tolerance)
    assert (told.true, told.proposed) == (len(true), len(proposed))
    if not (len(true) and len(proposed)):
        assert told.recovered == told.correct == 0
        assert told.f_measure == (0 if len(true) or len(proposed) else Unavailable("no outline in truth and proposal"))
        assert isinstance(hausdorff_distance(truth, proposal), Unavailable)
        return
    away, back = nearest(true, proposed), nearest(proposed, true)
    assert told.recovered == (away <= tolerance).sum() and told.correct == (back <= tolerance).sum()
    assert hausdorff_distance(truth, proposal) == pytest.approx(max(away.max(), back.max()))
    assert average_surface_distance(truth, proposal) == pytest.approx(np.concatenate((away, back)).mean())


def test_hausdorff_is_scikit_images_and_scipys(data):
    (label,) = labels(data, 5)
    other = shifted(label, 2, 3)
    ours = hausdorff_distance(label, other)
    ends = np.argwhere(outline(label)), np.argwhere(outline(other))
    assert ours == pytest.approx(by_skimage(outline(label), outline(other)))
    assert ours == pytest.approx(max(directed_hausdorff(*ends)[0], directed_hausdorff(*ends[::-1])[0]))


def band_by_definition(mask, width):
    """Foreground pixels within so many 8-neighbour steps of background, or of the frame."""
    padded = np.pad(mask, width)
    inner = np.ones_like(mask)
    for row in range(2 * width + 1):
        for column in range(2 * width + 1):
            inner &= padded[row : row + mask.shape[0], column : column + mask.shape[1]]
    return mask & ~inner


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(1, 3))
def test_boundary_iou_is_that_of_the_bands(pair, width):
    truth, proposal = pair
    one, other = band_by_definition(truth, width), band_by_definition(proposal, width)
    told = boundary_overlap(truth, proposal, width=width)
    assert (told.intersection, told.union) == ((one & other).sum(), (one | other).sum())


def test_the_band_is_two_hundredths_of_the_diagonal():
    square = np.zeros((300, 400), bool)
    square[50:250, 50:350] = True
    other = np.roll(square, 3, 1)
    assert boundary_iou(square, other) == boundary_iou(square, other, width=10) != boundary_iou(square, other, width=9)


def test_surface_distances_of_a_stack_are_means_over_slices():
    stack = np.zeros((3, 5, 9), bool)
    stack[:, 1:4, 1:4] = True
    moved = np.stack([stack[0], np.roll(stack[1], 2, 1), np.zeros((5, 9), bool)])
    told = surface_scores(stack, moved)
    assert told.hausdorff == 1.0 and told.hausdorffs.undefined == 1
    parts = [surface_scores(one, other) for one, other in zip(stack, moved, strict=True)]
    assert parts[2].merge(parts[0]).merge(parts[1]) == told


def test_bad_input_is_told():
    with pytest.raises(InputError, match="tolerance of 0 pixels or more"):
        boundary_f([[1]], [[1]], tolerance=-1)
    with pytest.raises(InputError, match="band of 1 pixel"):
        boundary_iou([[1]], [[1]], width=0)
