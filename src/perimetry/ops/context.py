"""Global context: what the whole image says, put beside each position."""

from __future__ import annotations

import torch
from torch import Tensor

from perimetry.errors import ShapeError
from perimetry.ops.normalization import l2_normalize
from perimetry.ops.regions import check_features


def unpool(vectors: Tensor, *, height: int, width: int) -> Tensor:
    """Repeat one vector per image at every position: (N, C, 1, 1) to (N, C, height, width).

    >>> unpool(torch.ones(2, 3, 1, 1), height=4, width=5).shape
    torch.Size([2, 3, 4, 5])
    """
    if vectors.ndim != 4 or vectors.shape[2:] != (1, 1):
        raise ShapeError(f"expected one vector per image (N, C, 1, 1), got {tuple(vectors.shape)}")
    return vectors.expand(-1, -1, height, width)


def global_context(features: Tensor, *, local_scale: Tensor, context_scale: Tensor, eps: float = 1e-10) -> Tensor:
    """Pool, normalise, unpool, concatenate: ParseNet's context module in its early form (Liu et al. 2015, 3.1, 3.2).

    features: (N, C, H, W); local_scale, context_scale: (C,) each, what L2 normalisation multiplies the features and
    their mean over the image with; returns (N, 2 * C, H, W), the features first.

    >>> mixed = global_context(torch.ones(1, 4, 2, 3), local_scale=torch.ones(4), context_scale=torch.full((4,), 10.0))
    >>> mixed[0, :, 0, 0]
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 5.0000, 5.0000, 5.0000, 5.0000])
    """
    check_features(features)
    if 0 in features.shape[2:]:
        raise ShapeError(f"expected a map with at least one cell, got {tuple(features.shape)}")
    context = l2_normalize(features.mean((2, 3), keepdim=True), context_scale, eps=eps)
    local = l2_normalize(features, local_scale, eps=eps)
    return torch.cat([local, unpool(context, height=features.shape[2], width=features.shape[3])], 1)
