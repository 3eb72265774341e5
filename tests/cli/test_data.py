"""`perimetry data` as a user types it: options, files, messages, exit codes."""

import json
from pathlib import Path

import pytest

from data.made_folders import class_folders, lists, mask, voc_boxes, voc_masks
from perimetry.cli.data import LAYOUTS, TASKS
from perimetry.cli.main import main
from perimetry.data import LAYOUTS as READERS
from perimetry.data import TASKS as KNOWN


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_choices_are_those_that_can_be_read():
    assert TASKS == KNOWN
    assert set(LAYOUTS) == {layout.name for layout in READERS}


def test_text_and_no_error_is_0(capsys):
    class_folders(Path("pets"))
    assert main(["data", "pets"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("pets · classification by class folders · 8 images · 2 classes\n\ntrain  4\nval    4\n")
    assert out.endswith("no problem was found\n") and err == ""


def test_the_folder_one_stands_in(capsys, monkeypatch):
    monkeypatch.chdir(class_folders(Path("pets")))
    assert main(["data", "."]) == 0
    assert capsys.readouterr().out.startswith("pets · ")


def test_warnings_are_0_errors_2_and_broken_files_3(capsys):
    voc_masks(Path("cells"), classes=("none", "cell", "wall"))
    assert main(["data", "cells"]) == 0
    assert "0 errors, 1 warning" in capsys.readouterr().out
    mask(Path("cells/SegmentationClass/a.png"), height=5)
    assert main(["data", "cells"]) == 2
    Path("cells/JPEGImages/b.jpg").write_bytes(b"")
    assert main(["data", "cells"]) == 3
    assert "3 errors" not in capsys.readouterr().out


def test_json_html_split_and_classes(capsys):
    voc_boxes(Path("zoo"))
    lists(Path("zoo"), "Main", train=["a"], val=["b", "c"])
    assert main(["data", "zoo", "--split", "val", "--classes", "dog,cat", "--json", "-", "--html", "z.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], [each["name"] for each in found["classes"]]) == (2, ["dog", "cat"])
    assert Path("z.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    Path("names.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert main(["data", "zoo", "--classes", "names.txt", "--json", "z.json"]) == 0
    assert json.loads(Path("z.json").read_text(encoding="utf-8"))["images"] == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "the following arguments are required: DIR"),
        (["nowhere"], 3, "no such folder: nowhere"),
        (["empty"], 2, "has no layout that is known; looked for"),
        (["zoo", "--task", "segmentation"], 2, "it looks like data for detection"),
        (["zoo", "--task", "layout"], 2, "invalid choice"),
        (["zoo", "--splt", "val"], 2, "did you mean '--split'"),
        (["zoo", "--split", "val"], 2, "has no split 'val'"),
        (["zoo", "--json", "-", "--html", "-"], 2, "two results would go to stdout"),
        (["zoo", "--classes", "dog,dog"], 2, "names the class 'dog' twice"),
    ],
)
def test_wrong_use(words, code, message, capsys):
    voc_boxes(Path("zoo"))
    Path("empty").mkdir()
    assert main(["data", *words]) == code
    assert message in capsys.readouterr().err
