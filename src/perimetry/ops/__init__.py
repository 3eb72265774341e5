"""Operators of spatial aggregation as their papers define them: functions of tensors, with gradients, anywhere."""

from __future__ import annotations

from perimetry.ops.context import global_context, unpool
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
from perimetry.ops.roi_pooling import roi_max_pool, roi_pyramid_pool, spp_cells

__all__ = [
    "caffe_windows",
    "global_context",
    "l2_normalize",
    "local_response_norm",
    "lrn_caffe",
    "lrn_paper",
    "lrn_tensorflow",
    "lrn_within_channel",
    "paper_windows",
    "position_sensitive_roi_pool",
    "pyramid_pool",
    "roi_max_pool",
    "roi_pyramid_pool",
    "spp_cells",
    "unpool",
]
