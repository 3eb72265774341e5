"""RoIAlign in compiled loops: all points of a box for a block of channels that lie side by side."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from perimetry.kernels.loops import loop, share_blocks

BLOCK = 32  # channels a task: the innermost loop


def aligned_means(features: Tensor, boxes: Tensor, *, size: int, scale: float, samples: int) -> Tensor:
    """Means of bilinear samples over the bins of boxes, as torchvision's `roi_align` with aligned=False.

    features: (N, C, H, W), float32 or float64 on the CPU, read fastest with channels last; boxes: (K, 5), rows of
    (image, x1, y1, x2, y2) in pixels; scale: cells a pixel; samples: points a side of each bin. Returns (K, C, size,
    size). The gradient reaches the features, and has none in turn.
    """
    return cast("Tensor", _Aligned.apply(features, boxes, size, scale, samples))


class _Aligned(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, boxes: Tensor, size: int, scale: float, samples: int) -> Tensor:
        boxes = boxes.detach().to(features.dtype).contiguous()
        context.save_for_backward(boxes)
        context.options, context.shape = (scale, samples), features.shape
        means = features.new_empty(len(boxes), features.shape[1], size, size)
        maps = features.detach().permute(0, 2, 3, 1).contiguous().numpy()
        rows, out = boxes.numpy(), means.numpy()
        image = boxes[:, 0].long()
        share_blocks(features.shape, image, lambda *task: _pool(maps, rows, scale, samples, out, *task), block=BLOCK)
        return means

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:
        (boxes,) = context.saved_tensors
        scale, samples = context.options
        images, channels, height, width = context.shape
        spread = gradient.new_zeros(images, height, width, channels)
        given, rows, out = gradient.contiguous().numpy(), boxes.numpy(), spread.numpy()
        image = boxes[:, 0].long()
        share_blocks(context.shape, image, lambda *task: _spread(given, rows, scale, samples, out, *task), block=BLOCK)
        return spread.permute(0, 3, 1, 2), None, None, None, None


@loop
def _points(start, end, scale, bins, samples, extent, low, high, share_low, share_high):
    """Along one axis: the two cells beside each point, and their shares of it; both 0 where it lies outside."""
    begin = start * scale
    length = max(end * scale - begin, 1.0)
    for point in range(bins * samples):
        at = begin + (point + 0.5) * length / (bins * samples)
        if at < -1.0 or at > extent:
            low[point], high[point], share_low[point], share_high[point] = 0, 0, 0.0, 0.0
            continue
        at = min(max(at, 0.0), extent - 1.0)
        cell = min(int(at), max(extent - 2, 0))
        low[point], high[point] = cell, min(cell + 1, extent - 1)
        share_high[point] = (at - cell) / samples
        share_low[point] = (1.0 - (at - cell)) / samples


@loop
def _pool(maps, boxes, scale, samples, out, order, starts, first, last):
    _, height, width, channels = maps.shape
    bins = out.shape[2]
    points = bins * samples
    blocks = (channels + BLOCK - 1) // BLOCK
    cells, shares = np.empty((4, points), np.int64), np.empty((4, points), maps.dtype)
    means = np.empty((bins * bins, BLOCK), maps.dtype)
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            _points(
                boxes[box, 2], boxes[box, 4], scale, bins, samples, height, cells[0], cells[1], shares[0], shares[1]
            )
            _points(boxes[box, 1], boxes[box, 3], scale, bins, samples, width, cells[2], cells[3], shares[2], shares[3])
            means[:] = 0
            for row in range(points):
                for column in range(points):
                    slot = row // samples * bins + column // samples
                    for y in range(2):
                        for x in range(2):
                            share = shares[y, row] * shares[2 + x, column]
                            above, left = cells[y, row], cells[2 + x, column]
                            for c in range(count):
                                means[slot, c] += share * maps[image, above, left, low + c]
            for c in range(count):
                for slot in range(bins * bins):
                    out[box, low + c, slot // bins, slot % bins] = means[slot, c]


@loop
def _spread(gradient, boxes, scale, samples, out, order, starts, first, last):
    _, height, width, channels = out.shape
    bins = gradient.shape[2]
    points = bins * samples
    blocks = (channels + BLOCK - 1) // BLOCK
    cells, shares = np.empty((4, points), np.int64), np.empty((4, points), out.dtype)
    given = np.empty((bins * bins, BLOCK), out.dtype)
    for task in range(first, last):
        image, low = task // blocks, task % blocks * BLOCK
        count = min(BLOCK, channels - low)
        for at in range(starts[image], starts[image + 1]):
            box = order[at]
            _points(
                boxes[box, 2], boxes[box, 4], scale, bins, samples, height, cells[0], cells[1], shares[0], shares[1]
            )
            _points(boxes[box, 1], boxes[box, 3], scale, bins, samples, width, cells[2], cells[3], shares[2], shares[3])
            for c in range(count):
                for slot in range(bins * bins):
                    given[slot, c] = gradient[box, low + c, slot // bins, slot % bins]
            for row in range(points):
                for column in range(points):
                    slot = row // samples * bins + column // samples
                    for y in range(2):
                        for x in range(2):
                            share = shares[y, row] * shares[2 + x, column]
                            above, left = cells[y, row], cells[2 + x, column]
                            for c in range(count):
                                out[image, above, left, low + c] += share * given[slot, c]
