"""Sets of detections: VOC folders, COCO's JSON and boxes in Python tell the same, as the metrics do."""

import json
from dataclasses import asdict

import numpy as np
import pytest

import perimetry
from perimetry import FileError, InputError, UnknownNameError
from perimetry.metrics import BoxPrediction, BoxTruth, coco_by_size, coco_scores, match_boxes, voc_scores
from perimetry.metrics.voc import NOTHING
from perimetry.scoring.pairing import UnmatchedError

RANDOM = np.random.default_rng(2)
CLASSES = ("bird", "cat", "dog")


def boxes(count):
    corner = RANDOM.integers(0, 60, (count, 2))
    return np.concatenate([corner, corner + RANDOM.integers(8, 40, (count, 2))], axis=1).astype(float)


def image_of(count):
    found = boxes(count)
    truth = BoxTruth(found, RANDOM.choice(CLASSES, count).tolist(), RANDOM.random(count) < 0.2)
    near = np.concatenate([found + RANDOM.integers(-3, 4, found.shape), boxes(2)])
    near[:, 2:] = np.maximum(near[:, :2] + 1, near[:, 2:])
    labels = [*truth.labels, *RANDOM.choice(CLASSES, 2).tolist()]
    return truth, BoxPrediction(near, RANDOM.permutation(len(near)) / 10 + RANDOM.random(), labels)


PAIRS = {f"img_{index}": image_of(3 + index % 3) for index in range(6)}
TRUTH = {name: truth for name, (truth, _) in PAIRS.items()}
TOLD = {name: told for name, (_, told) in PAIRS.items() if name != "img_4"}


def detections(image_ids, category_ids):
    return [
        {
            "image_id": image_ids[name],
            "category_id": category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for name, told in TOLD.items()
        for (x1, y1, x2, y2), score, label in zip(
            told.boxes_xyxy.tolist(), told.scores.tolist(), told.labels, strict=True
        )
    ]


def xml_of(truth):
    objects = "".join(
        f"<object><name>{label}</name><difficult>{int(hard) or ''}</difficult><bndbox>"
        f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, hard, (x1, y1, x2, y2) in zip(truth.labels, truth.difficult, truth.boxes_xyxy.tolist(), strict=True)
    )
    return f"<annotation><size><width>120</width><height>110</height></size>{objects}</annotation>"


@pytest.fixture
def voc(tmp_path):
    (tmp_path / "Annotations").mkdir()
    for name, truth in TRUTH.items():
        (tmp_path / "Annotations" / f"{name}.xml").write_text(xml_of(truth), encoding="utf-8")
    return tmp_path


def written(folder, content):
    file = folder / "told.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize("form", ["names", "endings", "indices", "python", "xml folder"])
def test_every_form_tells_the_scores_of_the_metrics(voc, form):
    names = {name: f"{name}.jpg" if form == "endings" else name for name in TRUTH}
    numbers = {label: index if form == "indices" else label for index, label in enumerate(CLASSES)}
    told = written(voc, detections(names, numbers))
    given = (TRUTH, TOLD) if form == "python" else (voc / "Annotations" if form == "xml folder" else voc, told)
    seen = perimetry.score_boxes(*given, classes=CLASSES if form == "indices" else None)
    expected = voc_scores(TRUTH, TOLD)
    assert seen.total["voc07_map"] == expected.voc07_map
    assert seen.total["voc_ap"] == expected.voc_ap
    assert "1 of 6 images have no detection" in seen.notes
    assert [image.name for image in seen.images] == sorted(TRUTH)


def test_coco_tells_its_own_scores(tmp_path):
    pytest.importorskip("faster_coco_eval")
    ids = {name: 70 + index for index, name in enumerate(TRUTH)}
    categories = {label: 3 * index for index, label in enumerate(CLASSES)}
    annotations = [
        {
            "image_id": ids[name],
            "category_id": categories[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": int(hard),
            "area": (x2 - x1) * (y2 - y1),
        }
        for name, truth in TRUTH.items()
        for (x1, y1, x2, y2), label, hard in zip(truth.boxes_xyxy.tolist(), truth.labels, truth.difficult, strict=True)
    ]
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": ids[name], "file_name": f"train/{name}.jpg", "height": 9, "width": 8} for name in TRUTH
                ],
                "annotations": annotations,
                "categories": [{"id": each, "name": label} for label, each in categories.items()],
            }
        )
    )
    told = written(tmp_path, detections(ids, categories))
    seen = perimetry.score_boxes(tmp_path / "truth.json", told)
    expected = coco_scores(TRUTH, TOLD, classes=CLASSES)
    assert seen.total["coco_ap"] == pytest.approx(expected.coco_ap, rel=1e-12)
    assert seen.total["ap50"] == pytest.approx(expected.ap50, rel=1e-12)
    assert [image.name for image in seen.images] == sorted(TRUTH)
    assert (seen.images[0].picture().height, seen.images[0].picture().width) == (9, 8)


