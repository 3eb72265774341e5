"""The page of a run: what stands in it, and that names and files do nothing there."""

import base64
import hashlib
import json

import numpy as np
import pytest

from perimetry.data import open_dataset
from perimetry.prediction import evaluate
from perimetry.report.run_html import run_html
from perimetry.report.run_plots import run_plots
from perimetry.report.run_samples import samples, told_wrong
from perimetry.training.run import load_run
from perimetry.training.run_directory import Metrics
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


def test_a_long_loss_is_drawn_as_a_mean_too(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv")
    values = 1 + np.random.default_rng(0).random(200)
    for step, value in enumerate(values, start=1):
        metrics.add(step, step / 10, "train", {"loss": float(value)})
    (plot,) = run_plots(metrics)
    assert [line.label for line in plot.lines] == ["loss, mean of 10 steps", "loss"]
    assert plot.lines[0].y[0] == pytest.approx(values[:10].mean()) and plot.lines[0].x[0] == pytest.approx(5.5)
    assert run_plots(Metrics(tmp_path / "none.csv")) == []
