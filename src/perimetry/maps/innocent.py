"""Innocent reasons for a small measured field: nothing was learnt, a branch starts at zero, a unit is off."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from perimetry.models import LoadedModel

_Norm = torch.nn.modules.batchnorm._BatchNorm


def innocent_causes(model: LoadedModel, *, silent: bool, unit: str, images: int) -> Iterator[str]:
    """Sentences for people, each a reason why the field of a unit may be small although nothing is wrong with it."""
    norms = [(path, part) for path, part in model.module.named_modules() if isinstance(part, _Norm)]
    scaled = [(path, part) for path, part in norms if part.affine and part.weight.device.type != "meta"]
    if silent:
        told = "the image" if images == 1 else f"any of {images} images"
        yield (
            f"no pixel of {told} moves {unit}: its rectified inputs are off, or it is constant; "
            "ask for another channel or position, or give other images"
        )
    zero = [path for path, part in scaled if not bool(part.weight.detach().any())]
    if zero:
        others = f" and {len(zero) - 1} more" if len(zero) > 1 else ""
        yield (
            f"the weights of batch norm {zero[0]}{others} are all zero (a residual branch that starts at zero): "
            "what lies before it cannot be seen through it until the model is trained"
        )
    if not model.trained and (model.name != type(model.module).__name__ or _fresh(norms)):
        yield (
            "the weights are random, not trained: the field of a random network is a Gaussian that covers only a "
            "part of the theoretical field, and training enlarges it (Luo et al. 2016)"
        )


def _fresh(norms: list[tuple[str, _Norm]]) -> bool:
    """True where batch norms never saw a batch."""
    counters = [part.num_batches_tracked for _, part in norms if part.num_batches_tracked is not None]
    variances = [part.running_var for _, part in norms if part.running_var is not None]
    return (
        bool(counters)
        and all(int(counter) == 0 for counter in counters)
        and all(bool((variance == 1).all()) for variance in variances)
    )
