"""`perimetry train`, on files, from the command line."""

import json
from pathlib import Path

import pytest

from perimetry.cli import train
from perimetry.cli.main import main
from perimetry.data.scenes import SceneSet, scenes, write_scenes
from perimetry.training.recipe import Recipe, defaults, meanings

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "train.md"


def splits(task: str) -> dict[str, SceneSet]:
    return {name: scenes(task, count=6, size=(32, 32), seed=seed) for seed, name in enumerate(("train", "val"))}


@pytest.fixture
def photos(tmp_path) -> Path:
    write_scenes(tmp_path / "photos", splits("classification"))
    return tmp_path / "photos"


def words(data: Path, out: Path, *more: str) -> list[str]:
    given = ["--task", "classification", "--data", str(data), "--model", "small_networks:classifier", "--size", "32,32"]
    return ["train", *given, "--steps", "3", "--batch", "4", "--out", str(out), *more]


def test_a_run_from_the_command_line(tmp_path, photos, capsys):
    assert main(words(photos, tmp_path / "run", "--set", "rate=0.02", "--json", str(tmp_path / "scores.json"))) == 0
    told = json.loads((tmp_path / "scores.json").read_text())
    assert told["schema"] == 1
    assert 0 <= told["last"]["top1"] <= 1
    printed = capsys.readouterr()
    assert "best  top1" in printed.out
    assert "perimetry: step 3 of 3" in printed.err
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert kept["recipe"]["rate"] == 0.02
    assert main(words(photos, tmp_path / "run", "--set", "rate=0.02", "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["last"] == told["last"]


def test_a_recipe_file_with_options_over_it(tmp_path, photos):
    lines = ['task = "classification"', 'data = "photos"', 'model = "small_networks:classifier"', "size = [32, 32]"]
    (tmp_path / "recipe.toml").write_text("\n".join([*lines, "steps = 50", "batch = 4", "rate = 0.5"]))
    asked = ["train", "--recipe", str(tmp_path / "recipe.toml"), "--steps", "2", "--set", "rate=0.1"]
    assert main([*asked, "--out", str(tmp_path / "run")]) == 0
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert (kept["steps"], kept["rate"], kept["data"]) == (2, 0.1, str(photos))


def test_broken_images_stop_the_run_or_are_left_out(tmp_path, photos, capsys):
    broken = sorted(photos.rglob("*.png"))[0]
    broken.write_bytes(b"no image")
    assert main(words(photos, tmp_path / "run")) == 3
    told = capsys.readouterr().err
    assert broken.name in told and 'broken="skip" leaves such files out' in " ".join(told.split())
    assert main(words(photos, tmp_path / "other", "--set", "broken=skip")) == 0
    assert f"left out: {broken}" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "epochz=2"], "unknown key of a recipe 'epochz'; did you mean 'epochs'?"),
        (["--set", "rate"], "expected key=value, got 'rate'"),
        (["--epochs", "2"], "either epochs or steps"),
        (["--rate", "fast"], "rate is 'fast'; expected a number"),
        (["--hard", "ohem"], "hard is 'ohem', which classification does not have"),
        (["--set", "gamma=0.5"], "gamma is 0.5, which nothing would use here: it counts with schedule=step"),
        (["--modle", "x"], "did you mean '--model'?"),
        (["--model", "small_networks:nothing"], "expected a torch.nn.Module"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, photos, capsys, more, message):
    assert main(words(photos, tmp_path / "run", *more)) in (2, 3)
    assert message in capsys.readouterr().err


def test_a_file_that_was_left_behind_is_no_run(tmp_path, photos, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text.txt").write_text("mine")
    assert main(words(photos, tmp_path / "notes")) == 2
    assert "holds something else; name a new directory" in capsys.readouterr().err


def test_masks_and_boxes_from_files_with_proposals(tmp_path, capsys):
    write_scenes(tmp_path / "boxes", splits("detection"))
    names = {path.stem: [[0, 0, 16, 16], [8, 8, 30, 30]] for path in (tmp_path / "boxes").rglob("*.png")}
    (tmp_path / "proposals.json").write_text(json.dumps(names))
    asked = ["train", "--task", "detection", "--data", str(tmp_path / "boxes"), "--steps", "2", "--batch", "2"]
    asked += ["--model", "small_networks:given_detector", "--out", str(tmp_path / "run")]
    assert main([*asked, "--proposals", str(tmp_path / "proposals.json")]) == 0
    assert "ap50" in capsys.readouterr().out
    write_scenes(tmp_path / "masks", splits("segmentation"))
    asked = ["train", "--task", "segmentation", "--data", str(tmp_path / "masks"), "--steps", "2", "--batch", "2"]
    assert main([*asked, "--model", "small_networks:segmenter", "--out", str(tmp_path / "segmenter")]) == 0
    assert "miou" in capsys.readouterr().out


def test_help_tells_every_key():
    text = " ".join(train._options().format_help().split())
    for key, meaning in meanings().items():
        assert key in text
        assert meaning.replace(" ", "") in text.replace(" ", "")


def test_the_guide_has_the_table_of_keys():
    assert table() in GUIDE.read_text(encoding="utf-8"), f"put this into {GUIDE}:\n{table()}"


def table() -> str:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    told = Recipe(task="detection", data="d", epochs=1).to_dict()
    for key, meaning in meanings().items():
        value = told[key] if key in defaults() and key != "epochs" else (0 if key == "epochs" else "needed")
        shown = ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
        choice = ", ".join(train.choices(key))
        rows.append(f"| `{key}` | {shown} | {meaning}{f' ({choice})' if choice else ''} |")
    return "\n".join(rows)
