"""What all classifiers have in common: named outputs, any size that fits, clear errors, compile, export, a step."""

import copy
import io

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torchvision.transforms import functional as images_to

import perimetry
from perimetry import networks
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.networks import CARDS, AuxiliaryHead, Classifier, classification_losses

CLASSIFIERS = [name for name, card in CARDS.items() if card.task == "classification"]
# The smallest image that each takes, and one that fully connected layers do not; found by trying every size.
SMALLEST = {
    "alexnet": 199,
    "vgg16": 193,
    "vgg19": 193,
    "googlenet": 31,
    "inception_v2": 1,
    "inception_v3": 75,
    "resnet50": 3,
    "resnet101": 3,
    "resnet152": 3,
    "resnet50_v1_5": 1,
    "resnet101_v1_5": 1,
    "resnet152_v1_5": 1,
    "all_cnn_c": 9,
    "spp_net": 31,
}
CONNECTED = {"alexnet": 231, "vgg16": 225, "vgg19": 225}
TRAINS_FROM = {"googlenet": 191, "inception_v3": 299}  # where the auxiliary heads are the narrowest


def on_meta(name, **options):
    with torch.device("meta"):
        return getattr(networks, name)(**options)


def meta_images(count, rows, columns):
    return torch.zeros(count, 3, rows, columns, device="meta")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_smallest_image_is_taken_and_the_next_smaller_one_is_refused(name):
    side = SMALLEST[name]
    network = on_meta(name, classes=7).eval()
    assert network(meta_images(2, side, side + 2))["logits"].shape == (2, 7)
    message = f"the smallest image that this network takes has {side} x {side} pixels, got {side - 1} x {side + 3}"
    with pytest.raises(ShapeError, match=message):
        network(meta_images(2, side - 1, side + 3))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_nothing_smaller_would_have_worked(name):
    network = on_meta(name).eval()
    network.smallest = 0
    side = SMALLEST[name]
    if side > 1:
        with pytest.raises((RuntimeError, ShapeError)):
            network(meta_images(1, side - 1, side - 1))


@pytest.mark.parametrize("name", CONNECTED)
def test_fully_connected_layers_refuse_larger_maps(name):
    with pytest.raises(ShapeError, match=r"the fully connected layers take maps of (\d) x \1, this image gives"):
        on_meta(name).eval()(meta_images(1, CONNECTED[name], CONNECTED[name]))


@pytest.mark.parametrize("name", TRAINS_FROM)
def test_auxiliary_heads_run_in_training_only(name):
    side = TRAINS_FROM[name]
    network = on_meta(name, classes=5)
    heads = ["aux1", "aux2"] if name == "googlenet" else ["aux1"]
    outputs = network(meta_images(2, side, side))
    assert list(outputs) == ["logits", *heads]
    assert {scores.shape for scores in outputs.values()} == {(2, 5)}
    with pytest.raises(ShapeError, match=f"has {side} x {side} pixels"):
        network(meta_images(2, side - 1, side - 1))
    assert list(network.eval()(meta_images(2, side - 1, side - 1))) == ["logits"]
    assert list(on_meta(name, auxiliary_heads=0)(meta_images(2, side - 1, side - 1))) == ["logits"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_are_counted_from_one(name):
    with pytest.raises(InputError, match="classes counts what is told apart, at least 1; got 0"):
        on_meta(name, classes=0)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 32, 32), ShapeError, "add a batch axis"),
        (torch.zeros(1, 1, 32, 32), ShapeError, "3 channels"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), InputError, "as floats, normalised; got torch.uint8"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        networks.all_cnn_c()(images)


def test_unknown_options_are_refused():
    for build, message in (
        (lambda: networks.vgg16(form="conv"), '"connected" or "convolutional"'),
        (lambda: networks.googlenet(auxiliary_heads=1), "2 auxiliary heads in training, or 0"),
        (lambda: networks.inception_v3(auxiliary_heads=2), "1 auxiliary head in training, or 0"),
        (lambda: networks.inception_v2(first="separate"), "'separable'"),
        (lambda: networks.inception_v2(widths="narrow"), "'paper' or 'slim'"),
    ):
        with pytest.raises((InputError, UnknownNameError), match=message), torch.device("meta"):
            build()


