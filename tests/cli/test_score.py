"""`perimetry score` as a user types it: kinds, options, files, messages, exit codes."""

import csv
import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import perimetry
from perimetry.cli.main import main
from perimetry.cli.score import KINDS, _options
from perimetry.metrics import isbi_thresholds

RANDOM = np.random.default_rng(5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folders `truth` and `told` of three masks; the working directory."""
    monkeypatch.chdir(tmp_path)
    for role in ("truth", "told"):
        Path(role).mkdir()
        for name in "abc":
            Image.fromarray(RANDOM.integers(0, 2, (12, 16)).astype(bool)).save(f"{role}/{name}.png")
    return tmp_path


def told(capsys):
    out, err = capsys.readouterr()
    return out, err.splitlines()


PAIR = ["--truth", "truth", "--pred", "told"]


def test_text_json_and_csv(folder, capsys):
    assert main(["score", "masks", *PAIR, "--classes", "no,yes", "--json", "m.json", "--csv", "m.csv"]) == 0
    out, err = told(capsys)
    seen = perimetry.score_masks("truth", "told", classes=["no", "yes"])
    assert out.startswith("masks · 3 images · 2 classes\n\npixel accuracy")
    assert f"mean IoU        {seen.total['miou']:.4f}\n" in out
    assert err == []  # no terminal, no progress
    found = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert list(found)[:2] == ["schema", "kind"]
    assert (found["schema"], found["kind"], found["classes"]) == (1, "masks", ["no", "yes"])
    assert [image["name"] for image in found["images"]] == ["a", "b", "c"]
    assert found["total"]["iou"] == seen.total["iou"]
    rows = list(csv.DictReader(io.StringIO(Path("m.csv").read_text(encoding="utf-8"))))
    assert [float(row["iou.yes"]) for row in rows] == [image.scores["iou"]["yes"] for image in seen.images]


def test_json_to_stdout_is_all_of_stdout(folder, capsys):
    assert main(["score", "boundaries", *PAIR, "--json", "-"]) == 0
    found = json.loads(told(capsys)[0])
    for record in (found["total"], *found["images"]):
        assert {"pixel_error", "warping_error", "mismatches", "split", "merge", "v_rand", "v_info"} <= record.keys()
        assert set(record["components"]) == {
            *("object_addition", "object_deletion", "hole_addition", "hole_deletion", "split", "merge")
        }


def test_a_page_is_made_of_the_result(folder, monkeypatch, capsys):
    page = types.ModuleType("perimetry.report.score_html")
    page.score_html = lambda scored: f"<p>{scored.kind} {len(scored.images)}</p>"
    monkeypatch.setitem(sys.modules, page.__name__, page)
    assert main(["score", "masks", *PAIR, "--html", "m.html"]) == 0
    assert Path("m.html").read_text() == "<p>masks 3</p>"


def test_a_sweep_is_the_challenge_s(folder, capsys):
    assert main(["score", "boundaries", *PAIR, "--sweep", "--parts", "warping", "--json", "-"]) == 0
    found = json.loads(told(capsys)[0])
    assert found["settings"]["sweep"] == list(isbi_thresholds())
    assert (
        found["total"]["isbi_error"]
        == perimetry.score_boundaries("truth", "told", sweep=isbi_thresholds()).total["isbi_error"]
    )


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (
            ["masks", "--ignore", "255", "--foreground", "--workers", "2"],
            {"ignore": 255, "foreground": True, "workers": 2},
        ),
        (["masks", "--classes", "7", "--bootstrap", "9", "--seed", "3"], {"classes": 7, "bootstrap": 9, "seed": 3}),
        (
            ["boundaries", "--threshold", "0.25", "--radius", "0", "--borders", "thinned", "--tolerance", "1.5"],
            {"threshold": 0.25, "radius": 0, "borders": "thinned", "tolerance": 1.5},
        ),
        (
            ["boundaries", "--mask", "m", "--parts", "warping,outlines"],
            {"masks": "m", "parts": ["warping", "outlines"]},
        ),
        (
            ["boxes", "--metric", "voc07", "--metric", "recall", "--iou", "0.6", "--min-score", "0.1", "--photos", "p"],
            {"metrics": ["voc07", "recall"], "iou": 0.6, "min_score": 0.1, "photos": "p"},
        ),
        (["boxes", "--metric", "coco", "--sizes", "8,24.5"], {"metrics": ["coco"], "sizes": (8.0, 24.5)}),
        (
            ["labels", "--top-k", "1", "3", "--positive", "yes", "--truth-columns", "path,class", "--only-common"],
            {"ks": [1, 3], "positive": "yes", "columns": ("path", "class"), "only_common": True},
        ),
        (
            ["labels", "--names", "n.txt", "--classes", "n.txt"],
            {"names": ["a b", "c"], "classes": ["a b", "c"]},
        ),
    ],
)
def test_options_reach_the_function(folder, monkeypatch, capsys, words, settings):
    Path("n.txt").write_text("a b\n\nc\n")
    calls = []

    def score(truth, pred, **asked):
        calls.append((truth, pred, asked))
        return perimetry.Scored(words[0], {}, (), {})

    monkeypatch.setitem(vars(perimetry), f"score_{words[0]}", score)
    assert main(["score", *words, *PAIR]) == 0
    ((truth, pred, asked),) = calls
    assert (truth, pred) == ("truth", "told")
    usual = {"only_common": False, "seed": 0, "foreground": False, "workers": 1}
    assert {name: value for name, value in asked.items() if name != "progress" and value != usual.get(name)} == {
        name: value for name, value in settings.items() if value != usual.get(name)
    }


def test_what_does_not_match_is_listed_line_by_line(folder, capsys):
    Path("told/a.png").rename("told/d.png")
    Image.new("1", (3, 4)).save("told/b.png")
    assert main(["score", "masks", *PAIR, "--json", "m.json"]) == 2
    assert told(capsys) == (
        "",
        [
            "perimetry: no prediction for 1 of 3: a",
            "perimetry: no truth for 1 prediction: d",
            "perimetry: sizes differ: b (12×16, predicted 4×3)",
            "perimetry: nothing was scored, since truth and predictions do not match; "
            "--only-common scores the 1 that fit",
        ],
    )
    assert not Path("m.json").exists()
    assert main(["score", "masks", *PAIR, "--only-common"]) == 0
    assert "note: left out: no prediction for 1 of 3: a\n" in told(capsys)[0]


def test_a_damaged_file_exits_3(folder, capsys):
    Path("told/b.png").write_bytes(Path("told/b.png").read_bytes()[:60])
    assert main(["score", "masks", *PAIR]) == 3
    assert "cannot be read (damaged or incomplete)" in told(capsys)[1][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["maks", *PAIR], "unknown kind 'maks'; did you mean 'masks'?"),
        (["masks", "--truth", "truth"], "--pred; see `perimetry score masks --help`"),
        (["masks", *PAIR, "--seed", "1"], "--seed belongs to --bootstrap"),
        (["masks", *PAIR, "--classes", "nofile"], "no such file, and no comma"),
        (["masks", *PAIR, "--names", "nofile"], "nofile cannot be read as a list of names"),
        (["masks", *PAIR, "--json", "no/where.json"], "there is no directory"),
        (["masks", *PAIR, "--threshold", "0.5"], "unknown option '--threshold'"),
        (["boundaries", *PAIR, "--threshold", "0.5", "--sweep"], "not allowed with argument"),
        (["boundaries", *PAIR, "--threshold", "nan"], "expected a number, got 'nan'"),
        (["boxes", *PAIR, "--metric", "coco", "--sizes", "tiny"], "expected numbers with commas between, got 'tiny'"),
        (["labels", *PAIR, "--truth-columns", "a"], "expected two columns as name,label"),
    ],
)
def test_usage_errors_are_one_line(folder, capsys, words, message):
    assert main(["score", *words]) in (2, 3)
    out, (line,) = told(capsys)
    assert out == "" and message in line


@pytest.mark.parametrize("kind", KINDS)
def test_help_of_every_kind(capsys, kind):
    assert main(["score", kind, "--help"]) == 0
    out, _ = told(capsys)
    assert out.startswith(f"usage: perimetry score {kind}") and "--only-common" in out


def test_help_lists_the_kinds(capsys):
    assert main(["score", "--help"]) == 0
    out, _ = told(capsys)
    assert all(f"\n  {kind} " in out for kind in KINDS)
    assert main(["score"]) == 2


def test_compilation_is_announced_once(folder, monkeypatch, capsys):
    monkeypatch.setattr("perimetry.metrics.warping.compiled", lambda: False)
    assert main(["score", "boundaries", *PAIR]) == 0
    assert [line for line in told(capsys)[1] if "compiling" in line] == [
        "perimetry: compiling the warp's loops for this machine, once; it takes some seconds"
    ]


def test_hostile_names_do_nothing(folder, capsys):
    for role in ("truth", "told"):
        Path(role, "a.png").rename(Path(role, "=a\x1b[2J.png"))
    assert main(["score", "masks", *PAIR, "--csv", "m.csv"]) == 0
    assert "\x1b" not in told(capsys)[0]
    assert "'=a\\x1b[2J" in Path("m.csv").read_text()


def test_a_narrow_terminal_is_kept_to(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["score", "boundaries", *PAIR, "--bootstrap", "20", "--mask", "truth"]) == 0
    assert max(map(len, told(capsys)[0].splitlines())) <= 60


def test_options_are_read_in_any_order():
    values = _options("boxes").read(["--iou", "0.5", "--pred", "p.json", "--truth", "t"])
    assert (values.truth, values.pred, values.iou) == ("t", "p.json", 0.5)


@pytest.mark.parametrize("kind", ["masks", "boundaries"])
def test_real_labels_moved_by_a_pixel(data, tmp_path, capsys, kind):
    source = data / ("camvid_half/SegmentationClass" if kind == "masks" else "isbi2012_em/labels")
    for role in ("truth", "told"):
        (tmp_path / role).mkdir()
    for file in sorted(source.glob("*.png"))[:4]:
        with Image.open(file) as image:
            labels = np.array(image)
            image.save(tmp_path / "truth" / file.name)
        moved = np.roll(labels, 1, axis=1)
        if kind == "masks":
            moved[moved == 255] = 0
        Image.fromarray(moved).save(tmp_path / "told" / file.name)
    words = ["--truth", str(tmp_path / "truth"), "--pred", str(tmp_path / "told"), "--json", "-"]
    words += ["--ignore", "255", "--classes", str(data / "camvid_half" / "classes.txt")] if kind == "masks" else []
    assert main(["score", kind, *words]) == 0
    total = json.loads(told(capsys)[0])["total"]
    if kind == "masks":
        assert 0.6 < total["miou"] < 1 and 0.9 < total["pixel_accuracy"] < 1
    else:
        # A border that moves by a pixel keeps its topology nearly everywhere.
        assert total["pixel_error"] > 0.02 and total["warping_error"] < 0.002
