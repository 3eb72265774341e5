"""The page of a run: what stands in it, and that names and files do nothing there."""

import base64
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from perimetry.data import open_dataset
from perimetry.prediction import evaluate
from perimetry.report.run_html import run_html
from perimetry.report.run_mined import mined_samples
from perimetry.report.run_plots import run_plots
from perimetry.report.run_samples import samples, told_wrong
from perimetry.training.bootstrapping import Mined, Round, write_rounds
from perimetry.training.cost import Meter
from perimetry.training.run import load_run
from perimetry.training.run_directory import Metrics, RunDirectory
from prediction.made_runs import BUILDERS, make_run, make_scenes
from report.elements import Elements

HOSTILE = "</script><img src=x onerror=alert(1)>&'\""


@pytest.fixture(params=BUILDERS)
def evaluated(request, tmp_path):
    task = request.param
    data = make_scenes(tmp_path / "data", task)
    dataset = open_dataset(data, task=task)
    return evaluate(load_run(make_run(tmp_path / "run", task, data, dataset.classes)), scales=(0.5, 1))


def test_a_page_asks_for_nothing_and_allows_its_own_script_and_style_only(evaluated):
    found = Elements(run_html(evaluated))
    policy = next(attributes["content"] for tag, attributes in found.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    for text in (found.scripts[1], found.styles[0]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    for tag, attributes in found.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, attributes)


def test_the_page_tells_curves_samples_choices_and_the_recipe(evaluated):
    page = run_html(evaluated)
    sections = {attributes.get("id") for tag, attributes in Elements(page).tags if tag == "section"}
    assert {"training", "samples", "choices", "totals", "recipe"} <= sections
    assert "training took" not in page
    Meter(RunDirectory(evaluated.run.path).cost, torch.device("cpu")).write(20)
    assert "training took</th><td>0:00:0" in run_html(evaluated)
    assert evaluated.to_dict()["trained"]["device"] == "cpu"
    assert evaluated.run.weights in page and "×0.5 ×1" in page
    data = json.loads(Elements(page).scripts[0])
    assert [plot["key"] for plot in data["plots"][-2:]] == ["run-losses", "run-scores"]
    # Each figure finds its own curve among the script's.
    numbers = [int(attributes["data-plot"]) for _, attributes in Elements(page).tags if "data-plot" in attributes]
    assert sorted(numbers) == list(range(len(data["plots"])))
    assert len(samples(evaluated.scored, evaluated.photos)) == 6


def test_the_same_evaluation_gives_the_same_page(evaluated):
    assert run_html(evaluated) == run_html(evaluated)


def test_names_do_nothing(tmp_path):
    data = make_scenes(tmp_path / "data", "segmentation")
    (data / "class_names.txt").write_text(f"_background_\n{HOSTILE}\nb\nc\n")
    classes = open_dataset(data, task="segmentation").classes
    run = make_run(tmp_path / "<b>run", "segmentation", data, classes, freeze=(HOSTILE,))
    page = run_html(evaluate(load_run(run)))
    assert "<img src=x" not in page and "<b>run" not in page and page.count("</script>") == 2


def test_labels_that_were_told_wrong_are_shown_the_furthest_first(tmp_path):
    data = make_scenes(tmp_path / "data", "classification")
    classes = open_dataset(data, task="classification").classes
    found = evaluate(load_run(make_run(tmp_path / "run", "classification", data, classes)))
    wrong = told_wrong(found.scored, found.photos)
    ranks = {image.name: image.scores["rank"] for image in found.scored.images if not image.scores["correct"]}
    assert [ranks[shown.name] for shown in wrong] == sorted(ranks.values(), reverse=True)
    assert all(", in truth " in shown.caption for shown in wrong)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_what_was_mined_is_shown_the_surest_first(tmp_path, task):
    data = make_scenes(tmp_path / "data", task)
    dataset = open_dataset(data, task=task)
    run = make_run(tmp_path / "run", task, data, dataset.classes)
    names = [sample.name for sample in dataset.part("train").samples]
    box = (4.0, 6.0, 10.0, 12.0) if task == "detection" else None
    found = [
        Mined(name, index, dataset.classes[0], score, box)
        for index, (name, score) in enumerate([(names[1], 0.5), (names[0], 0.75), ("gone", 0.9)])
    ]
    write_rounds(RunDirectory(run).mined, [Round(3, tuple(found)), Round(7, tuple(found[:1])), Round(15, tuple(found))])
    evaluated = evaluate(load_run(run))  # after step 10: the last round had not been held
    assert [len(each.examples) for each in evaluated.run.mined()] == [3, 1]
    shown = mined_samples(evaluated.run.mined(), evaluated.mined_photos(), dataset.classes)
    assert [each.name for each in shown] == [names[0], names[1], names[1]]
    assert shown[0].view == ((0.0, 0.0, 16.0, 18.0) if box else (0.0, 0.0, 32.0, 32.0))
    page = run_html(evaluated)
    assert f"taken for {dataset.classes[0]} 0.75, after step 3" in page.replace("<wbr>", "")
    assert "after step 3: 3 false positives, after step 7: 1 false positive." in page
    shutil.rmtree(data / ("train" if task == "classification" else "JPEGImages"))
    assert "Hard examples" in run_html(evaluated)


def test_a_long_loss_is_drawn_as_a_mean_too(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv")
    values = 1 + np.random.default_rng(0).random(200)
    for step, value in enumerate(values, start=1):
        metrics.add(step, step / 10, "train", {"loss": float(value)})
    (plot,) = run_plots(metrics)
    assert [line.label for line in plot.lines] == ["loss, mean of 10 steps", "loss"]
    assert plot.lines[0].y[0] == pytest.approx(values[:10].mean()) and plot.lines[0].x[0] == pytest.approx(5.5)
    assert run_plots(Metrics(tmp_path / "none.csv")) == []


def test_of_equal_scores_the_ring_is_where_the_checkpoint_is(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv")
    for step, value in ((3, 0.5), (6, 0.5), (9, 0.25)):
        metrics.add(step, step / 3, "val", {"top1": value})
    (plot,) = run_plots(metrics)
    assert plot.lines[0].note == "highest 0.5000 after step 6"
