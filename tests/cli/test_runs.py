"""`perimetry evaluate` and `perimetry predict` as a user types them: options, files, messages, exit codes."""

import csv
import json
from pathlib import Path

import pytest

from perimetry.cli.main import main
from perimetry.data import open_dataset
from prediction.made_runs import make_run, make_scenes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_scenes(Path("data"), "segmentation")
    make_run(Path("run"), "segmentation", data, open_dataset(data, task="segmentation").classes)
    return tmp_path


def test_evaluate_prints_scores_and_writes_files(capsys):
    words = ["evaluate", "run", "--scales", "0.5,1", "--flip", "--checkpoint", "last"]
    assert main([*words, "--json", "e.json", "--csv", "e.csv", "--html", "e.html"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("segmentation · last checkpoint after step 20 · data, split test\n") and err == ""
    assert "×0.5 ×1, mirrored too" in out and "mean IoU" in out
    found = json.loads(Path("e.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["checkpoint"], found["split"], len(found["choices"])) == (1, "last", "test", 3)
    assert len(list(csv.DictReader(Path("e.csv").read_text().splitlines()))) == 6
    assert Path("e.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["evaluate", "run", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "masks"


def test_predict_tells_what_it_wrote(capsys):
    assert main(["predict", "run", "data/JPEGImages", "--out", "out"]) == 0
    assert capsys.readouterr() == ("10 images predicted: out/masks\n", "")
    assert main(["predict", "run", "data/JPEGImages/test_00000.png", "--out", "out", "--no-pictures"]) == 0
    assert capsys.readouterr().out == "0 images predicted, 1 there already: out/masks\n"


def test_broken_images_are_3_and_skipped_only_when_asked(capsys):
    Path("data/JPEGImages/broken.jpg").write_bytes(b"")
    assert main(["predict", "run", "data/JPEGImages", "--out", "out"]) == 3
    assert "data/JPEGImages/broken.jpg is not a photo" in capsys.readouterr().err
    assert main(["predict", "run", "data/JPEGImages", "--out", "out", "--skip-broken"]) == 0
    out, err = capsys.readouterr()
    assert out == "10 images predicted, 1 skipped: out/masks\n"
    assert err.startswith("perimetry: skipped: data/JPEGImages/broken.jpg")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["evaluate", "nowhere"], 3, "nowhere is no directory of a run: there is no such folder"),
        (["evaluate", "data"], 3, "data is no directory of a run (it has no recipe.json)"),
        (["evaluate", "run", "--split", "tset"], 2, "unknown split 'tset'; did you mean 'test'?"),
        (["evaluate", "run", "--data", "nowhere"], 3, "no such folder: nowhere"),
        (["evaluate", "run", "--ten-crop"], 2, "ten crops are of classifiers, and the run is for segmentation"),
        (["predict", "run", "data/JPEGImages", "--out", "out", "--ten-crop"], 2, "leave --ten-crop out"),
        (["evaluate", "run", "--scales", "0"], 2, "expected scales above 0"),
        (
            ["evaluate", "run", "--scales", "big"],
            2,
            "--scales: expected numbers with commas between, got 'big'",
        ),
        (["evaluate", "run", "--device", "cuda:99"], 2, "there is no device 'cuda:99' here"),
        (["evaluate", "run", "--device", "meta"], 2, "nothing can be computed on the device 'meta'"),
        (["evaluate", "run", "--html", "no/e.html"], 2, "there is no directory"),
        (["predict", "run", "empty", "--out", "out"], 3, "there is no image in empty"),
        (["predict", "run", "data", "--out", "out"], 3, "no image in data, only in folders in it; name one of those"),
        (["predict", "run", "data/JPEGImages"], 2, "the following arguments are required: --out"),
        (["predict", "run", "data/JPEGImages", "--out", "out", "--threshold", "0.3"], 2, "a threshold is of boxes"),
        (["predict", "run", "data/JPEGImages", "--out", "data"], 2, "data holds something else"),
        (["inspect", "run", "--weights", "none"], 2, "run is a run, which has weights of its own"),
    ],
)
def test_bad_input_is_told(capsys, words, code, told):
    Path("empty").mkdir()
    assert main(words) == code
    assert told in capsys.readouterr().err


def test_a_missing_checkpoint_is_3(capsys):
    for file in Path("run/checkpoints").glob("best*"):
        file.unlink()
    assert main(["evaluate", "run", "--checkpoint", "best"]) == 3
    assert "run has no checkpoint 'best'; there is last" in capsys.readouterr().err


def test_inspect_and_map_take_a_run(capsys):
    assert main(["inspect", "./run", "--size", "32", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["models"][0]
    assert found["model"] == "./run" and found["layers"][0]["field"]["size"] == [3, 3]
    assert main(["map", "./run", "--unit", "0", "--size", "32", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "./run"


def test_a_run_whose_data_is_gone_says_so(capsys):
    Path("data").rename("moved")
    assert main(["evaluate", "run"]) == 3
    assert "data, on which run was trained, is not there; say where it lies now with --data" in capsys.readouterr().err
    assert main(["evaluate", "run", "--data", "moved", "--split", "test"]) == 0


def test_a_run_of_another_version_is_named(capsys):
    recipe = json.loads(Path("run/recipe.json").read_bytes())
    recipe["recipe"]["later"] = 1
    Path("run/recipe.json").write_text(json.dumps(recipe))
    assert main(["evaluate", "run"]) == 3
    assert "run/recipe.json is no recipe of a run: unknown key of a recipe 'later'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "evaluate", "train", "data", "inspect", "map", "models"])
def test_help_fits_the_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main([command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_an_interruption_says_how_to_go_on(capsys, monkeypatch):
    def stop(self, done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("perimetry.cli.progress.Progress.show", stop)
        assert main(["predict", "run", "data/JPEGImages", "--out", "out"]) == 130
    assert capsys.readouterr().err.startswith("perimetry: interrupted; the same command keeps what was predicted")
    assert main(["predict", "run", "data/JPEGImages", "--out", "out"]) == 0
    assert capsys.readouterr().out.startswith("7 images predicted, 3 there already")
