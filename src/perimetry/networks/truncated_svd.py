"""Fully connected layers in fewer multiplications: truncated singular value decomposition (Fast R-CNN, section 3.1)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from perimetry.errors import InputError, UnknownNameError

Network = TypeVar("Network", bound=nn.Module)


def truncate_svd(network: Network, ranks: Mapping[str, int]) -> Network:
    """A copy in which each named fully connected layer is two: L, of `rank` outputs without bias, and U.

    ranks: singular values kept, by the layer's name; Fast R-CNN kept {"head.fc6": 1024, "head.fc7": 256}. The two are
    the closest product of that rank. Raises `UnknownNameError`, and `InputError` for other layers and ranks that are
    too large.

    >>> small = truncate_svd(nn.Sequential(nn.Linear(8, 6)), {"0": 2})
    >>> small[0]
    Sequential(
      (L): Linear(in_features=8, out_features=2, bias=False)
      (U): Linear(in_features=2, out_features=6, bias=True)
    )
    """
    changed = copy.deepcopy(network)
    modules = dict(changed.named_modules())
    for name, rank in ranks.items():
        if name not in modules:
            raise UnknownNameError("layer", name, known=modules)
        parent, _, attribute = name.rpartition(".")
        setattr(modules[parent], attribute, _halves(modules[name], name, rank))
    return changed


def _halves(layer: nn.Module, name: str, rank: int) -> nn.Sequential:
    if not isinstance(layer, nn.Linear):
        raise InputError(f"{name} is a {type(layer).__name__}; only fully connected layers (Linear) are decomposed")
    if not 1 <= rank <= min(layer.in_features, layer.out_features):
        raise InputError(
            f"{name} has {layer.in_features} inputs and {layer.out_features} outputs; the rank is at least 1 and at "
            f"most the smaller of both, got {rank}"
        )
    weight = layer.weight.detach()
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    left, values, right = torch.linalg.svd(wide, full_matrices=False)
    place = {"device": weight.device, "dtype": weight.dtype}
    first = nn.Linear(layer.in_features, rank, bias=False, **place)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **place)
    with torch.no_grad():
        first.weight.copy_(values[:rank, None] * right[:rank])
        second.weight.copy_(left[:, :rank])
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(OrderedDict(L=first, U=second))
