"""The commands as a user types them: exit codes, messages, files; with the inspection itself replaced where slow."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import perimetry
from perimetry import Inspection, LayerRecord, ModelRecord, Photo
from perimetry.cli.main import main
from perimetry.geometry import AxisField, Field
from perimetry.networks import CARDS, Quantity
from perimetry.records import Totals, UnknownOperator

SOURCE = Path(perimetry.__file__).parents[1]


def row(name: str) -> LayerRecord:
    field = Field((AxisField(3, 1, -1, True, [(-1, 1, 0, 1)]),) * 2)
    return LayerRecord(
        name, "Conv2d", False, name.count(".") + 1, (1, 4, 8, 8), field, field, None, False, None, 7, 9, 4, False, None
    )


def record(model: str, *layers: str, unknown=()) -> ModelRecord:
    return ModelRecord(model, (1, 3, 8, 8), (8, 8), tuple(map(row, layers)), Totals(7, 9, 4), unknown)


@pytest.fixture
def inspected(monkeypatch):
    """Replaces `perimetry.inspect`; collects what it was called with."""
    calls = []

    def inspect(model, image_or_size=224, *, name=None):
        calls.append((model, image_or_size))
        photo = None if isinstance(image_or_size, tuple) else Photo("photo.jpg", 1, 1, b"\0\0\0")
        return Inspection((record(name or model.name, "conv1", "=layer.conv", "layer2.0.conv"),), photo)

    monkeypatch.setattr(perimetry, "inspect", inspect, raising=False)
    return calls


def test_json_to_stdout_is_all_of_stdout(inspected, capsys):
    assert main(["inspect", "timm:test_resnet", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert (data["schema"], data["models"][0]["model"]) == (1, "timm:test_resnet")
    assert err == ""


def test_files_and_table(inspected, capsys, tmp_path):
    files = {kind: str(tmp_path / f"result.{kind}") for kind in ("json", "csv", "html")}
    words = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    assert main(["inspect", "timm:test_resnet", *words]) == 0
    out, err = capsys.readouterr()
    assert "conv1" in out
    assert err == ""  # no terminal, no progress
    assert "\x1b" not in out
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["schema"] == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "result.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 3
    assert "'=layer.conv" in rows[1].values()
    assert "-1" in rows[0].values()  # numbers stay numbers
    assert "<html" in (tmp_path / "result.html").read_text(encoding="utf-8").lower()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["result.csv", "result.html", "result.json"]


def test_a_file_is_replaced_or_left_alone(inspected, capsys, tmp_path):
    target = tmp_path / "result.json"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    assert main(["inspect", "nothing like it", "--json", str(target)]) == 2
    assert target.read_text(encoding="utf-8") == "old"
    assert main(["inspect", "timm:test_resnet", "--json", str(target)]) == 0
    assert json.loads(target.read_text(encoding="utf-8"))
    assert target.stat().st_mode & 0o777 == 0o640


def test_layers_picks_rows_everywhere(inspected, capsys):
    assert main(["inspect", "timm:test_resnet", "--layers", "layer2.*", "--json", "-"]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["models"][0]["layers"]] == ["layer2.0.conv"]
    assert main(["inspect", "timm:test_resnet", "--layers", "layer2.0.convv"]) == 2
    assert "did you mean 'layer2.0.conv'" in capsys.readouterr().err


def test_size_photo_and_default_model(inspected, capsys):
    assert main(["inspect", "timm:test_resnet", "--size", "96x64"]) == 0
    assert main(["inspect", "timm:test_resnet", "--size", "96"]) == 0
    assert main(["inspect"]) == 0
    assert main(["inspect", "timm:test_resnet", "--image", "mine.jpg", "--size", "96x64"]) == 0
    sizes = [(model.input_size, image) for model, image in inspected]
    assert sizes[:2] == [((96, 64), (96, 64)), ((96, 96), (96, 96))]
    assert sizes[3] == ((96, 64), "mine.jpg")
    model, image = inspected[2]
    assert model.trained
    assert Path(image).name == "chelsea.jpg"


def test_options_may_stand_between_models(inspected, capsys):
    assert main(["inspect", "timm:test_resnet", "--size", "64", "timm:test_vit", "--json", "-"]) == 0
    assert [each["model"] for each in json.loads(capsys.readouterr().out)["models"]] == [
        "timm:test_resnet",
        "timm:test_vit",
    ]


def test_an_unknown_operator_is_code_4_and_the_result_is_written(monkeypatch, capsys):
    unknown = (UnknownOperator("mylib.warp", "stn", ((1, 3, 8, 8),), ((1, 3, 8, 8),)),) * 2

    def inspect(model, image_or_size=224, *, name=None):
        return Inspection((record("m", "conv1", unknown=unknown),))

    monkeypatch.setattr(perimetry, "inspect", inspect, raising=False)
    assert main(["inspect", "timm:test_resnet", "--json", "-"]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["schema"] == 1
    assert err.count("no rule for operator mylib.warp at 'stn'") == 1
    assert "2 places" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("inspct", 2, "unknown command 'inspct'; did you mean 'inspect'?"),
        ("--vresion", 2, "unknown option '--vresion'; did you mean '--version'?"),
        ("inspect --jsn x", 2, "unknown option '--jsn'; did you mean '--json'"),
        ("inspect --json", 2, "argument --json: expected one argument"),
        ("inspect --size 0", 2, "expected HxW in pixels, like 224 or 320x480"),
        ("inspect --size 1x2x3", 2, "expected HxW in pixels"),
        ("inspect --size 99999999999999999999", 2, "expected HxW in pixels"),
        ("inspect --depth 0", 2, "expected a whole number from 1, got '0'"),
        ("inspect --sort colour", 2, "invalid choice: 'colour'"),
        ("inspect resnet5O", 2, "unknown model 'resnet5O'; did you mean 'resnet50'"),
        ("inspect nets/none.pt2", 3, "no such file: nets/none.pt2"),
        ("inspect --weights none.pth resnet18", 3, "no such file: none.pth"),
        ("inspect --weights w.pth resnet18 resnet34", 2, "a file of weights fits one model"),
        ("inspect --json - --csv -", 2, "two results would go to stdout"),
        ("inspect --json a --csv ./a", 2, "two results would go to ./a"),
        ("inspect --json nowhere/a.json", 2, "cannot write nowhere/a.json: there is no directory"),
        ("inspect --html .", 2, "cannot write .: it is a directory"),
        ("models nothing-like-this", 2, "unknown model 'nothing-like-this'"),
        ("models a b", 2, "unexpected argument 'b'"),
        ("models resnet18 --recount", 2, "--recount needs the name of one network with a card: alexnet"),
        ("doctor now", 2, "unexpected argument 'now'"),
    ],
)
def test_wrong_use_is_one_message(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("perimetry: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place_is_told_before_the_work(inspected, capsys, tmp_path):
    tmp_path.chmod(0o500)
    assert main(["inspect", "--json", str(tmp_path / "a.json")]) == 2
    assert "permission denied" in capsys.readouterr().err
    assert inspected == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_message(inspected, capsys):
    assert main(["inspect", "timm:test_resnet", "--json", "/dev/full"]) == 2
    assert "cannot write /dev/full: No space left on device" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_message():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "perimetry", "models", "alexnet"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "perimetry: the system refused to go on: [Errno 28] No space left on device\n"


def test_our_bug_is_code_1_and_says_so(monkeypatch, capsys):
    def inspect(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(perimetry, "inspect", inspect, raising=False)
    assert main(["inspect", "timm:test_resnet"]) == 1
    err = capsys.readouterr().err
    assert "this is a bug in perimetry: ZeroDivisionError: division by zero" in err
    assert "Traceback" not in err
    assert main(["inspect", "timm:test_resnet", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_code_130(monkeypatch, capsys):
    def inspect(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(perimetry, "inspect", inspect, raising=False)
    assert main(["inspect", "timm:test_resnet"]) == 130
    assert capsys.readouterr().err == "perimetry: interrupted\n"


def test_hostile_names_do_not_reach_the_terminal(capsys):
    assert main(["inspect", "\x1b[31mred\x07"]) == 2
    assert main(["inspect", "x", "--image", "\x1b]0;title\x07"]) in (2, 3)
    assert "\x1b" not in capsys.readouterr().err


def test_models_lists_names(capsys):
    assert main(["models", "torchvision:vgg1?"]) == 0
    assert capsys.readouterr().out.split() == [
        "torchvision:vgg11",
        "torchvision:vgg13",
        "torchvision:vgg16",
        "torchvision:vgg19",
    ]
    assert main(["models", "squeezenet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["torchvision:squeezenet1_0", "torchvision:squeezenet1_1"]


def test_models_prints_the_card_of_a_network(capsys):
    assert main(["models", "AlexNet"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("AlexNet (perimetry:alexnet): classification, 227 × 227\n")
    assert "build       perimetry.networks.alexnet(classes=1000, groups=2)" in printed
    assert "a test counts them anew" in printed
    assert printed.endswith("Other models of that name: torchvision:alexnet\n")


def test_numbers_of_a_card_are_counted_anew(capsys):
    assert main(["models", "perimetry:alexnet", "--recount", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert card["quantities"][0]["recounted"] == 60965224
    assert all(quantity["agrees"] for quantity in card["quantities"])


def test_a_number_that_differs_is_told_and_ends_with_1(capsys, monkeypatch):
    wrong = Quantity("parameters", 60965225, "a slip of the pen")
    monkeypatch.setitem(CARDS, "alexnet", replace(CARDS["alexnet"], quantities=(wrong,)))
    assert main(["models", "perimetry:alexnet", "--recount"]) == 1
    assert "60,965,225 (here 60965224)" in capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")


def test_doctor_says_what_is_there(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torchvision" in out
    assert "`perimetry inspect` can run" in out
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["ok"]
    assert findings["schema"] == 1
    assert {package["name"] for package in findings["packages"]} >= {"torch", "timm", "pandas"}


def test_doctor_without_what_is_needed(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "problem: timm: installed, but importing it fails" in out
    assert "`perimetry inspect` cannot run" in out


def run(*words, **options):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-m", "perimetry", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,
    )


def test_as_a_process():
    assert run("--version").stdout == f"perimetry {perimetry.__version__}\n"
    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert all(command in helped.stdout for command in ("inspect", "models", "doctor"))
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (2, helped.stdout)
    wrong = run("inspct")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert run("inspect", "--help").returncode == 0


def test_a_reader_that_goes_away_is_no_error():
    program = f"{sys.executable} -m perimetry models | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("torchvision:")
