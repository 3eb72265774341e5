"""What there is to look at in one image: made again from its files when it is asked for, and not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perimetry.metrics import BoxPrediction, BoxTruth, Matching


@dataclass(frozen=True, slots=True, eq=False)
class MaskPicture:
    """Labels (H, W) of the truth and the prediction; wrong: (H, W), where they differ and the truth is not ignored."""

    truth: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    wrong: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryPicture:
    """Foreground (H, W) of the truth, of the prediction above the threshold, and of the warped truth.

    classes: (H, W), 0 where nothing is left of the difference after the warp, else 1 + the index of its class
    in `perimetry.metrics.mismatches.CLASSES`.
    """

    truth: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.bool_]
    warped: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.uint8]
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class BoxPicture:
    """The objects and the detections of one image, and which belongs to which: `matching.kinds`, `matching.missed`.

    Coordinates are those of the files, x1 y1 x2 y2; height, width: of the image in pixels, where the truth tells them.
    """

    truth: BoxTruth
    predicted: BoxPrediction
    matching: Matching
    height: int | None
    width: int | None


Picture = MaskPicture | BoundaryPicture | BoxPicture
