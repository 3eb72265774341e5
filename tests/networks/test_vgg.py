"""VGG: torchvision's and timm's outputs with their weights, and the fully convolutional form."""

import pytest
import timm
import torch
import torchvision
from torch.testing import assert_close

import perimetry
from perimetry.errors import WeightsError
from perimetry.networks import translate_weights, vgg16, vgg19


@pytest.mark.parametrize(("build", "name"), [(vgg16, "vgg16"), (vgg19, "vgg19")])
def test_torchvisions_weights_give_its_outputs(build, name):
    theirs = torchvision.models.get_model(name, num_classes=5).eval()
    with torch.device("meta"):
        ours = build(classes=5).eval()
    ours.load_state_dict(translate_weights(ours, theirs.state_dict()), assign=True)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert_close(ours(images)["logits"], theirs(images))


def test_timms_convolutions_become_fully_connected_layers():
    theirs = timm.create_model("vgg16", num_classes=5).eval()
    with torch.device("meta"):
        ours = vgg16(classes=5).eval()
    ours.load_state_dict(translate_weights(ours, theirs.state_dict()), assign=True)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert_close(ours(images)["logits"], theirs(images))


def test_the_convolutional_form_is_the_connected_one_at_224_pixels_and_slides_over_larger_images():
    connected = vgg16(classes=5).eval()
    with torch.device("meta"):
        convolutional = vgg16(classes=5, form="convolutional").eval()
    convolutional.load_state_dict(translate_weights(convolutional, connected.state_dict()), assign=True)
    with torch.no_grad():
        images = torch.rand(1, 3, 224, 256)
        scores = convolutional(images)["logits"]
        assert scores.shape == (1, 5, 1, 2)
        assert_close(convolutional(images[..., :224])["logits"].flatten(1), connected(images[..., :224])["logits"])
    # And back: the same tensors in the other shape.
    back = translate_weights(connected, convolutional.state_dict())
    assert all(torch.equal(back[name], value) for name, value in connected.state_dict().items())
    assert {name: value.shape for name, value in back.items()} == {
        name: value.shape for name, value in connected.state_dict().items()
    }


def test_pools_round_up_as_caffes_do():
    with torch.device("meta"):
        network = vgg16(form="convolutional").eval()
    assert network(torch.zeros(1, 3, 225, 224, device="meta"))["logits"].shape == (1, 1000, 2, 1)


def test_a_file_of_torchvisions_weights_is_loaded_by_name(tmp_path):
    theirs = torchvision.models.resnet50().eval()
    file = tmp_path / "weights.pt"
    # As a training script saves it: inside a container, under a wrapper's prefix.
    torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.state_dict().items()}}, file)
    loaded = perimetry.load_model("perimetry:resnet50_v1_5", weights=file)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(loaded.module(images)["logits"], theirs(images))
    with pytest.raises(WeightsError, match=r"1 is missing \(conv1.bias\)"):
        perimetry.load_model("perimetry:resnet50", weights=file)


def test_weights_of_another_number_of_classes_do_not_fit(tmp_path):
    file = tmp_path / "weights.pt"
    torch.save(torchvision.models.resnet50(num_classes=7).state_dict(), file)
    with pytest.raises(WeightsError, match=r"fc1000.weight: \[7, 2048\] in the file, \[1000, 2048\] in the model"):
        perimetry.load_model("perimetry:resnet50_v1_5", weights=file)
