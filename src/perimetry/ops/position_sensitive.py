"""Position-sensitive RoI pooling as R-FCN defines it: each bin averages score maps of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from perimetry.errors import InputError, ShapeError
from perimetry.ops.regions import check_boxes, check_features, rectangle_means, round_half_away, runs_compiled


def position_sensitive_roi_pool(features: Tensor, boxes: Tensor, *, size: int, scale: float) -> Tensor:
    """Average position-sensitive score maps over the bins of boxes (Dai et al. 2016, eq. 1; the layer of its release).

    features: (N, C * size * size, H, W), the map of class c and bin (i, j) at channel (c * size + i) * size + j; boxes:
    (K, 5), rows of (image, x1, y1, x2, y2) in pixels of the image, the last pixel included; scale: cells per pixel,
    1 / 16 at stride 16. Returns (K, C, size, size). R-FCN's score is its mean over the bins.

    Coordinates are rounded to pixels (halves away from zero), x2 and y2 moved on by the last pixel, then scaled; a side
    is at least 0.1 cells. A bin takes every cell that it touches, inside the map; with none it is 0. torchvision's
    `ps_roi_pool` scales before it rounds, has no last pixel and never reads the map's last row and column. Gradients
    reach the features; boxes have none. Raises `ShapeError` and `InputError`.

    >>> maps = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 8, 8)
    >>> position_sensitive_roi_pool(maps, torch.tensor([[0, 0, 0, 63, 63.0]]), size=2, scale=1 / 8)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    check_features(features)
    channels, height, width = features.shape[1:]
    if size < 1 or channels % (size * size):
        raise ShapeError(
            f"{size} x {size} bins need a multiple of {size * size} channels, got {channels}; "
            "the layer before gives classes * size * size maps"
        )
    if not scale > 0:
        raise InputError(f"scale is cells per pixel, above 0 (1 / 16 at stride 16), got {scale}")
    boxes = check_boxes(boxes, features)
    image = boxes[:, 0].long()
    if runs_compiled(features, work=boxes.shape[0] * channels):
        from perimetry.kernels.position_sensitive_numba import bin_edges, bin_means

        edges = bin_edges(boxes, size=size, scale=scale, height=height, width=width)
        means = bin_means(features, image, edges)
    else:
        left, right = _bin_edges(boxes[:, 1], boxes[:, 3], size=size, scale=scale, extent=width)  # (K, size) each
        top, bottom = _bin_edges(boxes[:, 2], boxes[:, 4], size=size, scale=scale, extent=height)
        means = _bin_means(features, image, top, bottom, left, right)
    return means.reshape(boxes.shape[0], channels // (size * size), size, size)


def _bin_means(features: Tensor, image: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Average each channel over the bin that is its own: (K, C * size * size)."""
    images, channels, height, width = features.shape
    size = top.shape[1]
    classes, bins = channels // (size * size), size * size

    # (N, classes, bins, H, W) -> one table per image and bin, with all classes of it
    tables = features.reshape(images, classes, bins, height, width).transpose(1, 2)
    tables = tables.reshape(images * bins, classes, height, width)
    table = image[:, None] * bins + torch.arange(bins, device=image.device)  # (K, bins)

    def by_row(edges: Tensor) -> Tensor:
        return edges[:, :, None].expand(-1, size, size).reshape(-1)

    def by_column(edges: Tensor) -> Tensor:
        return edges[:, None, :].expand(-1, size, size).reshape(-1)

    means = rectangle_means(
        tables, table.reshape(-1), by_row(top), by_row(bottom), by_column(left), by_column(right)
    )  # (K * bins, classes)
    return means.reshape(image.shape[0], bins, classes).transpose(1, 2).flatten(1)


def _bin_edges(low: Tensor, high: Tensor, *, size: int, scale: float, extent: int) -> tuple[Tensor, Tensor]:
    """First cell and the one after the last of each bin along one axis, (K, size) each, inside the map."""
    start = round_half_away(low) * scale
    end = (round_half_away(high) + 1) * scale
    bin_size = ((end - start).clamp(min=0.1) / size)[:, None]
    steps = torch.arange(size + 1, device=low.device, dtype=low.dtype)
    first = torch.floor(steps[:-1] * bin_size + start[:, None])
    after = torch.ceil(steps[1:] * bin_size + start[:, None])
    return first.clamp(0, extent).long(), after.clamp(0, extent).long()
