"""Files as people really have them: whatever they hold, they are read, or named in one sentence; nothing crashes."""

import json
import os

import numpy as np
import pytest

from data.made_folders import class_folders, coco, image, mask, voc_boxes
from data.test_odd_layouts import told
from perimetry.data import check, open_dataset, split
from perimetry.errors import FileError

OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>5</ymax></bndbox></object>"


@pytest.mark.parametrize("encoding", ["gbk", "no-such-encoding"])
def test_xml_in_an_encoding_that_is_not_read_is_named(tmp_path, encoding):
    voc_boxes(tmp_path)
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation>{OBJECT.format("猫", 5)}</annotation>'
    (tmp_path / "Annotations" / "a.xml").write_bytes(text.encode("gbk"))
    ((kind, sentence),) = told(check(tmp_path))
    assert kind == "broken_file"
    assert sentence.startswith("Annotations/a.xml: is XML in an encoding that is not read")


def test_xml_of_something_else_is_no_image_of_background(tmp_path):
    voc_boxes(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("<svg><path/></svg>", encoding="utf-8")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation/>", encoding="utf-8")
    report = check(tmp_path)
    assert told(report) == [
        ("broken_file", "Annotations/a.xml: is no VOC annotation: it holds <svg>, and no object"),
    ]
    assert report.backgrounds == 1


def test_corners_beyond_all_sense_are_no_boxes(tmp_path):
    voc_boxes(tmp_path / "voc")
    (tmp_path / "voc" / "Annotations" / "a.xml").write_text(f"<annotation>{OBJECT.format('cat', '1e300')}</annotation>")
    assert told(check(tmp_path / "voc"))[0][1] == "Annotations/a.xml: object 1 has no box of four numbers"
    box = {"image_id": 7, "category_id": 9}
    boxes = [{**box, "bbox": [1, 2, 3, 10**400]}, {**box, "bbox": [1, 2, 3, 4], "area": 10**400}]
    coco(tmp_path / "coco", annotations=boxes, categories=[{"id": 9, "name": "cat"}, {"id": 10**400, "name": "dog"}])
    report = check(tmp_path / "coco")
    assert [problem.kind for problem in report.errors] == ["annotation"]
    assert report.dataset.samples[0].objects.areas == (12.0,)


def test_names_that_no_file_can_have_are_missing_files(tmp_path):
    long = "x" * 5000 + ".jpg"
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": long}, {"id": 9, "file_name": "a\0b.jpg"}]
    coco(tmp_path / "coco", images=("a.jpg",))
    file = tmp_path / "coco" / "annotations.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": images}), encoding="utf-8")
    assert [kind for kind, _ in told(check(tmp_path / "coco"))] == ["missing_file"] * 2
    image(tmp_path / "csv" / "a.png")
    image(tmp_path / "csv" / "b.png")
    (tmp_path / "csv" / "labels.csv").write_text(f"path,label\na.png,cat\n{long},dog\nb.png,dog\n", encoding="utf-8")
    report = check(tmp_path / "csv")
    assert [kind for kind, _ in told(report)] == ["missing_file"]
    assert "cannot be read" in report.to_html()


def test_categories_go_by_their_ids_however_large(tmp_path):
    names = {10**16: "eel", 9 * 10**15: "dog", 9: "cat", 3: "ant"}
    coco(tmp_path, categories=[{"id": number, "name": name} for number, name in names.items()])
    assert open_dataset(tmp_path).classes == ("ant", "cat", "dog", "eel")


def test_two_categories_of_one_id_are_told(tmp_path):
    coco(tmp_path, categories=[{"id": 9, "name": "dog"}, {"id": 9, "name": "eel"}, {"id": 3, "name": "cat"}])
    report = check(tmp_path)
    assert told(report)[0] == (
        "annotation",
        "annotations.json: categories[1] (eel) has the id 9 of another category (dog)",
    )
    assert {each.name: each.objects for each in report.classes} == {"cat": 1, "dog": 1, "eel": 0}


def test_links_to_nothing_are_missing_files(tmp_path):
    class_folders(tmp_path / "classes", splits=None)
    (tmp_path / "classes" / "cat" / "gone.png").symlink_to("/no/such/file.png")
    assert told(check(tmp_path / "classes")) == [("missing_file", "cat/gone.png: no such photo")]
    for name in "ab":
        image(tmp_path / "pairs" / "images" / f"{name}.png")
    mask(tmp_path / "pairs" / "masks" / "a.png")
    (tmp_path / "pairs" / "masks" / "b.png").symlink_to("/no/such/file.png")
    assert [kind for kind, _ in told(check(tmp_path / "pairs"))] == ["missing_file"]
    with pytest.raises(FileError, match="no such file"):
        open_dataset(tmp_path / "pairs")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes there alone")
def test_names_that_are_not_utf_8_are_told_as_others(tmp_path):
    class_folders(tmp_path, splits=None, count=4)
    try:
        broken = os.open(os.fsencode(tmp_path / "cat") + b"/\xff.png", os.O_CREAT | os.O_WRONLY)
    except OSError:
        pytest.skip("this file system takes no such name")
    os.close(broken)
    report = check(tmp_path)
    (problem,) = json.loads(report.to_json().encode())["problems"]
    assert os.fsencode(problem["file"]) == b"cat/\xff.png"
    report.to_text().encode()
    report.to_html().encode()
    assert sum(len(part) for part in split(open_dataset(tmp_path), (0.5, 0.5))) == 9


def test_an_npy_file_with_a_damaged_header_is_named(tmp_path):
    array = np.zeros((12, 16), np.uint8)
    image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "a.npy", array)
    content = (tmp_path / "masks" / "a.npy").read_bytes()
    (tmp_path / "masks" / "a.npy").write_bytes(content.replace(b"}", b" "))
    kind, sentence = told(check(tmp_path))[0]
    assert (kind, sentence[:44]) == ("broken_file", "masks/a.npy: cannot be read as an NPY file: ")
