"""Resizing, cropping, padding and flipping an image together with its truth."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from perimetry.errors import InputError, ShapeError

IGNORED = 255  # the label of pixels that count for nothing
Target = Any  # None, int, a mask (H, W), or a dict of boxes
Sample = tuple[Tensor, Target]
Keep = float | Literal["centre"]

_LABELS = (torch.uint8, torch.int16, torch.int32, torch.int64)
_PER_BOX = ("labels", "difficult", "areas")
_LOOSE = ("proposals", "hard_negatives")  # boxes that stand for themselves
_BOXES = ("boxes", *_LOOSE)


def check_sample(image: Tensor, target: Target) -> None:
    """Raise where the target is of no kind that transforms know, or does not fit its image.

    Images are uint8 (3, H, W). Targets: none, a class (int), a mask (H, W) of whole numbers, or a dict with "boxes"
    (K, 4) xyxy, x2 and y2 not included, "labels" (K,), and maybe "difficult", "areas" (K,), "proposals" (P, 4) and
    "hard_negatives" (H, 4).
    """
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ShapeError(f"expected an image (3, H, W) of uint8, got {tuple(image.shape)} of {image.dtype}")
    if isinstance(target, dict):
        if unknown := [key for key in target if key not in (*_PER_BOX, *_BOXES)]:
            raise InputError(
                f"the target holds {unknown[0]!r}, which transforms cannot keep in step; expected "
                f"{', '.join(_BOXES + _PER_BOX)}"
            )
        if "boxes" not in target:
            raise InputError(
                f"the target holds no 'boxes', only {', '.join(target) or 'nothing'}; give (0, 4) for none"
            )
        count = len(target["boxes"])
        for key, value in target.items():
            shape = (len(value), 4) if key in _BOXES else (count,)
            if tuple(value.shape) != shape:
                raise ShapeError(f"expected {key!r} of shape {shape}, got {tuple(value.shape)}")
            if key in _BOXES and not value.is_floating_point():
                raise InputError(f"expected {key!r} as floats, got {value.dtype}; convert them with .float()")
    elif isinstance(target, Tensor):
        if target.shape != image.shape[1:] or target.dtype not in _LABELS:
            raise ShapeError(
                f"expected a mask {tuple(image.shape[1:])} of whole numbers that can be {IGNORED}, "
                f"got {tuple(target.shape)} of {target.dtype}"
            )
    elif target is not None and (isinstance(target, bool) or not isinstance(target, int)):
        raise InputError(f"expected a class (int), a mask (tensor) or boxes (dict), got {type(target).__name__}")


def size_of(image: Tensor) -> tuple[int, int]:
    """Height and width."""
    return int(image.shape[-2]), int(image.shape[-1])


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resize to (H, W): images bilinear with antialiasing, masks to the nearest pixel by centres, boxes by the factors.

    torchvision's own resizing of masks rounds coordinates down, which moves them by up to half a pixel against the
    image; this does not.

    >>> image, target = resize((torch.zeros(3, 4, 4, dtype=torch.uint8), torch.eye(4).long()), (2, 8))
    >>> tuple(image.shape), target[0].tolist()
    ((3, 2, 8), [0, 0, 1, 1, 0, 0, 0, 0])
    """
    image, target = sample
    height, width = size_of(image)
    if (height, width) == size:
        return sample
    if size == (1, 1):  # torch 2.15 fails there on uint8
        resized = vision.resize(image.float(), [1, 1], antialias=True).round().to(image.dtype)
    else:
        resized = vision.resize(image, list(size), antialias=True)
    if isinstance(target, Tensor):
        # The pixel that holds the centre: (i + 1/2) * old / new, rounded down, in whole numbers.
        rows, columns = (
            (2 * torch.arange(new, device=target.device) + 1) * old // (2 * new)
            for new, old in zip(size, target.shape, strict=True)
        )
        target = target[rows][:, columns]
    elif isinstance(target, dict):
        new, old = (target["boxes"].new_tensor([each[1], each[0]] * 2) for each in (size, (height, width)))
        # In double precision, and multiplied first: what ends with the image still does so, and not beyond.
        resized_boxes = {key: target[key].double() * new / old for key in _BOXES if key in target}
        target = _with_boxes(target, {key: boxes.to(target[key].dtype) for key, boxes in resized_boxes.items()})
    return resized, target