def test_sizes_are_told_apart_by_cocos_scores():
    pytest.importorskip("faster_coco_eval")
    seen = perimetry.score_boxes(TRUTH, TOLD, metrics=("coco",), sizes=(24,))
    expected = coco_by_size({**TRUTH}, TOLD, sizes=(24,), classes=[*seen.classes])
    assert seen.total["by_size"] == {name: asdict(each) for name, each in expected.items()}
    assert [each.objects > 0 for each in expected.values()] == [True, True, True]
    with pytest.raises(InputError, match="ask for the metric coco"):
        perimetry.score_boxes(TRUTH, TOLD, sizes=(24,))


def test_the_default_score_has_the_largest_f1_of_all():
    seen = perimetry.score_boxes(TRUTH, TOLD)
    every = sorted({score for told in TOLD.values() for score in told.scores.tolist()})
    f1 = {each: perimetry.score_boxes(TRUTH, TOLD, min_score=each).total["f1"] for each in every}
    assert seen.total["f1"] == max(f1.values())
    assert f1[seen.total["min_score"]] == max(f1.values())


def test_images_count_the_detections_that_reach_the_score():
    seen = perimetry.score_boxes(TRUTH, TOLD, min_score=0.4)
    for image in seen.images:
        truth, told = TRUTH[image.name], TOLD.get(image.name, NOTHING)
        kept = told.scores >= 0.4
        labels = [label for label, keep in zip(told.labels, kept, strict=True) if keep]
        matching = match_boxes(truth, BoxPrediction(told.boxes_xyxy[kept], told.scores[kept], labels))
        assert image.picture().matching == matching
        assert (image.scores["true"], image.scores["missed"]) == (matching.true, len(matching.missed))
    assert seen.total["true"] == sum(image.scores["true"] for image in seen.images)


def test_curves_stop_where_the_score_was_chosen():
    seen = perimetry.score_boxes(TRUTH, TOLD)
    for curve in seen.curves:
        chosen = -1 if curve.chosen is None else curve.chosen
        assert (curve.thresholds[: chosen + 1] >= seen.total["min_score"]).all()
        assert (curve.thresholds[chosen + 1 :] < seen.total["min_score"]).all()


def test_intervals_come_from_whole_images():
    from perimetry.scoring.annotations import TrueImage
    from perimetry.scoring.box_images import BoxImage
    from perimetry.scoring.boxes import _mean_ap, _Record

    expected = voc_scores(TRUTH, TOLD, classes=CLASSES)
    records = [
        _Record.of(
            BoxImage(name, TrueImage(TRUTH[name]), TOLD.get(name, BoxPrediction((), (), ())), 0, 0.5), each, CLASSES
        )
        for name, each in expected.images.items()
    ]
    assert _mean_ap(records, "voc07_ap") == pytest.approx(expected.voc07_map, rel=1e-12)
    assert _mean_ap(records, "voc_ap") == pytest.approx(expected.voc_map, rel=1e-12)
    seen = perimetry.score_boxes(TRUTH, TOLD, bootstrap=50, seed=1)
    assert set(seen.intervals) == {"voc07_map", "voc_map", "f1"}


def test_recall_of_proposals():
    seen = perimetry.score_boxes(TRUTH, TRUTH_AS_TOLD, metrics=["recall"])
    assert seen.total["average_recall"] == {"10": 1.0, "100": 1.0, "1000": 1.0}