# Small images where the definition allows them, so that this takes seconds.
SIDES = {"alexnet": 199, "vgg16": 193, "vgg19": 193, "inception_v3": 75, "googlenet": 64, "spp_net": 64}


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.startswith(("resnet101", "resnet152"))])
def test_a_network_compiles_exports_and_saves_the_same(name):
    torch._dynamo.reset()
    network = getattr(networks, name)(classes=3).eval()
    side = SIDES.get(name, 48)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        expected = network(images)["logits"]
        assert expected.isfinite().all()
        assert_close(torch.compile(network, backend="eager", fullgraph=True)(images)["logits"], expected)
        exported = torch.export.export(network, (images,), strict=False)
        assert_close(exported.module()(images)["logits"], expected)
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        file.seek(0)
        again = on_meta(name, classes=3).eval()
        again.load_state_dict(torch.load(file, weights_only=True), assign=True)
        assert torch.equal(again(images)["logits"], expected)


@pytest.mark.parametrize("name", ["googlenet", "spp_net", "all_cnn_c", "resnet50"])
def test_a_network_is_inspected_and_loaded_by_name(name):
    loaded = perimetry.load_model(f"perimetry:{name}")
    assert loaded.input_size == CARDS[name].image
    found = perimetry.inspect(loaded)
    assert not found.models[0].unknown


def step(network, images, labels):
    """The loss before and after a step of gradient descent on one batch."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = sum(classification_losses(network(images), labels).values())
    optimizer.zero_grad()
    before.backward()
    missing = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not missing
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    optimizer.step()
    return before.item()


def photos(folder, side, count):
    """Photos of ImageNet classes, as (count, 3, side, side), and what they show as 0, 1, ..."""
    files = sorted((folder / "imagenet_samples200" / "images").iterdir())[:count]
    images = [Image.open(file).convert("RGB").resize((side, side)) for file in files]
    return torch.stack([images_to.to_tensor(image) for image in images]) * 2 - 1, torch.arange(count)


TRAINED = {"googlenet": 224, "resnet50": 64, "resnet50_v1_5": 64, "inception_v2": 64, "spp_net": 96, "alexnet": 227}


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_on_real_photos(name, data):
    images, labels = photos(data, TRAINED[name], 4)
    network = getattr(networks, name)(classes=4)
    assert 0 < step(network, images, labels) < 20
    network.eval()
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(network)(images)["logits"], network(images)["logits"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg19", "inception_v3", "resnet101", "resnet152"])
def test_a_step_of_the_large_ones_on_real_photos(name, data):
    images, labels = photos(data, CARDS[name].image[0], 2)
    assert 0 < step(getattr(networks, name)(classes=4), images, labels) < 20


def cifar(folder, each):
    """That many training images of each class of CIFAR-10, and their classes."""
    names = sorted(path.name for path in (folder / "cifar10_5k" / "train").iterdir())
    files = [
        (file, number)
        for number, name in enumerate(names)
        for file in sorted((folder / "cifar10_5k" / "train" / name).iterdir())[:each]
    ]
    images = torch.stack([images_to.to_tensor(Image.open(file).convert("RGB")) for file, _ in files])
    return images * 2 - 1, torch.tensor([number for _, number in files])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all_cnn_c", "resnet50_v1_5", "inception_v2"])
def test_eight_images_are_learnt_by_heart(name, data):
    images, labels = cifar(data, 1)
    images, labels = images[:8], labels[:8]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(networks, name)(classes=10)
    if name == "all_cnn_c":
        nn.init.ones_(network.conv9.bias)  # else the ReLU behind it leaves some classes dead from the start
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    for _ in range(60):
        loss = sum(classification_losses(network(images), labels).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert (network(images)["logits"].argmax(1) == labels).all()


def test_a_head_stands_where_it_is_told():
    layers = {"one": nn.Conv2d(3, 2, 1), "two": nn.Conv2d(2, 4, 1)}
    heads = {"early": AuxiliaryHead("one", nn.AdaptiveAvgPool2d(1)), "late": AuxiliaryHead("two", nn.Identity())}
    network = Classifier(layers, heads=heads)
    outputs = network(torch.rand(1, 3, 5, 5))
    assert {name: tuple(scores.shape) for name, scores in outputs.items()} == {
        "logits": (1, 4, 5, 5),
        "aux1": (1, 2, 1, 1),
        "aux2": (1, 4, 5, 5),
    }
    assert list(network.eval()(torch.rand(1, 3, 5, 5))) == ["logits"]


def test_auxiliary_losses_are_weighted():
    scores = torch.zeros(2, 4)
    labels = torch.tensor([0, 3])
    losses = classification_losses({"logits": scores, "aux1": scores}, labels, auxiliary_weight=0.4)
    expected = torch.tensor(4.0).log()
    assert_close(losses, {"logits": expected, "aux1": 0.4 * expected})
    with pytest.raises(InputError, match="expected the outputs of a classifier"):
        classification_losses({"out": scores}, labels)
