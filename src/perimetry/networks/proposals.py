"""Proposals without a network: selective search (Uijlings et al. 2013)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from perimetry.errors import InputError, MissingExtraError
from perimetry.networks.image_batch import check_images


def selective_search(
    image: Tensor, *, mode: Literal["fast", "quality"] = "fast", count: int | None = None, min_size: float = 0.0
) -> Tensor:
    """Boxes of regions that look alike, joined step by step; OpenCV's implementation, the best first.

    image: (3, H, W), RGB, pixels from 0 to 1; mode: "fast" as Fast R-CNN and SPP-net use it (about 2,000 boxes a
    photo), or "quality" for more; count: at most as many boxes; min_size: the shortest side, in pixels. Returns boxes
    (P, 4), x1 y1 x2 y2 with x2 and y2 just outside, on the image's device. OpenCV draws random weights: the order
    changes from run to run unless `cv2.setRNGSeed` is called. Raises `MissingExtraError` without OpenCV's contrib
    build, `ShapeError` and `InputError`.
    """
    check_images([image], channels=3)
    if mode not in ("fast", "quality"):
        raise InputError(f"mode is 'fast' or 'quality', got {mode!r}")
    if (count is not None and count < 1) or min_size < 0:
        raise InputError(f"expected a count of at least 1 and a size of at least 0 pixels, got {count} and {min_size}")
    search = _segmentation()
    pixels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    search.setBaseImage(pixels.flip(0).permute(1, 2, 0).contiguous().numpy())  # OpenCV has blue first
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    found = torch.as_tensor(search.process(), dtype=torch.float32).reshape(-1, 4)  # x, y, width, height
    found = found[(found[:, 2:] >= max(min_size, 1)).all(1)][:count]
    return torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], 1).to(image.device)


def _segmentation() -> Any:
    try:
        import cv2

        build = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation
    except (ImportError, AttributeError):  # OpenCV without its contrib modules has no ximgproc
        raise MissingExtraError(
            "opencv-contrib-python-headless", needed_for="selective search", extra="proposals"
        ) from None
    return build()
