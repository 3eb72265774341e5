"""Checkpoints are whole or not there, whenever the writing stops."""

import errno
import json
import os
import stat
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import perimetry.files
from perimetry.errors import FileError, InputError
from perimetry.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, weights_file
from perimetry.training.optimizers import make_optimizer, parameter_groups


def checkpoint(step: int, name: str = "adamw") -> Checkpoint:
    torch.manual_seed(step)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = make_optimizer(parameter_groups(module, rate=0.1, decay=0.1), name=name, rate=0.1)
    module(torch.rand(2, 3, 4, 4)).square().mean().backward()
    optimizer.step()
    return Checkpoint(step, module.state_dict(), optimizer.state_dict(), {"best": 0.5, "name": "m"})


@pytest.mark.parametrize("name", ["sgd", "caffe_sgd", "adamw"])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, name):
    written = checkpoint(7, name)
    save_checkpoint(tmp_path, "last", written)
    found = load_checkpoint(tmp_path, "last")
    assert (found.step, found.facts) == (7, {"best": 0.5, "name": "m"})
    assert found.weights.keys() == written.weights.keys()
    assert all(torch.equal(found.weights[key], value) for key, value in written.weights.items())
    assert found.optimizer["param_groups"] == written.optimizer["param_groups"]
    torch.testing.assert_close(found.optimizer["state"], written.optimizer["state"], rtol=0, atol=0)
    assert weights_file(tmp_path, "last").name == "last-00000007.safetensors"


def test_a_checkpoint_is_on_the_disk_before_it_is_pointed_at(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(("kept", os.fstat(handle).st_ino)) or fsync(handle))
    moved = lambda self, to: events.append(("moved", self.stat().st_ino, Path(to).suffix)) or replace(self, to)  # noqa: E731
    monkeypatch.setattr(Path, "replace", moved)
    save_checkpoint(tmp_path, "last", checkpoint(1))
    folder = ("kept", tmp_path.stat().st_ino)
    assert [event[2] for event in events if event[0] == "moved"] == [".safetensors", ".pt", ".json"]
    for place, event in enumerate(events):
        if event[0] == "moved":
            assert events[place - 1] == ("kept", event[1]) and events[place + 1] == folder


@pytest.mark.parametrize(("number", "written"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_shares_that_cannot_bring_names_to_the_disk_take_checkpoints_too(tmp_path, monkeypatch, number, written):
    fsync = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with nullcontext() if written else pytest.raises(InputError, match="cannot write"):
        save_checkpoint(tmp_path, "last", checkpoint(1))
    assert (load_checkpoint(tmp_path, "last") is not None) == written


def test_only_the_newest_is_kept_and_names_are_apart(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, "last", checkpoint(step))
    save_checkpoint(tmp_path, "best", checkpoint(1))
    kinds = Counter(file.name.split("-")[0].split(".")[0] for file in tmp_path.iterdir())
    assert kinds == {"last": 3, "best": 3}
    assert load_checkpoint(tmp_path, "last").step == 2
    assert load_checkpoint(tmp_path, "none") is None


def test_what_killed_writers_left_is_cleared_away(tmp_path):
    for name in (".last-00000001.safetensors.a1b2", ".last.json.c3", ".best-00000001.pt.d4", ".DS_Store"):
        (tmp_path / name).write_bytes(b"part")
    save_checkpoint(tmp_path, "last", checkpoint(2))
    hidden = {file.name for file in tmp_path.iterdir() if file.name.startswith(".")}
    assert hidden == {".best-00000001.pt.d4", ".DS_Store"}


@pytest.mark.parametrize("writes_before", [0, 1, 2])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, writes_before):
    save_checkpoint(tmp_path, "last", checkpoint(1))
    whole, count = perimetry.files._replace, 0

    def fill(path, content, lasting):
        nonlocal count
        count += 1
        if count > writes_before:
            raise OSError(28, "No space left on device")
        whole(path, content, lasting)

    monkeypatch.setattr(perimetry.files, "_replace", fill)
    with pytest.raises(InputError, match="No space left on device"):
        save_checkpoint(tmp_path, "last", checkpoint(2))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, "last").step == 1
    save_checkpoint(tmp_path, "last", checkpoint(3))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "last-00000003.pt",
        "last-00000003.safetensors",
        "last.json",
    ]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="there is no checkpoint 'best'"):
        weights_file(tmp_path, "best")
    save_checkpoint(tmp_path, "last", checkpoint(1))
    content = json.loads((tmp_path / "last.json").read_text())
    (tmp_path / "last.json").write_text(json.dumps({**content, "weights": "../../etc/passwd"}))
    assert weights_file(tmp_path, "last").parent == tmp_path
    with pytest.raises(FileError, match="is no checkpoint that can be read"):
        load_checkpoint(tmp_path, "last")
    (tmp_path / "last.json").write_text(json.dumps(content))
    torch.save([1], tmp_path / "last-00000001.pt")
    with pytest.raises(FileError, match="is no checkpoint that can be read"):
        load_checkpoint(tmp_path, "last")
    (tmp_path / "last.json").write_text("{")
    with pytest.raises(FileError, match="does not point at a checkpoint"):
        load_checkpoint(tmp_path, "last")
