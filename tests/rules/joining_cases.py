"""Joins, copies, broadcasting and arithmetic between branches."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case


class Branches(nn.Module):
    """Two convolutions of different reach, joined by a function."""

    def __init__(self, join):
        super().__init__()
        self.near, self.far = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)
        self.join = join

    def forward(self, x):
        return self.join(self.near(x), self.far(x))


class SplitThenConvolve(nn.Module):
    """Inception and CSP in outline: halves of the channels go different ways and come together again."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2)

    def forward(self, x):
        first, second = x.chunk(2, 1)
        return torch.cat([self.near(first), self.far(second)], 1)


class Gated(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(2, 1, 1), nn.Conv2d(1, 2, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


def _repeat_column(x):
    return x[:, :, :, :1].expand_as(x) + x


CASES = [
    *(
        Case(
            f"branches-{name}", lambda join=join: Branches(join), separable="rows" not in name and "columns" not in name
        )
        for name, join in {
            "add": torch.add,
            "sub-from": lambda a, b: 3 - a - b,
            "mul": torch.mul,
            "div": torch.div,
            "pow": torch.pow,
            "maximum": lambda a, b: torch.logaddexp(a, b),
            "lerp": lambda a, b: torch.lerp(a, b, 0.3),
            "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
            "addcdiv": lambda a, b: torch.addcdiv(a, a, b, value=0.5),
            "atan2": torch.atan2,
            "hypot": torch.hypot,
            "in-place": lambda a, b: a.mul_(b).add_(1),
            "cat-channels": lambda a, b: torch.cat([a, b], 1),
            "cat-rows": lambda a, b: torch.cat([a, b], 2),
            "cat-columns": lambda a, b: torch.cat([a, b, a], 3),
            "stack": lambda a, b: torch.stack([a, b], 2).flatten(1, 2),
            "stack-rows": lambda a, b: torch.stack([a, b], 3).flatten(2, 3),
            "stack-and-sum": lambda a, b: torch.stack([a, b]).sum(0),
            "sum-of-list": lambda a, b: sum([a, b, a]),
            "row-times-column": lambda a, b: a.mean(2, keepdim=True) * b.mean(3, keepdim=True),
            "outer": lambda a, b: torch.outer(a.mean((0, 1, 3)), b.mean((0, 1, 2))),
            "complex": lambda a, b: torch.view_as_real(torch.complex(a, b)).sum(-1),
        }.items()
    ),
    Case("split-then-convolve", SplitThenConvolve),
    Case("squeeze-and-excite", Gated),
    case("chunk", lambda x: sum(x.chunk(3, 3)), shape=(1, 2, 6, 9)),
    case("split", lambda x: x.split([4, 7], 2)[1]),
    case("split-sum", lambda x: torch.cat(x.split([4, 7], 2)[::-1], 2)),
    case("tensor-split", lambda x: x.tensor_split(3, 3)[1]),
    case("unbind", lambda x: sum(x.unbind(2))),
    case("unbind-reversed", lambda x: torch.stack(x.unbind(3)[::-1], 3)),
    case("broadcast-row", lambda x: x + x[:, :, :1]),
    case("broadcast-scalar", lambda x: x + x.mean()),
    case("broadcast-constant", lambda x: x * torch.arange(1, 14, dtype=x.dtype).view(1, 1, 1, 13)),
    case("expand", _repeat_column),
    case("repeat", lambda x: x.repeat(1, 2, 2, 3)),
    case("tile", lambda x: x.tile(2, 1)),
    case("repeat-interleave", lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3)),
    case("repeat-interleave-list", lambda x: x.repeat_interleave(torch.tensor([1, 0, 3, 1, 2]), 2), shape=(1, 2, 5, 6)),
    case("constant-only", lambda x: torch.ones_like(x) * 3),
    case("detach", lambda x: x.detach() + x),
    case("clone", lambda x: x.clone()),
    case("to-float", lambda x: x.to(torch.float64).to(x.dtype)),
    case("new-zeros", lambda x: torch.cat([x.new_zeros(1, 2, 1, x.shape[3]), x], 2)),
]
