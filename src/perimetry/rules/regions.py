"""Detectors' operators: pooling of regions whose boxes come from the data, and suppression."""

from __future__ import annotations

from perimetry.rules.registry import Call, Reads, rule
from perimetry.rules.relations import Axes, Bound, Each, Whole, bound


@rule("torchvision.roi_align", "torchvision.roi_pool")
def region_pooling(call: Call) -> Reads:
    """The boxes decide where a region lies, so it may lie anywhere on the map; each region reads its own box."""
    anywhere = Bound(Axes((Whole(), Each(1), Whole(), Whole()), call.shape))
    return [(call["input"], anywhere), (call["rois"], Axes((Each(0), Whole()), call.shape))]


@rule("torchvision.ps_roi_align", "torchvision.ps_roi_pool")
def position_sensitive_pooling(call: Call) -> Reads:
    """As region pooling; each bin reads its own channel, which is not told apart here."""
    anywhere = Bound(Axes((Whole(),) * 4, call.shape))
    return [(call["input"], anywhere), (call["rois"], Axes((Each(0), Whole()), call.shape))]


@rule("torchvision.nms", "aten.nonzero", "aten.masked_select", "aten.nonzero_static", "aten.unique_consecutive")
def selection(call: Call) -> Reads:
    """What is selected, and so every index of the result, depends on all elements."""
    return [(value, bound(value.shape, call.shape)) for value in call.tensors]
