"""Opening datasets: each layout as its files say it, recognised, and refused where it is none or several."""

import json

import numpy as np
import pytest
from PIL import Image

from data.made_folders import class_folders, coco, image, lists, mask, voc_boxes, voc_masks, xml
from perimetry.data import LAYOUTS, Dataset, Objects, Sample, open_dataset
from perimetry.data.layouts import list_dataset
from perimetry.errors import FileError, InputError, UnknownNameError


def labels(dataset):
    return {sample.name: sample.label for sample in dataset.samples}


def test_folders_of_classes_in_folders_of_splits(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "val" / "eel").mkdir()  # a class without an image is one
    image(tmp_path / "train" / "cat" / "deeper" / "2.JPG")
    image(tmp_path / "train" / "cat" / ".hidden.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.task, dataset.classes, dataset.name) == ("classification", ("cat", "dog", "eel"), tmp_path.name)
    assert {split: len(held) for split, held in dataset.splits.items()} == {"train": 5, "val": 4}
    assert labels(dataset)["train/cat/deeper/2.JPG"] == 0
    assert labels(dataset)["val/dog/1.png"] == 1
    assert [sample.name for sample in open_dataset(tmp_path, split="validation").samples] == list(dataset.splits["val"])


def test_folders_of_classes_without_splits_and_a_class_called_train(tmp_path):
    class_folders(tmp_path, splits=None, classes=("bus", "train"))
    dataset = open_dataset(tmp_path)
    assert (dataset.classes, dict(dataset.splits)) == (("bus", "train"), {})
    assert labels(dataset) == {"bus/0.png": 0, "bus/1.png": 0, "train/0.png": 1, "train/1.png": 1}


def test_classes_given_set_the_order(tmp_path):
    class_folders(tmp_path, splits=None)
    assert labels(open_dataset(tmp_path, classes=["dog", "cat"]))["dog/0.png"] == 0
    with pytest.raises(InputError, match="dog: the folder with 2 images is none of the classes cat, cow"):
        open_dataset(tmp_path, classes=["cat", "cow"])
    assert len(open_dataset(tmp_path, classes=["cat", "cow"], problems="leave_out")) == 2
    with pytest.raises(InputError, match="names the class 'cat' twice"):
        open_dataset(tmp_path, classes=["cat", "cat"])


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("path,label\na.png,dog\nb.png,cat\n", ("cat", "dog"), (1, 0)),
        ("path,label\na.png,10\nb.png,2\n", tuple(map(str, range(11))), (10, 2)),  # numbers, not in the order of text
        ("image,class_index,name\na.png,2,bee\nb.png,0,ant\n", ("ant", "1", "bee"), (2, 0)),
        ("\ufefffilename , Label\na.png,x\nb.png,y\n", ("x", "y"), (0, 1)),
    ],
)
def test_tables(tmp_path, text, classes, expected):
    for name in "ab":
        image(tmp_path / f"{name}.png")
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    for place in (tmp_path, tmp_path / "table.csv"):
        dataset = open_dataset(place)
        assert dataset.classes == classes
        assert tuple(labels(dataset).values()) == expected
        assert all(sample.image.is_file() for sample in dataset.samples)


