"""`perimetry map` as a user types it: options, files, messages; the measurement itself replaced where slow."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import perimetry
from perimetry import InputError, UnitMap
from perimetry.cli.main import main
from perimetry.cli.progress import Progress
from perimetry.geometry import AxisField, Box, Field, Span
from perimetry.images import sample_photo
from perimetry.maps.measurement import measure
from perimetry.maps.targets import Target

SOURCE = Path(perimetry.__file__).parents[1]
FIELD = Field((AxisField(9, 1, -4, True, [(-4, 4, 0, 4)]),) * 2)


def answer(method, shape, unit="conv1"):
    values = np.zeros(shape, dtype=np.float32)
    values[10:20, 12:30] = 1
    box = Box((Span(8, 16), Span(9, 17)))
    target = Target("conv1", "conv1", 0, None, (12, 13), (0,), FIELD, box, box)
    lines = tuple(range(shape[0])), tuple(range(shape[1]))
    patch = (1, 1) if method == "occlusion" else None
    found = measure(values, centre=(12, 13), field_box=box)
    return UnitMap("net", unit, method, "luo2016", values, *lines, patch, shape, target, found, 1, {}, ("so it is",))


@pytest.fixture
def measured(monkeypatch):
    """Replaces the functions that measure; collects what they were called with."""
    calls = []

    def effective_fields(model, images, units, *, progress=None):
        calls.append(("effective", model, images, units, {}))
        names = ["layer1", "layer2"] if isinstance(units, str) else units
        return {name: answer("effective", model.input_size, name) for name in names}

    def effective_field(model, images, unit=None, *, convention="luo2016", progress=None):
        progress(1, len(images))
        calls.append(("effective", model, images, unit, {"convention": convention}))
        return answer("effective", model.input_size)

    def occlude(model, images, unit=None, *, checkpoint=None, progress=None, **settings):
        progress(1, 2)
        progress(2, 2)
        calls.append(("occlusion", model, images, unit, settings | {"checkpoint": checkpoint}))
        return answer("occlusion", model.input_size, unit or "conv1")

    monkeypatch.setitem(vars(perimetry), "effective_field", effective_field)
    monkeypatch.setitem(vars(perimetry), "effective_fields", effective_fields)
    monkeypatch.setitem(vars(perimetry), "occlude", occlude)
    return calls


def test_without_anything_the_default_model_sees_the_sample_photo(measured, capsys):
    assert main(["map"]) == 0
    out, err = capsys.readouterr()
    assert "net · conv1, unit 12,13" in out
    assert "chelsea.jpg at 224×224 px" in out
    assert out.endswith("note: so it is\n")
    assert err == ""  # no terminal, no progress
    method, model, images, unit, settings = measured[0]
    assert (method, unit, settings) == ("effective", None, {"convention": "luo2016"})
    assert model.trained
    assert [Path(image).name for image in images] == ["chelsea.jpg"]


def test_json_to_stdout_is_all_of_stdout(measured, capsys):
    assert main(["map", "timm:test_resnet", "--unit", "conv1", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert (data["schema"], data["unit"], data["measured"]["area"], err) == (1, "conv1", 180, "")


@pytest.mark.parametrize("method", ["effective", "occlusion"])
def test_files_and_text(measured, capsys, tmp_path, method):
    names = {kind: str(tmp_path / f"map.{kind}") for kind in ("json", "npz", "png")}
    words = [word for kind, name in names.items() for word in (f"--{kind}", name)]
    assert main(["map", "timm:test_resnet", "--size", "48x64", "--method", method, *words]) == 0
    assert "48×64 px" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.json", "map.npz", "map.png"]
    with np.load(names["npz"]) as arrays:
        assert arrays["map"].shape == (48, 64)
    with Image.open(names["png"]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 448
    assert json.loads(Path(names["json"]).read_text(encoding="utf-8"))["method"] == method


def test_options_of_occlusion_reach_it(measured, capsys):
    words = "--patch 16x24 --stride 8 --fill constant:0.5 --value absolute --region 0,8,64,72 --seed 3 --memory 1.5GiB"
    command = ["map", "timm:test_resnet", "--method", "occlusion", "--unit", "conv1:2@3,4", "--resume", "part.npz"]
    assert main([*command, *words.split(), "--share", "20%"]) == 0
    _, _, images, unit, settings = measured[0]
    assert ([Path(image).name for image in images], unit) == (["chelsea.jpg"], "conv1:2@3,4")
    assert settings == {
        "patch": (16, 24),
        "stride": (8, 8),
        "fill": "constant:0.5",
        "value": "absolute",
        "region": (0, 8, 64, 72),
        "seed": 3,
        "memory": 3 << 29,
        "share": 0.2,
        "checkpoint": "part.npz",
    }


def test_a_photo_may_fill_the_patch(measured, capsys):
    words = ["--method", "occlusion", "--size", "48x64", "--fill", str(sample_photo())]
    assert main(["map", "timm:test_resnet", *words]) == 0
    assert measured[0][4]["fill"] == str(sample_photo())


def test_what_is_not_given_is_left_to_the_function(measured, capsys):
    assert main(["map", "timm:test_resnet", "--method", "occlusion"]) == 0
    assert measured[0][4] == {"checkpoint": None}


def test_photos_and_folders(measured, capsys, tmp_path):
    for name in ("b.jpg", "a.jpg"):
        shutil.copy(sample_photo(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo", encoding="utf-8")
    assert main(["map", "timm:test_resnet", "--image", str(tmp_path), str(sample_photo())]) == 0
    assert [Path(image).name for image in measured[0][2]] == ["a.jpg", "b.jpg", "chelsea.jpg"]
    assert main(["map", "timm:test_resnet", "--image", str(tmp_path), "--method", "occlusion"]) == 0
    assert [Path(image).name for image in measured[1][2]] == ["a.jpg", "b.jpg"]


def test_several_units_make_several_files_and_a_list(measured, capsys, tmp_path):
    words = ["--unit", "conv1", "--unit", "layer2:3", "--method", "both", "--resume", str(tmp_path / "part")]
    files = [word for kind in ("png", "npz", "json") for word in (f"--{kind}", str(tmp_path / f"map.{kind}"))]
    assert main(["map", "timm:test_resnet", "--size", "48x64", *words, *files]) == 0
    out = capsys.readouterr().out
    assert out.count("\ntheoretical field") == 4
    assert [call[3] for call in measured] == [["conv1", "layer2:3"], "conv1", "layer2:3"]
    assert [Path(call[4]["checkpoint"]).name for call in measured[1:]] == ["part-1", "part-2"]
    pictures = [f"map-{number}.{kind}" for kind in ("npz", "png") for number in (1, 2, 3, 4)]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*pictures, "map.json"])
    told = json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))
    assert list(told) == ["schema", "maps"] and told["schema"] == 1
    assert [(each["unit"], each["method"]) for each in told["maps"]] == [
        (unit, method) for unit in ("conv1", "layer2:3") for method in ("effective", "occlusion")
    ]


def test_a_pattern_names_layers_and_brackets_belong_to_names(measured, capsys):
    assert main(["map", "timm:test_resnet", "--unit", "layer*", "--json", "-"]) == 0
    assert [each["unit"] for each in json.loads(capsys.readouterr().out)["maps"]] == ["layer1", "layer2"]
    assert main(["map", "timm:test_resnet", "--unit", "conv1", "--unit", "layer?", "--unit", "output[out]:15"]) == 0
    assert main(["map", "timm:test_resnet", "--unit", "output[out]:15"]) == 0
    assert [call[3] for call in measured] == ["layer*", ["conv1", "output[out]:15"], "layer?", "output[out]:15"]
    assert main(["map", "timm:test_resnet", "--unit", "layer*", "--method", "both"]) == 2
    assert "not of 'layer*'; name each with --unit" in capsys.readouterr().err


def test_a_share_measures_either_method(measured, capsys):
    assert main(["map", "timm:test_resnet", "--share", "0.3", "--method", "both", "--json", "-"]) == 0
    effective, _ = json.loads(capsys.readouterr().out)["maps"]
    assert effective["measured"]["threshold"] == 0.3
    assert measured[1][4] == {"share": 0.3, "checkpoint": None}


def test_one_page_holds_all_maps(measured, capsys, tmp_path):
    pytest.importorskip("perimetry.report.map_html")
    page = tmp_path / "map.html"
    assert main(["map", "timm:test_resnet", "--unit", "conv1", "--unit", "layer2", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "conv1" in text and "layer2" in text and "</html>" in text.lower()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--method gradient", 2, "invalid choice: 'gradient'"),
        ("--patch 16", 2, "--patch belongs to --method occlusion; add that, or leave --patch out"),
        ("--method occlusion --convention luo2016", 2, "--convention belongs to --method effective"),
        ("--method occlusion --patch 0", 2, "expected HxW in pixels"),
        ("--method occlusion --region 1,2,3", 2, "expected TOP,LEFT,BOTTOM,RIGHT in pixels"),
        ("--method occlusion --region 5,0,5,9", 2, "expected TOP,LEFT,BOTTOM,RIGHT in pixels"),
        ("--method occlusion --seed -1", 2, "expected a whole number from 0"),
        ("--method occlusion --memory lots", 2, "expected a number of bytes like 2GiB"),
        ("--method occlusion --memory 0", 2, "expected a number of bytes like 2GiB"),
        ("--share 1", 2, "expected a share from 0 to below 1, like 0.1, got '1'"),
        ("--share -1", 2, "--share: expected"),
        ("--html -", 2, "--html needs the name of a file"),
        ("--method occlusion --unit blocks.*", 2, "made of one unit at a time, not of 'blocks.*'"),
        ("--unit nothing*", 2, "unknown layer 'nothing*'"),
        ("--method occlusion --fill nois", 2, "unknown fill 'nois'; did you mean 'noise'"),
        ("--method occlusion --value size", 2, "invalid choice: 'size'"),
        ("--unti conv1", 2, "unknown option '--unti'; did you mean '--unit'"),
        ("--png -", 2, "--png needs the name of a file; only --json can go to stdout"),
        ("--npz a --png ./a", 2, "two results would go to ./a"),
        ("--png nowhere/a.png", 2, "cannot write nowhere/a.png: there is no directory"),
        ("--method occlusion --resume nowhere/a", 2, "cannot write nowhere/a: there is no directory"),
        ("--image none.jpg", 3, "no such photo: none.jpg"),
        ("--image .", 3, "there is no photo in ."),
        ("resnet5O", 2, "unknown model 'resnet5O'; did you mean 'resnet50'"),
        ("--unit blocks.33", 2, "unknown layer 'blocks.33'; did you mean 'blocks.3'"),
        ("--unit blocks.3@900,2", 2, "unit (900, 2) lies outside layer 'blocks.3', whose map has (14, 14) units"),
        ("--unit blocks.3:80", 2, "layer 'blocks.3' has 80 channels (0 to 79), not channel 80"),
        ("--unit blocks.3@x", 2, "cannot read the unit 'blocks.3@x'; write layer, layer:channel"),
        ("--convention luo", 2, "unknown convention 'luo'; did you mean 'luo2016'"),
    ],
)
def test_wrong_use_is_one_message(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["map", *words.split()]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("perimetry: ")
    assert err.count("\n") == 1
    assert message in err


def test_an_unwritable_place_is_told_before_the_work(measured, capsys, tmp_path):
    assert main(["map", "--png", str(tmp_path)]) == 2
    assert "it is a directory" in capsys.readouterr().err
    assert measured == []


def test_a_failure_leaves_the_old_files(measured, capsys, tmp_path, monkeypatch):
    target = tmp_path / "map.png"
    target.write_bytes(b"old")

    def occlude(model, image, unit=None, *, checkpoint=None, progress=None):
        raise InputError("the patch 300x300 is larger than the image 224x224")

    monkeypatch.setitem(vars(perimetry), "occlude", occlude)
    assert main(["map", "--method", "occlusion", "--png", str(target)]) == 2
    assert capsys.readouterr().err == "perimetry: the patch 300x300 is larger than the image 224x224\n"
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", ["png", "npz", "json"])
def test_a_full_disk_is_one_message(measured, capsys, kind):
    assert main(["map", "timm:test_resnet", f"--{kind}", "/dev/full"]) == 2
    assert "cannot write /dev/full: No space left on device" in capsys.readouterr().err
    assert not Path("/dev/full").is_file()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_tells_the_time_left_on_a_terminal(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("positions") as progress:
        for done in (100, 150, 200, 400):  # a resumed run: the first hundred took no time
            progress.show(done, 400)
            now[0] += 5
    lines = sys.stderr.getvalue().split("\r\x1b[K")
    assert lines == [
        "",
        "perimetry: 100 of 400 positions",
        "perimetry: 150 of 400 positions, about 25 s left",
        "perimetry: 200 of 400 positions, about 20 s left",
        "perimetry: 400 of 400 positions",
        "",
    ]


def test_progress_does_not_flood_the_terminal(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 7.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("positions") as progress:
        for done in range(1001):
            progress.show(done, 1000)
    assert sys.stderr.getvalue().count("positions") == 2


def test_as_a_process(tmp_path):
    words = ["map", "timm:test_resnet", "--unit", "layer2", "--size", "64", "--png", "map.png", "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "perimetry", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"},
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["unit"] == "layer2"
    assert 0 < data["measured"]["of_image"] <= 1
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_two_runs_write_the_same_files(capsys, tmp_path):
    for name in ("one", "two"):
        words = ["--png", str(tmp_path / f"{name}.png"), "--npz", str(tmp_path / f"{name}.npz")]
        assert main(["map", "timm:test_resnet", "--unit", "layer2", "--size", "64", *words]) == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
