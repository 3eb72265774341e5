"""Backbones: the same maps as the whole model gives, at the strides that are told, whoever made the model."""

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from perimetry import networks
from perimetry.errors import InputError, ShapeError, UnknownNameError, WeightsError
from perimetry.networks import backbone

# name, what it is cut to, and the channels: as torchvision's and timm's own definitions have them
KNOWN = [
    (
        "torchvision:vgg16",
        {"features.8": 128, "features.15": 256, "features.22": 512, "features.29": 512, "features": 512},
    ),
    ("torchvision:resnet18", {"relu": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}),
    (
        "torchvision:mobilenet_v2",
        {"features.1": 16, "features.3": 24, "features.6": 32, "features.13": 96, "features": 1280},
    ),
    ("torchvision:googlenet", {"conv1": 64, "conv3": 192, "inception3b": 480, "inception4e": 832, "inception5b": 1024}),
    ("timm:tf_efficientnet_lite0", {"blocks.0": 16, "blocks.1": 24, "blocks.2": 40, "blocks.4": 112, "blocks.6": 320}),
    ("timm:vgg16", {"features.8": 128, "features.15": 256, "features.22": 512, "features.29": 512, "features.30": 512}),
]


@pytest.mark.parametrize(("name", "channels"), KNOWN, ids=[name for name, _ in KNOWN])
def test_the_last_layer_at_each_stride_is_named_with_its_channels(name, channels):
    with torch.device("meta"):
        made = backbone(name)
    assert made.channels == channels
    assert list(made.strides.values()) == [2, 4, 8, 16, 32]
    with torch.device("meta"):
        maps = made(torch.empty(2, 3, 64, 96))
    assert {layer: tuple(each.shape) for layer, each in maps.items()} == {
        layer: (2, channels[layer], 64 // made.strides[layer], 96 // made.strides[layer]) for layer in channels
    }


def hooked(module, layers, images):
    """What the layers put out when the whole model runs, by hooks: the slow way."""
    found = {}
    for layer in layers:
        module.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: found.__setitem__(layer, output.clone())
        )
    with torch.no_grad():
        module(images)
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(),
        lambda: torchvision.models.densenet121(),
        lambda: timm.create_model("tf_efficientnet_lite0"),
    ],
    ids=["torchvision-resnet18", "torchvision-densenet121", "timm-lite0"],
)
def test_the_maps_are_those_of_the_whole_model(make):
    whole = make().eval()
    images = torch.rand(1, 3, 96, 64)
    cut_off = backbone(whole).eval()
    expected = hooked(whole, cut_off.channels, images)
    with torch.no_grad():
        torch.testing.assert_close(cut_off(images), expected)
    assert sum(each.numel() for each in cut_off.parameters()) < sum(each.numel() for each in whole.parameters())


def test_a_name_and_a_module_give_the_same_layers():
    named = backbone("timm:tf_efficientnet_lite0")
    given = backbone(timm.create_model("tf_efficientnet_lite0"))
    assert given.channels == named.channels
    assert given.strides == named.strides


def test_a_layer_before_an_activation_in_place_is_not_overwritten():
    vgg = torchvision.models.vgg16().eval()
    images = torch.rand(1, 3, 32, 32)
    maps = backbone(vgg, layers=["features.28", "features.29"])(images)
    assert maps["features.28"].min() < 0
    torch.testing.assert_close(maps["features.29"], maps["features.28"].relu())
    assert all(each.inplace for each in vgg.modules() if isinstance(each, nn.ReLU)), "the model given is left as it was"


def test_layers_inside_blocks_can_be_named():
    made = backbone("torchvision:resnet18", layers=["layer2.1.bn2", "layer1", "layer2"])
    assert list(made.channels) == ["layer2.1.bn2", "layer1", "layer2"]
    assert list(made.strides.values()) == [8, 4, 8]
    assert "body.layer3.0.conv1.weight" not in made.state_dict()
    assert made.layer_at(8) == "layer2"


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:tf_efficientnet_lite0", "torchvision:vgg16"])
@pytest.mark.parametrize("stride", [16, 8, 4])
def test_an_output_stride_makes_maps_denser_and_no_layer_is_lost(name, stride):
    plain = backbone(name).eval()
    torch.manual_seed(0)
    images = torch.rand(1, 3, 64, 64)
    dense = backbone(name, output_stride=stride).eval()
    dense.load_state_dict(plain.state_dict())
    assert list(dense.strides.values()) == [min(each, stride) for each in plain.strides.values()]
    assert dense.channels == plain.channels
    with torch.no_grad():
        expected, got = plain(images), dense(images)
    for layer, features in expected.items():
        step = plain.strides[layer] // dense.strides[layer]
        torch.testing.assert_close(got[layer][..., ::step, ::step], features, rtol=1e-4, atol=1e-5)


def test_maps_with_channels_last_come_with_channels_first():
    with torch.device("meta"):
        made = backbone("timm:swin_tiny_patch4_window7_224")
        maps = made(torch.empty(1, 3, 224, 224))
    assert [tuple(each.shape) for each in maps.values()] == [
        (1, 96, 56, 56),
        (1, 192, 28, 28),
        (1, 384, 14, 14),
        (1, 768, 7, 7),
    ]


