"""Threshold sweeps, exact and in steps, against counting at each threshold, scikit-learn and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from perimetry.errors import InputError, ShapeError
from perimetry.metrics import Decisions, Unavailable, binned_threshold_sweep, threshold_sweep
from perimetry.metrics.chunks import HOST_PIECE


def scored(size=500, steps=None, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random(size) < 0.3
    scores = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    return truth, np.round(scores * steps) / steps if steps else scores


def decided(truth, scores, threshold):
    told = scores >= threshold
    return Decisions(*(int(each.sum()) for each in (told & truth, told & ~truth, ~told & ~truth, ~told & truth)))


@pytest.mark.parametrize("steps", [None, 7, 64])
def test_every_threshold_decides_as_counting_does(steps):
    truth, scores = scored(steps=steps)
    seen = threshold_sweep(truth, scores)
    assert seen.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for threshold in [-1.0, 0.0, 0.123, *scores[:40].tolist(), 1.0, 2.0]:
        assert seen.at(threshold) == decided(truth, scores, threshold)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, 1e-30, math.inf]))))
def test_a_sweep_of_anything_decides_as_counting_does(pairs):
    truth, scores = np.array([each for each, _ in pairs], bool), np.array([score for _, score in pairs])
    seen = threshold_sweep(truth, scores)
    for threshold in (-math.inf, -1.0, 0.0, 1e-30, 0.2, 0.5, math.inf):
        assert seen.at(threshold) == decided(truth, scores, threshold)


@pytest.mark.parametrize("scores", [[-0.0, 0.0], [0.0, -0.0]])
def test_both_zeros_are_one_threshold_of_no_sign(scores):
    seen = threshold_sweep([0, 1], scores)
    assert seen.thresholds.tolist() == [0]
    assert not np.signbit(seen.thresholds[0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("steps", [None, 16])
def test_areas_and_curves_are_scikit_learns(dtype, steps):
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, scores = scored(3 * HOST_PIECE // 2, steps)
    scores = scores.astype(dtype)
    seen = threshold_sweep(torch.tensor(truth), torch.tensor(scores))
    assert_allclose(seen.roc_area, sklearn.roc_auc_score(truth, scores), rtol=1e-12)
    assert_allclose(seen.average_precision, sklearn.average_precision_score(truth, scores), rtol=1e-12)
    fpr, tpr, thresholds = sklearn.roc_curve(truth, scores, drop_intermediate=False)
    assert_allclose(seen.roc.x, fpr)
    assert_allclose(seen.roc.y, tpr)
    assert_allclose(seen.roc.thresholds, thresholds)
    precision, recall, _ = sklearn.precision_recall_curve(truth, scores)
    assert_allclose(seen.precision_recall.y[::-1], precision[:-1])
    assert_allclose(seen.precision_recall.x[::-1], recall[:-1])
    assert_allclose(seen.precision_recall_area, sklearn.auc(recall, precision), rtol=1e-12)


def test_the_area_is_the_share_of_pairs_in_order():
    truth, scores = scored(120, steps=10)
    pairs = scores[truth][:, None] - scores[~truth][None]
    assert_allclose(threshold_sweep(truth, scores).roc_area, ((pairs > 0) + 0.5 * (pairs == 0)).mean(), rtol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1, 2])
def test_the_best_threshold_is_the_best_of_all(beta):
    truth, scores = scored(steps=50)
    best = threshold_sweep(truth, scores).best_f(beta)
    values = {threshold: decided(truth, scores, threshold).f_beta(beta) for threshold in set(scores.tolist())}
    assert best.score == pytest.approx(max(values.values()))
    assert best.threshold == max(at for at, value in values.items() if math.isclose(value, best.score))
    assert best.decisions == decided(truth, scores, best.threshold)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_steps_count_exactly_at_their_thresholds(dtype):
    truth, scores = scored(2 * HOST_PIECE + 5)
    given = torch.tensor(scores).to(dtype)
    scores = given.double().numpy()
    seen = binned_threshold_sweep(truth, given, bins=64)
    for step in range(65):
        assert seen.at(step / 64) == decided(truth, scores, step / 64)


def test_steps_are_exact_where_scores_are_multiples_of_them():
    truth, scores = scored(5000, steps=256)
    exact, steps = threshold_sweep(truth, scores), binned_threshold_sweep(truth, scores, bins=256)
    for name in ("thresholds", "tp", "fp"):
        assert np.array_equal(getattr(exact, name), getattr(steps, name))
    assert exact.roc_area == steps.roc_area
    assert exact.average_precision == steps.average_precision
    assert exact.roc_area_within == 0


@pytest.mark.parametrize("bins", [2, 16, 1024])
def test_the_area_of_steps_is_within_what_it_says(bins):
    truth, scores = scored(5000)
    exact, steps = threshold_sweep(truth, scores), binned_threshold_sweep(truth, scores, bins=bins)
    assert abs(exact.roc_area - steps.roc_area) <= steps.roc_area_within
    assert steps.roc_area_within < 1 / bins * 3


def test_steps_are_those_of_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    truth, scores = scored(2000)
    seen = binned_threshold_sweep(truth, scores.astype(np.float32), bins=32)
    fpr, tpr, thresholds = functional.binary_roc(
        torch.tensor(scores, dtype=torch.float32), torch.tensor(truth).long(), thresholds=33
    )
    for threshold, false, true in zip(thresholds.tolist(), fpr.tolist(), tpr.tolist(), strict=True):
        assert seen.at(threshold).fpr == pytest.approx(false, abs=1e-6)  # it divides in float32
        assert seen.at(threshold).tpr == pytest.approx(true, abs=1e-6)


def test_what_is_ignored_is_left_out_even_out_of_range():
    truth, scores = scored()
    true = np.where(np.arange(500) % 3 == 0, -1, truth)
    kept = true != -1
    scores = np.where(kept, scores, 7.0)
    assert threshold_sweep(true, scores, ignore=-1) == threshold_sweep(truth[kept], scores[kept])
    assert binned_threshold_sweep(true, scores, ignore=-1) == binned_threshold_sweep(truth[kept], scores[kept])


@pytest.mark.parametrize("sweep", [threshold_sweep, binned_threshold_sweep])
def test_what_is_not_defined_says_why(sweep):
    none, only = sweep([0, 0], [0.1, 0.2]), sweep([1, 1], [0.1, 0.2])
    for name in ("roc", "roc_area", "average_precision", "precision_recall", "precision_recall_area"):
        assert getattr(none, name) == Unavailable("no positive sample"), name
        assert getattr(sweep([], []), name) == Unavailable("no sample was counted"), name
    assert none.best_f() == none.f_beta() == Unavailable("no positive sample")
    assert only.roc_area == only.roc == Unavailable("no negative sample")
    assert only.average_precision == 1
    assert none.at(0.0) == Decisions(0, 2, 0, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: threshold_sweep([0, 1], [0.1, float("nan")]), InputError, "scores hold NaN"),
        (lambda: binned_threshold_sweep([0, 1], [0.1, float("nan")]), InputError, "scores hold NaN"),
        (lambda: threshold_sweep([0, 2], [0.1, 0.2]), InputError, r"truth holds the label 2.*truth == c"),
        (lambda: threshold_sweep([0, 1], [[0.1, 0.2]]), ShapeError, r"in the shape of truth, \(2,\), got \(1, 2\)"),
        (lambda: binned_threshold_sweep([0, 1], [0.1, 3.0]), InputError, r"from 0 to 1, got 3.0; apply the sigmoid"),
        (lambda: binned_threshold_sweep([0], [0.1], bins=100), InputError, "power of two"),
        (lambda: binned_threshold_sweep([0], [0.1], bins=4).at(0.3), InputError, "0.3 lies between two"),
        (lambda: threshold_sweep([0], [0.1]).at(math.nan), InputError, "got NaN"),
        (lambda: threshold_sweep([0], ["high"]), InputError, "expected scores as numbers"),
    ],
)
def test_bad_scores_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
