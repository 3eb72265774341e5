"""Pooling of boxes: RoI max pooling, and SPP-net's pyramid on each box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor

from perimetry.errors import InputError, ShapeError
from perimetry.ops.pyramid import Reduction, check_levels, check_reduction
from perimetry.ops.regions import check_boxes, check_features, rectangle_means


def roi_max_pool(features: Tensor, boxes: Tensor, *, size: int | tuple[int, int], scale: float) -> Tensor:
    """Maximum over the bins of boxes, as in Fast R-CNN (Girshick 2015); torchvision's operator, which equals Caffe's.

    features: (N, C, H, W); boxes: (K, 5), rows of (image, x1, y1, x2, y2) in pixels of the image, the last pixel
    included; size: bins, (rows, columns) or one number; scale: cells per pixel. Returns (K, C, rows, columns). A cell
    that is the maximum of several bins or boxes gets the sum of their gradients.

    >>> maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_max_pool(maps, torch.tensor([[0, 0, 0, 3, 3.0]]), size=2, scale=1.0)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    check_features(features)
    if min(size if isinstance(size, tuple) else (size,)) < 1:
        raise InputError(f"size counts bins, at least 1 a side; got {size}")
    if not scale > 0:
        raise InputError(f"scale is cells per pixel, above 0 (1 / 16 at stride 16), got {scale}")
    boxes = check_boxes(boxes, features)
    # Coordinates in half precision would be off by pixels, so both are single at least.
    precision = torch.promote_types(features.dtype, torch.float32)
    pooled: Tensor = torchvision.ops.roi_pool(features.to(precision), boxes.to(precision), size, scale)
    return pooled.to(features.dtype)


