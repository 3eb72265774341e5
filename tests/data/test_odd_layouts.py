"""Datasets as people really have them: what is odd is told or refused, and nothing is left out without a word."""

import re

import pytest

from data.made_folders import class_folders, coco, image, lists, mask, voc_boxes
from perimetry.data import check, open_dataset
from perimetry.errors import InputError


def told(report):
    return [(problem.kind, str(problem)) for problem in report.problems]


def test_a_stray_image_beside_classes_takes_no_split_away(tmp_path):
    class_folders(tmp_path)
    image(tmp_path / "train" / "stray.png")
    report = check(tmp_path)
    assert {split: len(held) for split, held in report.dataset.splits.items()} == {"train": 4, "val": 4}
    assert told(report) == [("unlabelled", "left out, in no folder of a class (1): train/stray.png")]


def test_images_in_no_folder_of_a_class_are_told(tmp_path):
    class_folders(tmp_path / "flat", splits=None)
    image(tmp_path / "flat" / "stray.png")
    assert told(check(tmp_path / "flat")) == [("unlabelled", "left out, in no folder of a class (1): stray.png")]
    class_folders(tmp_path / "splits")
    image(tmp_path / "splits" / "extra" / "deep" / "x.png")
    report = check(tmp_path / "splits")
    assert told(report) == [("unlabelled", "left out, in no folder of a class (1): extra/deep/x.png")]
    assert len(report.dataset) == 8


def test_a_class_called_train_may_have_folders(tmp_path):
    class_folders(tmp_path, splits=None, classes=("bus", "train"))
    image(tmp_path / "train" / "night" / "2.png")
    assert (open_dataset(tmp_path).classes, dict(open_dataset(tmp_path).splits)) == (("bus", "train"), {})


def table(root, text):
    for name in "abc":
        image(root / f"{name}.png")
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,path,label\n0,a.png,cat\n1,b.png,dog\n2,c.png,cat\n", "one label several values of index, as if they"),
        ("path,class_index,label\na.png,0,cat\nb.png,0,dog\nc.png,1,eel\n", "calls the class 0 'cat' and 'dog'"),
        ("path,label,label\na.png,cat,1\nb.png,dog,2\n", "two columns 'label'"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        open_dataset(table(tmp_path, text))


def test_two_classes_of_a_table_may_share_a_name(tmp_path):
    dataset = open_dataset(table(tmp_path, "path,class_index,name\na.png,0,crane\nb.png,1,crane\nc.png,1,crane\n"))
    assert (dataset.classes, [sample.label for sample in dataset.samples]) == (("crane", "crane"), [0, 1, 1])


def test_names_that_end_in_a_space_and_a_digit_are_no_marks(tmp_path):
    voc_boxes(tmp_path, names=("img 0", "img 1", "img 2"))
    lists(tmp_path, "Main", train=["img 1", "img 2"], val=["img 0"], cat_val=["img 0 -1"], cat_train=["img  1", "b -1"])
    assert dict(open_dataset(tmp_path).splits) == {"train": ("img 1", "img 2"), "val": ("img 0",)}


def test_a_name_in_two_forms_stands_once_in_its_split(tmp_path):
    voc_boxes(tmp_path)
    lists(tmp_path, "Main", train=["a", "a.jpg", "b"], val=["c"])
    report = check(tmp_path)
    assert report.dataset.splits["train"] == ("a", "b")
    assert report.classes[0].by_split == {"train": 2, "val": 1}


def test_two_lists_or_folders_of_one_split_are_refused(tmp_path):
    voc_boxes(tmp_path / "voc")
    lists(tmp_path / "voc", "Main", train=["a"], val=["b"], validation=["c"])
    with pytest.raises(InputError, match=r"val\.txt and .*validation\.txt are both of the split val; keep one"):
        open_dataset(tmp_path / "voc")
    for split in ("train", "val", "valid"):
        image(tmp_path / "pairs" / split / "images" / "a.png")
        mask(tmp_path / "pairs" / split / "masks" / "a.png")
    with pytest.raises(InputError, match=r"val.images and .*valid.images are both of the split val"):
        open_dataset(tmp_path / "pairs")


@pytest.mark.parametrize("names", [("a", "a_mask"), ("a_gt", "a_mask")])
def test_two_masks_of_one_image_are_told(tmp_path, names):
    for name in "ab":
        image(tmp_path / "images" / f"{name}.png")
    for name in (*names, "b"):
        mask(tmp_path / "masks" / f"{name}.png")
    report = check(tmp_path)
    assert told(report) == [("doubled_name", f"masks/{names[1]}.png: {names[0]}.png is a mask of a, too; keep one")]


@pytest.mark.parametrize("form", ["{kind}/{split}", "{split}/{kind}"])
def test_a_split_without_masks_is_told(tmp_path, form):
    for split in ("train", "test"):
        image(tmp_path / form.format(kind="images", split=split) / "a.png")
    mask(tmp_path / form.format(kind="masks", split="train") / "a.png")
    report = check(tmp_path)
    where = form.format(kind="images", split="test")
    assert told(report) == [("unlabelled", f"{where}: left out, without a folder of masks (1 images)")]
    assert list(report.dataset.splits) == ["train"]


def test_images_that_no_coco_file_lists_are_told_once(tmp_path):
    coco(tmp_path, file="annotations/train.json", images=("a.jpg", "b.jpg"))
    coco(tmp_path, file="annotations/val.json", images=("c.jpg", "d.jpg"))
    image(tmp_path / "images" / "e.jpg")
    assert told(check(tmp_path)) == [("unlabelled", "images: left out, not in train.json or val.json (1): e.jpg")]


@pytest.mark.parametrize("split", [None, "val"])
def test_a_split_without_an_image_is_told(tmp_path, split):
    voc_boxes(tmp_path)
    lists(tmp_path, "Main", train=["a", "b", "c"], val=[])
    assert told(check(tmp_path, split=split)) == [("empty_split", "no image is left in val")]
    assert check(tmp_path, split="train").problems == ()
