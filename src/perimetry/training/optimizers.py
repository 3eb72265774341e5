"""Optimisers: torch's, and momentum as Caffe keeps it; which parameters decay, and how fast each learns."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from perimetry.errors import InputError, UnknownNameError
from perimetry.training.recipe import EXEMPT, OPTIMIZERS, Exempt, OptimizerName


class CaffeSGD(Optimizer):
    """Momentum in Caffe's convention: v = momentum * v + rate * gradient; weight -= v (its sgd_solver).

    torch keeps v = momentum * v + gradient and steps by rate * v. Both are the same at a constant rate; when the rate
    falls, Caffe's velocity still carries the old one.

    >>> weight = nn.Parameter(torch.zeros(1)); optimizer = CaffeSGD([weight], lr=1.0, momentum=0.5)
    >>> for rate in (1.0, 0.0):
    ...     optimizer.param_groups[0]["lr"], weight.grad = rate, torch.ones(1)
    ...     optimizer.step()
    >>> weight.item()
    -1.5
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # no loss is returned
        """Move every parameter that has a gradient."""
        if closure is not None:
            raise InputError("CaffeSGD takes no closure; compute the gradients first, then step()")
        for group in self.param_groups:
            moving = [each for each in group["params"] if each.grad is not None]
            if not moving:
                continue
            gradients = [each.grad for each in moving]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, moving, alpha=group["weight_decay"]))
            velocities = [self.state[each].setdefault("velocity", torch.zeros_like(each)) for each in moving]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=group["lr"])
            torch._foreach_sub_(moving, velocities)


def make_optimizer(
    groups: Sequence[Mapping[str, Any]], *, name: OptimizerName, rate: float, momentum: float = 0.9
) -> Optimizer:
    """The optimiser of that name over groups as `parameter_groups` gives them.

    momentum: of the three kinds of SGD; AdamW's first coefficient. Raises `UnknownNameError`.
    """
    listed = [dict(group) for group in groups]
    if name == "sgd" or name == "nesterov":
        return torch.optim.SGD(listed, lr=rate, momentum=momentum, nesterov=name == "nesterov")
    if name == "caffe_sgd":
        return CaffeSGD(listed, lr=rate, momentum=momentum)
    if name == "adamw":
        return torch.optim.AdamW(listed, lr=rate, betas=(momentum, 0.999))
    raise UnknownNameError("optimizer", name, known=OPTIMIZERS, advice=" or ".join(OPTIMIZERS))


def parameter_groups(
    module: nn.Module,
    *,
    rate: float,
    decay: float,
    exempt: Sequence[Exempt] = (),
    multipliers: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Parameters that learn, grouped by their learning rate and weight decay; each once, in the module's order.

    exempt: kinds that do not decay: "biases", "norms" (both parameters of normalisation layers), "scales" (learned
    scales: parameters of one axis that are neither). multipliers: factors of the rate by glob over parameter names
    (`{"score*": 10, "*.bias": 2}`); where several match, they multiply, as `lr_mult` of layer and blob do in the
    papers' definitions. Each group holds "params", "lr", "weight_decay", and "names". Raises `UnknownNameError` for a
    glob that matches nothing, and `InputError` where nothing learns.

    >>> module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    >>> [(group["names"], group["lr"], group["weight_decay"])
    ...     for group in parameter_groups(module, rate=1.0, decay=0.1, exempt=("norms",), multipliers={"*bias": 2.0})]
    [(['0.weight'], 1.0, 0.1), (['0.bias'], 2.0, 0.1), (['1.weight'], 1.0, 0.0), (['1.bias'], 2.0, 0.0)]
    """
    for kind in exempt:
        if kind not in EXEMPT:
            raise UnknownNameError("kind of parameter", kind, known=EXEMPT, advice=", ".join(EXEMPT))
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not names:
        raise InputError("no parameter of the model learns (all are frozen); freeze fewer layers")
    for pattern in multipliers or {}:
        if not any(fnmatch.fnmatchcase(name, pattern) for name, _ in module.named_parameters()):
            raise UnknownNameError("parameter or pattern", pattern, known=names, advice="a glob such as 'score*'")
    kinds = _kinds(module)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = 1.0
        for pattern, multiplier in (multipliers or {}).items():
            factor *= multiplier if fnmatch.fnmatchcase(name, pattern) else 1.0
        decayed = 0.0 if kinds[name] in exempt else decay
        fresh: dict[str, Any] = {"params": [], "names": [], "lr": rate * factor, "weight_decay": decayed}
        group = groups.setdefault((rate * factor, decayed), fresh)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _kinds(module: nn.Module) -> dict[str, str]:
    """What each parameter is: one of `EXEMPT`, or "weights"."""
    kinds: dict[str, str] = {}
    for path, part in module.named_modules():
        norm = isinstance(part, _NORMS)
        for name, parameter in part.named_parameters(recurse=False):
            kind = "norms" if norm else "biases" if "bias" in name else "scales" if parameter.ndim <= 1 else "weights"
            kinds.setdefault(f"{path}.{name}" if path else name, kind)
    return kinds


_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def clip_gradients(module: nn.Module, *, norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `norm`; returns the norm before."""
    return nn.utils.clip_grad_norm_(module.parameters(), norm)
