"""Detections: VOC's average precision by hand and by a second, slow implementation; COCO's by pycocotools; matching."""

import importlib.util
import math
import sys
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from perimetry.errors import InputError, MissingExtraError, ShapeError
from perimetry.metrics import (
    BoxPrediction,
    BoxTruth,
    CocoAccumulator,
    Unavailable,
    VocAccumulator,
    coco_by_size,
    coco_scores,
    match_boxes,
    proposal_recall,
    voc_scores,
)


def devkit(truth, predicted, label, least=0.5):
    """VOCevaldet.m, line by line, in fractions: (eleven-point AP, area AP) of one class."""
    objects = {
        image: [
            {"box": box, "difficult": hard, "found": False}
            for box, own, hard in zip(each.boxes_xyxy.tolist(), each.labels, each.difficult, strict=True)
            if own == label
        ]
        for image, each in truth.items()
    }
    positives = sum(not each["difficult"] for inside in objects.values() for each in inside)
    lines = [
        (score, image, box)
        for image in sorted(predicted)
        for box, score, own in zip(
            predicted[image].boxes_xyxy.tolist(), predicted[image].scores, predicted[image].labels, strict=True
        )
        if own == label
    ]
    tp, fp = [], []
    for _, image, box in sorted(lines, key=lambda line: -line[0]):
        best, nearest = Fraction(-1), None
        for each in objects[image]:
            low = [max(box[at], each["box"][at]) for at in (0, 1)]
            high = [min(box[at], each["box"][at]) for at in (2, 3)]
            width, height = (Fraction(high[at]) - Fraction(low[at]) + 1 for at in (0, 1))
            if width > 0 and height > 0:
                areas = [
                    (Fraction(at[2]) - Fraction(at[0]) + 1) * (Fraction(at[3]) - Fraction(at[1]) + 1)
                    for at in (box, each["box"])
                ]
                overlap = width * height / (sum(areas) - width * height)
                if overlap > best:
                    best, nearest = overlap, each
        true = false = 0
        if best >= Fraction(least):
            if not nearest["difficult"]:
                true, false = (0, 1) if nearest["found"] else (1, 0)
                nearest["found"] = True
        else:
            false = 1
        tp.append((tp[-1] if tp else 0) + true)
        fp.append((fp[-1] if fp else 0) + false)
    if not positives:
        return None
    points = [
        (Fraction(one, positives), Fraction(one, one + two)) for one, two in zip(tp, fp, strict=True) if one + two
    ]
    eleven = sum(max((p for r, p in points if r >= Fraction(tenth, 10)), default=Fraction(0)) for tenth in range(11))
    recalls = [Fraction(0)] + [r for r, _ in points] + [Fraction(1)]
    precisions = [Fraction(0)] + [p for _, p in points] + [Fraction(0)]
    for at in reversed(range(len(precisions) - 1)):
        precisions[at] = max(precisions[at], precisions[at + 1])
    area = sum((recalls[at] - recalls[at - 1]) * precisions[at] for at in range(1, len(recalls)))
    return float(eleven / 11), float(area)


