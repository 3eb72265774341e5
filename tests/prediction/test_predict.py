"""What predict writes, what it keeps, and what it refuses."""

import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from perimetry.data import open_dataset
from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.images import read_pixels
from perimetry.prediction import mask_of, merged, predict, views_of
from perimetry.prediction.folder import PredictionFolder
from perimetry.prediction.predicting import settings_of
from perimetry.training.run import load_run
from prediction.made_runs import BUILDERS, keep, make_run, make_scenes


@pytest.fixture
def segmented(tmp_path):
    data = make_scenes(tmp_path / "data", "segmentation", train=2, test=2)
    return load_run(make_run(tmp_path / "run", "segmentation", data, ("a", "b", "c", "d"))), data / "JPEGImages"


@pytest.fixture
def detected(tmp_path):
    data = make_scenes(tmp_path / "data", "detection", train=2, test=2)
    return load_run(make_run(tmp_path / "run", "detection", data, ("disc", "square", "triangle"))), data / "JPEGImages"


def test_masks_have_a_palette_and_the_size_of_their_image(tmp_path, segmented):
    run, images = segmented
    Image.new("RGB", (41, 23)).save(images / "wide.jpg")
    found = predict(run, images, out=tmp_path / "out")
    assert len(found.done) == 5 and found.files == (tmp_path / "out/masks",)
    for name in found.done:
        image = read_pixels(next(images.glob(f"{name}.*")))
        with Image.open(tmp_path / f"out/masks/{name}.png") as mask:
            assert mask.mode == "P" and mask.size == (image.shape[2], image.shape[1])
            assert np.array_equal(np.asarray(mask), mask_of(merged(views_of(run, image))))
        with Image.open(tmp_path / f"out/pictures/{name}.jpg") as picture:
            assert picture.size == (image.shape[2], image.shape[1])


def test_what_is_there_is_kept_until_weights_settings_or_image_change(tmp_path, segmented):
    run, images = segmented
    out = tmp_path / "out"

    def counts(run=run, **asked):
        found = predict(run, images, out=out, pictures=False, **asked)
        return len(found.done), len(found.kept)

    assert counts() == (4, 0)
    assert counts() == (0, 4)
    (out / "masks/test_00000.png").unlink()
    Image.new("RGB", (32, 32)).save(images / "train_00000.png")
    assert counts() == (2, 2)
    assert counts(flip="horizontal") == (4, 0)
    keep(run.path, "segmentation", 4, seed=99)
    shutil.copy2(images / "test_00000.png", tmp_path)
    changed = load_run(run.path)
    found = predict(changed, tmp_path / "test_00000.png", out=out)
    assert found.done == ("test_00000",)
    # What other weights had told of other images is gone: no folder holds predictions of two networks.
    assert [file.name for file in (out / "masks").iterdir()] == ["test_00000.png"]
    assert counts(run=changed) == (3, 1)


def test_a_kill_after_the_weights_changed_leaves_nothing_of_the_new_ones_to_the_old(tmp_path, segmented):
    run, images = segmented
    out = tmp_path / "out"
    predict(run, images, out=out)
    keep(run.path, "segmentation", 4, name="best", step=99, seed=99)
    told = settings_of(load_run(run.path), (1.0,), "none", "centre", 0.0)
    opened = PredictionFolder.open(out, told)
    for file in images.iterdir():
        opened.mask_file(file.stem).write_bytes(b"of the new weights")  # and then killed
    assert len(predict(run, images, out=out, pictures=False).done) == 4


def test_a_run_that_was_moved_keeps_its_predictions(tmp_path, segmented):
    run, images = segmented
    predict(run, images, out=tmp_path / "out")
    moved = load_run(shutil.move(run.path, tmp_path / "elsewhere"))
    assert len(predict(moved, images, out=tmp_path / "out").kept) == 4


