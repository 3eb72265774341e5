"""Starting from weights of another network: which tensors fit, which are skipped, which are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perimetry.errors import WeightsError
from perimetry.models.weights import without_prefix


@dataclass(frozen=True, slots=True)
class Transfer:
    """What came of it, names of tensors: used; skipped (in the file, with why); new (left at their random start)."""

    used: tuple[str, ...]
    skipped: Mapping[str, str]
    new: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{len(self.used)} tensors used, {len(self.skipped)} skipped, {len(self.new)} new"
        parts = [_few(self.new, "new"), _few([f"{name} ({why})" for name, why in self.skipped.items()], "skipped")]
        return "; ".join([told, *(part for part in parts if part)])


def transfer(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> Transfer:
    """Copy every tensor whose name, shape and kind of number fit, and say what became of the others.

    Heads for other classes do not fit, and stay as they are; prefixes of wrappers ("module.") are removed where names
    fit better so. source: named in errors. Raises `WeightsError` where nothing fits.

    >>> print(transfer(nn.Linear(2, 3), {"weight": torch.ones(3, 2), "bias": torch.ones(5)}, source="w"))
    1 tensors used, 1 skipped, 1 new; new: bias; skipped: bias ([5] in the file, [3] here)
    """
    own = module.state_dict()
    tensors = without_prefix(tensors, own)
    used: dict[str, Tensor] = {}
    skipped = {}
    for name, tensor in tensors.items():
        if name not in own:
            skipped[name] = "no such tensor here"
        elif own[name].shape != tensor.shape:
            skipped[name] = f"{list(tensor.shape)} in the file, {list(own[name].shape)} here"
        elif _kind(tensor) != _kind(own[name]):
            skipped[name] = f"{_dtype(tensor)} in the file, {_dtype(own[name])} here"
        else:
            used[name] = tensor
    if not used:
        raise WeightsError(
            f"no tensor of {source} fits: the model has {', '.join(list(own)[:3])} ..., the file "
            f"{', '.join(list(tensors)[:3])} ...; name the weights of this network, or of its backbone"
        )
    with torch.no_grad():
        for name, tensor in used.items():
            own[name].copy_(tensor)
    return Transfer(tuple(used), skipped, tuple(name for name in own if name not in used))


def freeze_norms(module: nn.Module) -> int:
    """Put batch norms into eval mode, so that they use the statistics they came with; returns how many there are.

    To be called after every `module.train()`, which takes them out of it.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.eval()
    return len(norms)


def _kind(tensor: Tensor) -> str:
    """What kind of number it holds: as another one, values would be rounded, or lose their imaginary part."""
    return "complex" if tensor.is_complex() else "fractions" if tensor.is_floating_point() else "whole numbers"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _few(names: Sequence[str], what: str, count: int = 4) -> str:
    if not names:
        return ""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{what}: {', '.join(names[:count])}{more}"
