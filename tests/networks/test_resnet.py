"""ResNet: torchvision's and timm's outputs with their weights, and where v1 and v1.5 part."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from perimetry.networks import resnet50, resnet50_v1_5, resnet101, resnet101_v1_5, resnet152, translate_weights


def differ_from_default(network):
    """Give batch norms statistics that matter."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.2, 0.6)
    return network


@pytest.mark.parametrize(
    ("build", "theirs"),
    [
        (resnet50_v1_5, lambda: torchvision.models.resnet50(num_classes=5)),
        (resnet50_v1_5, lambda: timm.create_model("resnet50", num_classes=5)),
        (resnet101_v1_5, lambda: torchvision.models.resnet101(num_classes=5)),
    ],
)
def test_torchvisions_and_timms_weights_give_their_outputs(build, theirs):
    theirs = differ_from_default(theirs()).eval()
    ours = build(classes=5).eval()
    ours.load_state_dict(translate_weights(ours, theirs.state_dict()))
    images = torch.rand(1, 3, 97, 64)
    with torch.no_grad():
        assert_close(ours(images)["logits"], theirs(images))
        ours.train(), theirs.train()
        assert_close(ours(images)["logits"], theirs(images))  # with one batch's statistics, too


def test_v1_is_torchvisions_network_with_its_stride_and_pool_moved():
    theirs = torchvision.models.resnet50(num_classes=5)
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    theirs.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    theirs = differ_from_default(theirs).eval()
    ours = resnet50(classes=5).eval()
    weights = translate_weights(ours, theirs.state_dict())
    ours.load_state_dict({"conv1.bias": torch.zeros(64), **weights})
    images = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        assert_close(ours(images)["logits"], theirs(images))


def test_only_the_release_of_50_layers_has_a_bias_in_conv1():
    with torch.device("meta"):
        biases = [build().conv1.bias for build in (resnet50, resnet101, resnet152, resnet50_v1_5)]
    assert [bias is not None for bias in biases] == [True, False, False, False]


def test_blocks_have_the_names_of_the_release():
    with torch.device("meta"):
        chains = {build: build().chain for build in (resnet50, resnet152)}
    networks = {build: [name for name in chain if name.startswith("res")] for build, chain in chains.items()}
    assert " ".join(networks[resnet50]) == (
        "res2a res2b res2c res3a res3b res3c res3d res4a res4b res4c res4d res4e res4f res5a res5b res5c"
    )
    assert networks[resnet152][3:11] == ["res3a", *(f"res3b{number}" for number in range(1, 8))]
    assert networks[resnet152][-4:] == ["res4b35", "res5a", "res5b", "res5c"]
    assert len(networks[resnet152]) == 50
