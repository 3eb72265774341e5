"""Tables of labels: against scikit-learn."""

import csv

import numpy as np
import pytest
from sklearn import metrics as sklearn

import perimetry
from perimetry import FileError, InputError
from perimetry.scoring.pairing import UnmatchedError

RANDOM = np.random.default_rng(3)
CLASSES = ["bird", "cat", "dog"]
NAMES = [f"n{index:02}" for index in range(60)]
TRUE = RANDOM.integers(0, 3, 60)
SCORES = np.round(RANDOM.random((60, 3)) + 0.6 * np.eye(3)[TRUE], 3)
MARKS = (RANDOM.random((60, 3)) < 0.4).astype(int)
MARK_SCORES = np.clip(0.35 * MARKS + 0.7 * RANDOM.random((60, 3)), 0, 1).round(3)


def table(folder, name, header, rows):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / name


@pytest.fixture
def truth(tmp_path):
    return table(tmp_path, "truth.csv", ["name", "label"], [(n, CLASSES[t]) for n, t in zip(NAMES, TRUE, strict=True)])


def scores(folder):
    header = ["name", *(f"score_{label}" for label in CLASSES)]
    return table(folder, "told.csv", header, [(n, *s) for n, s in zip(NAMES, SCORES.tolist(), strict=True)])


def test_scores_of_classes(tmp_path, truth):
    seen = perimetry.score_labels(truth, scores(tmp_path), ks=[1, 2], bootstrap=200)
    told = SCORES.argmax(axis=1)
    assert seen.total["accuracy"] == sklearn.accuracy_score(TRUE, told) == seen.total["top1"]
    assert seen.total["top2"] == pytest.approx(sklearn.top_k_accuracy_score(TRUE, SCORES, k=2))
    assert seen.total["mcc"] == pytest.approx(sklearn.matthews_corrcoef(TRUE, told))
    np.testing.assert_array_equal(seen.confusion.counts, sklearn.confusion_matrix(TRUE, told))
    for average in ("macro", "micro", "weighted"):
        expected = sklearn.precision_recall_fscore_support(TRUE, told, average=average)[:3]
        assert list(seen.total[average].values()) == pytest.approx(expected)
    for index, label in enumerate(CLASSES):
        assert seen.total["roc_area"][label] == pytest.approx(sklearn.roc_auc_score(index == TRUE, SCORES[:, index]))
        assert seen.total["average_precision"][label] == pytest.approx(
            sklearn.average_precision_score(index == TRUE, SCORES[:, index])
        )
    assert {(curve.kind, curve.label) for curve in seen.curves} == {
        (kind, label) for kind in ("roc", "precision_recall") for label in CLASSES
    }
    assert seen.intervals["accuracy"].low <= seen.total["accuracy"] <= seen.intervals["accuracy"].high
    first = seen.images[0]
    assert first.facts == {"truth": CLASSES[TRUE[0]], "predicted": CLASSES[told[0]]}
    assert [image.scores["rank"] == 1 for image in seen.images] == [
        image.scores["correct"] == 1 for image in seen.images
    ]


