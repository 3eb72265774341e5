"""Transforms of training and testing that keep masks and boxes in step, seeded by sample.

Random parameters are drawn by this package's own `Draws`, from a generator seeded by (seed, epoch, index). Pixels are
resized and coloured by the functions of `torchvision.transforms.v2`; its classes would draw from torch's global state.
"""

from __future__ import annotations

from perimetry.data.transforms.colors import (
    IMAGENET_AXES,
    IMAGENET_MEAN,
    IMAGENET_SPREADS,
    IMAGENET_STD,
    ColorJitter,
    Lighting,
    Normalize,
)
from perimetry.data.transforms.draws import Draws
from perimetry.data.transforms.recipes import (
    classic_testing,
    classic_training,
    detection_testing,
    detection_training,
    resized_crop_training,
    segmentation_testing,
    segmentation_training,
)
from perimetry.data.transforms.steps import (
    Crop,
    CropWithBoxes,
    Flip,
    RandomResizedCrop,
    RandomScale,
    ResizeByEpoch,
    ResizeShort,
    Sanitize,
    Step,
)
from perimetry.data.transforms.ten_crop import TenCrop, mean_scores
from perimetry.data.transforms.transform import STEPS, TestTransform, TrainTransform, Transformed

__all__ = [
    "IMAGENET_AXES",
    "IMAGENET_MEAN",
    "IMAGENET_SPREADS",
    "IMAGENET_STD",
    "STEPS",
    "ColorJitter",
    "Crop",
    "CropWithBoxes",
    "Draws",
    "Flip",
    "Lighting",
    "Normalize",
    "RandomResizedCrop",
    "RandomScale",
    "ResizeByEpoch",
    "ResizeShort",
    "Sanitize",
    "Step",
    "TenCrop",
    "TestTransform",
    "TrainTransform",
    "Transformed",
    "classic_testing",
    "classic_training",
    "detection_testing",
    "detection_training",
    "mean_scores",
    "resized_crop_training",
    "segmentation_testing",
    "segmentation_training",
]
