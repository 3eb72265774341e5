"""Operators that work on each element alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case


class ChannelScale(nn.Module):
    """ConvNeXt's and CaiT's layer scale, and a drop path that does nothing in eval mode."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x + x * self.gamma.view(1, -1, 1, 1)


SMALL = (1, 2, 4, 5)
MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Tanhshrink,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
)  # fmt: skip
FUNCTIONS = (
    torch.exp, torch.expm1, torch.log, torch.log1p, torch.log2, torch.sqrt, torch.rsqrt, torch.square, torch.sin,
    torch.cos, torch.tan, torch.atan, torch.sinh, torch.cosh, torch.asinh, torch.erf, torch.reciprocal, torch.neg,
    torch.abs, torch.sinc, torch.lgamma, torch.digamma, torch.nan_to_num,
)  # fmt: skip
STEPS = (torch.round, torch.floor, torch.ceil, torch.trunc, torch.sign, torch.isnan, torch.logical_not)

CASES = [
    *(Case(module.__name__, module, shape=SMALL, nested=False) for module in MODULES),
    *(case(function.__name__, function, shape=SMALL, nested=False) for function in FUNCTIONS),
    *(case(f"{step.__name__}-step", lambda x, step=step: step(x).to(x.dtype) + x, shape=SMALL) for step in STEPS),
    case("glu", lambda x: F.glu(x, 1), shape=SMALL),
    case("glu-columns", lambda x: F.glu(x, 3), shape=(1, 2, 4, 6)),
    case("clamp", lambda x: x.clamp(0.1, 1.4), shape=SMALL),
    case("scalar-arithmetic", lambda x: (2 * x + 1) ** 2 / 3 - 1, shape=SMALL),
    case("remainder", lambda x: torch.remainder(x, 0.7) + torch.fmod(x, 0.3), shape=SMALL),
    case("comparison", lambda x: (x > 0.9).to(x.dtype) * x + x, shape=SMALL),
    case("bitwise", lambda x: ((x > 0.9) & (x < 1.2) | ~(x == 1)).to(x.dtype) + x, shape=SMALL),
    Case("channel-scale", ChannelScale, shape=SMALL),
]