def spp_cells(
    boxes: Tensor, *, height: int, width: int, step: float, offset0: float = 0.0, offset: float = 0.0
) -> Tensor:
    """Map boxes of an image to cells of a feature map as SPP-net's released detector does.

    boxes: (K, 5), rows of (image, x1, y1, x2, y2), pixels counted from 0, the last one included; height, width: of the
    map in cells; step: pixels per cell; offset0: the pixel of the first cell's centre, counted from 1 as there; offset:
    pixels by which a side is drawn in. Returns integers (K, 5), rows of (image, first column, first row, last
    column, last row), inside the map. Sides that cross meet in their middle.

    >>> spp_cells(torch.tensor([[0, 0, 16, 79, 200.0]]), height=10, width=10, step=16, offset0=1)
    tensor([[0, 0, 1, 5, 9]])
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ShapeError(f"expected boxes (K, 5), rows of (image, x1, y1, x2, y2), got {tuple(boxes.shape)}")
    if min(height, width) < 1:
        raise ShapeError(f"expected a map with at least one cell, got {height} x {width}")
    if not step > 0:
        raise InputError(f"step is pixels per cell, above 0, got {step}")
    # The release counts pixels and cells from 1, and halves what crossed towards zero.
    corners = boxes[:, 1:].double() + 1 if boxes.device.type != "mps" else boxes[:, 1:].float() + 1
    low = torch.floor((corners[:, :2] - offset0 + offset) / step + 0.5) + 1
    high = torch.ceil((corners[:, 2:] - offset0 - offset) / step - 0.5) + 1
    middle = ((low + high) / 2).trunc()
    low, high = torch.where(low > high, middle, low), torch.where(low > high, middle, high)
    last = torch.tensor([width, height], device=boxes.device, dtype=low.dtype)
    cells = [edge.clamp(min=1).minimum(last) - 1 for edge in (low, high)]
    return torch.cat([boxes[:, :1].to(low.dtype), *cells], 1).long()


def roi_pyramid_pool(
    features: Tensor, cells: Tensor, *, levels: Sequence[int] = (6, 3, 2, 1), reduction: Reduction = "max"
) -> Tensor:
    """SPP-net's pyramid on boxes of cells (He et al. 2014, section 4): adaptive bins for each level and box.

    features: (N, C, H, W); cells: (K, 5), rows of (image, first column, first row, last column, last row), whole
    numbers inside the map, as `spp_cells` gives; returns (K, C * sum of n * n), each level flattened as (C, n, n): what
    `pyramid_pool` gives for each box cut out. Raises `ShapeError` and `InputError`.

    >>> maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_pyramid_pool(maps, torch.tensor([[0, 0, 0, 1, 3]]), levels=(2, 1))
    tensor([[ 4.,  5., 12., 13., 13.]])
    """
    check_features(features)
    check_reduction(reduction)
    levels = check_levels(levels)
    rows = check_boxes(cells, features)
    height, width = features.shape[2:]
    if type(rows) is Tensor and not rows.is_meta and not torch.compiler.is_compiling():
        first, last = rows[:, 1:3], rows[:, 3:]
        inside = (first >= 0) & (first <= last) & (last < rows.new_tensor([width, height]))
        if not bool((inside & (first == first.floor()) & (last == last.floor())).all()):
            raise InputError(
                f"expected whole cells inside the map of {height} x {width}, first before last; "
                "map boxes of the image with spp_cells"
            )
    pooled: dict[int, Tensor] = {}
    for bins in sorted(set(levels), reverse=True):
        finer = next((each for each in pooled if each % bins == 0), None)
        if reduction == "mean":
            pooled[bins] = _level_means(features, rows, bins)
        elif finer is None:
            pooled[bins] = _level_maxima(features, rows, bins)
        else:
            # A third of a side is exactly two of its sixths, whose first and last cells are rounded alike.
            pooled[bins] = torch.nn.functional.max_pool2d(pooled[finer], finer // bins)
    return torch.cat([pooled[bins].flatten(1) for bins in levels], 1)


def _edges(low: Tensor, high: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """First cell and the one after the last of adaptive bins along one axis: (K, bins) each."""
    low, extent = low.long()[:, None], (high - low).long()[:, None] + 1
    steps = torch.arange(bins + 1, device=low.device)
    return low + steps[:-1] * extent // bins, low + (steps[1:] * extent + bins - 1) // bins


def _level_means(features: Tensor, cells: Tensor, bins: int) -> Tensor:
    left, right = _edges(cells[:, 1], cells[:, 3], bins)
    top, bottom = _edges(cells[:, 2], cells[:, 4], bins)

    def by_row(edges: Tensor) -> Tensor:
        return edges[:, :, None].expand(-1, bins, bins).reshape(-1)

    def by_column(edges: Tensor) -> Tensor:
        return edges[:, None, :].expand(-1, bins, bins).reshape(-1)

    table = cells[:, 0].long()[:, None].expand(-1, bins * bins).reshape(-1)
    means = rectangle_means(features, table, by_row(top), by_row(bottom), by_column(left), by_column(right))
    return means.reshape(len(cells), bins * bins, features.shape[1]).transpose(1, 2)


def _level_maxima(features: Tensor, cells: Tensor, bins: int) -> Tensor:
    if _divides_exactly(bins, max(features.shape[2:])):
        return roi_max_pool(features, cells, size=bins, scale=1.0)
    # torchvision's bins would take a cell too many where 7 * (57 / 7) is not 57, so each box is pooled by itself.
    pooled = [
        torch.nn.functional.adaptive_max_pool2d(features[image, :, y1 : y2 + 1, x1 : x2 + 1], bins)
        for image, x1, y1, x2, y2 in cells.long().tolist()
    ]
    return torch.stack(pooled) if pooled else features.new_zeros(0, features.shape[1], bins, bins)


def _divides_exactly(bins: int, extent: int) -> bool:
    """Whether single-precision bins of every side up to `extent` have the edges of whole-number arithmetic."""
    with torch.device("cpu"):
        sides, steps = torch.arange(1, extent + 1)[:, None], torch.arange(bins + 1)
        edges = steps * (sides.float() / bins)
        low, high = steps * sides // bins, (steps * sides + bins - 1) // bins
        return bool((edges.floor() == low).all() and (edges.ceil() == high).all())
