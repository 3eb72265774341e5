"""Normalisation across channels: L2 with a scale, and local response normalisation in its conventions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from perimetry.errors import InputError, ShapeError
from perimetry.ops.regions import check_features


def l2_normalize(features: Tensor, scale: Tensor, *, eps: float = 1e-10) -> Tensor:
    """Divide each position's channel vector by its L2 norm, then scale each channel (Liu et al. 2015, eq. 1).

    features: (N, C, H, W); scale: (C,); returns (N, C, H, W). `eps` is added to the sum of squares inside the root, as
    in the released layer: a vector of zeros stays zero, and one of norm 1e-6 comes out shorter than 1.

    >>> l2_normalize(torch.ones(1, 4, 2, 2), torch.full((4,), 10.0))[0, 0, 0, 0]
    tensor(5.)
    """
    check_features(features)
    if scale.shape != features.shape[1:2]:
        raise ShapeError(f"expected one scale for each of {features.shape[1]} channels, got {tuple(scale.shape)}")
    if not eps > 0:
        raise InputError(f"eps is what keeps a vector of zeros from 0 / 0, so above 0; got {eps}")
    # Squares of half-precision features, and this eps, need single precision.
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    normalized = wide * torch.rsqrt(wide.square().sum(1, keepdim=True) + eps)
    return (normalized * scale[:, None, None]).to(features.dtype)


def local_response_norm(
    features: Tensor, *, before: int, after: int, alpha: float, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by (k + alpha * sum of squares over neighbouring channels) ** beta, the sum over those that exist.

    features: (N, C, H, W); before, after: neighbours on either side of a channel. The conventions are this one with
    other arguments: `lrn_paper`, `lrn_caffe`, `lrn_tensorflow`.

    >>> local_response_norm(torch.ones(1, 3, 1, 1), before=1, after=1, alpha=1.0, beta=1.0).flatten()
    tensor([0.3333, 0.2500, 0.3333])
    """
    check_features(features)
    if before < 0 or after < 0:
        raise InputError(f"before and after count neighbouring channels, at least 0; got {before} and {after}")
    if not k > 0 and not alpha > 0:
        raise InputError(f"k or alpha has to be above 0, got k={k} and alpha={alpha}")
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    squares = functional.pad(wide.square()[:, None], (0, 0, 0, 0, before, after))
    sums = functional.avg_pool3d(squares, (before + 1 + after, 1, 1), stride=1, divisor_override=1)[:, 0]
    return (wide * (k + alpha * sums).pow(-beta)).to(features.dtype)


def lrn_paper(features: Tensor, *, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> Tensor:
    """Local response normalisation as AlexNet's paper writes it (Krizhevsky et al. 2012, section 3.3).

    The sum goes over n // 2 channels on either side, so n = 4 and n = 5 are the same; alpha is not divided by n.

    >>> lrn_paper(torch.ones(1, 8, 1, 1), k=1.0, alpha=1.0, beta=1.0)[0, 4, 0, 0]
    tensor(0.1667)
    """
    if n < 1:
        raise InputError(f"n counts channels, at least 1; got {n}")
    return local_response_norm(features, before=n // 2, after=n // 2, alpha=alpha, beta=beta, k=k)


def lrn_caffe(features: Tensor, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Local response normalisation as Caffe and torch compute it: alpha is divided by the number of channels summed.

    features: (N, C, H, W); size: channels in a window, odd in Caffe; torch lets an even one reach further back.

    >>> lrn_caffe(torch.ones(1, 8, 1, 1), alpha=1.0, beta=1.0)[0, 4, 0, 0]
    tensor(0.5000)
    """
    if size < 1:
        raise InputError(f"size counts channels, at least 1; got {size}")
    return local_response_norm(features, before=size // 2, after=(size - 1) // 2, alpha=alpha / size, beta=beta, k=k)


def lrn_tensorflow(
    features: Tensor, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
) -> Tensor:
    """Local response normalisation with TensorFlow's arguments and defaults: a radius, and alpha not divided.

    >>> lrn_tensorflow(torch.ones(1, 8, 1, 1), depth_radius=1)[0, 4, 0, 0]
    tensor(0.5000)
    """
    return local_response_norm(features, before=depth_radius, after=depth_radius, alpha=alpha, beta=beta, k=bias)


def lrn_within_channel(features: Tensor, *, size: int, alpha: float, beta: float = 0.75) -> Tensor:
    """Caffe's normalisation within a channel: divide by (1 + alpha * mean of squares over size x size) ** beta.

    features: (N, C, H, W); size: odd; zeros beyond the border count in the mean. ZF-5, of SPP-net, has it with size 3.

    >>> lrn_within_channel(torch.ones(1, 1, 3, 3), size=3, alpha=1.0, beta=1.0)[0, 0, 1, 1]
    tensor(0.5000)
    """
    check_features(features)
    if size < 1 or size % 2 == 0:
        raise InputError(f"size is the odd side of a window, got {size}")
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    means = functional.avg_pool2d(wide.square(), size, stride=1, padding=size // 2)
    return (wide * (1 + alpha * means).pow(-beta)).to(features.dtype)
