"""Depthwise convolution whose gradients are fast on CPUs in bfloat16.

oneDNN has fast loops for it forwards, and for gradients of weights whose filters are at most three wide, without
dilation. All else falls back to loops for dense convolutions, which take up to twenty times as long in bfloat16, so
the gradients here are put in terms of the fast ones (measured with torch 2.15; see benchmarks/README.md).
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

WIDEST = 3  # columns of a filter for whose gradient there is a fast loop

Pair = tuple[int, int]


def depthwise_conv2d(
    images: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Convolve each channel with a filter of its own, as `conv2d` with as many groups as channels.

    images: (N, C, H, W); weight: (C, 1, rows, columns); bias: (C,). Returns (N, C, H', W'), channels last. The
    gradients have gradients in turn.

    >>> images, weight = torch.ones(1, 2, 3, 3), torch.ones(2, 1, 3, 3)
    >>> depthwise_conv2d(images, weight, None, stride=(1, 1), padding=(0, 0), dilation=(1, 1)).flatten()
    tensor([9., 9.])
    """
    images = images.contiguous(memory_format=torch.channels_last)
    return cast("Tensor", _Depthwise.apply(images, weight, bias, stride, padding, dilation))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        return functional.conv2d(images, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - torch passes it
        images, weight, _bias, *context.window = inputs
        context.save_for_backward(images, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        images, weight = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_images, of_weight, of_bias = context.needs_input_grad[:3]
        return (
            gradient_of_images(gradient, images, weight, *context.window) if of_images else None,
            gradient_of_weight(gradient, images, weight, *context.window) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            *(None, None, None),
        )


def gradient_of_images(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Convolve the gradient, its cells as far apart as the stride, with the filters turned by 180 degrees."""
    reach = [(side - 1) * step for side, step in zip(weight.shape[2:], dilation, strict=True)]
    if any(pad > far for pad, far in zip(padding, reach, strict=True)):  # some outputs saw padding alone
        return _by_torch(gradient, images, weight, stride, padding, dilation, of="images")
    if max(stride) > 1:
        size = [side + 2 * pad - far for side, pad, far in zip(images.shape[2:], padding, reach, strict=True)]
        spread = gradient.new_zeros(len(gradient), *size, len(weight)).permute(0, 3, 1, 2)
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    around = [far - pad for far, pad in zip(reach, padding, strict=True)]
    return functional.conv2d(gradient, weight.flip(2, 3), None, 1, around, dilation, len(weight))


def gradient_of_weight(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """A few columns of the filters at a time; in single precision at least where the filters are dilated."""
    if max(dilation) > 1:
        precision = torch.promote_types(weight.dtype, torch.float32)
        gradient, images = gradient.to(precision), images.to(precision)
        found = _by_torch(gradient, images, weight.to(precision), stride, padding, dilation, of="weight")
        return found.to(weight.dtype)
    if weight.shape[3] <= WIDEST:
        return _by_torch(gradient, images, weight, stride, padding, dilation, of="weight")
    parts = []
    for first in range(0, weight.shape[3], WIDEST):
        columns = weight[..., first : first + WIDEST].contiguous()
        left = padding[1] - first
        seen = (gradient.shape[3] - 1) * stride[1] + columns.shape[3]
        shifted = functional.pad(images, (left, seen - images.shape[3] - left))  # negative: cut off
        parts.append(_by_torch(gradient, shifted, columns, stride, (padding[0], 0), dilation, of="weight"))
    return torch.cat(parts, 3)


def _by_torch(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    *,
    of: Literal["images", "weight"],
) -> Tensor:
    wanted = [of == "images", of == "weight", False]
    found = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, stride, padding, dilation, False, (0, 0), len(weight), wanted
    )
    return cast("Tensor", found[wanted.index(True)])