def crop(
    sample: Sample,
    *,
    top: int,
    left: int,
    size: tuple[int, int],
    keep: Keep = "centre",
    fill: tuple[int, int, int] = (0, 0, 0),
) -> Sample:
    """Crop a window of size (H, W), which may reach beyond the image: there the image is `fill`, masks are ignored.

    Boxes are clipped to the image and the window. keep: which of them stay: "centre", those whose centre was inside
    (as in SSD), or a number, those of whose area at least this share was inside. A box without area always goes.
    """
    image, target = sample
    height, width = size_of(image)
    # Negative padding cuts off, so that this one call crops and pads.
    around = (-left, left + size[1] - width, -top, top + size[0] - height)
    inside = [max(-each, 0) for each in around]
    cut = image[:, inside[2] : height - inside[3], inside[0] : width - inside[1]]
    outside = [max(each, 0) for each in around]
    if any(outside):
        framed = image.new_tensor(fill)[:, None, None].repeat(1, *size)
        framed[:, outside[2] : size[0] - outside[3], outside[0] : size[1] - outside[1]] = cut
        cut = framed
    if isinstance(target, Tensor):
        target = functional.pad(target, around, value=IGNORED)
    elif isinstance(target, dict):
        told = target["boxes"].new_tensor
        shift = told([left, top, left, top])
        corner = told([max(-left, 0), max(-top, 0)] * 2)
        far = told([min(width - left, size[1]), min(height - top, size[0])] * 2)
        moved = {key: (target[key] - shift).clamp(min=corner).minimum(far) for key in _BOXES if key in target}
        kept = _kept(target["boxes"] - shift, moved["boxes"], size, keep)
        target = _with_boxes(target, moved, kept)
    return cut.contiguous(), target


def flip(sample: Sample) -> Sample:
    """Mirror left and right; twice is the sample again."""
    image, target = sample
    width = image.shape[-1]
    if isinstance(target, Tensor):
        target = target.flip(-1)
    elif isinstance(target, dict):
        target = _with_boxes(target, {key: flip_boxes(target[key], width) for key in _BOXES if key in target})
    return image.flip(-1), target


def flip_boxes(boxes_xyxy: Tensor, width: int) -> Tensor:
    """Boxes (K, 4) mirrored left and right in an image of that width, x2 and y2 not included.

    >>> flip_boxes(torch.tensor([[0, 1, 3, 5]]), 10)
    tensor([[ 7,  1, 10,  5]])
    """
    left, top, right, bottom = boxes_xyxy.unbind(1)
    return torch.stack((width - right, top, width - left, bottom), dim=1)


def sanitize(sample: Sample, *, least_side: float) -> Sample:
    """Clip boxes to the image, and drop those with a side below `least_side` pixels."""
    image, target = sample
    if not isinstance(target, dict):
        return sample
    height, width = size_of(image)
    far = target["boxes"].new_tensor([width, height] * 2)
    clipped = {key: target[key].clamp(min=0).minimum(far) for key in _BOXES if key in target}
    sides = clipped["boxes"][:, 2:] - clipped["boxes"][:, :2]
    return image, _with_boxes(target, clipped, (sides >= least_side).all(dim=1))


def area(boxes: Tensor) -> Tensor:
    """The area of each box, (K,)."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _kept(before: Tensor, after: Tensor, size: tuple[int, int], keep: Keep) -> Tensor:
    """Which boxes stay, (K,): in coordinates of the window, before and after they were clipped."""
    if keep == "centre":
        centres = (before[:, :2] + before[:, 2:]) / 2
        return ((centres >= 0) & (centres < centres.new_tensor([size[1], size[0]]))).all(dim=1)
    return area(after) * (1 + 1e-6) >= float(keep) * area(before)  # a share that is just reached counts


def _with_boxes(target: dict[str, Tensor], boxes: dict[str, Tensor], kept: Tensor | None = None) -> dict[str, Tensor]:
    """The target with new boxes: areas of objects change as their boxes' do, and empty boxes go."""
    found = {**target, **boxes}
    if "areas" in target:
        found["areas"] = target["areas"] * area(boxes["boxes"]) / area(target["boxes"]).clamp(min=1e-9)
    if kept is not None:
        stay = kept & (area(boxes["boxes"]) > 0)
        found |= {key: found[key][stay] for key in ("boxes", *_PER_BOX) if key in found}
        for key in _LOOSE:
            if key in found:
                found[key] = found[key][area(found[key]) > 0]
    return found
