"""fit(): each task learns; same seed, same numbers; what is wrong is told, and the last good checkpoint stays."""

import csv
import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import perimetry.files
from perimetry.data.scenes import scenes, write_scenes
from perimetry.errors import FileError, InputError, ShapeError, UnknownNameError
from perimetry.training import NotFiniteError, Recipe, Sets, fit, loop
from perimetry.training.checkpoints import load_checkpoint
from perimetry.training.holding import held
from perimetry.training.stopping import Stopped

SETTINGS = {
    "classification": {"model": "small_networks:classifier", "size": (32, 32)},
    "segmentation": {"model": "small_networks:segmenter"},
    "detection": {"model": "small_networks:proposing_detector"},
}


def recipe(task: str, **keys) -> Recipe:
    keys = {"steps": 6, "batch": 4, "rate": 0.02, "precision": "float32"} | SETTINGS[task] | keys
    return Recipe(task=task, data="scenes", **keys)


def sets(task: str, *, train: int = 9, val: int = 3) -> Sets:
    return Sets(
        scenes(task, count=train, size=(32, 32), seed=0),
        scenes(task, count=val, size=(32, 32), seed=1),
        scenes(task, count=1, size=(32, 32), seed=0).classes,
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


class Scenes:
    """Samples that are scenes, but for what a test changes."""

    def __init__(self, task: str, change) -> None:
        self.scenes, self.change = scenes(task, count=6, size=(32, 32), seed=0), change

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int):
        return self.change(index, *self.scenes[index])

    def names(self) -> list[str]:
        return [f"scene{index}" for index in range(len(self))]


@pytest.mark.parametrize(
    ("task", "keys", "score", "least"),
    [
        ("classification", {"steps": 120, "rate": 0.05, "augmentation": "none"}, "top1", 1.0),
        ("classification", {"steps": 160, "rate": 0.1, "augmentation": "none", "hard": "focal"}, "top1", 1.0),
        ("segmentation", {"steps": 120, "rate": 0.3, "augmentation": "none"}, "miou", 0.65),
        ("segmentation", {"steps": 120, "rate": 0.2, "augmentation": "none", "hard": "top_k"}, "miou", 0.6),
    ],
)
def test_a_handful_of_images_is_learnt_by_heart(tmp_path, task, keys, score, least):
    few = scenes(task, count=4, size=(32, 32), seed=3, texture=0.0)
    every = Sets(few, few, few.classes)
    fitted = fit(recipe(task, evaluate_every=0, momentum=0.9, **keys), out=tmp_path / "run", sets=every)
    assert fitted.scores[score] >= least
    assert not fitted.network.training


@pytest.mark.parametrize("task", SETTINGS)
def test_a_run_leaves_recipe_numbers_and_checkpoints(tmp_path, task):
    told = []
    fitted = fit(recipe(task, evaluate_every=1), out=tmp_path / "run", sets=sets(task), tell=told.append)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["step"] for row in rows if row["split"] == "train"} == set("123456")
    assert {row["step"] for row in rows if row["split"] == "val"} == {"3", "5", "6"}
    assert all(math.isfinite(float(row["value"])) for row in rows)
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert kept["facts"]["images"] == {"train": 9, "val": 3}
    last = load_checkpoint(tmp_path / "run" / "checkpoints", "last")
    assert last.step == 6
    assert same_tensors(last.weights, fitted.network.state_dict())
    assert load_checkpoint(tmp_path / "run" / "checkpoints", "best").step == fitted.best["step"]
    assert len(told) == 3
    assert told[-1].startswith("step 6 of 6, epoch 2.667")


@pytest.mark.parametrize("validated", [True, False])
def test_a_run_that_does_not_evaluate_tells_where_it_is(tmp_path, validated):
    told, given = [], sets("classification")
    asked = recipe("classification", steps=3, evaluate_every=0, checkpoint_every=0)
    fit(asked, out=tmp_path, sets=given if validated else replace(given, val=None), tell=told.append)
    assert [line.split(",")[0] for line in told] == [f"step {step} of 3" for step in (1, 2, 3)]
    assert all(" left; loss " in line for line in told)


def same_tensors(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key].cpu()) for key in one)


