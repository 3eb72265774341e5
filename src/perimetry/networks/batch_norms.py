"""Batch normalisation that is not trained: detectors see too few images at once to learn statistics from them."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


class FixedBatchNorm(nn.BatchNorm2d):
    """Normalises by the statistics that it holds, in training too, and keeps its scale and shift as they are.

    Its tensors have the names of `torch.nn.BatchNorm2d`'s, so that weights fit both.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def fix_batch_norms(network: Network, *, eps: float | None = None) -> Network:
    """A copy whose batch normalisations hold still: statistics, scale and shift stay as they were trained before.

    R-FCN and Detectron train so, from ImageNet's weights. eps: under the root, where weights want another one than
    the network has (those of torchvision's first Faster R-CNN on COCO: 0). Raises `InputError` where there are none.

    >>> import torch
    >>> layer = fix_batch_norms(nn.Sequential(nn.BatchNorm2d(2))).train()
    >>> layer(torch.full((1, 2, 1, 1), 3.0)).flatten().round(decimals=3)
    tensor([3., 3.])
    """
    changed = copy.deepcopy(network)
    found = [layer for layer in changed.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not found:
        raise InputError(f"{type(network).__name__} has no batch normalisation (BatchNorm2d) to fix")
    for layer in found:
        layer.__class__ = FixedBatchNorm  # the same tensors under the same names, in a layer that leaves them alone
        if eps is not None:
            layer.eps = eps
        for parameter in layer.parameters():
            parameter.requires_grad = False
    return changed
