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
from perimetry.cli.map import Progress
from perimetry.geometry import AxisField, Box, Field, Span
from perimetry.images import sample_photo
from perimetry.maps.measurement import measure
from perimetry.maps.targets import Target

SOURCE = Path(perimetry.__file__).parents[1]
FIELD = Field((AxisField(9, 1, -4, True, [(-4, 4, 0, 4)]),) * 2)


def answer(method, shape):
    values = np.zeros(shape, dtype=np.float32)
    values[10:20, 12:30] = 1
    box = Box((Span(8, 16), Span(9, 17)))
    target = Target("conv1", "conv1", 0, None, (12, 13), (0,), FIELD, box, box)
    lines = tuple(range(shape[0])), tuple(range(shape[1]))
    patch = (1, 1) if method == "occlusion" else None
    found = measure(values, centre=(12, 13), field_box=box)
    return UnitMap("net", "conv1", method, "luo2016", values, *lines, patch, shape, target, found, 1, {}, ("so it is",))


@pytest.fixture
def measured(monkeypatch):
    """Replaces both functions; collects what they were called with."""
    calls = []

    def effective_field(model, images, unit=None, *, convention="luo2016", progress=None):
        progress(1, len(images))
        calls.append(("effective", model, images, unit, {"convention": convention}))
        return answer("effective", model.input_size)

    def occlude(model, image, unit=None, *, checkpoint=None, progress=None, **settings):
        progress(1, 2)
        progress(2, 2)
        calls.append(("occlusion", model, image, unit, settings | {"checkpoint": checkpoint}))
        return answer("occlusion", model.input_size)

    monkeypatch.setitem(vars(perimetry), "effective_field", effective_field)
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
    assert main([*command, *words.split()]) == 0
    _, _, image, unit, settings = measured[0]
    assert (Path(image).name, unit) == ("chelsea.jpg", "conv1:2@3,4")
    assert settings == {
        "patch": (16, 24),
        "stride": (8, 8),
        "fill": "constant:0.5",
        "value": "absolute",
        "region": (0, 8, 64, 72),
        "seed": 3,
        "memory": 3 << 29,
        "checkpoint": "part.npz",
    }


def test_a_photo_may_fill_the_patch(measured, capsys):
    words = ["--method", "occlusion", "--size", "48x64", "--fill", str(sample_photo())]
    assert main(["map", "timm:test_resnet", *words]) == 0
    assert measured[0][4]["fill"].shape == (1, 3, 48, 64)


def test_what_is_not_given_is_left_to_the_function(measured, capsys):
    assert main(["map", "timm:test_resnet", "--method", "occlusion"]) == 0
    assert measured[0][4] == {"checkpoint": None}


def test_photos_and_folders(measured, capsys, tmp_path):
    for name in ("b.jpg", "a.jpg"):
        shutil.copy(sample_photo(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo", encoding="utf-8")
    assert main(["map", "timm:test_resnet", "--image", str(tmp_path), str(sample_photo())]) == 0
    assert [Path(image).name for image in measured[0][2]] == ["a.jpg", "b.jpg", "chelsea.jpg"]
    assert main(["map", "timm:test_resnet", "--image", str(tmp_path), "--method", "occlusion"]) == 2
    assert "one photo at a time, got 2" in capsys.readouterr().err


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
