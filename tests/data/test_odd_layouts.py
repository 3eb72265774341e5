"""Datasets as people really have them: what is odd is told or refused, and nothing is left out without a word."""

from data.made_folders import class_folders, image
from perimetry.data import check, open_dataset


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
