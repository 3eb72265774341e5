"""Checkpoints: read without running code, fitted all or nothing, misfits told by name."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from perimetry import FileError, WeightsError, load_model
from perimetry.models.weights import fit_weights, read_checkpoint


def network(classes=3):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, classes, 1))


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("container", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod."])
def test_checkpoints_fit_through_containers_and_prefixes(tmp_path, container, prefix):
    source, target = network(), network()
    tensors = {prefix + key: value for key, value in source.state_dict().items()}
    content = {container: tensors, "epoch": 3} if container else tensors
    torch.save(content, tmp_path / "weights.pth")
    fit_weights(target, read_checkpoint(tmp_path / "weights.pth"), source="weights.pth")
    assert same(source.state_dict(), target.state_dict())


def test_a_prefix_that_belongs_to_the_model_stays():
    source = torch.nn.ModuleDict({"model": network()})
    target = torch.nn.ModuleDict({"model": network()})
    fit_weights(target, source.state_dict(), source="w")
    assert same(source.state_dict(), target.state_dict())


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_safetensors_are_known_by_their_form(tmp_path, name):
    source = network()
    save_file(source.state_dict(), tmp_path / name)
    assert same(source.state_dict(), read_checkpoint(tmp_path / name))


def test_old_checkpoints_and_old_batch_norms(tmp_path):
    source, target = network(), network()
    tensors = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    fit_weights(target, read_checkpoint(tmp_path / "old.pth"), source="old.pth")
    assert same(tensors, target.state_dict())


def test_a_misfit_is_told_by_name_and_changes_nothing():
    target = network(classes=5)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    tensors = network(classes=3).state_dict()
    del tensors["0.bias"]
    tensors["head.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        fit_weights(target, tensors, source="w.pth")
    told = str(caught.value)
    assert "w.pth does not fit: the model holds 9 tensors, the file 9" in told
    assert "1 is missing (0.bias)" in told
    assert "1 is unexpected (head.weight)" in told
    assert "2 are of another shape (2.weight: [3, 4, 1, 1] in the file, [5, 4, 1, 1] in the model, 2.bias" in told
    assert same(before, target.state_dict())


def test_a_long_misfit_is_cut_short():
    with pytest.raises(WeightsError, match=r"102 are missing .*and 98 more\)"):
        fit_weights(load_model("torchvision:resnet18").module, network().state_dict(), source="w")


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused(tmp_path, capsys, zipped):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FileError, match=r"is not a checkpoint of tensors only .*save it again"):
        read_checkpoint(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FileError, match=r"evil.pkl is not a"):
        read_checkpoint(tmp_path / "evil.pkl")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x02broken", b"\xff\xff\xff\xff\xff\xff\xff\x7f{", b"PK\x03\x04"]
)
def test_files_of_other_kinds(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=name):
        read_checkpoint(tmp_path / name)


def test_checkpoints_without_tensors_missing_and_too_large(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(FileError, match="holds no named tensors"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(FileError, match="no such file"):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(FileError, match="more than the limit of 10"):
        read_checkpoint(tmp_path / "none.pth", max_bytes=10)


def test_real_weights_fit_their_model(data):
    loaded = load_model(
        "torchvision:squeezenet1_0", weights=data / "weights" / "squeezenet1_0_imagenet_fp16.safetensors"
    )
    assert loaded.trained
    assert {value.dtype for value in loaded.module.state_dict().values()} == {torch.float32}


def test_real_weights_of_another_model_do_not(data):
    with pytest.raises(WeightsError, match=r"resnet20_cifar10.* does not fit: the model holds"):
        load_model("torchvision:resnet18", weights=data / "weights" / "resnet20_cifar10.safetensors")