def test_tables_have_splits_in_a_column_or_in_files(tmp_path):
    image(tmp_path / "a.png"), image(tmp_path / "b.png")
    (tmp_path / "table.csv").write_text("path,label,split\na.png,x,train\nb.png,y,valid\n", encoding="utf-8")
    assert open_dataset(tmp_path).splits == {"train": ("a.png",), "val": ("b.png",)}
    (tmp_path / "table.csv").unlink()
    (tmp_path / "train.csv").write_text("path,label\na.png,x\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("path,label\nb.png,y\n", encoding="utf-8")
    assert open_dataset(tmp_path).splits == {"train": ("a.png",), "test": ("b.png",)}
    (tmp_path / "test.csv").rename(tmp_path / "more.csv")
    with pytest.raises(InputError, match=r"several tables of labels: more\.csv, train\.csv; give one"):
        open_dataset(tmp_path)


def test_tables_that_make_no_sense(tmp_path):
    table = tmp_path / "table.csv"

    def opened(text, **options):
        table.write_text(text, encoding="utf-8")
        return open_dataset(tmp_path, **options)

    with pytest.raises(InputError, match=r"line 3, has 1 cells; its header has 2"):
        opened("path,label\na.png,x\nb.png\n")
    with pytest.raises(InputError, match="a header and no row"):
        opened("path,label\n")
    with pytest.raises(InputError, match=r"a\.png has the label 'cow', which is none of the 2 classes"):
        opened("path,label\na.png,cow\n", classes=["cat", "dog"])
    with pytest.raises(InputError, match=r"has the label 2, which is none of the 2 classes"):
        opened("path,class_index\na.png,2\n", classes=["cat", "dog"])
    with pytest.raises(InputError, match="as of a million classes"):
        opened("path,class_index\na.png,123456789\n")
    with pytest.raises(InputError, match=r"a\.png stands twice, with two labels"):
        opened("path,label\na.png,x\na.png,y\n")


def test_voc_masks(tmp_path):
    voc_masks(tmp_path)
    lists(tmp_path, "Segmentation", train=["a"], val=["b.jpg", "c"])
    dataset = open_dataset(tmp_path)
    assert dataset.task == "segmentation"
    assert dataset.label_names == dataset.classes == ("_background_", "cell")
    assert dataset.splits == {"train": ("a",), "val": ("b", "c")}
    assert dataset.samples[0] == Sample("a", tmp_path / "JPEGImages/a.jpg", mask=tmp_path / "SegmentationClass/a.png")
    lists(tmp_path, "Segmentation", test=["d"])
    with pytest.raises(FileError, match=r"test\.txt: d has no image, or no label; `perimetry data"):
        open_dataset(tmp_path)


def test_voc_boxes_count_from_1_and_hold_their_last_pixel(tmp_path):
    voc_boxes(tmp_path, objects=[("dog", 1, 1, 8, 6), ("cat", 3, 4, 16, 12)])
    xml(tmp_path / "Annotations" / "b.xml", [])
    lists(tmp_path, "Main", train=["a", "b"], trainval=["a", "b", "c"], val=["c"], cat_train=["a 1", "b -1"])
    dataset = open_dataset(tmp_path)
    assert (dataset.classes, dataset.label_names) == (("cat", "dog"), ("_background_", "cat", "dog"))
    assert list(dataset.splits) == ["train", "val", "trainval"]  # lists of single classes are none
    assert dataset.samples[0].objects == Objects(
        ((0.0, 0.0, 8.0, 6.0), (2.0, 3.0, 16.0, 12.0)), (2, 1), (False, False), (48.0, 126.0), (12, 16)
    )
    assert len(dataset.samples[1].objects) == 0  # background, and valid


def test_voc_boxes_beside_images_and_a_background_in_the_list(tmp_path):
    image(tmp_path / "a.png")
    xml(tmp_path / "a.xml", [("cat", 1, 1, 4, 4)])
    (tmp_path / "class_names.txt").write_text("_background_\nant\ncat\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert (dataset.classes, dataset.samples[0].objects.labels) == (("ant", "cat"), (2,))


def test_coco_boxes_are_named_by_category(tmp_path):
    dataset = open_dataset(coco(tmp_path))
    assert dataset.classes == ("cat", "dog")  # in the order of their ids
    assert dataset.samples[0].objects == Objects(
        ((1.0, 2.0, 5.0, 7.0), (0.5, 0.0, 8.5, 8.0)), (2, 1), (False, True), (18.0, 64.0), (12, 16)
    )
    assert len(dataset.samples[1].objects) == 0
    assert open_dataset(tmp_path / "annotations.json").samples == dataset.samples


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train2017", "val2017")),
        (("train.json", "val.json"), ("images/train", "images/val")),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train", "valid")),
    ],
)
def test_coco_with_a_file_for_each_split(tmp_path, files, folders):
    for file, folder in zip(files, folders, strict=True):
        coco(tmp_path, file, folder=folder)
    dataset = open_dataset(tmp_path)
    assert dataset.splits == {"train": ("train/a", "train/b"), "val": ("val/a", "val/b")}
    assert dataset.samples[0].image == tmp_path / folders[0] / "a.jpg"


