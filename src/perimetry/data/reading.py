"""Reading a sample: the pixels of its image, and its truth as tensors; one error that names the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from perimetry.data.dataset import Objects, Sample
from perimetry.errors import InputError, ShapeError
from perimetry.images import read_pixels
from perimetry.scoring.pages import open_pages

Labels = npt.NDArray[np.int64]


@contextmanager
def decoding() -> Iterator[None]:
    """Around threads that decode images: what warnings do belongs to the whole process, and is put back at the end.

    Each thread wants the same of Pillow: silence, but for images beyond its limit, which are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_sample(sample: Sample) -> tuple[torch.Tensor, Any]:
    """The image, uint8 (3, H, W), upright, and its truth as the task has it.

    classification: the label, an int. segmentation: int64 (H, W), 255 is ignored. detection: a dict with "boxes" (K, 4)
    float32 x1 y1 x2 y2, continuous (x2 is outside), "labels" (K,) int64 from 1, "difficult" (K,) bool, "areas" (K,)
    float32, and "proposals" (P, 4) float32 where the sample has some.
    Raises `FileError` for what cannot be read, `InputError` and `ShapeError` for masks that do not fit.
    """
    image = read_pixels(sample.image)
    if sample.mask is not None:
        mask = read_mask(sample.mask)
        if mask.shape != image.shape[1:]:
            raise ShapeError(
                f"{sample.mask} has {_size(mask.shape)} pixels and its image {sample.image} has "
                f"{_size(image.shape[1:])}; both need the same size"
            )
        return image, torch.from_numpy(mask)
    if sample.objects is not None:
        return image, _targets(sample.objects, sample.proposals)
    if sample.label is None:
        raise InputError(f"the sample {sample.name} has no label, mask or objects; there is nothing to learn from it")
    return image, sample.label


def read_mask(path: Path) -> Labels:
    """The label of each pixel, (H, W): the indices of a palette, the levels of a gray image, 0 and 1 of one bit.

    Raises `FileError` for what cannot be read, `InputError` for colours, fractions, and several pages.
    """
    pages = open_pages(path)
    if pages.count != 1:
        raise InputError(f"{path} holds {pages.count} pages; expected one mask a file")
    found = pages.page(0)
    with np.errstate(invalid="ignore"):  # what is no number is refused below
        labels: Labels = np.asarray(found).astype(np.int64)
    if found.dtype.kind == "f" and not np.array_equal(labels, found):
        raise InputError(f"{path} holds fractions; expected the label of each pixel as a whole number")
    return labels


def _targets(objects: Objects, proposals: Any) -> dict[str, torch.Tensor]:
    found = {
        "boxes": torch.tensor(objects.boxes_xyxy, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(objects.labels, dtype=torch.int64),
        "difficult": torch.tensor(objects.difficult, dtype=torch.bool),
        "areas": torch.tensor(objects.areas, dtype=torch.float32),
    }
    if proposals is not None:
        found["proposals"] = torch.from_numpy(np.array(proposals, dtype=np.float32).reshape(-1, 4))
    return found


def _size(shape: Any) -> str:
    return "×".join(map(str, shape))
