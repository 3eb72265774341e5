"""Operators of spatial aggregation as their papers define them: functions of tensors, with gradients, anywhere."""

from __future__ import annotations

from perimetry.ops.bilinear import bilinear_deconvolution, bilinear_kernel
from perimetry.ops.context import global_context, unpool
from perimetry.ops.downsampling import (
    blur_pool,
    lp_pool,
    max_blur_pool,
    max_pool,
    mean_pool,
    pooled_size,
    stochastic_pool,
    stochastic_pool_mean,
    window_frame,
)
from perimetry.ops.normalization import (
    l2_normalize,
    local_response_norm,
    lrn_caffe,
    lrn_paper,
    lrn_tensorflow,
    lrn_within_channel,
)
from perimetry.ops.position_sensitive import position_sensitive_roi_pool
from perimetry.ops.pyramid import caffe_windows, paper_windows, pyramid_pool
from perimetry.ops.roi_align import roi_align
from perimetry.ops.roi_pooling import roi_max_pool, roi_pyramid_pool, spp_cells

__all__ = [
    "bilinear_deconvolution",
    "bilinear_kernel",
    "blur_pool",
    "caffe_windows",
    "global_context",
    "l2_normalize",
    "local_response_norm",
    "lp_pool",
    "lrn_caffe",
    "lrn_paper",
    "lrn_tensorflow",
    "lrn_within_channel",
    "max_blur_pool",
    "max_pool",
    "mean_pool",
    "paper_windows",
    "pooled_size",
    "position_sensitive_roi_pool",
    "pyramid_pool",
    "roi_align",
    "roi_max_pool",
    "roi_pyramid_pool",
    "spp_cells",
    "stochastic_pool",
    "stochastic_pool_mean",
    "unpool",
    "window_frame",
]