def scene(seed, images=12, classes=("cat", "dog", "hen"), ties=False):
    """Truth and detections of some images: shifted objects, repeated ones, and boxes anywhere."""
    generator = np.random.default_rng(seed)
    truth, predicted = {}, {}
    for image in range(images):
        count = int(generator.integers(0, 6))
        low = generator.integers(0, 60, (count, 2))
        boxes = np.concatenate([low, low + generator.integers(5, 60, (count, 2))], axis=1)
        labels = [classes[at] for at in generator.integers(0, len(classes), count)]
        truth[f"{image}.jpg"] = BoxTruth(boxes, labels, generator.random(count) < 0.2)
        low = generator.integers(0, 60, (3, 2))
        told = np.concatenate([boxes, boxes, np.concatenate([low, low + generator.integers(5, 60, (3, 2))], axis=1)])
        told = np.sort((told + generator.integers(-4, 5, told.shape)).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        scores = generator.random(len(told))
        own = labels * 2 + [classes[at] for at in generator.integers(0, len(classes), 3)]
        predicted[f"{image}.jpg"] = BoxPrediction(told, np.round(scores, 1) if ties else scores, own)
    return truth, predicted


def test_average_precision_by_hand():
    """Five objects, six detections in the order T F T T F T: worked out on paper.

    Precision where an object is found: 1, 2/3, 3/4, 4/6; made monotonic: 1, 3/4, 3/4, 2/3. Recalls: 1/5 ... 4/5.
    Eleven points: 0, .1, .2 -> 1; .3, .4 -> 3/4; .5, .6 -> 3/4; .7, .8 -> 2/3; .9, 1 -> 0.
    """
    objects = [[20 * at, 0, 20 * at + 9, 9] for at in range(5)]
    nowhere = [0, 50, 9, 59]
    told = [objects[0], nowhere, objects[1], objects[2], nowhere, objects[3]]
    seen = voc_scores(
        {"a": BoxTruth(objects, ["cat"] * 5)},
        {"a": BoxPrediction(told, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], ["cat"] * 6)},
    )
    assert_allclose(seen.voc07_ap["cat"], (3 * 1 + 4 * 3 / 4 + 2 * 2 / 3) / 11, rtol=1e-15)
    assert_allclose(seen.voc_ap["cat"], (1 + 3 / 4 + 3 / 4 + 2 / 3) / 5, rtol=1e-15)
    assert_allclose(seen.curves["cat"].recall, [0.2, 0.2, 0.4, 0.6, 0.6, 0.8])
    assert seen.images["a"].missed == (4,)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_average_precision_is_the_devkits(seed, ties, iou):
    truth, predicted = scene(seed, ties=ties)
    seen = voc_scores(truth, predicted, iou=iou)
    for label in seen.curves:
        expected = devkit(truth, predicted, label, least=iou)
        found = seen.voc07_ap[label], seen.voc_ap[label]
        if expected is None:
            assert all(isinstance(each, Unavailable) for each in found)
        else:
            assert_allclose(found, expected, rtol=1e-12)


def test_three_of_ten_objects_reach_a_recall_of_three_tenths():
    objects = [[20 * at, 0, 20 * at + 9, 9] for at in range(10)]
    seen = voc_scores({"a": BoxTruth(objects, [1] * 10)}, {"a": BoxPrediction(objects[:3], [0.9, 0.8, 0.7], [1] * 3)})
    assert seen.voc07_ap[1] == 4 / 11  # at 0, 0.1, 0.2 and 0.3; the sum of three tenths in floats exceeds 3 / 10
    assert_allclose(seen.voc_ap[1], 0.3)


def test_a_difficult_object_counts_neither_as_found_nor_as_missed():
    truth = {"a": BoxTruth([[0, 0, 9, 9], [20, 0, 29, 9]], ["cat", "cat"], [True, False])}
    told = {"a": BoxPrediction([[0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9]], [0.9, 0.8, 0.7], ["cat"] * 3)}
    seen = voc_scores(truth, told)
    assert seen.images["a"].kinds == ("ignored", "ignored", "true")
    assert seen.voc07_map == seen.voc_map == 1.0
    assert voc_scores(truth, {}).images["a"].missed == (1,)


def test_widths_count_both_end_pixels():
    # 10 x 10 pixels of which 5 x 10 are shared: exactly one half with the + 1, less without.
    truth = BoxTruth([[0, 0, 9, 9]], ["cat"])
    assert match_boxes(truth, BoxPrediction([[0, 0, 9, 4]], [0.9], ["cat"])).ious == (0.5,)
    assert match_boxes(truth, BoxPrediction([[0, 0, 9, 4]], [0.9], ["cat"])).kinds == ("true",)
    assert match_boxes(truth, BoxPrediction([[0, 0, 8, 4]], [0.9], ["cat"])).kinds == ("badly_localised",)


def test_each_kind_of_detection_is_told():
    truth = BoxTruth([[0, 0, 9, 9], [40, 0, 49, 9], [0, 40, 9, 49]], ["cat", "dog", "cat"], [0, 0, 1])
    told = {
        "ignored": [0, 40, 9, 49],
        "true": [0, 0, 9, 9],
        "duplicate": [0, 0, 9, 8],
        "badly_localised": [0, 5, 9, 16],
        "background": [40, 0, 49, 9],  # on the dog, which is not looked at
    }
    found = match_boxes(truth, BoxPrediction(list(told.values()), [0.9, 0.8, 0.7, 0.6, 0.5], ["cat"] * 5))
    assert found.kinds == tuple(told)
    assert found.nearest == (2, 0, 0, 0, None)
    assert found.missed == (1,)
    assert (found.true, found.false) == (1, 3)