def test_coco_that_makes_no_sense(tmp_path):
    def wrong(annotation):
        complete = {"image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]} | annotation
        coco(tmp_path, annotations=[complete])
        problems = list_dataset(tmp_path)[0].problems
        return [(problem.kind, problem.sample) for problem in problems]

    assert wrong({}) == []
    assert wrong({"bbox": [0, 0, 0, 4]}) == [("degenerate_box", "a")]
    assert wrong({"bbox": [0, 0, 4]}) == [("annotation", "a")]
    assert wrong({"bbox": [0, 0, 4, "x"]}) == [("annotation", "a")]
    assert wrong({"image_id": 99}) == [("annotation", None)]
    assert wrong({"image_id": [1]}) == [("annotation", None)]
    assert wrong({"category_id": 4}) == [("unknown_class", "a")]
    assert wrong({"category_id": {}}) == [("unknown_class", "a")]
    coco(tmp_path, images=("a.jpg", "gone.jpg"))
    (tmp_path / "images/gone.jpg").unlink()
    with pytest.raises(FileError, match=r"annotations\.json: its image gone\.jpg is not there"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, problems="leave_out")) == 1
    coco(tmp_path, images=[], annotations=7)
    with pytest.raises(InputError, match="expected annotations as a list of records"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("masks", ["masks", "labels"])
@pytest.mark.parametrize("ending", ["", "_mask"])
def test_pairs(tmp_path, masks, ending):
    for name in "ab":
        image(tmp_path / "images" / f"{name}.jpg")
        mask(tmp_path / masks / f"{name}{ending}.png")
    (tmp_path / "train.txt").write_text("a\n", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("about these images\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert (dataset.classes, dict(dataset.splits)) == (("0", "1"), {"train": ("a",)})
    assert dataset.samples[1].mask == tmp_path / masks / f"b{ending}.png"


@pytest.mark.parametrize("form", ["{split}/{kind}", "{kind}/{split}"])
def test_pairs_in_folders_of_splits(tmp_path, form):
    for split in ("train", "validation"):
        image(tmp_path / form.format(split=split, kind="images") / "a.jpg")
        mask(tmp_path / form.format(split=split, kind="masks") / "a.png")
    assert open_dataset(tmp_path).splits == {"train": ("train/a",), "val": ("val/a",)}


def test_masks_of_one_bit_and_arrays(tmp_path):
    image(tmp_path / "images/a.png"), image(tmp_path / "images/b.png")
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.eye(12, 16) > 0).save(tmp_path / "labels/a.png")
    np.save(tmp_path / "labels/b.npy", np.full((12, 16), 2))
    assert open_dataset(tmp_path).classes == ("0", "1", "2")


def test_names_with_dots_and_names_that_two_share(tmp_path):
    voc_masks(tmp_path, names=("a.v1", "a.v2"))
    lists(tmp_path, "Segmentation", train=["a.v1"], val=["a.v2.jpg"])
    assert open_dataset(tmp_path).splits == {"train": ("a.v1",), "val": ("a.v2",)}
    image(tmp_path / "JPEGImages" / "a.v1.png")
    with pytest.raises(InputError, match=r"a\.v1\.png: a\.v1\.jpg has the same name; keep one"):
        open_dataset(tmp_path)


def test_several_layouts_are_told_apart(tmp_path):
    voc_masks(tmp_path)
    voc_boxes(tmp_path)
    with pytest.raises(
        InputError, match=r"2 ways; choose with --task \(task=\): segmentation by voc .* detection by voc"
    ):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").unlink()
    assert open_dataset(tmp_path, task="detection").task == "detection"
    assert open_dataset(tmp_path, task="segmentation").task == "segmentation"
    coco(tmp_path, folder="JPEGImages")
    with pytest.raises(InputError, match=r"choose with --layout \(layout=\): detection by voc .* detection by coco"):
        open_dataset(tmp_path, task="detection")
    assert len(open_dataset(tmp_path, task="detection", layout="coco")) == 2


def test_no_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="has no layout that is known; looked for") as told:
        open_dataset(tmp_path)
    assert all(layout.looked_for in str(told.value) for layout in LAYOUTS)
    class_folders(tmp_path)
    with pytest.raises(InputError, match="it looks like data for classification; looked for"):
        open_dataset(tmp_path, task="detection")
    with pytest.raises(InputError, match="no data for detection is laid out as csv; there is voc, coco"):
        open_dataset(tmp_path, task="detection", layout="csv")
    with pytest.raises(UnknownNameError, match="unknown task 'detektion'; did you mean 'detection'"):
        open_dataset(tmp_path, task="detektion")
    with pytest.raises(FileError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no labelled image"):
        open_dataset(empty_voc(tmp_path / "voc"))


def empty_voc(root):
    for name in ("JPEGImages", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    return root


def test_splits_that_are_not_there(tmp_path):
    class_folders(tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown split 'vall'; did you mean 'val'\? \(there are train, val\)"):
        open_dataset(tmp_path, split="vall")
    with pytest.raises(InputError, match=r"has no split 'val', and no other; perimetry\.data\.split makes them"):
        open_dataset(tmp_path / "train", split="val")


def test_splits_of_one_s_own_keep_their_names(tmp_path):
    image_file = image(tmp_path / "a.png")
    dataset = Dataset("classification", "x", ("a",), (Sample("a", image_file, label=0),), {"Fold 1": ("a",)})
    assert dataset.part("Fold 1").split == "Fold 1"


def test_records_are_held_against_each_other(tmp_path):
    one = Sample("a", tmp_path, label=0)
    with pytest.raises(InputError, match="two samples of one name"):
        Dataset("classification", "x", ("cat",), (one, one))
    with pytest.raises(InputError, match="the split val names 'b', which is no sample"):
        Dataset("classification", "x", ("cat",), (one,), {"val": ("b",)})
    with pytest.raises(InputError, match="got 1 boxes, 0 labels"):
        Objects(((0, 0, 1, 1),))


def test_hostile_annotations_are_refused(tmp_path):
    voc_boxes(tmp_path)
    (tmp_path / "Annotations/a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(FileError, match=r"Annotations/a\.xml: declares a document type"):
        open_dataset(tmp_path)
    (tmp_path / "deep.json").write_text('{"images":[],"annotations":[],"categories":' + "[" * 100_000)
    with pytest.raises(FileError, match="is not JSON that can be read"):
        open_dataset(tmp_path, task="detection", layout="coco")


# The figures of the data's own notices.
@pytest.mark.parametrize(
    ("folder", "options", "splits", "classes"),
    [
        ("bccd320", {}, {"train": 205, "val": 87, "trainval": 292, "test": 72}, 3),
        ("camvid_half", {}, {"train": 367, "val": 101, "test": 233}, 11),
        ("cifar10_5k", {}, {"train": 4000, "test": 1000}, 10),
        ("isbi2012_em", {}, {"train": 24, "val": 6}, 2),
        ("imagenet_samples200", {}, {}, 996),
        ("voc_sample3", {"task": "segmentation"}, {"trainval": 3}, 21),
        ("voc_sample3", {"task": "detection"}, {"trainval": 3}, 20),
    ],
)
def test_real_data(data, folder, options, splits, classes):
    dataset = open_dataset(data / folder, **options)
    assert {split: len(held) for split, held in dataset.splits.items()} == splits
    assert len(dataset.classes) == classes
    if folder == "imagenet_samples200":
        assert labels(dataset)["images/n01440764.jpg"] == 0
        assert dataset.classes[5] == "electric_ray"


def test_coco_from_real_voc_is_the_same_dataset(data, tmp_path):
    dataset = open_dataset(data / "bccd320", split="test")
    content = {
        "images": [{"id": i, "file_name": each.image.name} for i, each in enumerate(dataset.samples)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.classes, start=1)],
        "annotations": [
            {"image_id": i, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for i, each in enumerate(dataset.samples)
            for (x1, y1, x2, y2), label in zip(each.objects.boxes_xyxy, each.objects.labels, strict=True)
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(data / "bccd320" / "JPEGImages")
    again = open_dataset(tmp_path)
    assert again.classes == dataset.classes
    for here, there in zip(dataset.samples, again.samples, strict=True):
        assert (here.name, here.objects.boxes_xyxy) == (there.name, there.objects.boxes_xyxy)
        assert (here.objects.labels, here.objects.areas) == (there.objects.labels, there.objects.areas)
