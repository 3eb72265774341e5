"""Inception V3 (Szegedy et al. 2016) of torchvision's blocks, under the end points of slim."""

from __future__ import annotations

from torch import nn
from torchvision.models import inception as blocks

from perimetry.errors import InputError
from perimetry.networks.cards import Card, Difference, Quantity, quantities
from perimetry.networks.classifier import AuxiliaryHead, Classifier, check_classes


def inception_v3(*, classes: int = 1000, auxiliary_heads: int = 1) -> Classifier:
    """Inception V3: torchvision's blocks and weights, and slim's 18 end points, `Conv2d_1a_3x3` to `Mixed_7c`.

    auxiliary_heads: 1, on Mixed_6e, which runs in training; or 0. For images of 299 pixels, and others. Returns
    "logits", in training "aux1" too, which slim weights by 0.4. torchvision's pretrained weights want images with
    mean and standard deviation 0.5.

    >>> sum(parameter.numel() for parameter in inception_v3().parameters())
    27161264
    """
    check_classes(classes)
    if auxiliary_heads not in (0, 1):
        raise InputError(f"Inception V3 has 1 auxiliary head in training, or 0; got {auxiliary_heads}")
    layers: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
        "Conv2d_2a_3x3": blocks.BasicConv2d(32, 32, kernel_size=3),
        "Conv2d_2b_3x3": blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
        "MaxPool_3a_3x3": nn.MaxPool2d(3, 2),
        "Conv2d_3b_1x1": blocks.BasicConv2d(64, 80, kernel_size=1),
        "Conv2d_4a_3x3": blocks.BasicConv2d(80, 192, kernel_size=3),
        "MaxPool_5a_3x3": nn.MaxPool2d(3, 2),
        "Mixed_5b": blocks.InceptionA(192, pool_features=32),
        "Mixed_5c": blocks.InceptionA(256, pool_features=64),
        "Mixed_5d": blocks.InceptionA(288, pool_features=64),
        "Mixed_6a": blocks.InceptionB(288),
        "Mixed_6b": blocks.InceptionC(768, channels_7x7=128),
        "Mixed_6c": blocks.InceptionC(768, channels_7x7=160),
        "Mixed_6d": blocks.InceptionC(768, channels_7x7=160),
        "Mixed_6e": blocks.InceptionC(768, channels_7x7=192),
        "Mixed_7a": blocks.InceptionD(768),
        "Mixed_7b": blocks.InceptionE(1280),
        "Mixed_7c": blocks.InceptionE(2048),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "dropout": nn.Dropout(0.5),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(2048, classes),
    }
    # The head's 5x5 convolution needs 5 cells behind a 5x5 pooling of stride 3.
    head = AuxiliaryHead("Mixed_6e", blocks.InceptionAux(768, classes), smallest=299)
    network = Classifier(layers, smallest=75, heads={"AuxLogits": head} if auxiliary_heads else None)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # As torchvision starts them; slim starts the auxiliary head's last two layers near zero.
            std = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
            nn.init.trunc_normal_(layer.weight, std=std)
    return network


END_POINTS = {  # slim's inception_v3_base, at 299 pixels
    "Conv2d_1a_3x3": (32, 149, 149),
    "Conv2d_2a_3x3": (32, 147, 147),
    "Conv2d_2b_3x3": (64, 147, 147),
    "MaxPool_3a_3x3": (64, 73, 73),
    "Conv2d_3b_1x1": (80, 73, 73),
    "Conv2d_4a_3x3": (192, 71, 71),
    "MaxPool_5a_3x3": (192, 35, 35),
    "Mixed_5b": (256, 35, 35),
    "Mixed_5c": (288, 35, 35),
    "Mixed_5d": (288, 35, 35),
    "Mixed_6a": (768, 17, 17),
    "Mixed_6b": (768, 17, 17),
    "Mixed_6c": (768, 17, 17),
    "Mixed_6d": (768, 17, 17),
    "Mixed_6e": (768, 17, 17),
    "Mixed_7a": (1280, 8, 8),
    "Mixed_7b": (2048, 8, 8),
    "Mixed_7c": (2048, 8, 8),
}
_SLIM = "TensorFlow slim, inception_v3.py"
_TORCHVISION = "torchvision.models.inception"

INCEPTION_V3 = Card(
    name="inception_v3",
    title="Inception V3",
    task="classification",
    build=inception_v3,
    image=(299, 299),
    paper="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, "
    "CVPR 2016",
    definition=f"{_SLIM}; {_TORCHVISION}",
    quantities=(
        Quantity("parameters", 27_161_264, _TORCHVISION),
        Quantity("parameters", 23_834_568, _TORCHVISION + ", without its head", options=(("auxiliary_heads", 0),)),
        *quantities("map", _SLIM, {**END_POINTS, "fc": (1000,)}),
        *quantities("stride", _SLIM, {"Mixed_5d": 8, "Mixed_6e": 16, "Mixed_7c": 32}),
        *quantities(
            "setting",
            _SLIM + ", where the 5x5 are kept",
            {f"Mixed_{block}.branch5x5_2.conv.kernel_size": (5, 5) for block in ("5b", "5c", "5d")},
        ),
    ),
    differences=(
        Difference(
            "Batch norm has a scale and a shift",
            "torchvision's form; slim has no scale before ReLU",
        ),
        Difference(
            "torchvision rescales images inside its pretrained network; here the caller normalises by mean and "
            "standard deviation 0.5",
            "the same numbers, without a switch in the network",
        ),
    ),
)
