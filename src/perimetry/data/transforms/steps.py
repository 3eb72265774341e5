"""What a step of a transform is, and the steps that resize, crop and flip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from perimetry.data.transforms.draws import Draws
from perimetry.data.transforms.geometry import Keep, Sample, crop, flip, resize, sanitize, size_of
from perimetry.errors import InputError


class Step(Protocol):
    """One step of a transform: a frozen dataclass of plain values, so that it can be printed and stored."""

    @property
    def random(self) -> bool:
        """Whether two calls on one sample may differ."""
        ...

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """The sample transformed; what is random comes from `draws`."""
        ...


@dataclass(frozen=True, slots=True)
class ResizeShort:
    """Resize so that the short side has a length, or less where the long side would exceed `longest`.

    sizes: the lengths; of several, one is drawn for each image, as Fast R-CNN and SPP-net train detection on image
    pyramids (480, 576, 688, 864, 1200). The long side is rounded down, as torchvision does.

    >>> ResizeShort((600,), longest=1000).size(375, 500), ResizeShort((600,), longest=1000).size(300, 900)
    ((600, 800), (333, 1000))
    """

    sizes: tuple[int, ...]
    longest: int | None = None

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or (self.longest is not None and self.longest < max(self.sizes)):
            raise InputError(f"expected sizes from 1, none over longest, got {self.sizes} and {self.longest}")

    @property
    def random(self) -> bool:
        """With several sizes."""
        return len(self.sizes) > 1

    def size(self, height: int, width: int, short: int | None = None) -> tuple[int, int]:
        """What (height, width) becomes, for a short side or the only one."""
        if short is None:
            (short,) = self.sizes
        least, most = min(height, width), max(height, width)
        if self.longest is not None and most * short > self.longest * least:
            lengths = (max(self.longest * least // most, 1), self.longest)
        else:
            lengths = (short, short * most // least)
        return lengths if height <= width else (lengths[1], lengths[0])

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Resize."""
        short = draws.choice(self.sizes) if self.random else self.sizes[0]
        return resize(sample, self.size(*size_of(sample[0]), short))


@dataclass(frozen=True, slots=True)
class ResizeByEpoch:
    """Resize to a square of one length for a whole epoch, in turn: SPP-net trains on 224 and 180 (He et al. 2014, 2.3).

    After the crop, as there: the sizes differ in resolution and not in what is shown.
    """

    sizes: tuple[int, ...] = (224, 180)

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise InputError(f"expected sizes from 1, got {self.sizes}")

    @property
    def random(self) -> bool:
        """No: the epoch decides."""
        return False

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Resize."""
        side = self.sizes[draws.epoch % len(self.sizes)]
        return resize(sample, (side, side))


@dataclass(frozen=True, slots=True)
class RandomScale:
    """Resize both sides by a factor from `low` to `high`, uniformly, as DeepLab trains segmentation (0.5 to 2)."""

    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise InputError(f"expected factors above 0, low before high, got {self.low} and {self.high}")

    @property
    def random(self) -> bool:
        """Yes."""
        return True

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Resize."""
        factor = draws.uniform(self.low, self.high)
        height, width = size_of(sample[0])
        return resize(sample, (max(round(height * factor), 1), max(round(width * factor), 1)))


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut out a window of (H, W), in the centre or anywhere; a smaller image is padded, at the end or on both sides.

    where: "anywhere" (drawn) or "centre". fill: red, green and blue of what is added; masks are ignored there (255).
    keep: see `perimetry.data.transforms.geometry.crop`.
    """

    size: tuple[int, int]
    where: str = "anywhere"
    fill: tuple[int, int, int] = (124, 116, 104)  # ImageNet's mean
    keep: Keep = "centre"

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.where not in ("anywhere", "centre"):
            raise InputError(f'expected a size from 1 x 1 and "anywhere" or "centre", got {self.size}, {self.where!r}')
        _check_keep(self.keep)

    @property
    def random(self) -> bool:
        """Unless in the centre."""
        return self.where == "anywhere"

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Crop, and pad where needed."""
        spare = [have - want for have, want in zip(size_of(sample[0]), self.size, strict=True)]
        if self.random:
            top, left = (draws.whole(min(each, 0), max(each, 0)) for each in spare)
        else:
            top, left = (round(each / 2) for each in spare)
        return crop(sample, top=top, left=left, size=self.size, keep=self.keep, fill=self.fill)


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Cut out a window of random area and aspect ratio, and resize it (Szegedy et al. 2015, GoogLeNet, section 6).

    size: (H, W); area: the share of the image's; ratio: width over height, drawn on a logarithmic scale. Ten windows
    are tried; where none fits, the largest centred one within the ratios is taken, as torchvision does.
    """

    size: tuple[int, int]
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    keep: Keep = "centre"

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise InputError(f"expected a size from 1 x 1, got {self.size}")
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"expected shares of the area in (0, 1] and ratios above 0, got {self.area}, {self.ratio}")
        _check_keep(self.keep)

    @property
    def random(self) -> bool:
        """Yes."""
        return True

    def window(self, height: int, width: int, draws: Draws) -> tuple[int, int, int, int]:
        """Top, left, height and width of a window in an image."""
        for _ in range(10):
            share = height * width * draws.uniform(*self.area)
            ratio = math.exp(draws.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            rows, columns = round(math.sqrt(share / ratio)), round(math.sqrt(share * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                return draws.whole(0, height - rows), draws.whole(0, width - columns), rows, columns
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        rows, columns = min(height, max(round(width / ratio), 1)), min(width, max(round(height * ratio), 1))
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Crop and resize."""
        top, left, rows, columns = self.window(*size_of(sample[0]), draws)
        return resize(crop(sample, top=top, left=left, size=(rows, columns), keep=self.keep), self.size)


