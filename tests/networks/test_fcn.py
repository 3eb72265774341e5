"""FCN: its crops from the geometry of its layers, its start at zero, its training in stages."""

from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks import copy_weights, fcn8s, fcn16s, fcn32s, fcn_alexnet, translate_weights
from perimetry.networks.fcn import FCN
from perimetry.nn import BilinearDeconvolution

BUILDERS = {"fcn32s": fcn32s, "fcn16s": fcn16s, "fcn8s": fcn8s, "fcn_alexnet": fcn_alexnet}
# Crop offsets and the parameters with dense deconvolutions: as in the release.
RELEASED = {
    "fcn32s": ((19,), 136_152_917),
    "fcn16s": ((5, 27), 134_815_994),
    "fcn8s": ((5, 9, 31), 134_489_759),
    "fcn_alexnet": ((18,), None),
}
STAGES = ("fcn32s", "fcn16s", "fcn8s")


def empty(name, **options):
    with torch.device("meta"):
        return BUILDERS[name](**options)


def after(place, layer):
    """The centre of the first cell and the pixels between cells behind a layer, from those before it."""
    start, spacing = place
    if isinstance(layer, BilinearDeconvolution):
        spacing /= layer.stride
        return start - spacing * ((layer.kernel - 1) / 2 - layer.padding), spacing
    if not isinstance(layer, nn.Conv2d | nn.MaxPool2d):
        return place
    kernel, padding, stride = (
        value[0] if isinstance(value, tuple) else value for value in (layer.kernel_size, layer.padding, layer.stride)
    )
    return start + spacing * ((kernel - 1) / 2 - padding), spacing * stride


def derived_crops(network: FCN):
    """Where each map has to be cut so that its cells lie on those of the scores it is added to: Caffe's Crop layer."""
    place, places = (0.0, 1.0), {}
    for name, layer in network.named_children():
        if name == "score_fr":
            break
        place = places[name] = after(place, layer)
    crops = []
    for skip in network.skips:
        place = after(place, network.get_submodule(skip.upscore))
        finer = places[skip.layer]
        assert finer[1] == place[1], "both maps have the same spacing where they are added"
        crops.append((place[0] - finer[0]) / finer[1])
    place = after(place, network.get_submodule(network.last))
    assert place[1] == 1
    crops.append(-place[0])
    return tuple(crops)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_crops_put_cells_on_the_pixels_that_they_come_from(name):
    network = empty(name)
    assert network.crops == derived_crops(network)
    assert network.crops == RELEASED[name][0]


@pytest.mark.parametrize("name", STAGES)
def test_the_parameters_with_dense_deconvolutions_are_the_released_ones(name):
    network = empty(name)
    _, dense = RELEASED[name]
    learned = sum(each.numel() for each in network.parameters())
    fixed = sum(each.kernel**2 for each in network.modules() if isinstance(each, BilinearDeconvolution))
    assert learned + 21 * 21 * fixed == dense


@pytest.mark.parametrize("classes", [33, 60])
def test_other_numbers_of_classes_change_the_scores_alone(classes):
    network, usual = empty("fcn8s", classes=classes), empty("fcn8s")
    differing = [
        name for name, each in network.named_parameters() if each.shape != usual.get_parameter(name).shape
    ]  # fmt: skip
    assert {name.partition(".")[0] for name in differing} == {"score_fr", "score_pool4", "score_pool3"}


def test_scores_start_at_zero_and_learn():
    network = fcn_alexnet(classes=3).eval()
    scores = network(torch.rand(1, 3, 20, 33))["out"]
    assert scores.shape == (1, 3, 20, 33)
    assert scores.abs().max() == 0
    functional.cross_entropy(scores, torch.ones(1, 20, 33).long()).backward()
    assert network.score_fr.weight.grad.abs().max() > 0


@pytest.mark.parametrize("builder", [fcn32s, fcn16s, fcn8s])
def test_scores_on_a_backbone_start_at_zero(builder):
    network = builder(classes=3, backbone="torchvision:resnet18").eval()
    scores = network(torch.rand(1, 3, 40, 33))["out"]
    assert scores.shape == (1, 3, 40, 33)
    assert scores.abs().max() == 0