@pytest.mark.parametrize("task", SETTINGS)
def test_same_seed_same_numbers_whatever_reads_the_images(tmp_path, task):
    networks = [
        fit(recipe(task, steps=3, **keys), out=tmp_path / str(number), sets=sets(task)).network
        for number, keys in enumerate(({}, {"workers": 2}, {"seed": 1}))
    ]
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


def test_the_random_numbers_of_others_are_left_alone(tmp_path):
    before = torch.get_rng_state()
    fit(recipe("classification", steps=1), out=tmp_path / "run", sets=sets("classification"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("task", SETTINGS)
@pytest.mark.parametrize(("number", "at"), [(signal.SIGINT, 1), (signal.SIGTERM, 4)])
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(tmp_path, task, number, at):
    asked = recipe(task, optimizer="caffe_sgd", workers=2 if number == signal.SIGTERM else 0)
    whole = fit(asked, out=tmp_path / "whole", sets=sets(task))
    before = signal.getsignal(number)

    def stop(step: int, _steps: int) -> None:
        if step == at:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=f"stopped after step {at + 1} of 6"):
        fit(asked, out=tmp_path / "run", sets=sets(task), progress=stop)
    assert signal.getsignal(number) == before
    assert load_checkpoint(tmp_path / "run" / "checkpoints", "last").step == at + 1
    told = []
    gone_on = fit(asked, out=tmp_path / "run", sets=sets(task), tell=told.append)
    assert told[0] == f"going on after step {at + 1} of 6"
    assert same(gone_on.network, whole.network)
    assert gone_on.scores == whole.scores
    assert gone_on.best == whole.best
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()


def test_a_run_that_is_done_stays_done(tmp_path):
    first = fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"))
    again = fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"))
    assert same(first.network, again.network)
    assert again.scores == first.scores


def test_images_of_other_names_are_other_data(tmp_path):
    data = {name: scenes("classification", count=4, size=(32, 32), seed=0) for name in ("train", "val")}
    for name in ("one", "other"):
        write_scenes(tmp_path / name, data)
    asked = replace(recipe("classification"), data=str(tmp_path / "one"))
    fit(asked, out=tmp_path / "run")
    moved = replace(asked, data=str(tmp_path / "other"))
    fit(moved, out=tmp_path / "run")  # the same images elsewhere
    first = next((tmp_path / "other" / "train").rglob("*.png"))
    first.rename(first.with_name("other.png"))
    with pytest.raises(InputError, match="another recipe: the images have other names; name a new directory"):
        fit(moved, out=tmp_path / "run")


def test_a_run_holds_its_directory(tmp_path):
    found = []

    def look(_step, _steps):
        with pytest.raises(InputError, match="another process trains in"), held(tmp_path / "run"):
            pass
        found.append(True)

    fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"), progress=look)
    assert len(found) == 6
    with held(tmp_path / "run"):
        pass


def test_another_recipe_or_other_data_in_the_directory_is_refused(tmp_path):
    fit(recipe("classification", steps=1), out=tmp_path / "run", sets=sets("classification"))
    with pytest.raises(InputError, match=r"another recipe: rate was 0.02, is 0.5; name a new directory"):
        fit(recipe("classification", steps=1, rate=0.5), out=tmp_path / "run", sets=sets("classification"))
    with pytest.raises(InputError, match=r"images was \{'train': 9, 'val': 3\}, is \{'train': 12, 'val': 3\}"):
        fit(recipe("classification", steps=1), out=tmp_path / "run", sets=sets("classification", train=12))


def test_a_loss_that_is_not_finite_names_the_images(tmp_path):
    diverging = recipe("segmentation", steps=40, rate=1e20, checkpoint_every=0, schedule="constant", workers=2)
    with pytest.raises(NotFiniteError, match=r"not finite .* on the images scene\d") as caught:
        fit(diverging, out=tmp_path / "run", sets=replace_train("segmentation", lambda _index, *sample: sample))
    told = json.loads((tmp_path / "run" / "not_finite.json").read_text())
    assert tuple(told["images"]) == caught.value.names
    last = load_checkpoint(tmp_path / "run" / "checkpoints", "last")
    assert last is None or all(bool(weight.isfinite().all()) for weight in last.weights.values())


@pytest.mark.parametrize("evaluate_every", [0, 0.1])
def test_weights_that_a_finite_loss_broke_name_the_images_before(tmp_path, monkeypatch, evaluate_every):
    learnt, learn = [], loop.train_step

    def break_weights(network, batch, *rest, **named):
        found = learn(network, batch, *rest, **named)
        learnt.append(batch.names)
        if len(learnt) == 2:
            next(network.parameters()).data[0] = math.inf
        return found

    monkeypatch.setattr(loop, "train_step", break_weights)
    asked = recipe("classification", evaluate_every=evaluate_every)
    with pytest.raises(NotFiniteError, match="after step 2 weights are not finite") as caught:
        fit(asked, out=tmp_path / "run", sets=sets("classification"))
    assert caught.value.names == learnt[1]
    assert json.loads((tmp_path / "run" / "not_finite.json").read_text())["images"] == list(learnt[1])


def replace_train(task: str, change) -> Sets:
    return replace(sets(task), train=Scenes(task, change))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    asked = recipe("classification", checkpoint_every=0)
    whole, write = fit(asked, out=tmp_path / "whole", sets=sets("classification")), perimetry.files._replace

    def fill(path, content, lasting):
        if "last-00000004" in path.name:
            raise OSError(28, "No space left on device")
        write(path, content, lasting)

    monkeypatch.setattr(perimetry.files, "_replace", fill)
    with pytest.raises(InputError, match=r"cannot write .*last-00000004.*No space left on device"):
        fit(asked, out=tmp_path / "run", sets=sets("classification"))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "run" / "checkpoints", "last").step == 3
    assert same(fit(asked, out=tmp_path / "run", sets=sets("classification")).network, whole.network)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", ""])