def test_classes_without_objects_are_left_out_of_the_mean():
    truth = {"a": BoxTruth([[0, 0, 9, 9]], ["cat"])}
    told = {"a": BoxPrediction([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], ["cat", "dog"])}
    seen = voc_scores(truth, told, classes=["cat", "dog"])
    assert seen.voc_ap == {"cat": 1.0, "dog": Unavailable("no object of this class")}
    assert seen.curves["dog"].recall == Unavailable("no object of this class")
    assert seen.voc07_map == 1.0
    nothing = voc_scores({"a": BoxTruth([], [])}, {}, classes=["cat"])
    assert nothing.voc_map == Unavailable("no object of any class")
    assert voc_scores(truth, {}).voc_map == 0


def test_real_objects_score_one_against_themselves(data):
    truth = {}
    for file in sorted((data / "voc_sample3" / "Annotations").glob("*.xml")):
        objects = ElementTree.parse(file).getroot().findall("object")
        boxes = [
            [float(each.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")] for each in objects
        ]
        difficult = [int(each.findtext("difficult") or 0) for each in objects]
        truth[file.stem] = BoxTruth(boxes, [each.findtext("name") for each in objects], difficult)
    told = {name: BoxPrediction(each.boxes_xyxy, np.ones(len(each)), each.labels) for name, each in truth.items()}
    seen = voc_scores(truth, told)
    assert {each for each in seen.voc07_ap.values() if not isinstance(each, Unavailable)} == {1.0}


def pycoco(truth, predicted, classes):
    """The twelve numbers of pycocotools, from the same boxes."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = {name: at for at, name in enumerate(sorted(truth), start=1)}
    annotations = [
        {
            "id": 0,
            "image_id": images[name],
            "category_id": classes.index(label) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": (box[2] - box[0]) * (box[3] - box[1]),
            "iscrowd": int(crowd),
        }
        for name in sorted(truth)
        for box, label, crowd in zip(
            truth[name].boxes_xyxy.tolist(), truth[name].labels, truth[name].difficult, strict=True
        )
    ]
    for at, each in enumerate(annotations, start=1):
        each["id"] = at
    told = [
        {
            "image_id": images[name],
            "category_id": classes.index(label) + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
        }
        for name in sorted(predicted)
        for box, label, score in zip(
            predicted[name].boxes_xyxy.tolist(), predicted[name].labels, predicted[name].scores.tolist(), strict=True
        )
    ]
    known = COCO()
    known.dataset = {
        "info": {},
        "images": [{"id": at} for at in images.values()],
        "annotations": annotations,
        "categories": [{"id": at + 1, "name": label} for at, label in enumerate(classes)],
    }
    known.createIndex()
    evaluator = COCOeval(known, known.loadRes(told), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize("seed", range(4))
def test_cocos_numbers_are_those_of_pycocotools(seed):
    pytest.importorskip("faster_coco_eval")
    truth, predicted = scene(seed, images=20, ties=seed % 2 == 1)
    classes = ["cat", "dog", "hen"]
    seen = coco_scores(truth, predicted, classes=classes)
    # pycocotools tells its numbers in this order.
    names = ["coco_ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    names += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]
    for name, expected in zip(names, pycoco(truth, predicted, classes), strict=True):
        found = getattr(seen, name)
        assert (-1 if isinstance(found, Unavailable) else found) == pytest.approx(expected, abs=1e-12), name
    told = [each for each in seen.per_class.values() if not isinstance(each, Unavailable)]
    assert np.mean(told) == pytest.approx(seen.coco_ap)


def test_cocos_sizes_go_by_the_objects_own_area():
    pytest.importorskip("faster_coco_eval")
    told = {"a": BoxPrediction([[0, 0, 50, 50]], [0.9], ["cat"])}
    box = {"a": BoxTruth([[0, 0, 50, 50]], ["cat"])}
    thin = {"a": BoxTruth([[0, 0, 50, 50]], ["cat"], areas=[100])}
    assert coco_scores(box, told).ap_medium == pytest.approx(1)
    assert coco_scores(thin, told).ap_small == pytest.approx(1)
    assert isinstance(coco_scores(thin, told).ap_medium, Unavailable)


@pytest.mark.parametrize("seed", range(3))
def test_scores_by_size_are_those_of_pycocotools(seed):
    """At COCO's own bounds; at others they are those of boxes scaled so that the bounds become COCO's."""
    pytest.importorskip("faster_coco_eval")
    truth, predicted = scene(seed, images=20)
    classes = ["cat", "dog", "hen"]
    for factor in (1.0, 2.5):
        scaled = {name: BoxTruth(each.boxes_xyxy * factor, each.labels, each.difficult) for name, each in truth.items()}
        told = {
            name: BoxPrediction(each.boxes_xyxy * factor, each.scores, each.labels) for name, each in predicted.items()
        }
        expected = pycoco(scaled, told, classes)
        seen = coco_by_size(truth, predicted, sizes=(32 / factor, 96 / factor), classes=classes)
        every, *ranges = seen.values()
        assert every.ap50 == pytest.approx(expected[1], abs=1e-12)
        for each, value in zip((every, *ranges), (expected[8], *expected[9:12]), strict=True):
            assert (-1 if isinstance(each.ar100, Unavailable) else each.ar100) == pytest.approx(value, abs=1e-12)
            assert isinstance(each.ar100, Unavailable) == (each.objects == 0)
        assert every.objects == sum(int((~each.difficult).sum()) for each in truth.values())
    assert all(each.objects for each in ranges)  # or the sizes were not tried


def test_recall_by_size_by_hand():
    pytest.importorskip("faster_coco_eval")
    truth = {
        "a": BoxTruth([[0, 0, 8, 8], [20, 0, 28, 8], [0, 40, 40, 80]], ["cat", "cat", "cat"]),
        "b": BoxTruth([[0, 0, 8, 8]], ["cat"]),
    }
    # One of three tiny objects is found, with three quarters of it; the large one wholly.
    told = {"a": BoxPrediction([[0, 0, 8, 6], [0, 40, 40, 80]], [0.9, 0.8], ["cat", "cat"])}
    seen = coco_by_size(truth, told, sizes=(10, 20))
    assert list(seen) == ["all", "0-10", "10-20", "20+"]
    assert [each.objects for each in seen.values()] == [4, 3, 0, 1]
    assert seen["0-10"].recall50 == pytest.approx(1 / 3)
    assert seen["0-10"].ar100 == pytest.approx(1 / 3 * 6 / 10)  # 0.50, 0.55 ... 0.75
    assert seen["20+"].ar100 == seen["20+"].ap50 == pytest.approx(1)
    assert seen["all"].recall50 == pytest.approx(0.5)
    assert isinstance(seen["10-20"].recall50, Unavailable)


def test_without_its_library_cocos_score_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'perimetry\[coco\]'"):
        coco_scores({"a": BoxTruth([[0, 0, 1, 1]], ["cat"])}, {})


def test_proposals_cover_objects_one_to_one():
    truth = [[0, 0, 10, 10], [0, 2, 10, 12]]
    # One proposal covers both by half or more, but may stand for one only.
    assert proposal_recall(truth, [[0, 1, 10, 11]], [0.9], counts=(1, 5), ious=(0.5, 0.9)).hits == ((1, 0), (1, 0))
    assert proposal_recall(truth, truth, [0.1, 0.2], counts=(1, 2), ious=(1.0,)).hits == ((1,), (2,))
    nothing = proposal_recall([], [[0, 0, 1, 1]], [0.3])
    assert nothing.average_recall == (Unavailable("no object"),) * 3
    assert proposal_recall(truth, [], [], counts=(1,), ious=(0.5,)).recall == ((0.0,),)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_pairs_of_proposals_are_taken_from_the_largest_overlap_down(seed):
    generator = np.random.default_rng(seed)
    boxes = [np.sort(generator.integers(0, 30, (int(generator.integers(0, 7)), 2, 2)), axis=1) for _ in range(2)]
    truth, told = (each.reshape(-1, 4).astype(float) for each in boxes)
    scores = generator.random(len(told))
    ranked = told[np.argsort(-scores)][:4]

    def overlap(one, two):
        sides = [min(one[at + 2], two[at + 2]) - max(one[at], two[at]) for at in (0, 1)]
        shared = math.prod(max(0, side) for side in sides)
        areas = sum((each[2] - each[0]) * (each[3] - each[1]) for each in (one, two))
        return shared / (areas - shared) if areas - shared else 0

    pairs = sorted(((overlap(one, two), i, j) for i, one in enumerate(truth) for j, two in enumerate(ranked)))[::-1]
    rows, columns, hits = set(), set(), 0
    for value, row, column in pairs:
        if row not in rows and column not in columns:
            rows.add(row), columns.add(column)
            hits += value >= 0.3
    ties = len({value for value, *_ in pairs if value > 0}) < sum(value > 0 for value, *_ in pairs)
    if not ties:
        assert proposal_recall(truth, torch.tensor(told), scores, counts=(4,), ious=(0.3,)).hits == ((hits,),)


CAT = {"a": BoxTruth([[0, 0, 9, 9]], ["cat"])}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BoxTruth([[9, 0, 0, 9]], ["cat"]), InputError, r"true boxes\[0\] is .*x2 < x1.*width height"),
        (lambda: BoxPrediction([[0, 9, 9, 0]], [1], ["cat"]), InputError, r"predicted boxes\[0\]"),
        (lambda: BoxTruth([[0, 0, math.nan, 9]], ["cat"]), InputError, "true boxes holds NaN"),
        (lambda: BoxTruth([[0, 0, math.inf, 9]], ["cat"]), InputError, "infinite"),
        (lambda: BoxTruth([0, 0, 9, 9], ["cat"]), ShapeError, r"\(K, 4\).*got shape \(4,\)"),
        (lambda: BoxTruth([[0, 0, 9, 9]], []), ShapeError, "expected 1 labels for the true boxes"),
        (lambda: BoxTruth([[0, 0, 9, 9]], [0.5]), InputError, "as names or whole numbers, got 0.5"),
        (lambda: BoxTruth([[0, 0, 9, 9]], ["cat"], [2]), InputError, "difficult as 1 truth values"),
        (lambda: BoxTruth([[0, 0, 9, 9]], ["cat"], areas=[-1]), InputError, "areas from 0"),
        (lambda: BoxPrediction([[0, 0, 9, 9]], [math.nan], ["cat"]), InputError, "scores holds NaN"),
        (lambda: BoxPrediction([[0, 0, 9, 9]], [0.1, 0.2], ["cat"]), ShapeError, "expected 1 scores"),
        (lambda: match_boxes(CAT["a"], BoxPrediction([], [], []), iou=0), InputError, "iou > 0"),
        (lambda: voc_scores(CAT, {"b": BoxPrediction([], [], [])}), InputError, "1 images that the truth"),
        (
            lambda: voc_scores(CAT, {"a": BoxPrediction([[0, 0, 9, 9]], [1], ["cow"])}),
            InputError,
            "predicted boxes hold the class 'cow', which is unknown; expected one of 'cat'",
        ),
        (lambda: voc_scores(CAT, {}, classes=["dog"]), InputError, "true boxes hold the class 'cat'"),
        (lambda: VocAccumulator(classes=["cat", "cat"]), InputError, "each once"),
        (lambda: coco_scores({"a": BoxTruth([], [])}, {}), InputError, "the truth holds no object"),
        (lambda: coco_by_size({"a": BoxTruth([], [])}, {}, sizes=(16,)), InputError, "the truth holds no object"),
        (lambda: coco_by_size({}, {}, sizes=()), InputError, "expected bounds of sizes that rise, above 0 and"),
        (lambda: coco_by_size(CAT, {}, sizes=(16, 2e5)), InputError, "below 100000"),
        (lambda: coco_by_size(CAT, {}, sizes=(16, math.nan)), InputError, r"got \(16, nan\)"),
        (lambda: coco_by_size(CAT, {}, sizes=(16,), classes=["cat", "cat"]), InputError, "each once"),
        (lambda: coco_by_size({}, {}, sizes=(48, 16)), InputError, r"got \(48, 16\)"),
        (lambda: proposal_recall([], [], [], counts=(0,)), InputError, "from 1, got"),
        (lambda: proposal_recall([], [], [], ious=(0.0,)), InputError, "above 0"),
        (lambda: proposal_recall([], [[0, 0, 1, 1]], []), ShapeError, "expected 1 scores, one per proposal"),
    ],
)
def test_bad_boxes_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", [VocAccumulator, CocoAccumulator])
def test_an_image_comes_once(kind):
    pytest.importorskip("faster_coco_eval")
    seen, other = kind(classes=["cat"]), kind(classes=["cat"])
    seen.update("a", CAT["a"], BoxPrediction([], [], []))
    other.update("a", CAT["a"], BoxPrediction([], [], []))
    with pytest.raises(InputError, match="'a' was counted before"):
        seen.update("a", CAT["a"], BoxPrediction([], [], []))
    with pytest.raises(InputError, match="'a' was counted before"):
        seen.merge(other)
