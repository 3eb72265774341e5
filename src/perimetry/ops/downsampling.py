"""Downsampling by windows, plain, drawn or blurred; sizes are rounded down, or up as Caffe does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.ops.regions import check_features

Rounding = Literal["floor", "ceil"]


def pooled_size(extent: int, *, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor") -> int:
    """How many windows an axis gives: rounded down, or up as Caffe's pooling, where a window past the end is dropped.

    extent: cells; padding: on both sides. Rounded up, a last window that would start in the far padding is left out;
    torch's `ceil_mode` gives the same. Caffe itself looks for such a window only where there is padding, so with a
    stride above the kernel it can have an empty one: that raises `ShapeError`, as does a window larger than the padded
    axis.

    >>> [pooled_size(54, kernel=3, stride=2, rounding=rounding) for rounding in ("floor", "ceil")]
    [26, 27]
    """
    if kernel < 1 or stride < 1 or not 0 <= padding < kernel:
        raise InputError(
            f"expected a kernel and a stride of at least 1 and a padding below the kernel, "
            f"got kernel {kernel}, stride {stride}, padding {padding}"
        )
    if rounding not in ("floor", "ceil"):
        raise UnknownNameError("rounding", rounding, known=("floor", "ceil"), advice='"floor" or "ceil"')
    reach = extent + 2 * padding - kernel
    if extent < 1 or reach < 0:
        raise ShapeError(f"a window of {kernel} does not fit {extent} cells with {padding} padded; use a larger map")
    if rounding == "floor":
        return reach // stride + 1
    windows = -(-reach // stride) + 1
    if (windows - 1) * stride >= extent + padding:
        if not padding:
            raise ShapeError(
                f"windows of {kernel} every {stride} leave the last one empty over {extent} cells; "
                'use rounding="floor", or a stride of at most the kernel'
            )
        windows -= 1
    return windows


def max_pool(features: Tensor, *, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor") -> Tensor:
    """The maximum of each window; what lies beyond the border is never one.

    features: (N, C, H, W); returns (N, C, rows, columns), each as `pooled_size` says. As all functions here.

    >>> max_pool(torch.arange(9.0).reshape(1, 1, 3, 3), kernel=2, stride=2, rounding="ceil")
    tensor([[[[4., 5.],
              [7., 8.]]]])
    """
    frame = window_frame(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    return functional.max_pool2d(functional.pad(features, frame, value=-torch.inf), kernel, stride)


def mean_pool(features: Tensor, *, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor") -> Tensor:
    """The mean of each window, as Caffe and torch take it: zeros of the padding count, what lies beyond does not.

    >>> mean_pool(torch.arange(9.0).reshape(1, 1, 3, 3), kernel=2, stride=2, rounding="ceil")
    tensor([[[[2.0000, 3.5000],
              [6.5000, 8.0000]]]])
    """
    sums = _window_sums(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    counts = [
        torch.tensor([min(kernel, extent + 2 * padding - index * stride) for index in range(windows)])
        for extent, windows in zip(features.shape[2:], sums.shape[2:], strict=True)
    ]
    return sums / (counts[0][:, None] * counts[1]).to(sums)


def lp_pool(
    features: Tensor, *, power: float, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor"
) -> Tensor:
    """The LP norm over windows, (sum of |x| ** power) ** (1 / power): a sum at 1, towards the maximum as power grows.

    features: (N, C, H, W); power: at least 1, finite. Zeros beyond the border add nothing; a window of zeros has
    gradient zero. Unlike torch's `lp_pool2d`, negative values count by magnitude, and a window cut by the border is not
    scaled up.

    >>> lp_pool(torch.tensor([[[[3.0, -4.0]]]]).expand(1, 1, 2, 2) / 2**0.5, power=2, kernel=2, stride=2)
    tensor([[[[5.]]]])
    """
    if not 1 <= power < torch.inf:
        raise InputError(f"power is at least 1 and finite, got {power}; the limit of large powers is max pooling")
    powers = _widened(features).abs().pow(power)
    totals = _window_sums(powers, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    some = totals > 0
    # The root's slope at 0 is infinite: it must not meet the 0 that stands before it in the chain.
    return torch.where(some, torch.where(some, totals, 1.0).pow(1 / power), 0.0).to(features.dtype)


def stochastic_pool(
    features: Tensor,
    *,
    kernel: int,
    stride: int,
    padding: int = 0,
    rounding: Rounding = "floor",
    generator: torch.Generator | None = None,
) -> Tensor:
    """One activation of each window, drawn with probability proportional to it (Zeiler and Fergus 2013, eq. 4 and 5).

    features: (N, C, H, W), activations after a ReLU: values below zero have probability zero; a window without a
    positive value gives 0. generator: of the features' device; without one torch's own is used. `stochastic_pool_mean`
    is what is used in testing. The gradient goes to the activation drawn.

    >>> features = torch.tensor([[[[0.0, 0.0], [0.0, 7.0]]]])
    >>> stochastic_pool(features, kernel=2, stride=2)
    tensor([[[[7.]]]])
    """
    frame = window_frame(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    framed = functional.pad(features.relu(), frame)
    windows = framed.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)  # (N, C, rows, columns, cells)
    uniform = torch.rand(windows.shape, generator=generator, device=features.device)
    # The largest of p / e, with e exponential, falls on each cell with probability p.
    # A uniform number can be 0, whose e would be infinite and hide the cell.
    exponential = -uniform.clamp(min=torch.finfo(uniform.dtype).tiny).log()
    drawn = (windows.detach() / exponential).argmax(4, keepdim=True)
    return windows.gather(4, drawn)[..., 0]


def stochastic_pool_mean(
    features: Tensor, *, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor"
) -> Tensor:
    """The mean of each window weighted by probability: stochastic pooling in testing (Zeiler and Fergus 2013, eq. 6).

    >>> stochastic_pool_mean(torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]]), kernel=2, stride=2)
    tensor([[[[2.5000]]]])
    """
    positive = _widened(features).relu()
    totals = _window_sums(positive, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    squares = _window_sums(positive.square(), kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    some = totals > 0
    return torch.where(some, squares / torch.where(some, totals, 1.0), 0.0).to(features.dtype)


def blur_pool(
    features: Tensor, *, kernel: int = 3, stride: int, padding: int = 0, rounding: Rounding = "floor"
) -> Tensor:
    """Blur each channel with binomial weights, then take every stride-th position (Zhang 2019, section 3.2).

    features: (N, C, H, W); kernel: taps a side (3 is 1 2 1); the border is mirrored, so padding stays below the map's
    sides.

    >>> blur_pool(torch.ones(1, 1, 4, 4), stride=2, padding=1)
    tensor([[[[1., 1.],
              [1., 1.]]]])
    """
    frame = window_frame(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    return _blur(features, kernel=kernel, stride=stride, frame=frame)


def max_blur_pool(
    features: Tensor,
    *,
    kernel: int,
    stride: int,
    padding: int = 0,
    rounding: Rounding = "floor",
    taps: int = 3,
) -> Tensor:
    """Max pooling without its aliasing: the maximum at every position, then blur and stride (Zhang 2019, eq. 5).

    features: (N, C, H, W); kernel: of the maximum; taps: of the blur, odd, so that it is centred. The result has the
    size that max pooling gives.

    >>> max_blur_pool(torch.ones(1, 1, 6, 6), kernel=2, stride=2).shape
    torch.Size([1, 1, 3, 3])
    """
    if taps < 1 or taps % 2 == 0:
        raise InputError(f"taps is the odd side of a centred blur, got {taps}")
    frame = window_frame(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    dense = functional.max_pool2d(functional.pad(features, frame, value=-torch.inf), kernel, stride=1)
    side = taps // 2
    return _blur(dense, kernel=taps, stride=stride, frame=(side, side, side, side))


def window_frame(
    features: Tensor, *, kernel: int, stride: int, padding: int = 0, rounding: Rounding = "floor"
) -> tuple[int, int, int, int]:
    """Cells to add left, right, above and below a map so that whole windows give the size that `pooled_size` says.

    >>> window_frame(torch.ones(1, 1, 54, 53), kernel=3, stride=2, rounding="ceil")
    (0, 0, 0, 1)
    """
    check_features(features)
    after = []
    for extent in features.shape[2:]:
        windows = pooled_size(extent, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        after.append(max((windows - 1) * stride + kernel - extent - padding, 0))
    return padding, after[1], padding, after[0]


def _widened(features: Tensor) -> Tensor:
    """In single precision at least: powers of half-precision values overflow."""
    check_features(features)
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _window_sums(features: Tensor, *, kernel: int, stride: int, padding: int, rounding: Rounding) -> Tensor:
    frame = window_frame(features, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    return functional.avg_pool2d(functional.pad(features, frame), kernel, stride, divisor_override=1)


def _blur(features: Tensor, *, kernel: int, stride: int, frame: tuple[int, int, int, int]) -> Tensor:
    height, width = features.shape[2:]
    if max(frame[:2]) >= width or max(frame[2:]) >= height:
        raise ShapeError(f"a map of {height} x {width} cannot be mirrored by {max(frame)} cells; use a larger map")
    row = [1.0]
    for _ in range(kernel - 1):  # Pascal's triangle
        row = [left + right for left, right in zip([0.0, *row], [*row, 0.0], strict=True)]
    taps = torch.tensor(row, dtype=features.dtype, device=features.device) / 2 ** (kernel - 1)
    channels = features.shape[1]
    weight = (taps[:, None] * taps).expand(channels, 1, kernel, kernel)
    return functional.conv2d(functional.pad(features, frame, mode="reflect"), weight, stride=stride, groups=channels)
