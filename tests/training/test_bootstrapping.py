"""Bootstrapping: false positives join in between stages, can be looked at, and a run that stopped finds them again."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from perimetry.data.scenes import scenes
from perimetry.errors import UnknownNameError
from perimetry.training import Recipe, Sets, fit
from perimetry.training.bootstrapping import Mined, Round, chosen_samples, mine, read_rounds, write_rounds
from perimetry.training.networks import build_network
from perimetry.training.preparing import testing_transform as for_testing  # a name with test_ would be collected
from perimetry.training.processes import Processes
from perimetry.training.sets import task_of


def recipe(task: str, **keys) -> Recipe:
    model = "small_networks:classifier" if task == "classification" else "small_networks:proposing_detector"
    hard = {"hard_class": "disc", "size": (32, 32)} if task == "classification" else {}
    given = {"steps": 9, "batch": 4, "hard": "bootstrap", "hard_rounds": 2, "precision": "float32"}
    return Recipe(task=task, data="scenes", model=model, **(given | hard | keys))


def everything(task: str) -> Sets:
    train = scenes(task, count=12, size=(32, 32), seed=0)
    return Sets(train, scenes(task, count=3, size=(32, 32), seed=1), train.classes)


class Told(nn.Module):
    """Says the same of every image, whatever it shows."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer, self.factor = answer, nn.Parameter(torch.ones(()))

    def forward(self, images, *_):
        return self.answer(images)


def found_by(network: nn.Module, asked: Recipe, rounds=()) -> tuple[Mined, ...]:
    every = everything(asked.task)
    built = build_network(asked, classes=3)
    return mine(
        network,
        asked,
        every.train,
        every.classes,
        rounds,
        task=task_of(asked, every.classes),
        transform=for_testing(asked, built),
        processes=Processes(),
    )


def test_a_classifier_begins_with_a_share_and_is_given_the_negatives_that_it_takes_for_others():
    asked, every = recipe("classification", hard_share=0.5), everything("classification")
    begun = chosen_samples(asked, every.train, every.classes, ())
    labels = [begun[index][1] for index in range(len(begun))]
    assert [labels.count(label) for label in range(3)] == [2, 4, 4]
    square = Told(lambda images: torch.tensor([[0.0, 2.0, 1.0]]).expand(len(images), -1))
    found = found_by(square, asked)
    assert {example.label for example in found} == {"square"}
    assert len(found) == 2
    pool = {index for index in range(12) if index % 3 == 0} - set(begun.indices)
    assert {example.index for example in found} == pool
    rounds = (Round(3, found),)
    assert sorted(chosen_samples(asked, every.train, every.classes, rounds).indices) == list(range(12))
    assert found_by(square, asked, rounds) == ()
    disc = Told(lambda images: torch.tensor([[2.0, 0.0, 0.0]]).expand(len(images), -1))
    assert found_by(disc, asked) == ()


def test_a_detector_is_given_its_sure_boxes_that_are_no_object():
    def answer(images):
        boxes = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1], [0, 0, 32, 32]])
        return [{"boxes": boxes, "labels": torch.tensor([1, 2, 3]), "scores": torch.tensor([0.5, 0.9, 0.0])}]

    asked = recipe("detection", hard_count=14)
    found = found_by(Told(answer), asked)
    assert [example.score for example in found] == pytest.approx([0.9] * 12 + [0.5] * 2)
    assert found[0] == Mined("0", 0, "square", found[0].score, (1.0, 0.0, 2.0, 1.0))
    every = everything("detection")
    chosen = chosen_samples(asked, every.train, every.classes, (Round(3, found),))
    assert len(chosen) == 12
    assert chosen[0][1]["hard_negatives"].tolist() == [[1, 0, 2, 1], [0, 0, 1, 1]]
    assert chosen[5][1]["hard_negatives"].tolist() == [[1, 0, 2, 1]]


def test_what_was_mined_is_read_as_it_was_written(tmp_path):
    rounds = (Round(3, (Mined("a", 0, "b", 0.1, (1 / 3, 0.0, 2.0, 1.0)),)), Round(6, (Mined("c", 1, "d", 0.7),)))
    write_rounds(tmp_path / "mined.json", rounds)
    assert read_rounds(tmp_path / "mined.json", before=7) == rounds
    assert read_rounds(tmp_path / "mined.json", before=6) == rounds[:1]
    assert read_rounds(tmp_path / "none.json", before=6) == ()


@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize("at", [3, 4, 7])
def test_a_run_that_is_stopped_goes_on_with_what_was_mined(tmp_path, task, at):
    # A network so young takes every image for a disc.
    asked, every = recipe(task, **({"hard_class": "square"} if task == "classification" else {})), everything(task)
    whole = fit(asked, out=tmp_path / "whole", sets=every)
    mined = json.loads((tmp_path / "whole" / "mined.json").read_text())
    assert [each["step"] for each in mined["rounds"]] == [3, 6]
    assert mined["rounds"][0]["examples"]

    class Stop(Exception):  # noqa: N818 - no error
        pass

    def stop(step: int, _steps: int) -> None:
        if step == at:
            raise Stop

    with pytest.raises(Stop):
        fit(replace(asked, checkpoint_every=0), out=tmp_path / "run", sets=every, progress=stop)
    gone_on = fit(asked, out=tmp_path / "run", sets=every)
    pairs = zip(whole.network.state_dict().values(), gone_on.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert json.loads((tmp_path / "run" / "mined.json").read_text()) == mined


def test_a_class_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown class 'disk'; did you mean 'disc'\?"):
        fit(
            recipe("classification", hard_class="disk", steps=2),
            out=tmp_path / "run",
            sets=everything("classification"),
        )
