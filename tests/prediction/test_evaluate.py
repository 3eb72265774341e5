"""Scores of a run: those of training's own evaluation, and those of `perimetry score` on what `predict` wrote."""

import csv
import json
import math

import pytest

from perimetry.cli.main import main
from perimetry.data import open_dataset
from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.prediction import evaluate, predict
from perimetry.training.evaluation import evaluate_network
from perimetry.training.run import load_run
from perimetry.training.samples import FileSamples
from perimetry.training.sets import task_of
from prediction.made_runs import BUILDERS, make_run, make_scenes


@pytest.fixture(params=BUILDERS)
def scenes_run(request, tmp_path):
    return run_and_data(tmp_path, request.param)


def run_and_data(tmp_path, task):
    data = make_scenes(tmp_path / "data", task)
    dataset = open_dataset(data, task=task)
    return load_run(make_run(tmp_path / "run", task, data, dataset.classes)), dataset


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_scores_are_those_of_training(tmp_path, task):
    run, dataset = run_and_data(tmp_path, task)
    samples = FileSamples(dataset.part("test"))
    task = task_of(run.recipe, run.classes)
    expected = evaluate_network(run.network, samples, task=task, transform=run.transform)
    found = evaluate(run).scored.total
    name = {"segmentation": "miou", "classification": "top1"}[run.recipe.task]
    assert found[name] == pytest.approx(expected[name], abs=1e-12)


def test_what_training_left_out_is_left_out_of_its_own_data(tmp_path):
    """An annotation that makes no sense, anywhere in the data, was refused though the recipe said to skip it."""
    data = make_scenes(tmp_path / "data", "detection")
    dataset = open_dataset(data)
    file = data / "Annotations" / "test_00002.xml"
    file.write_text(file.read_text().replace("<xmin>", "<xmin>x"))
    found = evaluate(load_run(make_run(tmp_path / "run", "detection", data, dataset.classes, broken="skip")))
    assert len(found.scored.images) == len(dataset.part("test")) - 1
    strict = load_run(make_run(tmp_path / "strict", "detection", data, dataset.classes))
    with pytest.raises(InputError, match=r"test_00002\.xml"):
        evaluate(strict)