def test_upsampling_is_bilinear_and_cropped():
    network = empty("fcn32s")
    network.to_empty(device="cpu")
    coarse = torch.rand(1, 21, 16, 16)
    network.maps = lambda images, wanted: {network.deepest: coarse.repeat(1, 196, 1, 1)[:, :4096]}
    with torch.no_grad():
        network.score_fr.bias.zero_()
        network.score_fr.weight.zero_()
        network.score_fr.weight[:, :21, 0, 0] = torch.eye(21)
        scores = network(torch.zeros(1, 3, 500, 500))["out"]
    # Cell k is centred on pixel 32 k + 31.5 - 19, and the interpolation's on 32 k + 15.5: both agree where the kernels
    # of two cells overlap, which is everywhere but at the border that the crop cuts off.
    whole = functional.interpolate(coarse, scale_factor=32, mode="bilinear", align_corners=False)
    torch.testing.assert_close(scores[..., 16:480, 16:480], whole[..., 19:483, 19:483])


def test_each_stage_has_all_that_the_one_before_learned():
    stages = [{name: each.shape for name, each in empty(name).state_dict().items()} for name in STAGES]
    for before, later in pairwise(stages):
        assert before.items() < later.items()
        assert all(name.startswith("score_pool") for name in later.keys() - before.keys())


def test_weights_are_handed_from_stage_to_stage():
    first = fcn32s(classes=3, backbone="torchvision:resnet18").eval()
    nn.init.normal_(first.score_fr.weight)
    second = fcn16s(classes=3, backbone="torchvision:resnet18").eval()
    assert set(copy_weights(second, first.state_dict())) == set(first.state_dict())
    images = torch.rand(1, 3, 64, 64)
    # The new scores are zero, so that the stage starts from the function before it (to how often it resizes).
    with torch.no_grad():
        coarse = first.score_fr(first.maps(images, (first.deepest,))[first.deepest])
        middle = functional.interpolate(coarse, size=(4, 4), mode="bilinear")
        expected = functional.interpolate(middle, size=(64, 64), mode="bilinear")
        torch.testing.assert_close(second(images)["out"], expected)


def test_weights_that_do_not_fit_are_told_and_nothing_is_changed():
    first = fcn32s(classes=3, backbone="torchvision:resnet18")
    second = fcn16s(classes=4, backbone="torchvision:resnet18")
    before = {name: each.clone() for name, each in second.state_dict().items()}
    with pytest.raises(InputError, match=r"score_fr.weight is \(3, 512, 1, 1\), in the network \(4, 512, 1, 1\)"):
        copy_weights(second, first.state_dict())
    with pytest.raises(UnknownNameError, match="unknown weights 'nothing'"):
        copy_weights(second, {"nothing": torch.zeros(1)})
    torch.testing.assert_close(dict(second.state_dict()), before, rtol=0, atol=0)
    assert "score_fr.weight" not in copy_weights(second, first.state_dict(), only="backbone.*")


def test_at_once_scales_the_skips():
    network = fcn8s(classes=2, training="at_once", backbone="torchvision:resnet18").eval()
    plain = fcn8s(classes=2, backbone="torchvision:resnet18").eval()
    copy_weights(plain, network.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for each in (network, plain):
            each.score_pool4.weight.fill_(0.01)
        torch.testing.assert_close(network(images)["out"], plain(images)["out"] * 0.01)
    with pytest.raises(UnknownNameError, match="unknown training 'atonce'; did you mean 'at_once'"):
        fcn8s(training="atonce")


@pytest.mark.slow
def test_a_classifiers_weights_give_the_classifiers_features():
    classifier = torchvision.models.vgg16().eval()
    network = fcn32s().eval()
    copied = copy_weights(network, translate_weights(network, classifier.state_dict()))
    assert len(copied) == 30
    network.conv1_1.padding = (1, 1)  # the classifier's own
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = classifier.classifier[:6](classifier.features(images).flatten(1))
        found = network.maps(images, ("drop7",))["drop7"]
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_the_weights_of_another_model_are_refused():
    with torch.device("meta"):
        network, other = fcn32s(), torchvision.models.vgg19()
    with pytest.raises(InputError, match=r"conv4_2\.weight is .*, in the network"):
        copy_weights(network, translate_weights(network, other.state_dict()))


def test_classes_and_backbones_that_cannot_be_are_told():
    with torch.device("meta"):
        with pytest.raises(InputError, match="classes is at least 1"):
            fcn8s(classes=0)
        with pytest.raises(InputError, match="no map of stride 32"):
            fcn8s(backbone="torchvision:squeezenet1_0")
        with pytest.raises(UnknownNameError, match="unknown backbone"):
            fcn8s(backbone="torchvision:resnet19")