@dataclass(frozen=True, slots=True)
class CropWithBoxes:
    """Cut out a window that keeps at least one box, where there is one; the window is not resized.

    scale: its sides, as shares of the image's, each drawn by itself. keep: which boxes stay, "centre" (those whose
    centre is inside) or the least share of their area. Fifty windows are tried; where each would lose all boxes, the
    image stays whole.
    """

    scale: tuple[float, float] = (0.3, 1.0)
    keep: Keep = "centre"

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"expected shares of the sides in (0, 1], got {self.scale}")
        _check_keep(self.keep)

    @property
    def random(self) -> bool:
        """Yes."""
        return True

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Crop."""
        height, width = size_of(sample[0])
        for _ in range(50):
            rows, columns = (max(round(side * draws.uniform(*self.scale)), 1) for side in (height, width))
            top, left = draws.whole(0, height - rows), draws.whole(0, width - columns)
            cut = crop(sample, top=top, left=left, size=(rows, columns), keep=self.keep)
            if not isinstance(cut[1], dict) or len(cut[1]["boxes"]) or not len(sample[1]["boxes"]):
                return cut
        return sample


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(f"expected a probability from 0 to 1, got {self.probability}")

    @property
    def random(self) -> bool:
        """Unless never or always."""
        return 0 < self.probability < 1

    def __call__(self, sample: Sample, draws: Draws) -> Sample:
        """Flip, or not."""
        return flip(sample) if draws.happens(self.probability) else sample


@dataclass(frozen=True, slots=True)
class Sanitize:
    """Clip boxes to the image and drop those with a side below `least_side` pixels."""

    least_side: float = 1.0

    @property
    def random(self) -> bool:
        """No."""
        return False

    def __call__(self, sample: Sample, draws: Draws) -> Sample:  # noqa: ARG002 - as every step
        """Clip and drop."""
        return sanitize(sample, least_side=self.least_side)


def _check_keep(keep: Keep) -> None:
    if keep != "centre" and not (isinstance(keep, int | float) and 0 <= keep <= 1):
        raise InputError(f'expected keep as "centre" or a share from 0 to 1, got {keep!r}')