def same(one, other):
    """Equal to the last digit, None and NaN included."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def score_command(tmp_path, kind, *words):
    assert main(["score", kind, *map(str, words), "--json", str(tmp_path / "scored.json")]) == 0
    return json.loads((tmp_path / "scored.json").read_text())


def check_round_trip(run, dataset, tmp_path, *, images=None, **asked):
    """Predict, score the files by the command, and compare every number with those of `evaluate`."""
    root = dataset.samples[0].image.parents[0 if images is not None else 1]
    task, out = run.recipe.task, tmp_path / "predicted"
    names = [sample.name for sample in dataset.part("test").samples]
    (tmp_path / "names.txt").write_text("\n".join(names))
    found = evaluate(run, split="test", **asked).to_dict()
    if task == "classification":
        root = tmp_path / "data"
        predict(run, root, out=out, **asked)
        truth = tmp_path / "truth.csv"
        with truth.open("w", newline="") as file:
            rows = [(sample.name, run.classes[sample.label]) for sample in dataset.samples]
            csv.writer(file).writerows([("name", "label"), *rows])
        words = ("--truth", truth, "--pred", out / "scores.csv", "--classes", ",".join(run.classes))
        scored = score_command(tmp_path, "labels", *words, "--names", tmp_path / "names.txt")
    elif task == "segmentation":
        predict(run, root / "JPEGImages", out=out, **asked, pictures=False)
        words = ("--truth", root / "SegmentationClass", "--pred", out / "masks", "--ignore", 255)
        words += ("--classes", ",".join(run.classes), "--names", tmp_path / "names.txt")
        scored = score_command(tmp_path, "masks", *words)
    else:
        predict(run, root / "JPEGImages", out=out, **asked, pictures=False)
        words = ("--truth", root, "--pred", out / "boxes.json", "--coordinates", "coco")
        words += ("--classes", ",".join(run.classes), "--names", tmp_path / "names.txt")
        scored = score_command(tmp_path, "boxes", *words)
    assert same(scored["total"], found["total"])
    assert sorted(scored["images"], key=lambda each: each["name"]) == sorted(
        found["images"], key=lambda each: each["name"]
    )
    assert len(scored["images"]) == len(names)
    return found


@pytest.mark.parametrize("flip", ["none", "horizontal"])
def test_scores_of_predictions_are_those_of_evaluate(scenes_run, tmp_path, flip, capsys):
    check_round_trip(*scenes_run, tmp_path, flip=flip)


def test_ten_crops_are_scored_as_predicted(tmp_path, capsys):
    run, dataset = run_and_data(tmp_path, "classification")
    found = check_round_trip(run, dataset, tmp_path, crops="ten")
    assert (found["crops"], found["choices"][0]["crops"]) == ("ten", "ten")
    scores = (tmp_path / "predicted" / "scores.csv").read_text()
    predict(run, tmp_path / "data", out=tmp_path / "predicted")  # the centre is another setting
    assert (tmp_path / "predicted" / "scores.csv").read_text() != scores


@pytest.mark.parametrize(("name", "task"), [("camvid_half", "segmentation"), ("bccd320", "detection")])
def test_scores_of_predictions_are_those_of_evaluate_on_real_data(data, tmp_path, name, task, capsys):
    small = tmp_path / "data"
    link_some(data / name, small, task, count=6)
    dataset = open_dataset(small, task=task)
    run = load_run(make_run(tmp_path / "run", task, small, dataset.classes, seed=3))
    found = check_round_trip(run, dataset, tmp_path)
    assert found["total"]["miou" if task == "segmentation" else "voc_map"] is not None


def link_some(source, target, task, *, count):
    """The first images of the split test, as a data set of its own."""
    truth, suffix = {"segmentation": ("SegmentationClass", ".png"), "detection": ("Annotations", ".xml")}[task]
    dataset = open_dataset(source, task=task).part("test")
    lists = target / "ImageSets" / {"segmentation": "Segmentation", "detection": "Main"}[task]
    for folder in (target / "JPEGImages", target / truth, lists):
        folder.mkdir(parents=True)
    for sample in dataset.samples[:count]:
        (target / "JPEGImages" / sample.image.name).symlink_to(sample.image)
        (target / truth / f"{sample.name}{suffix}").symlink_to(source / truth / f"{sample.name}{suffix}")
    (lists / "test.txt").write_text("\n".join(sample.name for sample in dataset.samples[:count]))
    names = dataset.classes
    (target / "class_names.txt").write_text("\n".join(names))


def test_coco_annotations_are_scored_as_coco(tmp_path, capsys):
    pytest.importorskip("faster_coco_eval")
    dataset = open_dataset(make_scenes(tmp_path / "data", "detection"), task="detection")
    images, objects = [], []
    for at, sample in enumerate(dataset.samples):
        images.append({"id": at, "file_name": sample.image.name, "height": 32, "width": 32})
        for (x1, y1, x2, y2), label in zip(sample.objects.boxes_xyxy, sample.objects.labels, strict=True):
            objects.append(
                {"id": len(objects), "image_id": at, "category_id": label * 10, "bbox": [x1, y1, x2 - x1, y2 - y1],
                 "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": 10 * at, "name": name} for at, name in enumerate(dataset.classes, start=1)]
    coco = tmp_path / "data/JPEGImages/truth.json"
    coco.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    run = load_run(make_run(tmp_path / "run", "detection", coco, dataset.classes))
    found = evaluate(run, coco).to_dict()
    for ids in (None, coco):
        predict(run, tmp_path / "data/JPEGImages", out=tmp_path / "out", ids=ids)
        assert ('"image_id": 0,' in (tmp_path / "out/boxes.json").read_text()) == (ids is not None)
        words = ("--truth", coco, "--pred", tmp_path / "out/boxes.json")
        assert same(score_command(tmp_path, "boxes", *words)["total"], found["total"])
    assert found["total"]["coco_ap"] is not None and found["split"] is None


def test_each_scale_is_scored_and_its_cost_told(scenes_run):
    run, _ = scenes_run
    both = evaluate(run, scales=(1.0, 0.5), flip="horizontal")
    assert [choice.scales for choice in both.choices] == [(1.0,), (0.5,), (1.0, 0.5)]
    single = evaluate(run, scales=(0.5,), flip="horizontal")
    assert same(both.choices[1].scored.to_dict(), single.scored.to_dict())
    assert both.choices[2].seconds == pytest.approx(both.choices[0].seconds + both.choices[1].seconds)
    assert both.choices[2].peak_bytes == max(choice.peak_bytes for choice in both.choices[:2])
    assert len(both.to_dict()["choices"]) == 3 and "×1 ×0.5, mirrored too" in both.to_text()


def test_recall_by_size_is_told_of_each_scale(tmp_path, capsys):
    pytest.importorskip("faster_coco_eval")
    run, dataset = run_and_data(tmp_path, "detection")
    found = evaluate(run, scales=(1.0, 2.0), boxes="coco", sizes=(8,))
    told = found.to_dict()
    assert set(told["total"]["by_size"]) == {"all", "0-8", "8+"} and "coco_ap" in told["total"]
    objects = sum(len(sample.objects.boxes_xyxy) for sample in dataset.part("test").samples)
    for choice in told["choices"]:
        assert choice["by_size"]["all"]["objects"] == objects
        assert choice["by_size"]["all"]["ap50"] == pytest.approx(choice["ap50"])
    # Boxes are measured as edges, as COCO does, though the data are in VOC's layout.
    sides = [box for sample in dataset.part("test").samples for box in sample.objects.boxes_xyxy]
    tiny = sum((x2 - x1) * (y2 - y1) <= 64 for x1, y1, x2, y2 in sides)
    assert told["total"]["by_size"]["0-8"]["objects"] == tiny > 0
    assert "by_size" not in evaluate(run).to_dict()["choices"][0]
    words = ("evaluate", str(run.path), "--scales", "1,2", "--boxes", "coco", "--sizes", "8", "--json", "-")
    assert main([*words]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == told["total"]
    for page in (found.to_text(width=100), found.to_html()):
        assert "AR100, all" in page and "AR100, 0-8" in page


def test_cocos_scores_of_a_voc_folder_are_those_of_evaluate(tmp_path, capsys):
    """The folder tells boxes by first and last pixel, and COCO measures edges: they were scored one pixel thinner."""
    pytest.importorskip("faster_coco_eval")
    run, dataset = run_and_data(tmp_path, "detection")
    found = evaluate(run, boxes="coco", sizes=(8,)).to_dict()["total"]
    predict(run, tmp_path / "data/JPEGImages", out=tmp_path / "out", pictures=False)
    (tmp_path / "names.txt").write_text("\n".join(sample.name for sample in dataset.part("test").samples))
    words = ("--truth", tmp_path / "data", "--pred", tmp_path / "out/boxes.json", "--coordinates", "coco")
    words += ("--metric", "coco", "--sizes", "8", "--names", tmp_path / "names.txt")
    scored = score_command(tmp_path, "boxes", *words)["total"]
    told = ("coco_ap", "ap50", "ap75", "ar100", "ap_small", "by_size")
    assert {name: scored[name] for name in told} == {name: found[name] for name in told}
    assert found["ar100"] > 0


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("detection", {"sizes": (8,)}, "ask for those with --boxes coco"),
        ("detection", {"boxes": "coc"}, "did you mean 'coco'"),
        ("segmentation", {"boxes": "coco"}, "boxes is for detection, and the run is for segmentation"),
        ("classification", {"sizes": (8,)}, "sizes is for detection"),
    ],
)
def test_scores_of_boxes_that_cannot_be_are_refused(tmp_path, task, options, message):
    run, _ = run_and_data(tmp_path, task)
    with pytest.raises(InputError, match=message):
        evaluate(run, **options)


def test_splits_and_other_data(tmp_path):
    data = make_scenes(tmp_path / "data", "segmentation", train=10, test=2)
    classes = open_dataset(data, task="segmentation").classes
    run = load_run(make_run(tmp_path / "run", "segmentation", data, classes))
    found = [evaluate(run, split=split) for split in (None, "train", "val")]
    # Training set a tenth of "train" aside, and evaluated on that as "val".
    assert [(each.split, len(each.scored.images)) for each in found] == [("test", 2), ("train", 9), ("val", 1)]
    assert len(evaluate(run, data, split="train").scored.images) == 10
    with pytest.raises(UnknownNameError, match="unknown split 'tset'; did you mean 'test'"):
        evaluate(run, split="tset")
    boxes = make_scenes(tmp_path / "boxes", "detection")
    with pytest.raises(InputError, match="it looks like data for detection"):
        evaluate(run, boxes)
    with pytest.raises(FileError, match="no such folder"):
        evaluate(run, tmp_path / "nowhere")
    (data / "class_names.txt").write_text("_background_\nx\ny\nz\n")
    with pytest.raises(InputError, match="has the classes _background_, x, y, z, and the run was trained on"):
        evaluate(run)


def test_data_without_splits_is_parted_as_in_training(tmp_path):
    from perimetry.training.sets import open_sets

    data = make_scenes(tmp_path / "data", "segmentation", train=10, test=1)
    for file in (data / "ImageSets/Segmentation").iterdir():
        file.unlink()
    classes = open_dataset(data, task="segmentation").classes
    run = load_run(make_run(tmp_path / "run", "segmentation", data, classes))
    apart = {sample.name for sample in open_sets(run.recipe).val.files.samples}
    found = evaluate(run)
    assert {image.name for image in found.scored.images} == apart and found.split == "val"
    whole = evaluate(run, data)
    assert len(whole.scored.images) == 11 and whole.split is None
    with pytest.raises(InputError, match="has no splits; leave --split out"):
        evaluate(run, data, split="test")


@pytest.mark.parametrize("split", ["test", "train"])
def test_what_training_left_out_is_left_out_of_scores(tmp_path, split):
    data = make_scenes(tmp_path / "data", "detection", train=8)
    classes = open_dataset(data, task="detection").classes
    run = load_run(make_run(tmp_path / "run", "detection", data, classes, broken="skip"))
    (data / "Annotations/train_00001.xml").write_text("<annotation>")
    (data / "JPEGImages/test_00002.png").write_bytes(b"no image")
    names = {image.name for image in evaluate(run, split=split).scored.images}
    assert names and not names & {"train_00001", "test_00002"}
    with pytest.raises(FileError, match=r"train_00001\.xml"):
        evaluate(run, data, split=split)


def test_small_scores_stay_in_one_piece(scenes_run, monkeypatch):
    from perimetry.report import run_text

    names = ("scales", "COCO AP", "AP50", *(f"AR100, {size}" for size in ("all", "0-8", "8-12", "12+")), "s an image")
    row = ("×1, mirrored too", "0.000248", "0.000828", "0.0444", "0.0000", "0.0000", "0.0889", "0.489")
    monkeypatch.setattr(run_text, "choice_rows", lambda _: (names, [row]))
    told = evaluate(scenes_run[0]).to_text(width=72)
    table = told.split("\n\n")[1]
    assert all(number in table for number in row[1:]) and max(map(len, table.splitlines())) <= 72
