"""Images of any size as one batch for a detector, and boxes to and from its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import InputError, ShapeError

Target = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images one below the other: pixels (N, C, H, W), zeros right of and below the smaller ones.

    sizes: (height, width) of each image in the batch; original: as it was given.
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...]
    original: tuple[tuple[int, int], ...]

    def enter(self, image: int, boxes: Tensor) -> Tensor:
        """Boxes (K, 4) of an image as it was given, in pixels of the batch."""
        return boxes.float() * self._ratio(image, boxes)

    def leave(self, image: int, boxes: Tensor) -> Tensor:
        """Boxes (K, 4) in pixels of the batch, as they lie on the image that was given."""
        return boxes / self._ratio(image, boxes)

    def scale(self, image: int) -> float:
        """Pixels of the batch for each pixel of the image, the smaller of both axes."""
        (height, width), (given_height, given_width) = self.sizes[image], self.original[image]
        return min(height / given_height, width / given_width)

    def _ratio(self, image: int, like: Tensor) -> Tensor:
        (height, width), (given_height, given_width) = self.sizes[image], self.original[image]
        x, y = width / given_width, height / given_height
        return torch.tensor([x, y, x, y], device=like.device)


class ImagePreparation(nn.Module):
    """Normalise images, resize them to a short side, and put them into one batch.

    short_side: pixels, or several to draw one from in training (the last is used otherwise), or None to leave sizes as
    they are; long_side: pixels that the other side may not exceed; mean, std: of each channel, of pixels in 0 ... 1;
    divisor: sides of the batch are multiples of it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        short_side: int | Sequence[int] | None = 600,
        long_side: int = 1000,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        divisor: int = 1,
    ) -> None:
        super().__init__()
        self.short_sides = (short_side,) if isinstance(short_side, int) else tuple(short_side or ())
        self.long_side, self.divisor = long_side, divisor
        if min((*self.short_sides, long_side, divisor)) < 1:
            raise InputError(f"sides are at least 1 pixel, got {self.short_sides}, {long_side} and {divisor}")
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Sequence[Tensor] | Tensor, generator: torch.Generator | None = None) -> ImageBatch:
        """A list of images (C, H, W), or a batch of them, as one batch."""
        check_images(images, channels=len(self.mean))
        prepared = [self._resized((image - self.mean) / self.std, generator) for image in images]
        sizes = tuple((image.shape[1], image.shape[2]) for image in prepared)
        height, width = (-(-max(extents) // self.divisor) * self.divisor for extents in zip(*sizes, strict=True))
        padded = [
            image if (h, w) == (height, width) else functional.pad(image, (0, width - w, 0, height - h))
            for image, (h, w) in zip(prepared, sizes, strict=True)
        ]
        return ImageBatch(torch.stack(padded), sizes, tuple((image.shape[1], image.shape[2]) for image in images))

    def target_size(self, size: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
        """(height, width) to which an image of that size is brought; the last short side where none is said."""
        if not self.short_sides:
            return size
        scale = min((short_side or self.short_sides[-1]) / min(size), self.long_side / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def _resized(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        short_side = None
        if self.training and len(self.short_sides) > 1:
            device = "cpu" if generator is None else generator.device
            drawn = torch.randint(len(self.short_sides), (), generator=generator, device=device)
            short_side = self.short_sides[int(drawn)]
        given = (image.shape[1], image.shape[2])
        size = self.target_size(given, short_side)
        if size == given:
            return image
        return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

    def extra_repr(self) -> str:
        """The sides in pixels."""
        return f"short_sides={self.short_sides}, long_side={self.long_side}, divisor={self.divisor}"


def check_images(images: Sequence[Tensor] | Tensor, *, channels: int) -> None:
    """Raise unless there is a list of images (C, H, W) with floating-point pixels."""
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ShapeError(
            f"expected a list of images ({channels}, H, W), got one tensor {tuple(images.shape)}; put it in a list"
        )
    if not len(images):
        raise InputError("expected at least one image, got an empty list")
    for image in images:
        if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
            raise ShapeError(f"expected images ({channels}, H, W), got one of shape {tuple(image.shape)}")
        if not image.is_floating_point():
            raise InputError(f"expected pixels from 0 to 1, got {image.dtype}; convert them with image.float() / 255")


def check_proposals(proposals: Sequence[Tensor] | None, count: int) -> Sequence[Tensor]:
    """The proposals of each image, or an error that says what is wrong with them."""
    if proposals is None:
        raise InputError(
            "this network needs proposals: a list with boxes (P, 4), x1 y1 x2 y2 in pixels, for each image"
        )
    if len(proposals) != count:
        raise InputError(f"expected proposals for each of {count} images, got {len(proposals)}")
    for number, boxes in enumerate(proposals):
        _check_boxes(boxes, f"the proposals of image {number}")
    return proposals


def check_targets(targets: Sequence[Target] | None, count: int, classes: int) -> Sequence[Target]:
    """The targets of each image, or an error that says what is wrong with them."""
    if targets is None:
        raise InputError("in training mode, give targets: a list with {'boxes': (M, 4), 'labels': (M,)} for each image")
    if len(targets) != count:
        raise InputError(f"expected targets for each of {count} images, got {len(targets)}")
    for number, target in enumerate(targets):
        missing = {"boxes", "labels"} - set(target)
        if missing:
            raise InputError(f"the target of image {number} has no {' and no '.join(sorted(map(repr, missing)))}")
        boxes, labels = target["boxes"], target["labels"]
        _check_boxes(boxes, f"the boxes of image {number}")
        if bool((boxes[:, :2] >= boxes[:, 2:]).any()):
            raise InputError(f"the boxes of image {number} must have x1 < x2 and y1 < y2; drop empty ones")
        if labels.shape != boxes.shape[:1] or labels.is_floating_point():
            raise ShapeError(f"expected {len(boxes)} whole labels for image {number}, got {tuple(labels.shape)}")
        if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= classes:
            raise InputError(
                f"labels are 1 ... {classes} (0 is the background), image {number} has {int(labels.min())} ... "
                f"{int(labels.max())}; build the network with as many classes as the data has"
            )
        if "hard_negatives" in target:
            _check_boxes(target["hard_negatives"], f"the hard negatives of image {number}")
    return targets


def _check_boxes(boxes: Tensor, what: str) -> None:
    if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4:
        shape = tuple(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__
        raise ShapeError(f"expected {what} as a tensor (K, 4) of x1, y1, x2, y2, got {shape}")
    if not bool(boxes.isfinite().all()):
        raise InputError(f"{what} hold NaN or infinity; drop those rows with boxes.isfinite().all(1)")
    if bool((boxes[:, :2] > boxes[:, 2:]).any()):
        raise InputError(f"{what} have corners in the wrong order; give x1 y1 x2 y2, not widths and heights")
