"""Operators of spatial aggregation as their papers define them: functions over tensors, with gradients, on any device."""

from __future__ import annotations

from perimetry.ops.position_sensitive import position_sensitive_roi_pool

__all__ = [
    "position_sensitive_roi_pool",
]
