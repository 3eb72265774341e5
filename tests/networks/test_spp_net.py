"""SPP-net: any size, the windows of its release, its field, and its head on any backbone."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

import perimetry
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.networks import backbone, spp_classifier, spp_net


@pytest.fixture(scope="module")
def network():
    return spp_net(classes=5).eval()


@pytest.mark.parametrize("size", [(31, 31), (180, 180), (224, 224), (100, 333)])
def test_an_image_of_any_size_gives_scores(network, size):
    with torch.no_grad():
        assert network(torch.rand(1, 3, *size))["logits"].shape == (1, 5)


def released_levels(features):
    """The release's four pools, for maps of 13 x 13 cells only: kernels and strides of Zeiler_conv5.prototxt."""
    pools = {6: (3, 2), 3: (5, 4), 2: (7, 7), 1: (13, 13)}
    return {side: functional.max_pool2d(features, *window, ceil_mode=True) for side, window in pools.items()}


def test_the_release_pools_the_same_but_for_two_bins(network):
    features = torch.rand(1, 256, 13, 13)
    pooled = network.pool5_spm(features)
    assert pooled.shape == (1, 12_800)
    ours = dict(zip((6, 3, 2, 1), pooled.split([256 * side * side for side in (6, 3, 2, 1)], 1), strict=True))
    for side, theirs in released_levels(features).items():
        assert theirs.shape == (1, 256, side, side)
        assert torch.equal(ours[side], theirs.flatten(1)) == (side != 2)


def test_thirty_bins_have_fewer_parameters_than_a_map_of_six(network):
    """The paper's best ablation: the gain of the pyramid is not one of parameters."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in spp_net(levels=(4, 3, 2, 1)).parameters())
    assert parameters == 77_037_672 - 256 * 20 * 4096
    assert 256 * 30 < 256 * 36


def test_the_papers_windows_refuse_the_papers_own_second_size():
    with torch.device("meta"):
        network = spp_net(windows="paper").eval()
        assert network(torch.zeros(1, 3, 224, 224))["logits"].shape == (1, 1000)
        with pytest.raises(ShapeError, match="give 9 bins over 10 cells, not 6"):
            network(torch.zeros(1, 3, 180, 180))


def test_the_field_counts_the_neighbours_of_the_normalisation():
    with torch.device("meta"):
        network = spp_net().eval()
    found = perimetry.inspect(network, 224)
    assert found.layer("conv5").field.size == (159, 159)
    assert found.layer("norm1").field.size == (11, 11)
    network.norm1, network.norm2 = nn.Identity(), nn.Identity()
    assert perimetry.inspect(network, 224).layer("conv5").field.size == (139, 139)


def test_an_image_level_pyramid_makes_every_unit_see_all(network):
    found = perimetry.inspect(network, 224)
    assert found.layer("pool5_spm").field.size == (None, None)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:tf_efficientnet_lite0"])
def test_the_head_stands_on_any_backbone_by_name(name):
    network = spp_classifier(name, classes=5, width=32).eval()
    channels = list(network.body.channels.values())[-1]
    assert network.fc6.in_features == channels * 50
    with torch.no_grad():
        for size in ((64, 64), (96, 160)):
            images = torch.rand(2, 3, *size)
            logits = network(images)["logits"]
            assert logits.shape == (2, 5)
            last = list(network.body(images).values())[-1]
            pyramid = torch.cat([functional.adaptive_max_pool2d(last, side).flatten(1) for side in (6, 3, 2, 1)], 1)
            assert_close(logits, nn.Sequential(network.fc6, nn.ReLU(), network.fc7, nn.ReLU(), network.fc8)(pyramid))
        assert_close(torch.compile(network, backend="eager", fullgraph=True)(images)["logits"], logits)
        assert_close(torch.export.export(network, (images,)).module()(images)["logits"], logits)


def test_the_head_takes_a_classifier_a_backbone_or_a_module_that_gives_a_map():
    resnet = torchvision.models.resnet18().eval()
    trunk = nn.Sequential(*list(resnet.children())[:-2]).eval()
    images = torch.rand(1, 3, 64, 64)
    networks = [
        spp_classifier(resnet, classes=3, width=8),
        spp_classifier(backbone(resnet), classes=3, width=8),
        spp_classifier(trunk, channels=512, classes=3, width=8),
    ]
    head = {name: value for name, value in networks[0].state_dict().items() if name.startswith("fc")}
    outputs = []
    for network in networks:
        network.load_state_dict(head, strict=False)
        outputs.append(network.eval()(images)["logits"])
    assert_close(outputs[0], outputs[1])
    assert_close(outputs[0], outputs[2])


def test_a_head_trains_with_its_backbone():
    network = spp_classifier("torchvision:resnet18", classes=3, width=16, levels=(2, 1))
    network(torch.rand(2, 3, 64, 64))["logits"].sum().backward()
    used = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert len(used) == len(list(network.named_parameters()))


def test_a_head_refuses_what_it_cannot_use():
    with pytest.raises(ShapeError, match="cut its head off"):
        spp_classifier(torchvision.models.resnet18(), channels=512, classes=3, width=8).eval()(torch.rand(1, 3, 64, 64))
    with pytest.raises(InputError, match="tells its channels"):
        spp_classifier("torchvision:resnet18", channels=512, classes=3)
    with pytest.raises(UnknownNameError, match="unknown backbone"):
        spp_classifier("torchvision:resnet", classes=3)
    with pytest.raises(InputError, match="classes counts"):
        spp_classifier(nn.Conv2d(3, 4, 1), channels=4, classes=0)
    with pytest.raises(InputError, match="width and channels are at least 1, got 0 and 4"):
        spp_classifier(nn.Conv2d(3, 4, 1), channels=4, classes=2, width=0)
    with pytest.raises(InputError, match="bins a side"):
        spp_classifier(nn.Conv2d(3, 4, 1), channels=4, classes=2, levels=())
