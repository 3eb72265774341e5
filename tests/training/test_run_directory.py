"""A run's directory is taken up again by the same recipe only."""

from contextlib import ExitStack

import pytest

from perimetry.errors import FileError, InputError
from perimetry.training.holding import held
from perimetry.training.recipe import Recipe
from perimetry.training.run_directory import RunDirectory


def recipe(**keys) -> Recipe:
    return Recipe(task="segmentation", data="camvid", epochs=1, **keys)


def test_a_run_is_taken_up_again(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "one")
    assert not run.begin(recipe(), {"classes": ["a", "b"]})
    assert run.begin(recipe(workers=2), {"classes": ["a", "b"]})
    assert run.read() == (recipe(), {"classes": ["a", "b"]})


def test_another_recipe_is_refused_and_told(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(recipe(), {"classes": ["a", "b"]})
    with pytest.raises(InputError, match=r"another recipe: rate was 0.01, is 0.02; name a new directory"):
        run.begin(recipe(rate=0.02), {"classes": ["a", "b"]})
    with pytest.raises(InputError, match=r"classes was \['a', 'b'\], is \['a'\]"):
        run.begin(recipe(), {"classes": ["a"]})


def test_other_directories_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else; name a new directory"):
        RunDirectory(tmp_path).begin(recipe(), {})
    with pytest.raises(FileError, match="is no directory of a run"):
        RunDirectory(tmp_path).read()
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(FileError, match="is no recipe of a run"):
        RunDirectory(tmp_path).read()


def test_a_run_that_was_killed_before_it_began_begins(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / ".recipe.json.k2x").write_text("{")
    assert not RunDirectory(tmp_path).begin(recipe(), {})
    (tmp_path / "checkpoints").rmdir()
    assert RunDirectory(tmp_path).begin(recipe(), {})
    assert (tmp_path / "checkpoints").is_dir()
    (tmp_path / "recipe.json").unlink()
    (tmp_path / "checkpoints" / "last.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else"):
        RunDirectory(tmp_path).begin(recipe(), {})


def test_a_run_that_fails_leaves_what_another_process_began_meanwhile(tmp_path):
    pytest.importorskip("fcntl")
    run = RunDirectory(tmp_path / "run")
    with ExitStack() as other:

        def fail() -> None:
            with run.taken_back():
                run.begin(recipe(), {})  # by the other process, which has no checkpoint yet
                other.enter_context(held(run.path))
                run.begin(recipe(rate=0.02), {})

        with pytest.raises(InputError, match="another recipe"):
            fail()
    assert run.read() == (recipe(), {})
    assert run.checkpoints.is_dir()


def test_metrics_are_kept_and_later_ones_forgotten(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.begin(recipe(), {})
    metrics = run.metrics()
    for step in range(4):
        metrics.add(step, step / 2, "train", {"loss": 1 / (step + 1), "note": "text"})
    metrics.write()
    again = run.metrics()
    again.forget_after(1)
    again.add(2, 1.0, "val", {"miou": 0.5, "iou": [1, 2]})
    assert again.of("train", "loss") == [(0, 1.0), (1, 0.5)]
    assert again.of("val", "miou") == [(2, 0.5)]
    (tmp_path / "run" / "metrics.csv").write_text("step,epoch,split,name,value\nx,,,,\n")
    with pytest.raises(FileError, match="is no table of metrics"):
        run.metrics()
