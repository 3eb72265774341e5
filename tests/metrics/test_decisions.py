"""Rates, their averages, labels of both kinds and top-k, against scikit-learn and counts by hand."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from perimetry.errors import InputError, PerimetryError, ShapeError, UnknownNameError
from perimetry.metrics import (
    ClassDecisions,
    Decisions,
    Unavailable,
    label_scores,
    multilabel_scores,
    top_k,
)
from perimetry.metrics.averages import RATES


def labels(classes=5, size=400, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, size)
    return truth, np.where(generator.random(size) < 0.5, truth, generator.integers(0, classes, size))


def test_rates_by_hand():
    seen = Decisions(tp=8, fp=2, tn=6, fn=4)
    assert (seen.tpr, seen.recall, seen.fnr) == (8 / 12, 8 / 12, 4 / 12)
    assert (seen.fpr, seen.tnr) == (2 / 8, 6 / 8)
    assert (seen.precision, seen.npv, seen.accuracy) == (0.8, 0.6, 0.7)
    assert seen.balanced_accuracy == pytest.approx((8 / 12 + 6 / 8) / 2)
    assert seen.f1 == pytest.approx(2 * 0.8 * (8 / 12) / (0.8 + 8 / 12))
    assert seen.f_beta(2) == pytest.approx(5 * 0.8 * (8 / 12) / (4 * 0.8 + 8 / 12))
    assert seen.iou == 8 / 14
    assert seen.mcc == pytest.approx((8 * 6 - 2 * 4) / (10 * 12 * 8 * 10) ** 0.5)


def test_a_rate_without_a_denominator_says_why():
    nothing, no_positive = Decisions(0, 0, 0, 0), Decisions(tp=0, fp=0, tn=5, fn=0)
    for name in RATES:
        assert isinstance(getattr(nothing, name), Unavailable), name
    assert no_positive.recall == Unavailable("no positive in the truth")
    assert no_positive.precision == Unavailable("nothing was predicted positive")
    assert no_positive.mcc == Unavailable("truth or prediction holds one class only")
    assert no_positive.balanced_accuracy == Unavailable("no positive in the truth")
    assert no_positive.accuracy == no_positive.tnr == 1
    assert Decisions(tp=0, fp=0, tn=1, fn=3).f1 == 0


def test_the_correlation_of_large_counts_does_not_overflow():
    seen = Decisions(tp=10**12, fp=10**11, tn=10**12, fn=10**11)
    assert seen.mcc == pytest.approx(1 - 2 / 11)


def test_averages_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, told = labels()
    told[told == 4] = 3  # a class that is never predicted
    seen = label_scores(truth, told, classes=6)  # and one that is nowhere
    names = {"precision": 0, "recall": 1, "f1": 2}
    for average, ours in [("micro", seen.per_class.micro), ("macro", seen.per_class.macro)] + [
        ("weighted", seen.per_class.weighted)
    ]:
        expected = sklearn.precision_recall_fscore_support(
            truth, told, labels=range(6), average=average, zero_division=np.nan
        )
        for name, at in names.items():
            assert_allclose(ours(name), expected[at], err_msg=f"{average} {name}")
    expected = sklearn.fbeta_score(truth, told, beta=2, labels=range(5), average=None, zero_division=np.nan)
    assert_allclose(seen.per_class.rates(lambda each: each.f_beta(2))[:5], expected)
    assert_allclose(seen.mcc, sklearn.matthews_corrcoef(truth, told))
    assert_allclose(seen.balanced_accuracy, sklearn.balanced_accuracy_score(truth, told))
    assert_allclose(seen.accuracy, sklearn.accuracy_score(truth, told))


def test_a_binary_problem_has_the_same_correlation_as_its_decisions():
    truth, told = labels(2)
    seen = label_scores(truth, told, classes=2)
    assert_allclose(seen.mcc, seen.per_class[1].mcc)


def test_one_class_only_is_told():
    seen = label_scores([1, 1], [1, 1], classes=2)
    assert seen.mcc == Unavailable("truth or prediction holds one class only")
    assert seen.per_class[0].recall == Unavailable("no positive in the truth")
    assert label_scores([], [], classes=2).accuracy == Unavailable("no sample was counted")
    assert ClassDecisions((Decisions(0, 0, 3, 0),)).macro("recall") == Unavailable("no class has this rate")


def test_multilabel_scores_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth, told = generator.random((300, 7)) < 0.3, generator.random((300, 7)) < 0.4
    seen = multilabel_scores(torch.tensor(truth), told.astype(int))
    for average, ours in [("micro", seen.per_class.micro), ("macro", seen.per_class.macro)] + [
        ("weighted", seen.per_class.weighted)
    ]:
        assert_allclose(ours("f1"), sklearn.f1_score(truth, told, average=average))
    assert_allclose(seen.exact_match, sklearn.accuracy_score(truth, told))
    assert_allclose(seen.hamming_loss, sklearn.hamming_loss(truth, told))


def test_unknown_labels_are_left_out_one_by_one():
    seen = multilabel_scores([[1, -1], [-1, 0]], [[1, 1], [0, 1]], ignore=-1)
    assert seen.per_class.each == (Decisions(1, 0, 0, 0), Decisions(0, 1, 0, 0))
    assert seen.exact_match == 0.5
    assert multilabel_scores(np.zeros((0, 2), int), np.zeros((0, 2), int)).exact_match == Unavailable(
        "no sample was counted"
    )


def test_top_k_is_scikit_learns_where_nothing_ties():
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth, scores = generator.integers(0, 9, 200), generator.random((200, 9)).astype(np.float32)
    seen = top_k(truth, torch.tensor(scores), ks=(1, 2, 5, 9))
    expected = [sklearn.top_k_accuracy_score(truth, scores, k=k, labels=range(9)) for k in (1, 2, 5)]
    assert_allclose(seen.accuracy, [*expected, 1.0])


def test_of_equal_scores_the_first_class_is_taken_first_as_argmax_does():
    scores = np.random.default_rng(0).integers(0, 3, (200, 6))
    truth = np.random.default_rng(1).integers(0, 6, 200)
    assert top_k(truth, scores, ks=(1,)).hits[0] == (scores.argmax(axis=1) == truth).sum()
    ranks = [sorted(range(6), key=lambda at, row=row: (-row[at], at)) for row in scores]
    expected = sum(true in rank[:3] for true, rank in zip(truth, ranks, strict=True))
    assert top_k(truth, torch.tensor(scores).bfloat16(), ks=(3,)).hits == (expected,)


def test_top_k_of_nothing_is_unavailable():
    assert top_k([-1], [[0.5, 0.5]], ks=(1,), ignore=-1).accuracy == (Unavailable("no sample was counted"),)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Decisions(-1, 0, 0, 0), InputError, "counts from 0"),
        (lambda: Decisions(1, 0, 0, 0).f_beta(0), InputError, "beta above 0"),
        (lambda: ClassDecisions((Decisions(1, 0, 0, 0),)).macro("recal"), UnknownNameError, "did you mean 'recall'"),
        (lambda: ClassDecisions(()), InputError, "one class or more"),
        (lambda: multilabel_scores([[0, 2]], [[0, 1]]), InputError, "truth holds the value 2; expected 0 and 1"),
        (lambda: multilabel_scores([[0, 1]], [[0.1, 0.7]]), InputError, "expected predicted as labels"),
        (lambda: multilabel_scores([0, 1], [0, 1]), ShapeError, r"\(samples, labels\), got shape \(2,\)"),
        (lambda: top_k([0], [[0.1, float("nan")]], ks=(1,)), InputError, r"scores holds NaN \(1 of 2\)"),
        (lambda: top_k([2], [[0.1, 0.2]], ks=(1,)), InputError, "truth holds the label 2; expected 0 ... 1"),
        (lambda: top_k([0], [[0.1, 0.2]]), InputError, "expected k from 1 to the 2 classes, got 5"),
        (lambda: top_k([0, 1], [[0.1, 0.2]], ks=(1,)), ShapeError, "one row of scores per sample"),
    ],
)
def test_bad_decisions_are_told(call, error, message):
    assert issubclass(error, PerimetryError)
    with pytest.raises(error, match=message):
        call()