def test_a_device_that_is_not_there_is_told(tmp_path, device):
    with pytest.raises(InputError, match=f"there is no device '{device}'.*; "):
        fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"), device=device)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("last-00000001.safetensors", {"other.weight": torch.zeros(2)}),
        ("last-00000001.pt", {"optimizer": {"state": {}, "param_groups": []}, "facts": {"scores": {}, "best": {}}}),
        ("last-00000001.pt", {"optimizer": {}, "facts": {}}),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, name, content):
    asked = recipe("classification", steps=1)
    fit(asked, out=tmp_path, sets=sets("classification"))
    (save_file if name.endswith("safetensors") else torch.save)(content, tmp_path / "checkpoints" / name)
    with pytest.raises(FileError, match="does not fit the network that the recipe builds"):
        fit(asked, out=tmp_path, sets=sets("classification"))


@pytest.mark.parametrize("point", ["metrics.csv", "last.json", "best.json"])
def test_killed_between_two_files_no_row_of_the_metrics_is_lost(tmp_path, monkeypatch, point):
    asked = recipe("classification", checkpoint_every=0)
    fit(asked, out=tmp_path / "whole", sets=sets("classification"))
    count, write = 0, perimetry.files._replace

    def kill(path, content, lasting):
        nonlocal count
        write(path, content, lasting)
        count += path.name == point
        if count == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(perimetry.files, "_replace", kill)
    with pytest.raises(RuntimeError, match="killed"):
        fit(asked, out=tmp_path / "run", sets=sets("classification"))
    monkeypatch.undo()
    fit(asked, out=tmp_path / "run", sets=sets("classification"))
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_had_is_named(tmp_path, workers):
    def breaking(index, image, truth):
        if index == 4:
            raise FileError("scene4.png is damaged")
        return image, truth

    with pytest.raises(FileError, match=r"^scene4.png is damaged$"):
        fit(recipe("detection", workers=workers), out=tmp_path / "run", sets=replace_train("detection", breaking))


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("task", "keys", "expected"),
    [
        ("classification", {}, "9; expected 0 ... 2 "),
        ("classification", {"class_weights": (1.0, 2.0, 3.0)}, "9; expected 0 ... 2 "),
        ("classification", {"hard": "focal", "workers": 2}, "9; expected 0 ... 2 "),
        ("segmentation", {}, "9; expected 0 ... 3, or 255 for what does not count "),
        ("segmentation", {"class_weights": (1.0, 2.0, 3.0, 4.0)}, "9; expected 0 ... 3, or 255"),
        ("detection", {}, "9; expected 1 ... 3 "),
    ],
)
def test_a_label_out_of_range_is_told_with_its_image(tmp_path, part, task, keys, expected):
    def mislabelled(index, image, truth):
        if index != 4:
            return image, truth
        wrong = {"segmentation": torch.full((32, 32), 9), "classification": 9}
        if task != "detection":
            return image, wrong[task]
        return image, {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([9])}

    given = replace(sets(task), **{part: Scenes(task, mislabelled)})
    with pytest.raises(InputError, match=f"^scene4 has the label {expected}"):
        fit(recipe(task, steps=4, **keys), out=tmp_path / "run", sets=given)


