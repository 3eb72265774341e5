"""GoogLeNet (Szegedy et al. 2015) as BVLC released it: 5x5 convolutions, two normalisations, two auxiliary heads."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from perimetry.errors import InputError
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.classifier import AuxiliaryHead, Classifier, FlattenMap, check_classes
from perimetry.nn import InceptionV1, LocalResponseNorm

_BLOCKS = {  # 1x1; 3x3 and 5x5 as (reduced, result); projection: table 1
    "inception_3a": (64, (96, 128), (16, 32), 32),
    "inception_3b": (128, (128, 192), (32, 96), 64),
    "inception_4a": (192, (96, 208), (16, 48), 64),
    "inception_4b": (160, (112, 224), (24, 64), 64),
    "inception_4c": (128, (128, 256), (24, 64), 64),
    "inception_4d": (112, (144, 288), (32, 64), 64),
    "inception_4e": (256, (160, 320), (32, 128), 128),
    "inception_5a": (256, (160, 320), (32, 128), 128),
    "inception_5b": (384, (192, 384), (48, 128), 128),
}
_POOLS = {"inception_3b": "pool3", "inception_4e": "pool4"}  # what follows which block


def googlenet(*, classes: int = 1000, auxiliary_heads: int = 2) -> Classifier:
    """GoogLeNet with the names of the release, its "/" written as a dot (`conv1.7x7_s2`, `loss3.classifier`).

    A block such as `inception_3a` gives its output; inside, its branches are `one`, `three`, `five` and `pool`.

    auxiliary_heads: 2, on inception_4a and inception_4d, which run in training and take images of 191 to 238 pixels, of
    224 as published; or 0, as deployed. Without them, or in eval mode, other sizes can be taken. Returns "logits", in
    training "aux1" and "aux2" too, which `classification_losses` weights by 0.3.

    >>> sum(parameter.numel() for parameter in googlenet(auxiliary_heads=0).parameters())
    6998552
    """
    check_classes(classes)
    if auxiliary_heads not in (0, 2):
        raise InputError(
            f"GoogLeNet has 2 auxiliary heads in training, or 0 where it is deployed; got {auxiliary_heads}"
        )
    layers: dict[str, nn.Module] = {
        "conv1": _named({"7x7_s2": nn.Conv2d(3, 64, 7, stride=2, padding=3), "relu_7x7": nn.ReLU()}),
        "pool1": _named({"3x3_s2": nn.MaxPool2d(3, 2, ceil_mode=True), "norm1": LocalResponseNorm.caffe(size=5)}),
        "conv2": _named(
            {
                "3x3_reduce": nn.Conv2d(64, 64, 1),
                "relu_3x3_reduce": nn.ReLU(),
                "3x3": nn.Conv2d(64, 192, 3, padding=1),
                "relu_3x3": nn.ReLU(),
                "norm2": LocalResponseNorm.caffe(size=5),
            }
        ),
        "pool2": _named({"3x3_s2": nn.MaxPool2d(3, 2, ceil_mode=True)}),
    }
    channels = 192
    for name, (ones, threes, fives, pooled) in _BLOCKS.items():
        layers[name] = InceptionV1(channels, ones=ones, threes=threes, fives=fives, pooled=pooled)
        channels = ones + threes[1] + fives[1] + pooled
        if name in _POOLS:
            layers[_POOLS[name]] = _named({"3x3_s2": nn.MaxPool2d(3, 2, ceil_mode=True)})
    layers["pool5"] = _named({"7x7_s1": nn.AdaptiveAvgPool2d(1), "drop_7x7_s1": nn.Dropout(0.4)})
    layers["loss3"] = _named({"flatten": nn.Flatten(), "classifier": nn.Linear(channels, classes)})
    heads = {
        "loss1": AuxiliaryHead("inception_4a", _auxiliary(512, classes), smallest=_TRAINS_ON),
        "loss2": AuxiliaryHead("inception_4d", _auxiliary(528, classes), smallest=_TRAINS_ON),
    }
    network = Classifier(layers, smallest=31, heads=heads if auxiliary_heads else None)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")  # Caffe's xavier: +- sqrt(3 / inputs)
            nn.init.constant_(layer.bias, 0.0 if name.endswith("classifier") else 0.2)  # type: ignore[arg-type]  # all have one
    return network


_TRAINS_ON = 191  # pixels that give inception_4a its 12 cells, and so the heads their 4 x 4


def _named(layers: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _auxiliary(channels: int, classes: int) -> nn.Sequential:
    return _named(
        {
            "ave_pool": nn.AvgPool2d(5, 3, ceil_mode=True),
            "conv": nn.Conv2d(channels, 128, 1),
            "relu_conv": nn.ReLU(),
            "flatten": FlattenMap((4, 4), image=224),
            "fc": nn.Linear(128 * 4 * 4, 1024),
            "relu_fc": nn.ReLU(),
            "drop_fc": nn.Dropout(0.7),
            "classifier": nn.Linear(1024, classes),
        }
    )


_RELEASE = "BVLC Caffe, models/bvlc_googlenet"
_DEPLOYED = (("auxiliary_heads", 0),)

GOOGLENET = Card(
    name="googlenet",
    title="GoogLeNet",
    task="classification",
    build=googlenet,
    image=(224, 224),
    paper="Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions, "
    "CVPR 2015",
    definition=_RELEASE + " (train_val.prototxt, deploy.prototxt, readme.md)",
    quantities=(
        Quantity("parameters", 13_378_280, _RELEASE + "/train_val.prototxt"),
        Quantity("parameters", 6_998_552, _RELEASE + "/deploy.prototxt", options=_DEPLOYED),
        Quantity("parameters", 163_696, _RELEASE, of="inception_3a.*"),
        Quantity("parameters", 163_328, _RELEASE + ", without biases", of="inception_3a.*weight"),
        *quantities("field", _RELEASE, {"inception_5b": 715}),
        *quantities("stride", _RELEASE, {"pool2": 8, "pool3": 16, "pool4": 32, "inception_5b": 32}),
        *quantities(
            "map",
            "the paper, table 1",
            {
                "conv1": (64, 112, 112),
                "pool1": (64, 56, 56),
                "conv2": (192, 56, 56),
                "pool2": (192, 28, 28),
                "inception_3a": (256, 28, 28),
                "inception_3b": (480, 28, 28),
                "pool3": (480, 14, 14),
                "inception_4a": (512, 14, 14),
                "inception_4b": (512, 14, 14),
                "inception_4c": (512, 14, 14),
                "inception_4d": (528, 14, 14),
                "inception_4e": (832, 14, 14),
                "pool4": (832, 7, 7),
                "inception_5a": (832, 7, 7),
                "inception_5b": (1024, 7, 7),
                "pool5": (1024, 1, 1),
                "loss3": (1000,),
            },
        ),
        *quantities(
            "setting",
            _RELEASE,
            {
                **{f"{pool}.3x3_s2.ceil_mode": True for pool in ("pool1", "pool2", "pool3", "pool4")},
                "inception_3a.five.1.0.kernel_size": (5, 5),
                "inception_5b.five.1.0.kernel_size": (5, 5),
                "pool1.norm1.before": 2,
                "pool1.norm1.after": 2,
                "conv2.norm2.before": 2,
                "conv2.norm2.beta": 0.75,
                "pool5.drop_7x7_s1.p": 0.4,
                "loss1.drop_fc.p": 0.7,
                "loss1.ave_pool.stride": 3,
            },
        ),
        *quantities(
            "initial",
            _RELEASE + "/train_val.prototxt",
            {
                "conv1.7x7_s2.bias": 0.2,
                "inception_3a.three.1.0.bias": 0.2,
                "loss1.fc.bias": 0.2,
                "loss3.classifier.bias": 0,
            },
        ),
    ),
    differences=(
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB",
            "the release subtracts means from BGR values of 0 ... 255; weights of one do not fit the other's images",
        ),
        Difference(
            "pool5 is the mean over the whole map, in the release a 7x7 window",
            "the same at 224 pixels; other sizes can be taken",
        ),
        Difference(
            "Weights start as in the release (Caffe's xavier), not with the paper's Gaussian values",
            "the paper does not tell them; the release lists this among its own differences",
        ),
    ),
    results=(Result("ImageNet, centre crop", "68.7 % top-1, 88.9 % top-5", _RELEASE + "/readme.md"),),
)
