"""RoIAlign (He et al. 2017, Mask R-CNN): means of bilinear samples over the bins of boxes."""

from __future__ import annotations

import torchvision
from torch import Tensor

from perimetry.ops.regions import check_boxes, check_features, runs_compiled


def roi_align(features: Tensor, boxes: Tensor, *, size: int, scale: float, samples: int = 2) -> Tensor:
    """Pool each box into bins of `samples` x `samples` bilinear samples, as Detectron first had it (not `aligned`).

    features: (N, C, H, W); boxes: (K, 5), rows of (image, x1, y1, x2, y2) in pixels, in single precision at least:
    half precision would move them by pixels; scale: cells a pixel; size: bins a side. Returns (K, C, size, size) in the
    features' precision. Definition: torchvision's operator; on the CPU a compiled loop does the same several times
    faster.

    >>> import torch
    >>> roi_align(torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 4, 4]]), size=1, scale=1.0)
    tensor([[[[10.]]]])
    """
    check_features(features)
    boxes = check_boxes(boxes, features)
    whole = features if features.dtype.itemsize >= 4 else features.float()
    if runs_compiled(whole, work=len(boxes) * features.shape[1] * size * size):
        from perimetry.kernels.roi_align_numba import aligned_means

        return aligned_means(whole, boxes, size=size, scale=scale, samples=samples).to(features)
    pooled: Tensor = torchvision.ops.roi_align(whole, boxes.to(whole), size, scale, samples)
    return pooled.to(features)
