"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015), with fully connected layers or fully convolutional."""

from __future__ import annotations

from typing import Literal

from torch import nn

from perimetry.errors import UnknownNameError
from perimetry.networks.cards import Card, Difference, Quantity, quantities
from perimetry.networks.classifier import Classifier, FlattenMap, check_classes
from perimetry.networks.vgg_trunk import VGG16_DEPTHS, vgg_layers

Form = Literal["connected", "convolutional"]
_DEPTHS = {"vgg16": VGG16_DEPTHS, "vgg19": (2, 2, 4, 4, 4)}  # configurations D and E, table 1


def vgg16(*, classes: int = 1000, form: Form = "connected") -> Classifier:
    """VGG-16: thirteen 3x3 convolutions in five stages, three fully connected layers; for images of 224 pixels.

    form: "connected" for one map size, 7 x 7; "convolutional" with fc6 as a 7x7 convolution and fc7, fc8 as 1x1, for
    larger images too: "logits" are (N, classes, h, w) then. `translate_weights` carries weights from one form to the
    other, and torchvision's or timm's here. Pools round up, as Caffe's do. End points are conv1_1 ... fc8.

    >>> sum(parameter.numel() for parameter in vgg16().parameters())
    138357544
    """
    return _vgg("vgg16", classes, form)


def vgg19(*, classes: int = 1000, form: Form = "connected") -> Classifier:
    """VGG-19: as `vgg16`, with four convolutions in each of the last three stages."""
    return _vgg("vgg19", classes, form)


def _vgg(name: str, classes: int, form: Form) -> Classifier:
    if form not in ("connected", "convolutional"):
        raise UnknownNameError(
            "form", form, known=("connected", "convolutional"), advice='"connected" or "convolutional"'
        )
    check_classes(classes)
    layers = vgg_layers(_DEPTHS[name])
    if form == "connected":
        layers["flatten"] = FlattenMap((7, 7), image=224)
        connections: tuple[nn.Module, ...] = (
            nn.Linear(512 * 7 * 7, 4096),
            nn.Linear(4096, 4096),
            nn.Linear(4096, classes),
        )
    else:
        connections = (nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1), nn.Conv2d(4096, classes, 1))
    for number, connection in enumerate(connections, 6):
        layers[f"fc{number}"] = connection
        if number < 8:
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"drop{number}"] = nn.Dropout(0.5)
    network = Classifier(layers, smallest=193)  # which gives pool5 its 7 cells
    for layer in network.children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)  # section 3.1: with Glorot's values no smaller net is trained first
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # all have one
    return network


_CONVOLUTIONAL = (("form", "convolutional"),)
_RELEASE = "VGG_ILSVRC_16_layers_deploy.prototxt"
_FIELDS = "google-research/receptive_field, and the prototxt"
_DIFFERENCES = (
    Difference(
        "Images are scaled to 0 ... 1 and normalised, RGB, so that torchvision's weights fit",
        "the release subtracts means from BGR values of 0 ... 255; its weights do not fit such images",
    ),
    Difference(
        "Pools round up, torchvision's down",
        "Caffe's rule; the two are the same for sides that are multiples of 32",
    ),
)

VGG16 = Card(
    name="vgg16",
    title="VGG-16",
    task="classification",
    build=vgg16,
    image=(224, 224),
    paper="Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015",
    definition=_RELEASE + " (configuration D)",
    quantities=(
        Quantity("parameters", 138_357_544, _RELEASE),
        Quantity("parameters", 138_357_544, "the same weights as convolutions", options=_CONVOLUTIONAL),
        Quantity("parameters", 14_714_688, "its convolutions", of="conv*"),
        *quantities(
            "field",
            _FIELDS,
            {
                "conv1_1": 3,
                "conv1_2": 5,
                "pool1": 6,
                "conv2_1": 10,
                "conv2_2": 14,
                "pool2": 16,
                "conv3_1": 24,
                "conv3_2": 32,
                "conv3_3": 40,
                "pool3": 44,
                "conv4_1": 60,
                "conv4_2": 76,
                "conv4_3": 92,
                "pool4": 100,
                "conv5_1": 132,
                "conv5_2": 164,
                "conv5_3": 196,
                "pool5": 212,
            },
        ),
        *quantities("field", _FIELDS, {"fc6": 404, "fc7": 404}, image=(320, 320), options=_CONVOLUTIONAL),
        *quantities("stride", _RELEASE, {"pool1": 2, "pool2": 4, "pool3": 8, "pool4": 16, "pool5": 32}),
        *quantities(
            "map",
            _RELEASE,
            {
                "conv1_2": (64, 224, 224),
                "conv2_2": (128, 112, 112),
                "conv3_3": (256, 56, 56),
                "conv4_3": (512, 28, 28),
                "conv5_3": (512, 14, 14),
                "pool5": (512, 7, 7),
                "fc6": (4096,),
                "fc7": (4096,),
                "fc8": (1000,),
            },
        ),
        *quantities(
            "map", "one position at 224 pixels", {"fc6": (4096, 1, 1), "fc8": (1000, 1, 1)}, options=_CONVOLUTIONAL
        ),
    ),
    differences=_DIFFERENCES,
)

VGG19 = Card(
    name="vgg19",
    title="VGG-19",
    task="classification",
    build=vgg19,
    image=(224, 224),
    paper=VGG16.paper,
    definition="VGG_ILSVRC_19_layers_deploy.prototxt (configuration E)",
    quantities=(
        Quantity("parameters", 143_667_240, "torchvision's vgg19, whose weights load"),
        *quantities("field", "counted from configuration E", {"conv5_4": 252, "pool5": 268}),
        *quantities("map", "configuration E", {"conv5_4": (512, 14, 14), "pool5": (512, 7, 7), "fc8": (1000,)}),
    ),
    differences=_DIFFERENCES,
)
