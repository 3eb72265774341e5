"""The loss of segmenters, with the normalisations that were published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from perimetry.errors import InputError, ShapeError, UnknownNameError

Normalization = Literal["mean", "sum", "image"]


def segmentation_losses(
    outputs: Mapping[str, Tensor],
    masks: Tensor,
    *,
    ignore: int = 255,
    normalization: Normalization = "mean",
    every: int = 1,
    start: int = 0,
) -> dict[str, Tensor]:
    """Cross entropy of the scores of each pixel; one scalar for each output, by its name.

    outputs: {"out": (N, K, H, W)}, of a segmenter; masks: (N, H, W), whole numbers: classes, or `ignore`.
    normalization: "mean" over the pixels that count (DeepLab), "sum" over them, or "image", the sum of each image, then
    their mean (FCN's release, on one image at a time). every, start: only pixels start + every * k count, which with 8
    is DeepLab's loss on labels shrunk by 8. Without a pixel that counts the loss is 0.

    Raises `ShapeError` where sizes differ, `InputError` for a mask of fractions or a label that is no class.

    >>> scores, masks = torch.zeros(1, 2, 4, 4), torch.full((1, 4, 4), 255)
    >>> masks[0, 0, :2] = 1
    >>> segmentation_losses({"out": scores}, masks)
    {'out': tensor(0.6931)}
    >>> segmentation_losses({"out": scores}, masks, normalization="sum")
    {'out': tensor(1.3863)}
    """
    if normalization not in ("mean", "sum", "image"):
        raise UnknownNameError(
            "normalization", normalization, known=("mean", "sum", "image"), advice="mean, sum or image"
        )
    if every < 1 or start < 0:
        raise InputError(f"every is at least 1 and start at least 0, got {every} and {start}")
    if not isinstance(outputs, Mapping) or not outputs:
        got = "none" if isinstance(outputs, Mapping) else f"a {type(outputs).__name__}"
        raise InputError(f"expected the outputs of a segmenter by name, such as {{'out': (N, K, H, W)}}; got {got}")
    return {
        name: _loss(name, scores, masks, ignore, normalization, slice(start, None, every))
        for name, scores in outputs.items()
    }


def _loss(name: str, scores: Tensor, masks: Tensor, ignore: int, normalization: Normalization, pixels: slice) -> Tensor:
    if scores.ndim != 4 or masks.shape != (scores.shape[0], *scores.shape[2:]):
        raise ShapeError(
            f"{name!r} is {tuple(scores.shape)} and the masks are {tuple(masks.shape)}; expected (N, K, H, W) and "
            "(N, H, W) of one size: resize or crop images and masks together, masks without interpolation"
        )
    if masks.dtype.is_floating_point or masks.dtype == torch.bool:
        raise InputError(f"masks hold classes as whole numbers, got {masks.dtype}; convert them with masks.long()")
    scores, labels = scores[..., pixels, pixels], masks[..., pixels, pixels].long()
    counts = labels != ignore
    wrong = counts & ((labels < 0) | (labels >= scores.shape[1]))
    if wrong.any():
        raise InputError(
            f"label {labels[wrong][0].item()} is none of the {scores.shape[1]} classes 0 to {scores.shape[1] - 1}, nor "
            f"the ignored one, {ignore}"
        )
    total = functional.cross_entropy(scores, labels, ignore_index=ignore, reduction="sum")
    if normalization == "mean":
        return total / counts.sum().clamp(min=1)
    return total / len(scores) if normalization == "image" else total
