"""Weights of torchvision's and timm's networks under the names of the ones here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import Tensor, nn

_CONNECTED = {  # ours: torchvision's, timm's
    "fc6": ("classifier.0", "pre_logits.fc1"),
    "fc7": ("classifier.3", "pre_logits.fc2"),
    "fc8": ("classifier.6", "head.fc"),
}


def names_elsewhere(network: nn.Module) -> dict[str, str]:
    """The network's tensors by the names that torchvision and timm have for them; empty for one that they have not.

    >>> from perimetry.networks import resnet50
    >>> names_elsewhere(resnet50())["layer1.0.conv2.weight"]
    'res2a.conv2.weight'
    """
    layers = _layers_elsewhere([name for name, _ in network.named_children()])
    return {
        elsewhere + name.removeprefix(layer): name
        for name in network.state_dict()
        for elsewhere, layer in layers
        if name.startswith(layer + ".")
    }


def translate_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as the network names and shapes them, so that `network.load_state_dict` takes them.

    tensors: the state dict of torchvision's or timm's VGG, ResNet or Inception v3, or of the network here in its other
    form: a fully connected layer's weights become a convolution's, and back. Segmenters on VGG-16 take a classifier's
    too, with `copy_weights`. What is not known stays as it is.

    >>> from perimetry.networks import resnet50_v1_5
    >>> import torch
    >>> list(translate_weights(resnet50_v1_5(), {"fc.bias": torch.zeros(1000)}))
    ['fc1000.bias']
    """
    known, own = names_elsewhere(network), network.state_dict()
    renamed = {known.get(name, name): value for name, value in tensors.items()}
    return {name: _shaped(value, own.get(name)) for name, value in renamed.items()}


def _shaped(value: Tensor, like: Tensor | None) -> Tensor:
    """A weight (out, in) as a kernel (out, channels, rows, columns), or back: both have the same order."""
    if like is None or {value.ndim, like.ndim} != {2, 4} or len(value) != len(like) or value.numel() != like.numel():
        return value
    return value.reshape(like.shape)


def _layers_elsewhere(names: list[str]) -> list[tuple[str, str]]:
    """(Their name, ours) of each layer that holds weights."""
    if "conv1_1" in names:  # VGG: `features` counts all layers up to the last pool
        features = itertools.takewhile(lambda name: name not in ("flatten", "fc6"), names)
        known = [(f"features.{number}", name) for number, name in enumerate(features)]
        return known + [(theirs, ours) for ours, several in _CONNECTED.items() for theirs in several]
    if "res2a" in names:
        known = [("conv1", "conv1"), ("bn1", "bn_conv1"), ("fc", "fc1000")]
        for stage in range(1, 5):
            blocks = [name for name in names if name.startswith(f"res{stage + 1}")]
            known += [(f"layer{stage}.{number}", name) for number, name in enumerate(blocks)]
        return known
    return []  # Inception v3 has their names
