"""Pooling of boxes: RoI max pooling, and SPP-net's pyramid on each box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor

from perimetry.errors import InputError, ShapeError
from perimetry.ops.pyramid import Reduction, check_levels, check_reduction
from perimetry.ops.regions import check_boxes, check_features, rectangle_means, runs_compiled


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
        if not bool((inside & (first == first.long()) & (last == last.long())).all()):
            raise InputError(
                f"expected whole cells inside the map of {height} x {width}, first before last; "
                "map boxes of the image with spp_cells"
            )
    results = rows.shape[0] * features.shape[1] * sum(bins * bins for bins in levels)
    if not runs_compiled(features, work=results):
        return _pyramid(features, rows.long(), levels, reduction)
    if reduction == "mean":
        from perimetry.kernels.roi_means_numba import level_means

        return level_means(features, rows.long(), levels)
    from perimetry.kernels.roi_maxima_numba import level_maxima

    return level_maxima(features, rows.long(), levels, positions=torch.is_grad_enabled() and features.requires_grad)


def _pyramid(features: Tensor, cells: Tensor, levels: tuple[int, ...], reduction: Reduction) -> Tensor:
    """Each bin of each level and box as a rectangle of its own, then put side by side as levels of (C, n, n)."""
    sides = [_bin_rectangles(cells, bins) for bins in levels]
    table, top, bottom, left, right = torch.cat(sides, 2).flatten(1)  # (K * bins of all levels) each
    reduce = rectangle_means if reduction == "mean" else _rectangle_maxima
    pooled = reduce(features, table, top, bottom, left, right)
    counts = [bins * bins for bins in levels]
    pooled = pooled.reshape(cells.shape[0], sum(counts), features.shape[1]).transpose(1, 2)
    return torch.cat([level.flatten(1) for level in torch.split(pooled, counts, 2)], 1)


def _bin_rectangles(cells: Tensor, bins: int) -> Tensor:
    """The image, rows [top, bottom) and columns [left, right) of the adaptive bins of boxes: (5, K, bins * bins)."""
    top, bottom = (each[:, :, None].expand(-1, bins, bins) for each in _edges(cells[:, 2], cells[:, 4], bins))
    left, right = (each[:, None, :].expand(-1, bins, bins) for each in _edges(cells[:, 1], cells[:, 3], bins))
    return torch.stack([cells[:, 0, None, None].expand_as(top), top, bottom, left, right]).flatten(2)


def _edges(low: Tensor, high: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """First cell and the one after the last of adaptive bins along one axis: (K, bins) each."""
    low, extent = low[:, None], (high - low)[:, None] + 1
    steps = torch.arange(bins + 1, device=low.device)
    return low + steps[:-1] * extent // bins, low + (steps[1:] * extent + bins - 1) // bins


def _rectangle_maxima(
    features: Tensor, image: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """Maxima over rectangles that hold at least a cell: (R, C); NaN where there is one, else the first of equals.

    torchvision's operator finds them, each rectangle a box of one bin: in its bins of larger boxes 7 * (57 / 7) is
    above 57. They are then read by their place, so that the gradient has a gradient in turn.
    """
    images, channels, height, width = features.shape
    precision = torch.promote_types(features.dtype, torch.float32)
    boxes = torch.stack([image, left, top, right - 1, bottom - 1], 1).to(precision)
    findable = features.detach().to(precision).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    found = torch.ops.torchvision.roi_pool(findable, boxes, 1.0, 1, 1)[1].flatten(1)  # (R, C), below 0: all are -inf
    cell = torch.where(found < 0, (top * width + left)[:, None], found.long())
    plane = image[:, None] * channels + torch.arange(channels, device=image.device)
    flat = features.reshape(images * channels * height * width)
    return flat.index_select(0, (plane * (height * width) + cell).flatten()).reshape(image.shape[0], channels)
