"""VGG-16 as a fully convolutional network, to measure how much of its theoretical field fc7 uses, as ParseNet did.

    perimetry map examples.vgg16_fcn:fcn --unit fc7 --method occlusion --size 500 --image photos/

Simonyan and Zisserman 2014 define VGG-16; Long et al. 2015 turn its classifier into convolutions: fc6 looks at 7x7
positions, fc7 at one. A unit of fc7 sees 404x404 pixels (Liu et al. 2015, "ParseNet: Looking Wider to See Better").
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

STAGES = (2, 2, 3, 3, 3)  # convolutions before each pooling
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 4096


def build(channels: tuple[int, ...] = CHANNELS, hidden: int = HIDDEN) -> nn.Sequential:
    """The network up to fc7 with random weights, in eval mode; its layers are named as in the paper.

    >>> [name for name, _ in build((2, 2, 2, 2, 2), 4).named_children()][-5:]
    ['pool5', 'fc6', 'relu6', 'fc7', 'relu7']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for stage, (count, outputs) in enumerate(zip(STAGES, channels, strict=True), start=1):
        for place in range(1, count + 1):
            layers[f"conv{stage}_{place}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"relu{stage}_{place}"] = nn.ReLU()
            inputs = outputs
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["fc6"], layers["relu6"] = nn.Conv2d(inputs, hidden, 7), nn.ReLU()
    layers["fc7"], layers["relu7"] = nn.Conv2d(hidden, hidden, 1), nn.ReLU()
    return nn.Sequential(layers).eval()


def converted(vgg: nn.Module) -> nn.Sequential:
    """Torchvision's VGG-16 (or a narrower one of its form) as this network, with its weights.

    A fully connected layer on a map of 7x7 is a convolution of 7x7: its rows are filters, flattened.
    """
    filters = [part for part in vgg.features if isinstance(part, nn.Conv2d)]
    dense = [part for part in vgg.classifier if isinstance(part, nn.Linear)]
    widths = [part.out_channels for part in filters]
    ends = [sum(STAGES[: stage + 1]) - 1 for stage in range(len(STAGES))]
    network = build(tuple(widths[end] for end in ends), dense[0].out_features)
    targets = [part for part in network if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        for target, source in zip(targets, [*filters, *dense[:2]], strict=True):
            target.weight.copy_(source.weight.reshape(target.weight.shape))
            target.bias.copy_(source.bias)
    return network


def fcn() -> nn.Sequential:
    """With random weights, from a fixed seed: the theoretical field is right, the measured one says nothing of VGG."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def fcn_trained() -> nn.Sequential:
    """With torchvision's weights, trained on ImageNet; they are downloaded unless they are there already (528 MB)."""
    from torchvision.models import VGG16_Weights, vgg16

    return converted(vgg16(weights=VGG16_Weights.IMAGENET1K_V1))
