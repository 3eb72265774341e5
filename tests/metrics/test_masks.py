"""Confusion matrices and mask scores, against a slow count, scikit-learn, torchmetrics and real masks."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from perimetry.errors import InputError, ShapeError
from perimetry.metrics import MaskScores, Unavailable, confusion_matrix, mask_scores
from perimetry.metrics.chunks import HOST_PIECE


def by_definition(truth, predicted, classes, ignore=None):
    counts = np.zeros((classes, classes), dtype=int)
    for true, told in zip(np.ravel(truth).tolist(), np.ravel(predicted).tolist(), strict=True):
        if true != ignore:
            counts[true, told] += 1
    return counts


def masks(classes, shape=(37, 41), seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, shape), generator.integers(0, classes, shape)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64", ">i4"])
def test_every_integer_type_counts_alike(dtype):
    truth, predicted = masks(5)
    found = confusion_matrix(truth.astype(dtype), predicted.astype(dtype), classes=5)
    assert found.counts.tolist() == by_definition(truth, predicted, 5).tolist()


@pytest.mark.parametrize("classes", [1, 2, 21, 181, 182, 400])  # 16-bit codes up to 181 classes
def test_any_number_of_classes_counts_as_the_definition(classes):
    truth, predicted = masks(classes)
    truth[0, :2] = classes - 1
    predicted[0, :2] = classes - 1, 0
    found = confusion_matrix(truth, predicted, classes=classes)
    assert np.array_equal(found.counts, by_definition(truth, predicted, classes))


def test_tensors_read_only_arrays_views_and_bools_count_alike():
    truth, predicted = masks(2)
    expected = confusion_matrix(truth, predicted, classes=2)
    frozen = truth.astype(np.uint8)
    frozen.setflags(write=False)
    for true, told in [
        (torch.tensor(truth), torch.tensor(predicted).to(torch.uint8)),
        (frozen, predicted),
        (truth.astype(bool), predicted.astype(bool)),
        (torch.tensor(truth).bool(), predicted),
        (truth[::-1, ::-1], predicted[::-1, ::-1]),
        (torch.tensor(truth).T, predicted.T),
        (truth.tolist(), predicted.tolist()),
    ]:
        assert confusion_matrix(true, told, classes=2) == expected


@pytest.mark.parametrize("size", [0, 1, HOST_PIECE - 1, HOST_PIECE, HOST_PIECE + 1, 3 * HOST_PIECE + 7])
def test_pieces_join_without_loss(size):
    truth, predicted = masks(4, (size,))
    truth[::3] = 255
    found = confusion_matrix(truth, predicted, classes=4, ignore=255)
    assert np.array_equal(found.counts, by_definition(truth, predicted, 4, ignore=255))
    assert found.ignored == len(truth[::3])
    assert found.total + found.ignored == size


@pytest.mark.parametrize("ignore", [0, 2, 255, -1])
def test_what_the_truth_ignores_is_left_out_whatever_was_predicted(ignore):
    truth, predicted = masks(4)
    truth[5:9] = ignore
    predicted[5:9] = 255
    predicted[truth == ignore] = 255
    found = confusion_matrix(truth, predicted, classes=4, ignore=ignore)
    assert np.array_equal(found.counts, by_definition(truth, predicted, 4, ignore=ignore))


def test_the_matrix_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, predicted = masks(7)
    expected = sklearn.confusion_matrix(truth.ravel(), predicted.ravel(), labels=range(7))
    assert np.array_equal(confusion_matrix(truth, predicted, classes=7).counts, expected)


def test_scores_are_those_of_torchmetrics_and_scikit_learn():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, predicted = masks(6)
    predicted = np.where(np.random.default_rng(1).random(truth.shape) < 0.6, truth, predicted)
    truth[:4] = 255
    seen = mask_scores(truth, predicted, classes=6, ignore=255)
    true, told = torch.tensor(truth), torch.tensor(predicted)

    def jaccard(average):
        # In torchmetrics ignoring sets IoU's columns alone; it is given what is kept instead.
        kept = true != 255
        return functional.multiclass_jaccard_index(told[kept], true[kept], 6, average=average).numpy()

    assert_allclose(seen.iou, jaccard("none"), rtol=1e-6)  # it counts in float32
    assert_allclose(seen.miou, jaccard("macro"), rtol=1e-6)
    assert_allclose(seen.frequency_weighted_iou, jaccard("weighted"), rtol=1e-6)
    kept = truth != 255
    assert_allclose(seen.pixel_accuracy, sklearn.accuracy_score(truth[kept], predicted[kept]))
    assert_allclose(seen.mean_accuracy, sklearn.balanced_accuracy_score(truth[kept], predicted[kept]))
    assert_allclose(seen.dice, sklearn.f1_score(truth[kept], predicted[kept], average=None))
    assert_allclose(seen.iou, sklearn.jaccard_score(truth[kept], predicted[kept], average=None))


def test_a_class_that_is_nowhere_has_no_iou_and_one_only_predicted_has_zero():
    seen = mask_scores([0, 0, 0, 0], [0, 0, 0, 1], classes=3)
    assert seen.iou == (0.75, 0.0, Unavailable("class 2 is neither in the truth nor predicted"))
    assert seen.miou == 0.375
    assert seen.accuracy[1] == Unavailable("class 1 is not in the truth")
    assert seen.mean_accuracy == 0.75
    assert seen.frequency_weighted_iou == 0.75


def test_where_nothing_is_counted_every_mean_says_so():
    seen = mask_scores(np.full((3, 3), 255), np.zeros((3, 3), int), classes=2, ignore=255)
    none = Unavailable("no pixel was counted")
    means = (seen.pixel_accuracy, seen.mean_accuracy, seen.miou, seen.frequency_weighted_iou, seen.mean_dice)
    assert means == (none,) * 5
    assert mask_scores([], [], classes=2) == MaskScores(confusion_matrix([], [], classes=2))


def test_a_real_mask_against_itself_and_shifted(data):
    truth = np.asarray(Image.open(next(iter(sorted((data / "voc_sample3" / "SegmentationClass").glob("*.png"))))))
    same = mask_scores(truth, np.where(truth == 255, 0, truth), classes=21, ignore=255)
    assert same.pixel_accuracy == same.miou == 1
    shifted = np.roll(np.where(truth == 255, 0, truth), 9, axis=1)
    seen = mask_scores(truth, shifted, classes=21, ignore=255)
    assert seen.confusion.counts.tolist() == by_definition(truth, shifted, 21, ignore=255).tolist()
    assert 0 < seen.miou < 1


@pytest.mark.parametrize(
    ("truth", "predicted", "options", "error", "message"),
    [
        ([0, 3], [0, 1], {}, InputError, r"truth holds the label 3; expected 0 ... 1"),
        ([0, 1], [0, -1], {}, InputError, r"predicted holds the label -1"),
        ([0, 1], [0, 255], {"ignore": 255}, InputError, r"predicted holds the label 255.*only in truth"),
        ([0, 1], [0.2, 0.9], {}, InputError, r"expected predicted as labels.*argmax"),
        ([0.0, float("nan")], [0, 1], {}, InputError, r"expected truth as labels"),
        (["cat"], [0], {}, InputError, r"expected truth as numbers"),
        ([[0, 1]], [0, 1], {}, ShapeError, r"in the shape of truth, \(1, 2\), got \(2,\)"),
        (np.zeros((8, 9), np.uint8), np.zeros((8, 9, 3), np.uint8), {}, ShapeError, "colour image"),
        (torch.zeros(8, 9, 4, dtype=torch.uint8), torch.zeros(8, 9, 4), {}, ShapeError, "colour image"),
        ([0], [0], {"classes": 0}, InputError, "expected 1 to 30000 classes, got 0"),
        ([0], np.array([2**63], np.uint64), {}, InputError, "larger than any"),
    ],
)
def test_bad_labels_are_told(truth, predicted, options, error, message):
    with pytest.raises(error, match=message):
        mask_scores(truth, predicted, **{"classes": 2} | options)