def test_it_can_be_copied_pickled_compiled_and_exported():
    made = backbone("torchvision:resnet18").eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = made(images)
        torch.testing.assert_close(copy.deepcopy(made)(images), expected)
        torch.testing.assert_close(pickle.loads(pickle.dumps(made))(images), expected)
        torch.testing.assert_close(torch.compile(made, backend="eager", fullgraph=True)(images), expected)
        torch.testing.assert_close(torch.export.export(made, (images,)).module()(images), expected)


def test_modes_are_kept_and_can_be_changed():
    whole = torchvision.models.resnet18().train()
    made = backbone(whole)
    assert whole.training
    assert all(each.training for each in whole.modules())
    made.train()
    made(torch.rand(2, 3, 64, 64))["layer4"].sum().backward()
    assert made.get_parameter("body.conv1.weight").grad is not None
    assert whole.conv1.weight.grad is None, "the module given was copied"
    assert not any(each.training for each in made.eval().modules())


def test_half_precision_and_float64_stay():
    for precision in (torch.bfloat16, torch.float64):
        made = backbone(torchvision.models.resnet18().to(precision), output_stride=16)
        assert {each.dtype for each in made.parameters()} == {precision}
        assert made.strides["layer4"] == 16


def test_weights_of_a_trained_model_are_kept():
    whole = torchvision.models.resnet18()
    torch.testing.assert_close(dict(backbone(whole).body.named_parameters())["layer3.0.conv1.weight"],
                               whole.layer3[0].conv1.weight)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: backbone("torchvision:resnet5O"), UnknownNameError, "did you mean 'torchvision:resnet50'"),
        (lambda: backbone("timm:tf_efficientnet_lite9"), UnknownNameError, "did you mean 'timm:tf_efficientnet_lite"),
        (lambda: backbone("resnet18"), UnknownNameError, "did you mean"),
        (lambda: backbone("torchvision:resnet18", layers=["layer9"]), UnknownNameError, "unknown layer 'layer9'"),
        (lambda: backbone("torchvision:resnet18", layers=[]), InputError, "at least one layer"),
        (lambda: backbone("torchvision:resnet18", layers=["avgpool", "fc"]), InputError, "'fc' gives no map"),
        (lambda: backbone("torchvision:resnet18", output_stride=64), InputError, "64"),
        (lambda: backbone("torchvision:resnet18", output_stride=12), InputError, "12"),
        (lambda: backbone("torchvision:vit_b_16"), InputError, "gives no maps"),
        (lambda: backbone(nn.Sequential(nn.Flatten())), InputError, "gives no maps"),
        (lambda: backbone(nn.Sequential(nn.Linear(7, 7))), InputError, "takes no square images"),
        (lambda: backbone(torchvision.models.resnet18(), pretrained=True), WeightsError, "a module has its weights"),
        (lambda: backbone("torchvision:resnet18")(torch.rand(1, 3, 24, 64)), ShapeError, "24 x 64 pixels, smaller"),
        (lambda: backbone("torchvision:resnet18")(torch.rand(3, 64, 64)), ShapeError, "image batch"),
        (lambda: backbone("torchvision:resnet18").layer_at(64), InputError, "no map of stride 64, only of 2, 4"),
    ],
)
def test_what_cannot_be_is_said(call, error, message):
    with torch.device("meta"), pytest.raises(error, match=message):
        call()


def test_weights_that_cannot_be_had_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(WeightsError, match="pretrained weights of torchvision:resnet18 could not be had"):
        backbone("torchvision:resnet18", pretrained=True)


class Choosing(nn.Module):
    """A network that looks at values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, images):
        features = self.first(images)
        return self.second(features) if features.sum() > 0 else features


def test_a_module_that_chooses_by_values_cannot_be_cut():
    with pytest.raises(InputError, match=r"Choosing cannot be cut behind first, second .*choosing by their values"):
        backbone(Choosing(), layers=["first", "second"])


def test_activations_write_in_place_again_where_no_returned_map_is_overwritten():
    body = backbone("torchvision:resnet18").body
    assert all(each.inplace for each in body.modules() if isinstance(each, nn.ReLU))
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(inplace=True)
    )
    kept = backbone(plain, layers=("0", "3"))
    image = torch.randn(1, 3, 16, 16)
    assert (kept(image)["0"] < 0).any()
    assert not any(each.inplace for each in kept.modules() if isinstance(each, nn.ReLU))
    assert plain[1].inplace


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (networks.resnet50, ["conv1_relu", "res2c", "res3d", "res4f", "res5c"]),
        (networks.googlenet, ["conv1", "conv2", "inception_3b", "inception_4e", "inception_5b"]),
        (networks.vgg16, ["relu2_2", "relu3_3", "relu4_3", "relu5_3", "pool5"]),
        (networks.alexnet, ["norm1", "norm2", "relu5", "pool5"]),  # which takes 224 pixels, but not 512
        (networks.spp_net, ["norm1", "pool1", "norm2", "relu5"]),
    ],
)
def test_classifiers_of_perimetry_are_backbones(build, layers):
    with torch.device("meta"):
        found = backbone(build())
        assert list(found.strides) == layers
        assert list(found(torch.empty(1, 3, 256, 320))) == layers


def test_a_backbone_of_a_classifier_gives_the_classifiers_maps():
    model = networks.all_cnn_c().eval()
    image, seen = torch.rand(1, 3, 40, 32), {}
    for name in ("relu5", "relu9"):
        getattr(model, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    model(image)
    assert_close(backbone(model)(image), seen, rtol=0, atol=0)