def test_a_broken_image_is_named_and_the_others_are_kept(tmp_path, segmented):
    run, images = segmented
    (images / "m_broken.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"m_broken\.png is not a photo that can be read"):
        predict(run, images, out=tmp_path / "out")
    found = predict(run, images, out=tmp_path / "out", broken="skip")
    assert [name for name, _ in found.skipped] == ["m_broken"] and len(found.done) + len(found.kept) == 4
    assert found.skipped[0][1].startswith(str(images / "m_broken.png"))


def test_an_image_that_is_too_small_is_named_and_skipped_when_asked(tmp_path, segmented):
    run, images = segmented
    run.network.insert(0, torch.nn.MaxPool2d(2))
    Image.new("RGB", (40, 1)).save(images / "m_line.png")
    with pytest.raises(InputError, match=r"fails on an image of 1×40 pixels") as caught:
        predict(run, images, out=tmp_path / "out")
    assert caught.value.__notes__ == [f"(the image {images / 'm_line.png'})"]
    found = predict(run, images, out=tmp_path / "out", broken="skip")
    assert [name for name, _ in found.skipped] == ["m_line"] and len(found.done) + len(found.kept) == 4
    assert found.skipped[0][1].endswith(f"(the image {images / 'm_line.png'})")


def test_what_was_told_of_an_image_that_is_broken_now_is_removed(tmp_path, detected):
    run, images = detected
    predict(run, images, out=tmp_path / "out")
    first = min(images.iterdir())
    first.write_bytes(b"no image")
    found = predict(run, images, out=tmp_path / "out", broken="skip")
    assert [name for name, _ in found.skipped] == [first.stem]
    told = json.loads((tmp_path / "out/boxes.json").read_text())
    assert told and first.stem not in {each["image_id"] for each in told}
    assert not (tmp_path / f"out/pictures/{first.stem}.jpg").exists()


class Given(torch.nn.Module):
    """A detector that tells the proposals that it is given."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, images, proposals):
        return [
            {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64), "scores": torch.ones(len(boxes))}
            for boxes in proposals
        ]


def test_images_without_proposals_are_skipped_when_asked(tmp_path, detected):
    run, images = detected
    run = replace(run, network=Given().eval())
    names = sorted(file.stem for file in images.iterdir())
    (images / "zz_broken.png").write_bytes(b"no image")
    file = tmp_path / "proposals.json"
    file.write_text(json.dumps({name: [[1, 2, 5, 7]] for name in names[1:]}))
    with pytest.raises(InputError, match="have no proposals"):
        predict(run, images, out=tmp_path / "out", proposals=file)
    found = predict(run, images, out=tmp_path / "out", proposals=file, broken="skip")
    assert list(found.done) == names[1:]
    (lacks, why), (broken, what) = found.skipped
    assert lacks == names[0] and why.endswith(f"has no proposals in {file}; an empty list is one")
    assert broken == "zz_broken" and "is not a photo" in what


def test_an_interruption_loses_nothing_that_was_told(tmp_path, segmented):
    run, images = segmented

    def stop(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(run, images, out=tmp_path / "out", progress=stop)
    found = predict(run, images, out=tmp_path / "out")
    assert (len(found.done), len(found.kept)) == (1, 3)


def test_boxes_are_cocos_results(tmp_path, detected):
    run, images = detected
    predict(run, images, out=tmp_path / "out")
    results = json.loads((tmp_path / "out/boxes.json").read_text())
    told = merged(views_of(run, read_pixels(images / "test_00001.png")))
    own = [each for each in results if each["image_id"] == "test_00001"]
    assert len(own) == len(told.scores)
    x1, y1, x2, y2 = told.boxes_xyxy[0].double().tolist()
    assert own[0]["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    assert own[0]["category_id"] == run.label_names[int(told.labels[0])]
    assert (tmp_path / "out/pictures/test_00001.jpg").is_file()


def test_a_threshold_leaves_boxes_out(tmp_path, detected):
    run, images = detected
    predict(run, images, out=tmp_path / "out")
    scores = [each["score"] for each in json.loads((tmp_path / "out/boxes.json").read_text())]
    middle = sorted(scores)[len(scores) // 2]
    found = predict(run, images, out=tmp_path / "out", threshold=middle)
    kept = [each["score"] for each in json.loads((tmp_path / "out/boxes.json").read_text())]
    assert len(found.done) == 4 and sorted(kept) == sorted(score for score in scores if score >= middle)


def test_ids_are_those_of_annotations(tmp_path, detected):
    run, images = detected
    names = sorted(file.name for file in images.iterdir())
    truth = {
        "images": [{"id": 70 + at, "file_name": name, "height": 32, "width": 32} for at, name in enumerate(names)],
        "annotations": [],
        "categories": [{"id": 9, "name": "disc"}, {"id": 5, "name": "square"}, {"id": 7, "name": "triangle"}],
    }
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    predict(run, images, out=tmp_path / "out", ids=file)
    results = json.loads((tmp_path / "out/boxes.json").read_text())
    assert {each["image_id"] for each in results} == {70, 71, 72, 73}
    assert {each["category_id"] for each in results} <= {5, 7, 9}
    truth["images"].pop()
    file.write_text(json.dumps(truth))
    with pytest.raises(InputError, match=r"has no image called 'train_00001'"):
        predict(run, images, out=tmp_path / "out", ids=file)
    with pytest.raises(InputError, match=r"has no image called 'train_00001'"):
        predict(run, images, out=tmp_path / "new", ids=file)
    with pytest.raises(FileError, match="nowhere"):
        predict(run, images, out=tmp_path / "new", ids=tmp_path / "nowhere.json")
    assert not (tmp_path / "new").exists()  # told before the work, not after it


def test_labels_are_tables(tmp_path):
    data = make_scenes(tmp_path / "data", "classification", train=3, test=3)
    classes = ("disc", "square", "triangle")
    run = load_run(make_run(tmp_path / "run", "classification", data, classes))
    predict(run, data, out=tmp_path / "data/out")
    rows = list(csv.DictReader((tmp_path / "data/out/labels.csv").read_text().splitlines()))
    assert len(rows) == 6 and list(rows[0]) == ["path", "label", "score", "top5"]
    told = merged(views_of(run, read_pixels(rows[0]["path"])))
    best = int(told.argmax())
    assert rows[0]["label"] == classes[best] and float(rows[0]["score"]) == pytest.approx(float(told[best]), abs=1e-6)
    assert rows[0]["top5"].startswith(f"{classes[best]} ") and rows[0]["top5"].count(";") == 2
    # The folder of predictions lies among the images, and none of its own is taken for one.
    assert len(predict(run, data, out=tmp_path / "data/out").kept) == 6


def test_bad_input_is_refused(tmp_path, segmented):
    run, images = segmented
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="there is no image in"):
        predict(run, tmp_path / "empty", out=tmp_path / "out")
    with pytest.raises(FileError, match="no such image or folder"):
        predict(run, tmp_path / "nowhere", out=tmp_path / "out")
    with pytest.raises(InputError, match="holds something else; name a new folder"):
        predict(run, images, out=images)
    with pytest.raises(InputError, match="a threshold is of boxes, and the run is for segmentation"):
        predict(run, images, out=tmp_path / "out", threshold=0.5)
    with pytest.raises(InputError, match="ids are of boxes"):
        predict(run, images, out=tmp_path / "out", ids="truth.json")
    with pytest.raises(UnknownNameError, match="unknown broken 'skipp'; did you mean 'skip'"):
        predict(run, images, out=tmp_path / "out", broken="skipp")
    shutil.copy(images / "test_00000.png", images / "test_00000.jpg")
    with pytest.raises(InputError, match="are both called test_00000"):
        predict(run, images, out=tmp_path / "out")


def test_a_record_cannot_lead_out_of_its_folder(tmp_path, segmented):
    run, images = segmented
    out = tmp_path / "out"
    predict(run, images, out=out)
    record = json.loads((out / "predictions.json").read_text())
    record["images"] = {"../../precious": {"file": [0, 0]}}
    record["settings"]["weights"] = "other"
    (out / "predictions.json").write_text(json.dumps(record))
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"mine")
    with pytest.raises(InputError, match="would be written outside"):
        predict(run, images, out=out)
    assert precious.read_bytes() == b"mine"
    (out / "predictions.json").write_text('{"images": []}')
    with pytest.raises(FileError, match="is no record of predictions"):
        predict(run, images, out=out)


@pytest.mark.parametrize("task", BUILDERS)
def test_names_that_are_not_utf8_are_kept(tmp_path, task):
    data = make_scenes(tmp_path / "data", task)
    images = tmp_path / "images"
    images.mkdir()
    name = os.fsdecode(b"caf\xe9")
    shutil.copy(next(data.rglob("*.png")), images / f"{name}.png")
    run = load_run(make_run(tmp_path / "run", task, data, open_dataset(data, task=task).classes))
    out = tmp_path / "out"
    assert len(predict(run, images, out=out).done) == 1
    assert predict(run, images, out=out).done == ()
    if task == "classification":
        assert b"caf\xe9.png," in (out / "labels.csv").read_bytes()
    elif task == "detection":
        assert {each["image_id"] for each in json.loads((out / "boxes.json").read_bytes())} == {name}
    else:
        assert (out / "masks" / f"{name}.png").is_file()