def test_labels_without_scores(tmp_path, truth):
    told = np.roll(TRUE, 1)
    file = table(tmp_path, "told.csv", ["name", "label"], [(n, CLASSES[t]) for n, t in zip(NAMES, told, strict=True)])
    seen = perimetry.score_labels(truth, file)
    assert seen.total["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(TRUE, told))
    assert seen.curves == () and "roc_area" not in seen.total
    with pytest.raises(InputError, match="top-k needs a score for each class"):
        perimetry.score_labels(truth, file, ks=[2])
    with pytest.raises(InputError, match="a threshold needs scores"):
        perimetry.score_labels(truth, file, threshold=0.5)


@pytest.mark.parametrize("form", ["both", "one", "label and score"])
def test_two_classes(tmp_path, form):
    true, dog = TRUE == 2, SCORES[:, 2] / 2
    truth = table(
        tmp_path, "t.csv", ["name", "label"], [(n, "dog" if t else "cat") for n, t in zip(NAMES, true, strict=True)]
    )
    rows = {
        "both": (["name", "score_dog", "score_cat"], [(n, s, 1 - s) for n, s in zip(NAMES, dog, strict=True)]),
        "one": (["name", "score_dog"], list(zip(NAMES, dog, strict=True))),
        "label and score": (
            ["name", "label", "score"],
            [(n, "dog" if s > 0.5 else "cat", max(s, 1 - s)) for n, s in zip(NAMES, dog, strict=True)],
        ),
    }[form]
    seen = perimetry.score_labels(truth, table(tmp_path, "p.csv", *rows))
    assert seen.total["accuracy"] == sklearn.accuracy_score(true, dog > 0.5)
    assert seen.total["roc_area"] == {"dog": pytest.approx(sklearn.roc_auc_score(true, dog))}
    precision, recall, thresholds = sklearn.precision_recall_curve(true, dog)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert seen.total["best_f1"]["dog"] == pytest.approx(f1.max())
    assert seen.total["best_threshold"]["dog"] == pytest.approx(thresholds[f1.argmax()])
    at = perimetry.score_labels(truth, table(tmp_path, "p.csv", *rows), threshold=0.3)
    assert at.total["accuracy"] == sklearn.accuracy_score(true, dog >= 0.3)
    if form == "both":
        other = perimetry.score_labels(truth, table(tmp_path, "p.csv", *rows), positive="cat")
        assert other.total["roc_area"] == {"cat": pytest.approx(sklearn.roc_auc_score(~true, 1 - dog))}


@pytest.mark.parametrize("form", ["a;b", "columns"])
def test_several_labels(tmp_path, form):
    if form == "columns":
        truth = table(tmp_path, "t.csv", ["name", *CLASSES], [(n, *m) for n, m in zip(NAMES, MARKS, strict=True)])
    else:
        rows = [(n, ";".join(CLASSES[i] for i in np.flatnonzero(m))) for n, m in zip(NAMES, MARKS, strict=True)]
        truth = table(tmp_path, "t.csv", ["name", "label"], rows)
    header = ["name", *(f"score_{label}" for label in CLASSES)]
    told = table(tmp_path, "p.csv", header, [(n, *s) for n, s in zip(NAMES, MARK_SCORES, strict=True)])
    seen = perimetry.score_labels(truth, told, threshold=0.4, bootstrap=50)
    marks = MARK_SCORES >= 0.4
    assert seen.total["exact_match"] == sklearn.accuracy_score(MARKS, marks)
    assert seen.total["hamming_loss"] == pytest.approx(sklearn.hamming_loss(MARKS, marks))
    assert seen.total["macro"]["f1"] == pytest.approx(sklearn.f1_score(MARKS, marks, average="macro"))
    assert seen.total["roc_area"]["cat"] == pytest.approx(sklearn.roc_auc_score(MARKS[:, 1], MARK_SCORES[:, 1]))
    assert set(seen.intervals) == {"exact_match", "hamming_loss"}
    rows = [(n, ";".join(np.array(CLASSES)[m])) for n, m in zip(NAMES, marks, strict=True)]
    named = table(tmp_path, "l.csv", ["name", "label"], rows)
    assert perimetry.score_labels(truth, named).total["hamming_loss"] == seen.total["hamming_loss"]


def test_other_columns_and_more_classes_than_the_truth_has(tmp_path):
    truth = table(tmp_path, "t.csv", ["path", "index", "x"], [("a", "10", ""), ("b", "9", "")])
    told = {"a": {"9": 0.1, "10": 0.2, "11": 0.9}, "b": {"9": 0.5, "10": 0.2, "11": 0.1}}
    seen = perimetry.score_labels(truth, told, columns=("path", "index"), ks=[1, 2])
    assert (seen.classes, seen.total["top1"], seen.total["top2"]) == (("9", "10", "11"), 0.5, 1.0)


def test_imagenet_samples(data):
    file = data / "imagenet_samples200" / "labels.csv"
    with file.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    told = {row["path"]: row["wnid"] for row in rows}
    told[rows[3]["path"]] = rows[4]["wnid"]
    seen = perimetry.score_labels(file, told, columns=("path", "wnid"))
    assert (len(seen.classes), seen.total["accuracy"]) == (200, 0.995)
    assert seen.worst_first()[0].name == rows[3]["path"]


@pytest.mark.parametrize(
    ("truth", "told", "message"),
    [
        (
            "name,label\na,cat\nb,dog\n",
            "name,label\na,cow\nb,dog\n",
            "of a is 'cow', which the truth does not know",
        ),
        ("name,label\na,cat\nb,dog\n", "name,label\na,\nb,dog\n", "no label is told of a"),
        ("name,label\na,\n", "name,label\na,cat\n", "a has no label"),
        ("name,label\na,cat\na,dog\n", "name,label\na,cat\n", "holds 'a' twice"),
        ("name,label\na,cat\nb,dog\n", "name,score_cat,score_dog\na,nan,1\nb,0,1\n", "score_cat of a is 'nan'.*finite"),
        ("name,label\na,cat\nb,dog\n", "name,score_cat,score_dog\na,x,1\nb,0,1\n", "expected a number"),
        ("name,label\na,cat\nb,dog\n", "name,score_dog\na,7\nb,0\n", "the scores run from 0 to 7; expected 0 to 1"),
        ("name,label\na,cat\nb,dog\n", "name,score_cat\na,1\nb,0\n", "give --positive cat"),
        ("name,label\na,cat\nb,dog\nc,eel\n", "name,score_cat,score_dog\na,1,0\nb,0,1\nc,0,1\n", "no score for eel"),
        ("name,label\na,cat\nb,dog\n", "name,wing\na,1\nb,0\n", "expected name and label, or name and score_CLASS"),
        ("name,label\na,cat\nb\n", "name,label\na,cat\n", "line 3: 1 cells, and the header has 2"),
        ("file,label\na,cat\n", "name,label\na,cat\n", "expected one called 'name'"),
        ("name,cat,dog\na,1,2\n", "name,label\na,cat\n", "the column 'dog' of a holds '2'; expected 0 or 1"),
        ("name,label\n", "name,label\na,cat\n", "a header and no rows"),
        ("", "name,label\na,cat\n", "is empty; expected a table with a header"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, truth, told, message):
    (tmp_path / "t.csv").write_text(truth)
    (tmp_path / "p.csv").write_text(told)
    with pytest.raises(InputError, match=message):
        perimetry.score_labels(tmp_path / "t.csv", tmp_path / "p.csv")


def test_names_that_do_not_match_are_listed(tmp_path):
    with pytest.raises(UnmatchedError, match="no prediction for 1 of 2: b; no truth for 1 prediction: c"):
        perimetry.score_labels({"a": "x", "b": "y"}, {"a": "x", "c": "y"})


def test_tables_that_cannot_be_read_are_file_errors(tmp_path):
    (tmp_path / "latin.csv").write_bytes(b"name,label\n\xe4,\xf6\n")
    for name in ("none.csv", "latin.csv"):
        with pytest.raises(FileError, match=name.replace(".", r"\.")):
            perimetry.score_labels(tmp_path / name, {"a": "b"})
