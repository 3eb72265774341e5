"""Model files: exported programs and TorchScript answer as the model did; everything else is refused unread."""

import os
import pickle
import zipfile

import pytest
import torch

from perimetry import FileError, load_model
from perimetry.models import from_file


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, image):
        return self.norm(self.conv(image)).relu()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def small():
    return Small().eval()


def export(model, path, size=(32, 48)):
    program = torch.export.export(model, (torch.zeros(1, 3, *size),))
    torch.export.save(program, path)


def test_an_exported_program_answers_as_the_model(small, tmp_path):
    export(small, tmp_path / "small.pt2")
    loaded = load_model(str(tmp_path / "small.pt2"))
    assert loaded.input_size == (32, 48)
    assert not any(part.training for part in loaded.module.modules())
    image = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(loaded.module(image), small(image))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["small.pt", "small.ts"])
def test_torchscript_answers_as_the_model(small, tmp_path, name):
    torch.jit.save(torch.jit.trace(small, torch.zeros(1, 3, 32, 32)), tmp_path / name)
    loaded = load_model(str(tmp_path / name))
    image = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(loaded.module(image), small(image))
    assert not loaded.module.training


@pytest.mark.parametrize("content", ["model", "state dict", "legacy", "pickle"])
def test_pickles_and_checkpoints_are_no_models(small, tmp_path, content):
    path = tmp_path / "model.pt"
    if content == "pickle":
        path.write_bytes(pickle.dumps(Evil(str(tmp_path / "ran"))))
    else:
        saved = small if content == "model" else small.state_dict()
        torch.save(saved, path, _use_new_zipfile_serialization=content != "legacy")
    with pytest.raises(FileError, match=r"is a checkpoint or a pickled object, not an exported model.*--weights"):
        load_model(str(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04 broken"])
def test_other_files_are_no_models(tmp_path, content):
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(FileError, match=r"model.pt2 is (empty|not a model file)"):
        load_model(str(tmp_path / "model.pt2"))


def test_other_archives_and_damaged_ones_are_no_models(small, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(FileError, match="neither an exported program nor TorchScript"):
        load_model(str(tmp_path / "model.pt2"))
    export(small, tmp_path / "whole.pt2")
    with zipfile.ZipFile(tmp_path / "whole.pt2") as whole, zipfile.ZipFile(tmp_path / "cut.pt2", "w") as cut:
        for member in whole.namelist():
            cut.writestr(member, whole.read(member) if "model.json" not in member else b"{}")
    with pytest.raises(FileError, match="could not be loaded as an exported program"):
        load_model(str(tmp_path / "cut.pt2"))


@pytest.mark.parametrize("form", ["torch.save", "pickle"])
@pytest.mark.parametrize("place", ["sample_inputs", "constant"])
def test_an_exported_program_with_a_pickle_inside_is_refused_before_it_is_loaded(small, tmp_path, form, place):
    ran = tmp_path / "ran"
    export(small, tmp_path / "good.pt2")
    evil = tmp_path / "evil.bin"
    if form == "torch.save":
        torch.save({"x": Evil(str(ran))}, evil)
    else:
        evil.write_bytes(pickle.dumps(Evil(str(ran))))
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for member in good.namelist():
            content = good.read(member)
            if place == "sample_inputs" and "sample_inputs" in member:
                content = evil.read_bytes()
            if place == "constant" and member.endswith("constants_config.json"):
                content = b'{"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": true}}}'
                bad.writestr(member.rpartition("/")[0] + "/opaque_obj_0", evil.read_bytes())
            bad.writestr(member, content)
    with pytest.raises(FileError, match=r"pickled (Python )?object"):
        load_model(str(tmp_path / "bad.pt2"))
    assert not ran.exists()


def test_size_limits(small, tmp_path):
    export(small, tmp_path / "small.pt2")
    with pytest.raises(FileError, match="more than the limit of 100"):
        from_file.build(str(tmp_path / "small.pt2"), max_bytes=100)
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros", bytes(10_000_000))
    with pytest.raises(FileError, match="unpacks to more than the limit of 1000000 bytes"):
        from_file.build(str(tmp_path / "bomb.pt2"), max_bytes=1_000_000)


def test_a_directory_is_no_model(tmp_path):
    with pytest.raises(FileError, match="is not a regular file"):
        load_model(str(tmp_path))
