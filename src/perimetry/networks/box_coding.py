"""Boxes as offsets from other boxes: what detectors regress (R-CNN, appendix C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Deviations = tuple[float, float, float, float]

# Detectron's guard: exp() of more would make a box a thousand times as wide as the coarsest stride.
LARGEST_GROWTH = math.log(1000 / 16)


def encode_boxes(truth: Tensor, boxes: Tensor, *, deviations: Deviations = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Offsets that move boxes onto the truth: of the centre in widths and heights, and of the sides as logarithms.

    truth, boxes: (K, 4), pixels, x2 and y2 just outside; deviations: what each offset is divided by, so that all vary
    alike (Fast R-CNN: 0.1, 0.1, 0.2, 0.2). Returns (K, 4).

    >>> encode_boxes(torch.tensor([[2.0, 0, 6, 8]]), torch.tensor([[0.0, 0, 4, 4]]))
    tensor([[0.5000, 0.5000, 0.0000, 0.6931]])
    """
    x, y, width, height = _centred(boxes)
    true_x, true_y, true_width, true_height = _centred(truth)
    offsets = (
        (true_x - x) / width,
        (true_y - y) / height,
        torch.log(true_width / width),
        torch.log(true_height / height),
    )
    return torch.stack([offset / each for offset, each in zip(offsets, deviations, strict=True)], -1)


def decode_boxes(offsets: Tensor, boxes: Tensor, *, deviations: Deviations = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes moved by offsets: the inverse of `encode_boxes`, growth limited to 1000 / 16 times.

    offsets, boxes: (..., 4), of shapes that broadcast. Computed in single precision at least.

    >>> decode_boxes(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), torch.tensor([[0.0, 0, 4, 4]]))
    tensor([[2., 2., 6., 6.]])
    """
    x, y, width, height = _centred(boxes)
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    dx, dy, dw, dh = (part * each for part, each in zip(offsets.unbind(-1), deviations, strict=True))
    half_width = width * dw.clamp(max=LARGEST_GROWTH).exp() / 2
    half_height = height * dh.clamp(max=LARGEST_GROWTH).exp() / 2
    x, y = x + dx * width, y + dy * height
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), -1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + width / 2, y1 + height / 2, width, height
