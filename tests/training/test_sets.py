"""What is trained on: files that are missing, broken or make no sense stop it, or are left out where that is asked."""

import json
from dataclasses import replace

import pytest

from perimetry.data.scenes import scenes, write_scenes
from perimetry.errors import FileError, InputError
from perimetry.training import Recipe, open_sets
from perimetry.training.sets import task_of


@pytest.fixture
def folder(tmp_path):
    drawn = {name: scenes("detection", count=4, size=(32, 32), seed=0) for name in ("train", "val")}
    write_scenes(tmp_path / "data", drawn)
    return tmp_path / "data"


def opened(folder, broken):
    told = []
    recipe = Recipe(task="detection", data=str(folder), steps=1, broken=broken)
    found = open_sets(recipe, tell=told.append)
    return [sample.name for sample in found.train.files.samples], told


def test_a_listed_image_that_is_not_there_is_left_out_when_asked(folder):
    (folder / "JPEGImages" / "train_00001.png").unlink()
    with pytest.raises(FileError, match="train_00001"):
        opened(folder, "stop")
    names, (told,) = opened(folder, "skip")
    assert names == ["train_00000", "train_00002", "train_00003"]
    assert told.startswith("left out: ") and "train_00001" in told


def test_an_annotation_that_makes_no_sense_is_left_out_when_asked(folder):
    file = folder / "Annotations" / "train_00002.xml"
    file.write_text(file.read_text().replace("<xmin>", "<xmin>x"))
    with pytest.raises(InputError, match=r"train_00002\.xml"):
        opened(folder, "stop")
    names, told = opened(folder, "skip")
    # Without its boxes the image would be learnt as background.
    assert names == ["train_00000", "train_00001", "train_00003"]
    assert told and all("train_00002.xml" in line for line in told)


def test_a_broken_image_is_left_out_when_asked(folder):
    (folder / "JPEGImages" / "train_00003.png").write_bytes(b"no image")
    names, (told,) = opened(folder, "skip")
    assert len(names) == 3 and "train_00003.png" in told


def test_proposals_are_needed_of_what_is_used(folder, tmp_path):
    (tmp_path / "data" / "ImageSets" / "Main" / "test.txt").write_text("val_00003\n")
    kept = [f"val_0000{number}" for number in range(3)]
    (tmp_path / "data" / "ImageSets" / "Main" / "val.txt").write_text("\n".join(kept))
    names = [*(f"train_0000{number}" for number in range(4)), *kept]
    file = tmp_path / "proposals.json"
    recipe = Recipe(task="detection", data=str(folder), steps=1, proposals=str(file))
    file.write_text(json.dumps({name: [[0, 0, 8, 8]] for name in names}))
    assert all(sample.proposals is not None for sample in open_sets(recipe).train.files.samples)
    file.write_text(json.dumps({name: [[0, 0, 8, 8]] for name in names[:-1]}))
    with pytest.raises(InputError, match="1 of 8 images have no proposals: val_00002"):
        open_sets(recipe)


def test_a_broken_mask_without_names_of_classes_is_left_out_when_asked(tmp_path):
    data = tmp_path / "data"
    write_scenes(tmp_path / "made", {"train": scenes("segmentation", count=12, size=(32, 32), seed=0)})
    data.mkdir()
    (tmp_path / "made/JPEGImages").rename(data / "images")
    (tmp_path / "made/SegmentationClass").rename(data / "masks")
    (data / "masks/train_00003.png").write_bytes(b"no mask")
    told = []
    recipe = Recipe(task="segmentation", data=str(data), steps=1)
    with pytest.raises(FileError, match=r"train_00003\.png"):
        open_sets(recipe)
    found = open_sets(replace(recipe, broken="skip"), tell=told.append)
    assert found.classes == ("0", "1", "2", "3") and len(found.train) + len(found.val) == 11
    assert len(told) == 1 and "train_00003.png" in told[0]


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_one_class_alone_is_refused(task):
    with pytest.raises(InputError, match="has cat alone, and nothing to tell it from"):
        task_of(Recipe(task=task, data="photos", steps=1), ("cat",))
    assert task_of(Recipe(task="detection", data="photos", steps=1), ("cat",)).classes == ("cat",)
