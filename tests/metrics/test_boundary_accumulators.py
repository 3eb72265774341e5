"""Records of sums: any split and any order of merging tells the same; and intervals over images."""

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perimetry.errors import InputError
from perimetry.metrics import (
    Mean,
    Unavailable,
    bootstrap,
    boundary_matches,
    boundary_overlap,
    pixel_error,
    segment_scores,
    surface_scores,
    warping_scores,
    warping_sweep,
)
from perimetry.metrics.boundaries import BoundaryMatches


@st.composite
def images(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
    return [(random.random(size) > 0.4, random.random(size) > 0.4) for size in sizes], draw(st.randoms())


SCORES = {
    "warping": warping_scores,
    "sweep": warping_sweep,
    "segments": segment_scores,
    "outlines": boundary_matches,
    "bands": boundary_overlap,
    "surfaces": surface_scores,
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@settings(max_examples=25, deadline=None)
@given(images())
def test_any_order_of_merging_tells_the_same(score, given_images):
    pairs, random = given_images
    records = [score(*pair) for pair in pairs]
    expected = reduce(lambda one, other: one.merge(other), records)
    while len(records) > 1:
        random.shuffle(records)
        records.append(records.pop().merge(records.pop()))
    assert records[0] == expected
    assert type(expected)().merge(expected) == expected == expected.merge(type(expected)())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.none()), max_size=8), st.randoms())
def test_a_mean_is_exact(values, random):
    scores = [Unavailable("none") if value is None else value for value in values]
    defined = [Fraction(value) for value in values if value is not None]
    random.shuffle(scores)
    mean = reduce(Mean.merge, map(Mean.of, scores), Mean())
    assert mean.undefined == len(values) - len(defined)
    assert mean.value == (float(sum(defined) / len(defined)) if defined else mean.value)
    assert bool(defined) != isinstance(mean.value, Unavailable)


def test_the_pixel_error_is_the_share_that_differs():
    random = np.random.default_rng(0)
    truth, proposal = random.random((3, 20, 30)) > 0.5, random.random((3, 20, 30))
    assert pixel_error(truth, proposal, threshold=0.3) == pytest.approx((truth != (proposal > 0.3)).mean())
    assert warping_scores(truth, proposal, threshold=0.3).pixel_error == pytest.approx(
        (truth != (proposal > 0.3)).mean()
    )


def test_the_interval_is_scipys():
    values = np.random.default_rng(3).random(40)
    ours = bootstrap(values, seed=5, draws=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=6).confidence_interval
    # Both are estimates: an end of the interval moves by about a hundredth of its length from seed to seed.
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * (theirs.high - theirs.low))
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * (theirs.high - theirs.low))
    assert bootstrap(values, seed=5, draws=200) == bootstrap(values, seed=5, draws=200)
    assert bootstrap(values, seed=5, draws=200) != bootstrap(values, seed=6, draws=200)


def test_records_are_resampled_and_merged():
    records = [BoundaryMatches(10, recovered, 10, recovered) for recovered in range(10)]

    def recall(drawn):
        return reduce(BoundaryMatches.merge, drawn).recall

    told = bootstrap(records, recall, seed=1, draws=500)
    plain = bootstrap([record.recall for record in records], seed=1, draws=500)
    # Outlines of equal length: the recall of the sums is the mean of the recalls.
    assert told.low == pytest.approx(plain.low) and told.high == pytest.approx(plain.high)


def test_draws_without_a_score_are_counted_and_few_images_have_no_interval():
    records = [BoundaryMatches(), BoundaryMatches(1, 1, 1, 1)]
    told = bootstrap(records, lambda drawn: reduce(BoundaryMatches.merge, drawn).recall, seed=0, draws=400)
    assert 50 < told.undefined < 150 and told.low == told.high == 1
    assert bootstrap([0.5], seed=0) == Unavailable("1 image: an interval needs two or more")
    assert isinstance(bootstrap(records, lambda drawn: Unavailable("never"), seed=0, draws=3), Unavailable)
    with pytest.raises(InputError, match="level between 0 and 1"):
        bootstrap([1, 2], seed=0, level=95)
    with pytest.raises(InputError, match="one draw"):
        bootstrap([1, 2], seed=0, draws=0)
