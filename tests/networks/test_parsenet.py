"""ParseNet: one function in two forms, which maps it fuses, its context, its form on other backbones."""

import pytest
import torch
from torch import nn

import perimetry
import perimetry.nn as parts
from perimetry.errors import InputError, UnknownNameError
from perimetry.networks import copy_weights, parsenet

FUSED = ("conv3_3", "conv4_3", "conv5_3", "fc7", "pool6")
BACKBONE = {"backbone": "timm:tf_efficientnet_lite0", "output_stride": 8}


def tied(late, early, fuse):
    """The early form with the weights of the late one."""
    copy_weights(early, {name: each for name, each in late.state_dict().items() if "_score." not in name})
    scores = [late.get_submodule(f"{name.replace('.', '_')}_score") for name in fuse]
    with torch.no_grad():
        early.score.weight.copy_(torch.cat([score.weight for score in scores], 1))
        early.score.bias.copy_(torch.stack([score.bias for score in scores]).sum(0))
    return early


@pytest.mark.parametrize(
    ("fuse", "options"),
    [
        (("fc7", "pool6"), {}),
        (FUSED, {}),
        (FUSED, {"normalization": "none"}),
        (("blocks.1", "blocks.4", "fc7", "pool6"), BACKBONE),
    ],
    ids=["two", "five", "not-normalised", "backbone"],
)
def test_early_and_late_fusion_are_one_function(fuse, options):
    late = parsenet(classes=4, fuse=fuse, fusion="late", **options).eval()
    for name, each in late.named_parameters():
        if name.endswith(("_score.bias", "_norm.scale")):
            nn.init.uniform_(each, 1, 12)
    early = tied(late, parsenet(classes=4, fuse=fuse, fusion="early", **options).eval(), fuse)
    images = torch.rand(1, 3, 50, 43)
    with torch.no_grad():
        torch.testing.assert_close(early(images), late(images), rtol=1e-4, atol=1e-4)


def test_the_heads_are_those_of_the_layers():
    network = parsenet(classes=4).eval()
    head = parts.LateFusion((1024, 1024), classes=4, scale=10.0)
    head.scores[0], head.scores[1] = network.fc7_score, network.pool6_score
    context = parts.GlobalContext(1024)
    images = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        fc7 = network.through(network.head, network.maps(images, ("pool5",))["pool5"])
        scores = head([fc7, fc7.mean((2, 3), keepdim=True)])
        expected = network.upscore(scores)[..., :40, :48]
        torch.testing.assert_close(network(images)["out"], expected)
        weight = torch.cat([network.fc7_score.weight, network.pool6_score.weight], 1)
        torch.testing.assert_close(nn.functional.conv2d(context(fc7), weight), scores, rtol=1e-4, atol=1e-5)


def test_the_mean_of_the_image_reaches_every_pixel():
    network = parsenet(classes=2, fuse=("pool6",)).eval()
    scores = network(torch.rand(1, 3, 32, 48))["out"][..., 4:-4, 4:-4]  # the deconvolution fades at the border
    torch.testing.assert_close(scores, scores[..., :1, :1].expand_as(scores))


def test_the_context_is_a_layer_that_can_be_asked_for():
    network, images = parsenet(classes=2).eval(), torch.rand(1, 3, 32, 40)
    found = perimetry.endpoints(network, images)
    torch.testing.assert_close(found["pool6"], found["drop7"].mean((2, 3), keepdim=True))


def test_maps_are_taken_behind_their_relu():
    network = parsenet(classes=2, fuse=("conv4_3",), normalization="none").eval()
    seen = []
    network.conv4_3_score.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(torch.rand(1, 3, 32, 32))
    assert seen[0].min() == 0
    assert seen[0].shape == (1, 512, 4, 4)


def test_dropout_of_the_context_is_the_released_one():
    network = parsenet(classes=2)
    assert network.pool6_drop.p == 0.3
    assert not hasattr(parsenet(classes=2, fuse=("fc7",)), "pool6_drop")


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_on_a_backbone_maps_have_the_output_stride(stride):
    with torch.device("meta"):
        network = parsenet(classes=5, backbone="timm:tf_efficientnet_lite0", output_stride=stride)
        assert network(torch.empty(2, 3, 70, 129))["out"].shape == (2, 5, 70, 129)
        assert max(network.backbone.strides.values()) == stride
        assert network.fc6.dilation == (96 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: parsenet(fuse=()), InputError, "names of different maps to fuse"),
        (lambda: parsenet(fuse=("fc7", "fc7")), InputError, "names of different maps to fuse"),
        (
            lambda: parsenet(fuse=("fc7", "conv4_4")),
            UnknownNameError,
            "unknown map to fuse 'conv4_4'; did you mean 'conv4_",
        ),
        (lambda: parsenet(fuse=("conv4_3",), backbone="torchvision:resnet18"), UnknownNameError, "one of relu, layer1"),
        (lambda: parsenet(fusion="middle"), UnknownNameError, "unknown fusion 'middle'"),
        (lambda: parsenet(normalization="l1"), UnknownNameError, "unknown normalization 'l1' .l2 or none"),
        (lambda: parsenet(output_stride=16), InputError, "VGG-16 has an output stride of 8 here, not 16"),
        (lambda: parsenet(classes=-1), InputError, "classes is at least 1"),
        (lambda: parsenet(backbone="torchvision:resnet18", output_stride=64), InputError, "64"),
    ],
)
def test_what_cannot_be_is_told(call, error, message):
    with torch.device("meta"), pytest.raises(error, match=message):
        call()
