"""Spatial pyramid pooling: a vector of fixed length from a map of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.ops.regions import check_features, runs_compiled

Reduction = Literal["max", "mean"]
WindowRule = Literal["adaptive", "paper", "caffe"]


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """The levels as a tuple; raises unless there is one and all have at least one bin a side."""
    sides = tuple(levels)
    if not sides or any(side < 1 for side in sides):
        raise InputError(f"levels are bins a side, each at least 1, such as (4, 2, 1); got {sides}")
    return sides


def check_reduction(reduction: str) -> None:
    """Raise unless it is "max" or "mean"."""
    if reduction not in ("max", "mean"):
        raise UnknownNameError("reduction", reduction, known=("max", "mean"), advice='"max" or "mean"')


def pyramid_pool(
    features: Tensor,
    *,
    levels: Sequence[int] = (4, 2, 1),
    reduction: Reduction = "max",
    windows: WindowRule = "adaptive",
) -> Tensor:
    """Pool a map of any size into n x n bins for each level, and put the levels side by side (He et al. 2014).

    features: (N, C, H, W); levels: bins a side, in the order of the result; returns (N, C * sum of n * n), each level
    flattened as (C, n, n). windows: "adaptive" takes cells floor(i * H / n) up to ceil((i + 1) * H / n), right for all
    sizes, and what SPP-net's released detector does; "paper" takes windows of ceil(H / n) every floor(H / n) cells
    (section 2.3); "caffe" windows of ceil(H / n) side by side in a map padded on both sides, zeros counted in means, n
    a power of 2. Raises `ShapeError` where a historical rule does not give n bins that each hold a cell.

    >>> pyramid_pool(torch.arange(16.0).reshape(1, 1, 4, 4), levels=(2, 1))
    tensor([[ 5.,  7., 13., 15., 15.]])
    """
    check_features(features)
    levels = check_levels(levels)
    check_reduction(reduction)
    if windows not in ("adaptive", "paper", "caffe"):
        raise UnknownNameError("rule of windows", windows, known=("adaptive", "paper", "caffe"))
    if 0 in features.shape[2:]:
        raise ShapeError(f"expected a map with at least one cell, got {tuple(features.shape)}")
    if windows == "adaptive" and reduction == "max" and runs_compiled(features, work=features.numel()):
        return _whole_map_maxima(features, levels)
    pool = {"adaptive": _adaptive, "paper": _paper, "caffe": _caffe}[windows]
    return torch.cat([pool(features, bins, reduction).flatten(1) for bins in levels], 1)


def paper_windows(extent: int, bins: int) -> tuple[int, int]:
    """Window and stride that SPP-net's paper gives an axis: ceil and floor of extent / bins.

    Raises `ShapeError` where they give another number of bins, or none.

    >>> paper_windows(13, 6), paper_windows(13, 2)
    ((3, 2), (7, 6))
    >>> paper_windows(7, 4)
    Traceback (most recent call last):
    perimetry.errors.ShapeError: windows of 2 cells every 1 give 6 bins over 7 cells, not 4; use windows="adaptive"
    """
    window, stride = -(-extent // bins), extent // bins
    if stride == 0:
        raise ShapeError(f'{extent} cells give no stride for {bins} bins; use windows="adaptive", or a larger map')
    given = (extent - window) // stride + 1
    if given != bins:
        raise ShapeError(
            f"windows of {window} cells every {stride} give {given} bins over {extent} cells, not {bins}; "
            'use windows="adaptive"'
        )
    return window, stride


def caffe_windows(extent: int, bins: int) -> tuple[int, int]:
    """Window (which is the stride) and padding on both sides that Caffe's SPP layer gives an axis.

    Raises `InputError` for bins that are no power of 2, which the layer cannot name, and `ShapeError` where it stops
    (the padding is not smaller than the window) or where a bin would hold only padding.

    >>> caffe_windows(13, 4)
    (4, 2)
    >>> caffe_windows(5, 4)
    Traceback (most recent call last):
    perimetry.errors.ShapeError: 4 windows of 2 cells over 5 with 2 padded leave a bin empty; use windows="adaptive"
    """
    if bins & (bins - 1):
        raise InputError(f'Caffe\'s pyramid has 1, 2, 4, 8 ... bins a side, not {bins}; use windows="adaptive"')
    window = -(-extent // bins)
    padding = (window * bins - extent + 1) // 2
    if padding >= window or (bins - 1) * window - padding >= extent:
        raise ShapeError(
            f"{bins} windows of {window} cells over {extent} with {padding} padded leave a bin empty; "
            'use windows="adaptive"'
        )
    return window, padding


def _whole_map_maxima(features: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The levels of each map by the loop that pools boxes, each a whole map: one pass for all levels."""
    from perimetry.kernels.roi_maxima_numba import level_maxima

    images, _, height, width = features.shape
    whole = torch.tensor([[image, 0, 0, width - 1, height - 1] for image in range(images)])
    return level_maxima(features, whole, levels, positions=torch.is_grad_enabled() and features.requires_grad)


def _adaptive(features: Tensor, bins: int, reduction: Reduction) -> Tensor:
    pool = functional.adaptive_max_pool2d if reduction == "max" else functional.adaptive_avg_pool2d
    return pool(features, bins)


def _paper(features: Tensor, bins: int, reduction: Reduction) -> Tensor:
    kernel, stride = zip(*(paper_windows(extent, bins) for extent in features.shape[2:]), strict=True)
    pool = functional.max_pool2d if reduction == "max" else functional.avg_pool2d
    return pool(features, kernel, stride)


def _caffe(features: Tensor, bins: int, reduction: Reduction) -> Tensor:
    (rows, above), (columns, left) = (caffe_windows(extent, bins) for extent in features.shape[2:])
    height, width = features.shape[2:]
    # Caffe counts the windows first; one more cell of padding than they need is never read.
    frame = (left, columns * bins - width - left, above, rows * bins - height - above)
    if reduction == "max":
        return functional.max_pool2d(functional.pad(features, frame, value=-torch.inf), (rows, columns))
    return functional.avg_pool2d(functional.pad(features, frame), (rows, columns))