def test_images_without_boxes_and_masks_without_truth_are_learnt_from(tmp_path):
    def no_boxes(_index, image, _truth):
        return image, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}

    fitted = fit(recipe("detection", steps=2), out=tmp_path / "boxes", sets=replace_train("detection", no_boxes))
    assert all(bool(weight.isfinite().all()) for weight in fitted.network.state_dict().values())
    ignored = replace_train("segmentation", lambda _index, image, mask: (image, torch.full_like(mask, 255)))
    asked = recipe("segmentation", steps=2, decay=0)
    fitted = fit(asked, out=tmp_path / "masks", sets=ignored)
    begun = fit(replace(asked, rate=0.0), out=tmp_path / "begun", sets=ignored)
    assert same(fitted.network, begun.network)


def test_difficult_objects_are_not_learnt_from(tmp_path):
    def marked(_index, image, truth):
        extra = {"boxes": torch.tensor([[0.0, 0, 32, 32]]), "labels": torch.tensor([1])}
        target = {name: torch.cat((truth[name], extra[name])) for name in extra}
        difficult = torch.arange(len(target["labels"])) == len(target["labels"]) - 1
        return image, {**target, "difficult": difficult}

    asked = recipe("detection", steps=2)
    found = [
        fit(asked, out=tmp_path / name, sets=replace_train("detection", change)).network
        for name, change in (("marked", marked), ("plain", lambda _index, image, truth: (image, truth)))
    ]
    assert same(*found)


def test_a_disk_without_room_for_a_first_checkpoint_is_left_as_it_was(tmp_path, monkeypatch):
    write = perimetry.files._replace

    def fill(path, content, lasting):
        if path.suffix == ".safetensors":
            raise OSError(28, "No space left on device")
        write(path, content, lasting)

    monkeypatch.setattr(perimetry.files, "_replace", fill)
    with pytest.raises(InputError, match="No space left on device"):
        fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "keys", "error", "message"),
    [
        ("segmentation", {"model": "small_networks:plain_classifier"}, ShapeError, "expected scores"),
        ("classification", {"model": "small_networks:segmenter"}, ShapeError, "expected scores"),
        ("classification", {"model": ""}, InputError, "name a model for classification"),
        ("classification", {"freeze_norms": True, "model": "small_networks:plain_classifier"}, InputError, "no batch"),
        ("classification", {"class_weights": (1.0, 2.0)}, InputError, "has 2 factors, the data has 3 classes"),
        ("segmentation", {"scales": (24, 40)}, InputError, "the images of one batch are of 24 x 24 and 40 x 40"),
        ("detection", {"hard": "ohem"}, InputError, "hard=ohem is for detectors of perimetry"),
        ("detection", {"model": "small_networks:given_detector"}, InputError, "name their file as `proposals`"),
        ("detection", {"proposals": "boxes.json"}, InputError, "finds its own proposals, and would not look at boxes"),
        ("detection", {"backbone": "timm:resnet18"}, InputError, "has no backbone, output stride or maps"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, task, keys, error, message):
    with pytest.raises(error, match=message):
        fit(recipe(task, **keys), out=tmp_path / "run", sets=sets(task))


def test_a_run_that_failed_before_anything_was_kept_is_not_in_the_way(tmp_path):
    broken = recipe("classification", freeze=("nothing*",))
    with pytest.raises(UnknownNameError):
        fit(broken, out=tmp_path / "run", sets=sets("classification"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "made").mkdir()
    with pytest.raises(UnknownNameError):
        fit(broken, out=tmp_path / "made", sets=sets("classification"))
    assert list((tmp_path / "made").iterdir()) == []
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        fit(broken, out=tmp_path, sets=sets("classification"))
    assert (tmp_path / "mine.txt").exists()
    fit(recipe("classification"), out=tmp_path / "run", sets=sets("classification"))
    with pytest.raises(InputError, match="another recipe"):
        fit(broken, out=tmp_path / "run", sets=sets("classification"))
    assert (tmp_path / "run" / "recipe.json").exists()
