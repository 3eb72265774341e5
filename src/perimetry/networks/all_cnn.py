"""All-CNN-C (Springenberg et al. 2015): convolutions only, for images of 32 pixels."""

from __future__ import annotations

from torch import nn

from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.classifier import Classifier, check_classes

_LAYERS = (  # channels, kernel, stride, padding
    *((96, 3, 1, 1), (96, 3, 1, 1), (96, 3, 2, 1)),
    *((192, 3, 1, 1), (192, 3, 1, 1), (192, 3, 2, 1)),
    *((192, 3, 1, 0), (192, 1, 1, 0)),
)


def all_cnn_c(*, classes: int = 10) -> Classifier:
    """All-CNN-C: convolutions of stride 2 in the place of pooling, and a mean over the last map.

    Dropout of 0.2 on the image and 0.5 behind each convolution of stride 2. For images of 32 pixels, and others. End
    points are conv1 ... conv9 and pool. A ReLU stands behind conv9 too, as in the definition: a class whose scores are
    all below zero gets no gradient then, so look at the loss of the first epochs, and start again where it stands.

    >>> sum(parameter.numel() for parameter in all_cnn_c().parameters())
    1369738
    """
    check_classes(classes)
    layers: dict[str, nn.Module] = {"drop1": nn.Dropout(0.2)}
    before, drops = 3, 1
    for number, (channels, kernel, stride, padding) in enumerate((*_LAYERS, (classes, 1, 1, 0)), 1):
        layers[f"conv{number}"] = nn.Conv2d(before, channels, kernel, stride, padding)
        layers[f"relu{number}"] = nn.ReLU()
        if stride == 2:
            drops += 1
            layers[f"drop{drops}"] = nn.Dropout(0.5)
        before = channels
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    network = Classifier(layers, smallest=9)  # which gives conv7 its 3 cells
    for layer in network.children():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")  # Caffe's xavier: +- sqrt(3 / inputs)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one
    return network


_COPY = "mateuszbuda/ALL-CNN, ALL_CNN_C_train_val.prototxt"

ALL_CNN_C = Card(
    name="all_cnn_c",
    title="All-CNN-C",
    task="classification",
    build=all_cnn_c,
    image=(32, 32),
    paper="Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for Simplicity: The All Convolutional Net, "
    "ICLR 2015 (workshop)",
    definition=_COPY + " (a third party's)",
    quantities=(
        Quantity("parameters", 1_369_738, _COPY),
        *quantities("field", _COPY, {"conv7": 27, "conv9": 27}),
        *quantities("stride", _COPY, {"conv3": 2, "conv6": 4, "conv9": 4}),
        *quantities(
            "map",
            _COPY,
            {
                "conv2": (96, 32, 32),
                "conv3": (96, 16, 16),
                "conv6": (192, 8, 8),
                "conv7": (192, 6, 6),
                "conv9": (10, 6, 6),
                "pool": (10, 1, 1),
            },
        ),
        *quantities("setting", _COPY, {"drop1.p": 0.2, "drop2.p": 0.5, "drop3.p": 0.5}),
        *quantities("initial", _COPY, {"conv1.bias": 0, "conv9.bias": 0}),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised",
            "the original whitens them (global contrast normalisation, ZCA), which is for the data set to do",
        ),
    ),
    results=(
        Result("CIFAR-10, accuracy", "90.25 %; its author found training unstable and ran it several times", _COPY),
    ),
)
