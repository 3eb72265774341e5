"""Normalisation across channels as layers."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from perimetry import ops
from perimetry.errors import InputError


class L2Normalize(nn.Module):
    """L2 normalisation of each position's channels, with a learned scale for each channel (ParseNet, eq. 1).

    channels: C; scale: where the learned scale starts, 10 in ParseNet's release, 20 in SSD's. Takes and returns (N, C,
    H, W).

    >>> L2Normalize(4)(torch.ones(1, 4, 2, 2))[0, 0, 0, 0].item()
    5.0
    """

    def __init__(self, channels: int, *, scale: float = 10.0, eps: float = 1e-10) -> None:
        super().__init__()
        if not eps > 0:
            raise InputError(f"eps is what keeps a vector of zeros from 0 / 0, so above 0; got {eps}")
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return ops.l2_normalize(features, self.scale, eps=self.eps)

    def extra_repr(self) -> str:
        """The channels and eps."""
        return f"{len(self.scale)}, eps={self.eps}"


class LocalResponseNorm(nn.Module):
    """Local response normalisation; make one by the convention whose numbers you have.

    >>> paper = LocalResponseNorm.paper(n=5, k=2, alpha=1e-4, beta=0.75)
    >>> paper
    LocalResponseNorm(before=2, after=2, alpha=0.0001, beta=0.75, k=2)
    >>> LocalResponseNorm.caffe(size=5, alpha=1e-4)
    LocalResponseNorm(before=2, after=2, alpha=2e-05, beta=0.75, k=1.0)
    """

    def __init__(self, *, before: int, after: int, alpha: float, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        if before < 0 or after < 0:
            raise InputError(f"before and after count neighbouring channels, at least 0; got {before} and {after}")
        self.before, self.after, self.alpha, self.beta, self.k = before, after, alpha, beta, k

    @classmethod
    def paper(cls, *, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Self:
        """As AlexNet's paper writes it: n // 2 channels on either side, alpha not divided."""
        return cls(before=n // 2, after=n // 2, alpha=alpha, beta=beta, k=k)

    @classmethod
    def caffe(cls, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Self:
        """As Caffe and torch compute it: alpha divided by size."""
        if size < 1:
            raise InputError(f"size counts channels, at least 1; got {size}")
        return cls(before=size // 2, after=(size - 1) // 2, alpha=alpha / size, beta=beta, k=k)

    @classmethod
    def tensorflow(cls, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5) -> Self:
        """With TensorFlow's arguments: a radius, alpha not divided."""
        return cls(before=depth_radius, after=depth_radius, alpha=alpha, beta=beta, k=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return ops.local_response_norm(
            features, before=self.before, after=self.after, alpha=self.alpha, beta=self.beta, k=self.k
        )

    def extra_repr(self) -> str:
        """The window over channels and the constants of the formula."""
        return f"before={self.before}, after={self.after}, alpha={self.alpha:g}, beta={self.beta}, k={self.k}"


class WithinChannelNorm(nn.Module):
    """Caffe's response normalisation within a channel, of ZF-5: see `perimetry.ops.lrn_within_channel`.

    >>> WithinChannelNorm(size=3, alpha=5e-5)
    WithinChannelNorm(size=3, alpha=5e-05, beta=0.75)
    """

    def __init__(self, *, size: int, alpha: float, beta: float = 0.75) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise InputError(f"size is the odd side of a window, got {size}")
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        return ops.lrn_within_channel(features, size=self.size, alpha=self.alpha, beta=self.beta)

    def extra_repr(self) -> str:
        """The window and the constants of the formula."""
        return f"size={self.size}, alpha={self.alpha:g}, beta={self.beta}"
