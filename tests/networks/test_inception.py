"""GoogLeNet and the later Inception networks: against torchvision, and what is not torchvision's."""

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

import perimetry
from perimetry.networks import googlenet, inception_v2, inception_v3, translate_weights
from perimetry.networks.inception_v3 import END_POINTS


@pytest.fixture(scope="module")
def pair():
    theirs = torchvision.models.inception_v3(num_classes=5, init_weights=False)
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    ours = inception_v3(classes=5)
    ours.load_state_dict(translate_weights(ours, theirs.state_dict()))
    return ours, theirs


def test_inception_v3_is_torchvisions_in_eval_mode(pair):
    ours, theirs = (network.eval() for network in pair)
    images = torch.rand(1, 3, 120, 99)
    with torch.no_grad():
        assert_close(ours(images)["logits"], theirs(images))


def test_inception_v3_is_torchvisions_in_training(pair):
    ours, theirs = (network.train() for network in pair)
    for network in pair:
        network.dropout.p = 0.0
    images = torch.rand(2, 3, 299, 299)
    with torch.no_grad():
        outputs, expected = ours(images), theirs(images)
    assert list(outputs) == ["logits", "aux1"]
    assert_close(outputs["logits"], expected.logits)
    assert_close(outputs["aux1"], expected.aux_logits)


def test_inception_v3_has_slims_18_end_points_in_order():
    with torch.device("meta"):
        network = inception_v3().eval()
    assert len(END_POINTS) == 18
    assert network.chain[:18] == tuple(END_POINTS)


def test_googlenet_has_the_order_of_the_release():
    with torch.device("meta"):
        network = googlenet()
    parts = dict(network.named_children())
    names = [f"{part}.{name}" for part in ("conv1", "pool1", "conv2", "pool2") for name in parts[part]._modules]
    assert names == [
        "conv1.7x7_s2",
        "conv1.relu_7x7",
        "pool1.3x3_s2",
        "pool1.norm1",
        "conv2.3x3_reduce",
        "conv2.relu_3x3_reduce",
        "conv2.3x3",
        "conv2.relu_3x3",
        "conv2.norm2",
        "pool2.3x3_s2",
    ]
    assert [(name, after) for name, after, _ in network.heads] == [("loss1", "inception_4a"), ("loss2", "inception_4d")]


def test_googlenet_is_not_torchvisions():
    """torchvision has a 3x3 in the branch of the 5x5, batch norm, and no biases."""
    with torch.device("meta"):
        ours = googlenet(auxiliary_heads=0)
        theirs = torchvision.models.googlenet(aux_logits=False, init_weights=False)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 6_624_904
    assert sum(parameter.numel() for parameter in ours.parameters()) == 6_998_552
    weights = {
        name: sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Conv2d))
        for name, block in (("ours", ours.inception_3a), ("theirs", theirs.inception3a))
    }
    assert weights == {"ours": 163_328, "theirs": 155_136}


def test_googlenets_heads_are_nearly_half_of_its_weights_in_training():
    with torch.device("meta"):
        network = googlenet()
    heads = [sum(parameter.numel() for parameter in head.parameters()) for head in (network.loss1, network.loss2)]
    assert heads == [512 * 128 + 128 + 2048 * 1024 + 1024 + 1_025_000, 528 * 128 + 128 + 2048 * 1024 + 1024 + 1_025_000]
    assert sum(heads) == 13_378_280 - 6_998_552


def test_caffes_xavier_is_uniform_over_the_inputs():
    weight = googlenet(auxiliary_heads=0).conv2.get_submodule("3x3").weight
    bound = (3 / (64 * 9)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert abs(weight.std() - bound / 3**0.5) < 0.01 * bound


def test_inception_v2_halves_maps_without_1x1_branches():
    with torch.device("meta"):
        network = inception_v2()
    for name in ("inception_3c", "inception_4e"):
        assert list(dict(network.named_children())[name]._modules) == ["three", "twice", "pool"]
    pools = [type(dict(network.named_children())[f"inception_{name}"].pool[0]) for name in ("3a", "5a", "5b")]
    assert pools == [nn.AvgPool2d, nn.AvgPool2d, nn.MaxPool2d]


def test_the_options_of_inception_v2_change_what_they_say():
    with torch.device("meta"):
        paper, slim, dense = inception_v2(), inception_v2(widths="slim"), inception_v2(first="dense")

    def counted(network):
        return sum(parameter.numel() for parameter in network.parameters())

    def widths(network):
        return {name: layer.out_channels for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}

    assert counted(dense) - counted(paper) == 64 * 3 * 49 - (24 * 49 + 24 * 64)
    narrower = {
        name: (width, widths(slim)[name]) for name, width in widths(paper).items() if widths(slim)[name] != width
    }
    assert narrower == {"inception_4c.pool.1.0": (128, 96), "inception_4d.pool.1.0": (128, 96)}


@pytest.mark.parametrize("first", ["separable", "dense"])
def test_both_first_layers_of_inception_v2_see_seven_pixels(first):
    found = perimetry.inspect(inception_v2(first=first).eval(), 64)
    assert found.layer("conv1").field.size == (7, 7)
    assert found.layer("conv1").field.stride == (2, 2)
