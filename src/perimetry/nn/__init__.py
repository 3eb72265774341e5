"""Layers and blocks of the published systems, thin over `perimetry.ops`."""

from __future__ import annotations

from perimetry.nn.context import EarlyFusion, GlobalContext, LateFusion
from perimetry.nn.dense import DenseConvolution, DenseMaxPool, DenseMeanPool, DensePhases, DenseWindows
from perimetry.nn.downsampling import (
    BlurDownsample,
    ConvolutionDownsample,
    Downsample,
    LPDownsample,
    MaxBlurDownsample,
    MaxDownsample,
    MeanDownsample,
    StochasticDownsample,
    downsample,
)
from perimetry.nn.inception import InceptionNaive, InceptionV1, InceptionV2, InceptionV2Reduction, InceptionV3
from perimetry.nn.normalization import L2Normalize, LocalResponseNorm, WithinChannelNorm
from perimetry.nn.pooling import BilinearDeconvolution, PositionSensitiveRoIPool, RoIMaxPool, SpatialPyramidPooling
from perimetry.nn.residual import BasicBlock, Bottleneck

__all__ = [
    "BasicBlock",
    "BilinearDeconvolution",
    "BlurDownsample",
    "Bottleneck",
    "ConvolutionDownsample",
    "DenseConvolution",
    "DenseMaxPool",
    "DenseMeanPool",
    "DensePhases",
    "DenseWindows",
    "Downsample",
    "EarlyFusion",
    "GlobalContext",
    "InceptionNaive",
    "InceptionV1",
    "InceptionV2",
    "InceptionV2Reduction",
    "InceptionV3",
    "L2Normalize",
    "LPDownsample",
    "LateFusion",
    "LocalResponseNorm",
    "MaxBlurDownsample",
    "MaxDownsample",
    "MeanDownsample",
    "PositionSensitiveRoIPool",
    "RoIMaxPool",
    "SpatialPyramidPooling",
    "StochasticDownsample",
    "WithinChannelNorm",
    "downsample",
]
