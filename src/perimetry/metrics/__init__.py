"""Scores of predictions against truth: each a function over arrays, and an accumulator that can be merged."""

from __future__ import annotations

from perimetry.metrics.averages import ClassDecisions
from perimetry.metrics.bootstrap import Interval, bootstrap
from perimetry.metrics.boundaries import (
    BoundaryMatches,
    BoundaryOverlap,
    boundary_f,
    boundary_iou,
    boundary_matches,
    boundary_overlap,
)
from perimetry.metrics.boxes import BoxPrediction, BoxTruth
from perimetry.metrics.coco import CocoAccumulator, CocoScores, coco_scores
from perimetry.metrics.coco_sizes import SizeScores, coco_by_size
from perimetry.metrics.confusion import ConfusionAccumulator, ConfusionMatrix, confusion_matrix
from perimetry.metrics.curves import BestThreshold, Curve, ThresholdSweep
from perimetry.metrics.decisions import Decisions
from perimetry.metrics.labels import (
    LabelAccumulator,
    LabelScores,
    MultilabelAccumulator,
    MultilabelScores,
    label_scores,
    multilabel_scores,
)
from perimetry.metrics.masks import MaskAccumulator, MaskScores, mask_scores
from perimetry.metrics.matching import Matching, match_boxes
from perimetry.metrics.means import Mean
from perimetry.metrics.mismatches import ClassCounts, Mismatches
from perimetry.metrics.proposals import ProposalAccumulator, ProposalRecall, proposal_recall
from perimetry.metrics.segments import (
    AdaptedRand,
    RandAndInfo,
    SegmentScores,
    adapted_rand_error,
    rand_and_info,
    segment_scores,
    variation_of_information,
)
from perimetry.metrics.surface import SurfaceScores, average_surface_distance, hausdorff_distance, surface_scores
from perimetry.metrics.sweeps import BinnedSweepAccumulator, SweepAccumulator, binned_threshold_sweep, threshold_sweep
from perimetry.metrics.top_k import TopK, TopKAccumulator, top_k
from perimetry.metrics.unavailable import Score, Unavailable
from perimetry.metrics.voc import DetectionCurve, VocAccumulator, VocScores, voc_scores
from perimetry.metrics.warping import Warp, classify, warp
from perimetry.metrics.warping_scores import (
    WarpingScores,
    WarpingSweep,
    isbi_thresholds,
    pixel_error,
    warping_error,
    warping_scores,
    warping_sweep,
)

__all__ = [
    "AdaptedRand",
    "BestThreshold",
    "BinnedSweepAccumulator",
    "BoundaryMatches",
    "BoundaryOverlap",
    "BoxPrediction",
    "BoxTruth",
    "ClassCounts",
    "ClassDecisions",
    "CocoAccumulator",
    "CocoScores",
    "ConfusionAccumulator",
    "ConfusionMatrix",
    "Curve",
    "Decisions",
    "DetectionCurve",
    "Interval",
    "LabelAccumulator",
    "LabelScores",
    "MaskAccumulator",
    "MaskScores",
    "Matching",
    "Mean",
    "Mismatches",
    "MultilabelAccumulator",
    "MultilabelScores",
    "ProposalAccumulator",
    "ProposalRecall",
    "RandAndInfo",
    "Score",
    "SegmentScores",
    "SizeScores",
    "SurfaceScores",
    "SweepAccumulator",
    "ThresholdSweep",
    "TopK",
    "TopKAccumulator",
    "Unavailable",
    "VocAccumulator",
    "VocScores",
    "Warp",
    "WarpingScores",
    "WarpingSweep",
    "adapted_rand_error",
    "average_surface_distance",
    "binned_threshold_sweep",
    "bootstrap",
    "boundary_f",
    "boundary_iou",
    "boundary_matches",
    "boundary_overlap",
    "classify",
    "coco_by_size",
    "coco_scores",
    "confusion_matrix",
    "hausdorff_distance",
    "isbi_thresholds",
    "label_scores",
    "mask_scores",
    "match_boxes",
    "multilabel_scores",
    "pixel_error",
    "proposal_recall",
    "rand_and_info",
    "segment_scores",
    "surface_scores",
    "threshold_sweep",
    "top_k",
    "variation_of_information",
    "voc_scores",
    "warp",
    "warping_error",
    "warping_scores",
    "warping_sweep",
]
