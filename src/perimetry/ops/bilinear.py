"""Deconvolution with the weights of bilinear interpolation, as FCN fixes it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from perimetry.errors import InputError
from perimetry.ops.regions import check_features


def bilinear_kernel(size: int) -> Tensor:
    """The weights (size, size) with which Caffe's bilinear filler fills a deconvolution, in double precision.

    >>> bilinear_kernel(4)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875], dtype=torch.float64)
    """
    if size < 1:
        raise InputError(f"size is the side of a kernel, at least 1; got {size}")
    half = (size + 1) // 2
    centre = (2 * half - 1 - half % 2) / (2 * half)
    taps = 1 - (torch.arange(size, dtype=torch.float64) / half - centre).abs()
    return taps[:, None] * taps


def bilinear_deconvolution(features: Tensor, *, kernel: int, stride: int, padding: int = 0) -> Tensor:
    """Upsample each channel by a transposed convolution with fixed bilinear weights (Long et al. 2015, section 3.3).

    features: (N, C, H, W); returns (N, C, (H - 1) * stride + kernel - 2 * padding, ...). Kernel 2 * stride as in FCN.
    The output is larger than the image there, and is cropped by the network. The same weights for each channel on its
    own: FCN's layers mix channels with weights of zero.

    >>> bilinear_deconvolution(torch.ones(1, 2, 3, 3), kernel=4, stride=2, padding=1)[0, 0, 2]
    tensor([0.7500, 1.0000, 1.0000, 1.0000, 1.0000, 0.7500])
    """
    check_features(features)
    if stride < 1 or not 0 <= padding < kernel:
        raise InputError(
            f"expected a stride of at least 1 and a padding below the kernel {kernel}, got {stride}, {padding}"
        )
    channels = features.shape[1]
    weight = bilinear_kernel(kernel).to(features).expand(channels, 1, kernel, kernel)
    return functional.conv_transpose2d(features, weight, stride=stride, padding=padding, groups=channels)
