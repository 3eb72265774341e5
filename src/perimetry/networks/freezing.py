"""Which parameters of a network are not trained."""

from __future__ import annotations

import fnmatch

from torch import nn

from perimetry.errors import InputError, UnknownNameError


def freeze(network: nn.Module, *patterns: str) -> tuple[str, ...]:
    """Keep the parameters whose names match a pattern from being trained; returns their names, in the network's order.

    Fast R-CNN on VGG-16 was trained with `freeze(network, "backbone.conv1_*", "backbone.conv2_*")`. Raises
    `UnknownNameError` for a pattern that matches nothing.

    >>> freeze(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "0.*")
    ('0.weight', '0.bias')
    """
    if not patterns:
        raise InputError("name what to freeze, such as 'backbone.conv1_*'")
    named = dict(network.named_parameters())
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in named if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise UnknownNameError("parameter or pattern", pattern, known=named, advice="a glob such as 'conv1_*'")
        matched.update(found)
    frozen = tuple(name for name in named if name in matched)
    for name in frozen:
        named[name].requires_grad = False
    return frozen
