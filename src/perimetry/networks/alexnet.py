"""AlexNet, with its groups and its local response normalisation (Krizhevsky et al. 2012)."""

from __future__ import annotations

from torch import nn

from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.classifier import Classifier, FlattenMap, check_classes
from perimetry.nn import LocalResponseNorm

_RELEASE = "BVLC Caffe, models/bvlc_alexnet"
_ALIVE = ("conv2", "conv4", "conv5", "fc6", "fc7")  # biases of 0.1, so that ReLU starts alive


def alexnet(*, classes: int = 1000, groups: int = 2) -> Classifier:
    """AlexNet in the order of its paper: convolution, ReLU, normalisation, pooling; for images of 227 (or 224) pixels.

    groups: 2 as published (conv2, conv4 and conv5 see half of the channels), or 1 for a single tower. Pools round up,
    as Caffe's do, so that 224 pixels give 6 x 6 cells too. Returns a `Classifier`; end points are conv1 ... fc8.

    >>> sum(parameter.numel() for parameter in alexnet().parameters())
    60965224
    """
    network = Classifier(
        {
            "conv1": nn.Conv2d(3, 96, 11, stride=4),
            "relu1": nn.ReLU(),
            "norm1": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=groups),
            "relu2": nn.ReLU(),
            "norm2": LocalResponseNorm.caffe(size=5, alpha=1e-4, beta=0.75),
            "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
            "conv3": nn.Conv2d(256, 384, 3, padding=1),
            "relu3": nn.ReLU(),
            "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=groups),
            "relu4": nn.ReLU(),
            "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=groups),
            "relu5": nn.ReLU(),
            "pool5": nn.MaxPool2d(3, 2, ceil_mode=True),
            "flatten": FlattenMap((6, 6), image=227),
            "fc6": nn.Linear(256 * 6 * 6, 4096),
            "relu6": nn.ReLU(),
            "drop6": nn.Dropout(0.5),
            "fc7": nn.Linear(4096, 4096),
            "relu7": nn.ReLU(),
            "drop7": nn.Dropout(0.5),
            "fc8": nn.Linear(4096, check_classes(classes)),
        },
        smallest=199,
    )
    _start(network)
    return network


def _start(network: Classifier) -> None:
    """Gaussian weights and constant biases, as the fillers of the release say (section 5 of the paper)."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.005 if name in ("fc6", "fc7") else 0.01)
            nn.init.constant_(layer.bias, 0.1 if name in _ALIVE else 0.0)  # type: ignore[arg-type]  # all have one


ALEXNET = Card(
    name="alexnet",
    title="AlexNet",
    task="classification",
    build=alexnet,
    image=(227, 227),
    paper="Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012",
    definition=_RELEASE + " (train_val.prototxt, deploy.prototxt, readme.md)",
    quantities=(
        Quantity("parameters", 60_965_224, _RELEASE),
        Quantity("parameters", 62_378_344, "the same without groups", options=(("groups", 1),)),
        *quantities(
            "field",
            _RELEASE,
            {"conv1": 11, "pool1": 19, "conv2": 51, "pool2": 67, "conv3": 99, "conv4": 131, "conv5": 163, "pool5": 195},
        ),
        *quantities("stride", _RELEASE, {"pool5": 32}),
        *quantities("map", _RELEASE, {"conv1": (96, 55, 55), "pool5": (256, 6, 6)}),
        *quantities(
            "map",
            _RELEASE,
            {"conv1": (96, 54, 54), "pool1": (96, 27, 27), "pool5": (256, 6, 6)},
            image=(224, 224),
        ),
        *quantities("initial", _RELEASE, {f"{layer}.bias": 0.1 for layer in _ALIVE}),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB",
            "the release subtracts means from BGR values of 0 ... 255; weights of one do not fit the other's images",
        ),
    ),
    results=(Result("ImageNet, centre crop", "57.1 % top-1, 80.2 % top-5", _RELEASE + "/readme.md"),),
    unverified=("ten views, PCA relighting: the release was trained without relighting",),
)