TRUTH_AS_TOLD = {
    name: BoxPrediction(truth.boxes_xyxy, np.linspace(0.9, 0.5, len(truth)), truth.labels)
    for name, truth in TRUTH.items()
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [5, 5, -2, 3]}, r"width or height below 0 \(x2 < x1 or y2 < y1\)"),
        ({"bbox": [5, 5, 3]}, r"expected \[x, y, width, height\]"),
        ({"bbox": [5, 5, 3, float("nan")]}, "expected a finite number"),
        ({"score": "high"}, "score is 'high'; expected a number"),
        ({"score": 10**400}, "expected a number"),
        ({"category_id": "dragon"}, "category_id is 'dragon', which the truth does not know; expected one of 'bird'"),
        ({"category_id": 1}, "the truth has names only; name the classes in their order with --classes"),
        ({"category_id": None}, "category_id is None"),
    ],
)
def test_what_is_wrong_with_a_detection_is_told(voc, change, message):
    good = {"image_id": "img_0", "category_id": "cat", "bbox": [1, 2, 3, 4], "score": 0.5}
    with pytest.raises(InputError, match=f"detection 1.*{message}"):
        perimetry.score_boxes(voc, written(voc, [good, good | change]))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("[{", FileError, "is not JSON"),
        ("[" * 100_000, FileError, "is not JSON"),
        ({"annotations": []}, InputError, "holds a dict; expected a list of detections"),
        ([{"image_id": 1}], InputError, "detection 0 lacks category_id, bbox, score"),
        ([7], InputError, "detection 0 is 7"),
    ],
)
def test_what_is_wrong_with_the_file_is_told(voc, content, error, message):
    with pytest.raises(error, match=message):
        perimetry.score_boxes(voc, written(voc, content))


def test_an_image_that_the_truth_does_not_know_is_listed(voc):
    told = [{"image_id": "nowhere", "category_id": "cat", "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(UnmatchedError, match="no truth for 1 prediction: nowhere"):
        perimetry.score_boxes(voc, written(voc, told))
    seen = perimetry.score_boxes(voc, written(voc, told), only_common=True)
    assert seen.notes[0] == "left out: no truth for 1 prediction: nowhere"


BOMB = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (BOMB, FileError, "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', FileError, "declares a document type"),
        ("<a>" * 40 + "</a>" * 40, FileError, "more than 32 deep"),
        ("<annotation>", FileError, "is not XML that can be read"),
        ("", FileError, "is not XML that can be read"),
        ("<annotation><object><name>cat</name></object></annotation>", InputError, "object 1, has no bndbox"),
        (xml_of(TRUTH["img_0"]).replace("<xmin>", "<xmin>9"), InputError, "with xmax < xmin"),
        (xml_of(TRUTH["img_0"]).replace("<xmin>", "<xmin>a"), InputError, "xmin is 'a.*expected a number"),
    ],
)
def test_annotations_are_read_with_care(voc, content, error, message):
    (voc / "Annotations" / "img_0.xml").write_text(content)
    with pytest.raises(error, match=message):
        perimetry.score_boxes(voc, written(voc, []))


def test_large_annotations_are_refused(voc, monkeypatch):
    monkeypatch.setattr("perimetry.scoring.xml_tree.LARGEST", 100)
    with pytest.raises(FileError, match="is larger than"):
        perimetry.score_boxes(voc, written(voc, []))


def test_an_empty_difficult_means_no(data):
    seen = perimetry.score_boxes(data / "voc_sample3", written_as_truth(data / "voc_sample3"))
    assert (seen.total["voc07_map"], seen.total["voc_map"], seen.total["missed"]) == (1.0, 1.0, 0)
    assert seen.images[0].photo.name == "2011_000003.jpg"
    picture = seen.images[0].picture()
    assert (picture.height, picture.width, picture.truth.difficult.any()) == (338, 500, False)


def test_continuous_boxes_are_brought_to_vocs_pixels(data, tmp_path):
    folder = data / "voc_sample3"
    told = [
        {"image_id": name, "category_id": label, "score": 1.0, "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]}
        for name, each in written_as_truth(folder).items()
        for (x1, y1, x2, y2), label in zip(each.boxes_xyxy.tolist(), each.labels, strict=True)
    ]
    file = tmp_path / "told.json"
    file.write_text(json.dumps(told))
    # At an overlap of 1 only the very pixels count.
    assert perimetry.score_boxes(folder, file, coordinates="coco", iou=1.0).total["missed"] == 0
    assert perimetry.score_boxes(folder, file, iou=1.0).total["missed"] > 0


def test_coordinates_are_of_files():
    with pytest.raises(UnknownNameError, match="unknown coordinates 'cocoo'; did you mean 'coco'"):
        perimetry.score_boxes(TRUTH, {}, coordinates="cocoo")
    with pytest.raises(InputError, match="coordinates are of files"):
        perimetry.score_boxes(TRUTH, {}, coordinates="coco")


def written_as_truth(folder):
    from perimetry.scoring.annotations import read_voc

    images = read_voc(folder, None).images
    return {
        name: BoxPrediction(each.truth.boxes_xyxy, np.ones(len(each.truth)), each.truth.labels)
        for name, each in images.items()
    }
