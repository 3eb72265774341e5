"""Putting a model back as it was found, whatever its forward pass stored in it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def left_as_found(model: torch.nn.Module) -> Iterator[None]:
    """Restore every module's attributes and every tensor's version counter afterwards, also after an exception.

    Models cache things while they run (grids, anchors, counters); under a recorder those would be stand-ins without
    contents. Containers held by a module are restored one level deep. What tensors hold is not this function's care:
    the recorder never lets a model write into its own.
    """
    attributes = [(module, dict(module.__dict__)) for module in model.modules()]
    contents = [
        (held, held.copy()) for _, names in attributes for held in names.values() if type(held) in (dict, list, set)
    ]
    versions = [(t, t._version) for t in itertools.chain(model.parameters(), model.buffers()) if not t.is_inference()]
    try:
        yield
    finally:
        for module, names in attributes:
            if module.__dict__.keys() != names.keys() or any(module.__dict__[k] is not v for k, v in names.items()):
                module.__dict__.clear()
                module.__dict__.update(names)
        for held, before in contents:
            _refill(held, before)
        moved = [(tensor, version) for tensor, version in versions if tensor._version != version]
        if moved:
            tensors, numbers = zip(*moved, strict=True)
            torch._C._autograd._unsafe_set_version_counter(tensors, numbers)


def _refill(held: Any, before: Any) -> None:
    """Give a container back its items."""
    held.clear()
    held.extend(before) if isinstance(held, list) else held.update(before)
