"""What there is to see of a sample: its pixels, its mask and its boxes, as far as they can be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perimetry.data.dataset import Objects, Sample
from perimetry.data.reading import Labels, read_mask
from perimetry.errors import PerimetryError
from perimetry.images import read_pixels


@dataclass(frozen=True, slots=True, eq=False)
class SamplePicture:
    """pixels: uint8 (H, W, 3), upright; mask: labels (H, W), of whatever size; None: there is none, or it is broken."""

    pixels: npt.NDArray[np.uint8] | None
    mask: Labels | None
    objects: Objects | None


def picture_of(sample: Sample) -> SamplePicture:
    """Read what can be read; the check tells what could not."""
    pixels, mask = None, None
    try:
        pixels = read_pixels(sample.image).permute(1, 2, 0).numpy()
    except PerimetryError:
        pixels = None
    if sample.mask is not None:
        try:
            mask = read_mask(sample.mask)
        except PerimetryError:
            mask = None
    return SamplePicture(pixels, mask, sample.objects)
