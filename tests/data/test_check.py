"""The check before training: every kind of problem is found, named and counted, and nothing else is."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from data.made_folders import HOSTILE, class_folders, coco, image, lists, mask, voc_boxes, voc_masks, xml
from perimetry.data import KINDS, DataReport, check, open_dataset
from perimetry.data.summary import ObjectSizes
from perimetry.errors import InputError


def kinds(report):
    return [(problem.kind, None if problem.file is None else problem.file.as_posix()) for problem in report.problems]


def sentence(report, kind):
    (found,) = [problem for problem in report.problems if problem.kind == kind]
    return found.sentence


def test_all_is_well_with_each_layout(tmp_path):
    class_folders(tmp_path / "a")
    voc_masks(tmp_path / "b")
    voc_boxes(tmp_path / "c")
    coco(tmp_path / "d")
    for name in "abcd":
        assert check(tmp_path / name).problems == ()


def test_broken_images_are_all_found_and_named(tmp_path):
    class_folders(tmp_path, count=4)
    (tmp_path / "train/cat/0.png").write_bytes(b"no image at all")
    whole = (tmp_path / "val/dog/1.png").read_bytes()
    (tmp_path / "val/dog/1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "val/dog/2.png").write_bytes(b"")
    report = check(tmp_path)
    assert kinds(report) == [
        ("broken_file", "train/cat/0.png"),
        ("broken_file", "val/dog/1.png"),
        ("broken_file", "val/dog/2.png"),
    ]
    assert report.unreadable == report.errors == report.problems
    assert "damaged or incomplete" in report.problems[1].sentence
    assert str(tmp_path) not in json.dumps(report.to_dict())  # nobody's folders in a file that may be passed on
    assert len(report.sizes) == 13
    assert len(report.sound) == 13 and not check(report.sound).problems


def test_masks_that_do_not_fit(tmp_path):
    voc_masks(tmp_path, names="abcdefgh")
    masks = tmp_path / "SegmentationClass"
    mask(masks / "b.png", height=10)
    mask(masks / "c.png", np.full((12, 16), 9))
    mask(masks / "d.png", np.full((12, 16), 255))
    Image.new("RGB", (16, 12)).save(masks / "e.png")
    (masks / "f.png").write_bytes(b"no mask")
    (masks / "g.png").unlink()
    (tmp_path / "JPEGImages/h.jpg").unlink()
    report = check(tmp_path)
    assert kinds(report) == [
        ("broken_file", "SegmentationClass/f.png"),
        ("missing_file", "SegmentationClass/h.png"),
        ("label_range", "SegmentationClass/c.png"),
        ("mask_values", "SegmentationClass/e.png"),
        ("mask_size", "SegmentationClass/b.png"),
        ("all_ignored", "SegmentationClass/d.png"),
        ("unlabelled", "JPEGImages"),
    ]
    assert sentence(report, "mask_size") == "has 10×16 pixels, its image 12×16"
    assert sentence(report, "label_range") == "holds the labels 9 (192 px); there are 2 classes, from 0 to 1"
    assert sentence(report, "unlabelled") == "left out, without a mask (1): g"
    assert "holds colours (RGB)" in sentence(report, "mask_values")


def test_pixels_of_classes_are_counted(tmp_path):
    voc_masks(tmp_path, names="ab", classes=("background", "cell", "wall"))
    report = check(tmp_path)
    assert [(each.name, each.images, each.pixels) for each in report.classes] == [
        ("background", 2, 192),
        ("cell", 2, 190),
        ("wall", 0, 0),
    ]
    assert report.ignored_pixels == 2
    assert sentence(report, "empty_class") == "1 of 3 classes have no example: wall"


def test_masks_in_black_and_white_are_seen_through(tmp_path):
    for name in "ab":
        image(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "masks" / f"{name}.png", 255 * np.eye(12, 16))
    assert sentence(check(tmp_path), "one_class") == (
        "every counted pixel is of the class 0 (255 is ignored; masks in black and white need 0 and 1, or one bit)"
    )


def test_masks_of_fractions_stacks_and_large_numbers(tmp_path):
    for name in "abcd":
        image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "masks").mkdir()
    for name, labels in (("a", np.full((12, 16), 0.5)), ("b", np.zeros((2, 12, 16))), ("c", np.full((12, 16), 1000))):
        np.save(tmp_path / "masks" / f"{name}.npy", labels)
    np.save(tmp_path / "masks" / "d.npy", np.eye(12, 16))
    report = check(tmp_path)
    assert [kind for kind, _ in kinds(report)] == ["label_range", "mask_values", "mask_values"]
    assert report.dataset.classes == ("0", "1")


def test_boxes_outside_and_without_area(tmp_path):
    voc_boxes(tmp_path, names="abcdef")
    below = tmp_path / "Annotations"
    xml(below / "a.xml", [("cat", 1, 1, 30, 6)])
    xml(below / "b.xml", [("cat", 17, 1, 30, 6), ("dog", 1, 1, 2, 2)])
    xml(below / "c.xml", [("cat", 5, 1, 2, 6), ("dog", 1, 1, 1, 1)])  # the second is one pixel, and right
    xml(below / "d.xml", [("cat", 0, 0, 17, 13)])  # a pixel too far, as tools that disagree write it
    xml(below / "e.xml", [("cat", "x", 1, 2, 6), ("", 1, 1, 2, 2)])
    xml(below / "f.xml", [], size=(24, 32))
    report = check(tmp_path)
    assert kinds(report) == [
        ("annotation", "Annotations/e.xml"),
        ("annotation", "Annotations/e.xml"),
        ("degenerate_box", "Annotations/c.xml"),
        ("box_beyond", "JPEGImages/b.jpg"),
        ("box_outside", "JPEGImages/a.jpg"),
        ("image_size", "JPEGImages/f.jpg"),
    ]
    assert sentence(report, "box_outside") == "box 1 (0, 0, 30, 6) reaches outside the 12×16 pixels"
    assert sentence(report, "degenerate_box") == "object 1 (cat) has xmax < xmin or ymax < ymin: 5, 1, 2, 6"
    assert sentence(report, "image_size") == "has 12×16 pixels, its annotation says 24×32"
    assert report.backgrounds == 2


def test_unknown_classes(tmp_path):
    voc_boxes(tmp_path, names="ab")
    report = check(tmp_path, classes=["cat", "cow"])
    assert kinds(report)[:2] == [("unknown_class", "Annotations/a.xml"), ("unknown_class", "Annotations/b.xml")]
    assert report.problems[0].sentence == "the class 'dog' is none of cat, cow"
    assert sentence(report, "empty_class") == "1 of 2 classes have no example: cow"
    assert [sample.objects.labels for sample in report.dataset.samples] == [(1,), (1,)]


def test_object_sizes_are_coco_s():
    sizes = ObjectSizes.of([32**2 - 1, 32**2, 96**2 - 1, 96**2])
    assert (sizes.small, sizes.medium, sizes.large) == (1, 2, 1)
    assert sizes.quantiles[0] == pytest.approx(32, abs=0.02) and sizes.quantiles[-1] == 96


def test_one_class_and_none(tmp_path):
    class_folders(tmp_path / "a", splits=None, classes=("cat",))
    (tmp_path / "a/dog").mkdir()
    report = check(tmp_path / "a")
    assert sentence(report, "one_class") == "every image is of the class cat"
    assert sentence(report, "empty_class") == "1 of 2 classes have no example: dog"
    voc_boxes(tmp_path / "b", objects=[("cat", 1, 1, 4, 4)])
    assert check(tmp_path / "b").problems == ()  # one class beside the background is enough
    voc_boxes(tmp_path / "c", objects=[])
    assert sentence(check(tmp_path / "c"), "one_class").startswith("no image has an object")


def test_a_class_that_is_missing_in_train(tmp_path):
    class_folders(tmp_path)
    for file in (tmp_path / "train/dog").iterdir():
        file.unlink()
    assert sentence(check(tmp_path), "empty_class") == "1 of 2 classes have no example in train: dog"


def test_the_same_image_in_two_splits_or_with_two_labels(tmp_path):
    class_folders(tmp_path)
    content = (tmp_path / "train/cat/0.png").read_bytes()
    (tmp_path / "val/cat/9.png").write_bytes(content)
    (tmp_path / "train/dog/9.png").write_bytes(content)
    (tmp_path / "train/cat/8.png").write_bytes(content)  # in one split with one label: allowed
    report = check(tmp_path)
    assert kinds(report) == [
        ("duplicate", "val/cat/9.png"),
        ("two_labels", "train/dog/9.png"),
        ("two_labels", "val/cat/9.png"),
    ]
    assert sentence(report, "duplicate") == "is the same as train/cat/0.png, in train; it is in val"


def test_names_in_two_splits(tmp_path):
    voc_boxes(tmp_path)
    lists(tmp_path, "Main", train=["a", "b"], val=["b", "c"], trainval=["a", "b", "c"])
    report = check(tmp_path)
    assert kinds(report) == [("two_splits", "JPEGImages/b.jpg")]
    assert sentence(report, "two_splits") == "stands in train and in val"


def test_turned_images_matter_where_truth_has_places(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    voc_boxes(tmp_path / "a", names="a", objects=[("cat", 1, 1, 4, 4)])
    image(tmp_path / "a/JPEGImages/a.jpg", exif=exif)
    report = check(tmp_path / "a")
    assert [kind for kind, _ in kinds(report)] == ["turned_boxes", "turned_image"]
    told = "its annotation says 12×16, as before the EXIF orientation turns it to 16×12; its boxes lie elsewhere"
    assert told in str(report.errors[0])
    assert report.sizes == {"a": (16, 12)}
    assert not report.sound.samples
    voc_boxes(tmp_path / "c", names="a", objects=[("cat", 1, 1, 4, 4)])
    image(tmp_path / "c/JPEGImages/a.jpg", 16, 12)
    assert [kind for kind, _ in kinds(check(tmp_path / "c"))] == ["image_size"]
    xml(tmp_path / "a/Annotations/a.xml", [("cat", 1, 1, 4, 4)], size=(16, 12))
    assert [kind for kind, _ in kinds(check(tmp_path / "a"))] == ["turned_image"]
    class_folders(tmp_path / "b", splits=None)
    image(tmp_path / "b/cat/9.jpg", exif=exif)
    assert check(tmp_path / "b").problems == ()


def test_one_split_only(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "train/cat/0.png").write_bytes(b"")
    report = check(tmp_path, split="val")
    assert (len(report.dataset), report.problems) == (4, ())
    voc_boxes(tmp_path / "voc", names="abc")
    xml(tmp_path / "voc/Annotations/a.xml", [("cat", 5, 1, 2, 6)])
    lists(tmp_path / "voc", "Main", train=["a"], val=["b", "c"])
    assert check(tmp_path / "voc", split="val").problems == ()
    assert [kind for kind, _ in kinds(check(tmp_path / "voc", split="train"))][:1] == ["degenerate_box"]


def test_an_open_dataset_can_be_checked(tmp_path):
    voc_masks(tmp_path)
    mask(tmp_path / "SegmentationClass/b.png", height=9)
    report = check(open_dataset(tmp_path))
    assert kinds(report)[0][0] == "mask_size" and report.layout is None
    with pytest.raises(InputError, match="belong to a folder"):
        check(open_dataset(tmp_path), classes=["a"])


def test_every_error_becomes_a_refusal_or_is_left_out(tmp_path):
    voc_boxes(tmp_path)
    (tmp_path / "Annotations/b.xml").write_text("<annotation>")
    report = check(tmp_path)
    assert kinds(report) == [("broken_file", "Annotations/b.xml")]
    assert [sample.name for sample in report.dataset.samples] == ["a", "c"]
    assert report.dataset == open_dataset(tmp_path, problems="leave_out")


def test_progress_and_warnings_are_left_as_found(tmp_path):
    class_folders(tmp_path, count=20)
    steps = []
    before = list(warnings.filters)
    check(tmp_path, workers=4, progress=lambda done, total: steps.append((done, total)))
    assert warnings.filters == before
    assert steps == [(done, 80) for done in range(81)]
    with pytest.raises(InputError, match="one worker or more"):
        check(tmp_path, workers=0)


def test_the_report_as_data_and_text(tmp_path):
    voc_boxes(tmp_path, objects=[(HOSTILE, 1, 1, 8, 6), ("dog", 3, 4, 16, 12)])
    lists(tmp_path, "Main", train=["a"], val=["b", "c"])
    (tmp_path / "JPEGImages/c.jpg").write_bytes(b"")
    report = check(tmp_path)
    found = json.loads(report.to_json())
    assert next(iter(found.items())) == ("schema", 1)
    assert (found["images"], found["splits"], found["errors"]) == (3, {"train": 1, "val": 2}, 1)
    assert found["classes"][0] == {
        "name": HOSTILE,
        "label": 1,
        "images": 3,
        "objects": 3,
        "by_split": {"train": 1, "val": 2},
    }
    assert found["problems"][0]["file"] == "JPEGImages/c.jpg"
    for width in (40, 60, 100):
        text = report.to_text(width=width)
        assert all(len(line) <= width for line in text.splitlines())
        assert ("in train" in text) == (width == 100)
    assert "1 error, 0 warnings\n\nerror: files that cannot be read (1)\n  JPEGImages/c.jpg: is not a photo" in text
    assert set(KINDS) >= {each["kind"] for each in found["problems"]}


def test_bccd_has_the_figures_of_its_notice(data):
    report = check(data / "bccd320")
    assert report.problems == ()
    assert {each.name: each.objects for each in report.classes} == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    assert report.image_sizes == {(240, 320): 364}


def test_camvid_adds_up_to_every_pixel(data):
    report = check(data / "camvid_half", split="val")
    assert isinstance(report, DataReport) and report.problems == ()
    assert sum(each.pixels for each in report.classes) + report.ignored_pixels == 101 * 180 * 240


def test_images_beyond_pillow_s_limit_are_broken_on_every_thread(tmp_path, monkeypatch):
    class_folders(tmp_path, splits=None, count=20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12 * 16 - 1)
    report = check(tmp_path, workers=8)
    assert [kind for kind, _ in kinds(report)] == ["broken_file"] * 40
    assert "holds more than 191 pixels (Pillow's limit)" in report.problems[0].sentence
