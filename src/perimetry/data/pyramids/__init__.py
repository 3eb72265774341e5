"""Image pyramids at test: several scales and flips of one image, merged, and what each costs."""

from __future__ import annotations

from perimetry.data.pyramids.costs import Cost, bytes_uncounted, run_measured
from perimetry.data.pyramids.detector_sizes import own_size, taken_as_given
from perimetry.data.pyramids.merging import merge_boxes
from perimetry.data.pyramids.predicting import (
    PyramidBoxes,
    PyramidScores,
    classify_pyramid,
    detect_pyramid,
    predict_pyramid,
    segment_pyramid,
)
from perimetry.data.pyramids.scales import Scales

__all__ = [
    "Cost",
    "PyramidBoxes",
    "PyramidScores",
    "Scales",
    "bytes_uncounted",
    "classify_pyramid",
    "detect_pyramid",
    "merge_boxes",
    "own_size",
    "predict_pyramid",
    "run_measured",
    "segment_pyramid",
    "taken_as_given",
]
