"""Rand and information scores: against counting pairs and pixels one by one, and against scikit-image."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error as by_skimage
from skimage.metrics import variation_of_information as information_by_skimage

from metrics.proposals import blurred, broken, labels
from perimetry.errors import InputError
from perimetry.metrics import (
    Unavailable,
    adapted_rand_error,
    rand_and_info,
    segment_scores,
    variation_of_information,
)
from perimetry.metrics.segments import objects, thinned_objects

label_pairs = st.integers(2, 7).flatmap(
    lambda side: st.tuples(
        *[st.lists(st.integers(0, 3), min_size=side * side, max_size=side * side).map(np.array) for _ in range(2)]
    )
)


def singled(truth, proposal):
    """The labels of the true foreground, where each pixel that the proposal leaves out has a name of its own."""
    inside = [place for place in range(truth.size) if truth.flat[place]]
    return [int(truth.flat[place]) for place in inside], [
        int(proposal.flat[place]) or f"alone {place}" for place in inside
    ]


def entropy(names):
    return -sum(count / len(names) * math.log(count / len(names)) for count in Counter(names).values())


@settings(max_examples=200, deadline=None)
@given(label_pairs)
def test_scores_are_those_of_counting_one_by_one(pair):
    truth, proposal = pair
    told = rand_and_info(truth[None], proposal[None])
    ours, theirs = singled(truth, proposal)
    if not ours:
        assert told.v_rand == Unavailable("no foreground in the truth")
        return
    count = len(ours)
    both = sum(ours[a] == ours[b] and theirs[a] == theirs[b] for a, b in itertools.product(range(count), repeat=2))
    in_truth = sum(a == b for a, b in itertools.product(ours, repeat=2))
    in_proposal = sum(a == b for a, b in itertools.product(theirs, repeat=2))
    assert told.rand_split == pytest.approx(both / in_truth)
    assert told.rand_merge == pytest.approx(both / in_proposal)
    assert told.v_rand == pytest.approx(both / (0.5 * in_truth + 0.5 * in_proposal))
    shared = entropy(ours) + entropy(theirs) - entropy(list(zip(ours, theirs, strict=True)))
    whole = entropy(ours) + entropy(theirs)
    if whole:
        assert told.v_info == pytest.approx(2 * shared / whole, abs=1e-9)
    else:
        assert isinstance(told.v_info, Unavailable)
    if count > 1:
        agreed = sum(
            (ours[a] == ours[b]) == (theirs[a] == theirs[b]) for a, b in itertools.combinations(range(count), 2)
        )
        assert told.rand_error == pytest.approx(1 - agreed / math.comb(count, 2), abs=1e-12)
    else:
        assert isinstance(told.rand_error, Unavailable)


def test_without_proposed_background_the_rand_score_is_scikit_images(data):
    """scikit-image restricts to the true foreground too, and corrects nothing but the count of pairs."""
    (label,) = labels(data, 1)
    truth, proposal = objects(label), objects(broken(label)) + 1
    # What scikit-image 0.26 calls precision is a share of the truth's pairs.
    error, of_truth, of_proposal = by_skimage(truth, proposal)
    told = rand_and_info(truth, proposal)
    # Pairs of distinct pixels there, all pairs here: they differ by one in the number of pixels.
    assert told.v_rand == pytest.approx(1 - error, rel=1e-4)
    assert told.rand_merge == pytest.approx(of_proposal, rel=1e-4)
    assert told.rand_split == pytest.approx(of_truth, rel=1e-4)
    assert told.rand_f_error == pytest.approx(error, abs=1e-9)


def test_proposed_background_is_what_sets_the_two_rand_scores_apart(data):
    (label,) = labels(data, 0)
    truth, proposal = objects(label), objects(blurred(label, 3) > 0.6)
    ours, theirs = rand_and_info(truth, proposal).v_rand, 1 - adapted_rand_error(truth, proposal).error
    assert abs(ours - theirs) > 0.001


def test_scikit_images_scores_are_passed_on(data):
    (label,) = labels(data, 0)
    truth, proposal = objects(label), objects(broken(label))
    told = adapted_rand_error(truth, proposal)
    assert (told.error, told.precision, told.recall) == by_skimage(truth, proposal)
    assert variation_of_information(truth, proposal) == pytest.approx(information_by_skimage(truth, proposal))
    assert isinstance(adapted_rand_error(np.zeros((4, 4)), np.zeros((4, 4))), Unavailable)


def test_a_large_overlap_does_not_overflow():
    """46,341 pixels squared pass 2^31: the sums of the challenge's classic index turn negative there."""
    whole = np.ones((400, 400), int)
    assert rand_and_info(whole, whole).v_rand == 1
    assert rand_and_info(whole, whole).rand_error == 0


def test_thinning_leaves_lines_of_one_pixel_and_keeps_the_objects(data):
    (label,) = labels(data, 0)
    thin = thinned_objects(label)
    assert thin.max() == objects(label).max()
    np.testing.assert_array_equal(thin[label], objects(label)[label])
    assert ((thin == 0).sum()) < (~label).sum() / 2
    wide = segment_scores(label, blurred(label, 2), threshold=0.7)
    assert segment_scores(label, blurred(label, 2), threshold=0.7, borders="thinned").v_rand > wide.v_rand


def test_a_stack_is_the_mean_over_its_slices(data):
    stack = np.stack(labels(data, 0, 1))[:, :200, :200]
    proposal = np.stack([broken(one, seed) for seed, one in enumerate(stack)])
    each = [segment_scores(one, other) for one, other in zip(stack, proposal, strict=True)]
    whole = segment_scores(stack, proposal)
    assert whole == each[0].merge(each[1]) == each[1].merge(each[0])
    assert whole.v_rand == pytest.approx((each[0].v_rand + each[1].v_rand) / 2)


def test_slices_without_foreground_have_no_score():
    told = segment_scores(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))
    assert told.v_rand == Unavailable("undefined on each image") and told.v_rands.undefined == 2


def test_bad_input_is_told():
    with pytest.raises(InputError, match="whole numbers"):
        rand_and_info(np.ones((2, 2)), np.full((2, 2), 0.5))
    with pytest.raises(InputError, match="'given' or 'thinned'"):
        segment_scores(np.ones((2, 2)), np.ones((2, 2)), borders="thin")
