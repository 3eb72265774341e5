"""What SPP-net's detector learns after fine-tuning: a linear SVM for each class, and a ridge regression of boxes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from perimetry.errors import InputError, MissingExtraError
from perimetry.networks.box_coding import encode_boxes
from perimetry.networks.image_batch import Target, check_targets
from perimetry.networks.sampling import best_matches
from perimetry.networks.spp_detector import SPPDetector

MEAN_NORM = 20.0  # features are scaled to this length on average, so that one cost suits all layers
MARGIN = -1.0001  # scores above it lie within the margin or on the wrong side


class _Examples(NamedTuple):
    """Of one image, boxes in its pixels: pyramids (R, D) and the boxes; its objects come last. objects: how many."""

    pooled: Tensor
    boxes: Tensor
    objects: int


def fit_svms(
    detector: SPPDetector,
    images: Sequence[Tensor],
    proposals: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    cost: float = 1e-3,
    positive_weight: float = 2.0,
    overlap: float = 0.3,
) -> SPPDetector:
    """A copy whose scores are those of linear SVMs on fc7, one for each class, each with a chance of its own (sigmoid).

    images, proposals, targets: as in training. Objects themselves are positive; proposals that overlap (IoU) no object
    of the class by more than `overlap` are negative: at first those of the first image, then, in one round over all
    images, those within the margin. cost: of what is within the margin (liblinear's C), positive_weight: how many times
    more of objects; both as released. A class without an object keeps a score of -1. The copy is for detection; it can
    no longer be fine-tuned. Raises `MissingExtraError` without scikit-learn.
    """
    svm = _linear_svm()
    if cost <= 0 or positive_weight <= 0 or not 0 <= overlap < 1:
        raise InputError(
            "expected a cost and a weight above 0 and an overlap from 0 to 1, got "
            f"{cost}, {positive_weight} and {overlap}"
        )
    fitted = copy.deepcopy(detector).eval()
    checked = check_targets(targets, len(images), detector.classes)
    hidden = [
        (fitted.head.hidden(each.pooled).detach().double().cpu().numpy(), each)
        for each in _examples(fitted, images, proposals, checked)
    ]
    scale = MEAN_NORM / max(np.concatenate([np.linalg.norm(rows, axis=1) for rows, _ in hidden]).mean(), 1e-12)
    weight, bias = torch.zeros_like(fitted.head.cls_score.weight), torch.full_like(fitted.head.cls_score.bias, -1.0)
    for label in range(1, detector.classes + 1):
        positives, negatives = [], []
        for (rows, each), target in zip(hidden, checked, strict=True):
            wanted = target["labels"] == label
            apart = best_matches(each.boxes, target["boxes"][wanted].to(each.boxes))[0] <= overlap
            positives.append(rows[len(rows) - each.objects :][wanted.cpu().numpy()] * scale)
            negatives.append(rows[apart.cpu().numpy()] * scale)
        found = _mined(svm, np.concatenate(positives), negatives, cost=cost, weight=positive_weight)
        if found is not None:
            weight[label] = torch.as_tensor(found[0] * scale).to(weight)
            bias[label] = found[1]
    with torch.no_grad():
        fitted.head.cls_score.weight.copy_(weight)
        fitted.head.cls_score.bias.copy_(bias)
    fitted.rule = replace(fitted.rule, detection=replace(fitted.rule.detection, scoring="sigmoid"))
    return fitted


def _mined(
    svm: Any, positives: np.ndarray[Any, Any], negatives: list[np.ndarray[Any, Any]], *, cost: float, weight: float
) -> tuple[np.ndarray[Any, Any], float] | None:
    """Weights and bias after one round of hard negatives; None without an object or without background."""
    first = next((rows for rows in negatives if len(rows)), None)
    if first is None or not len(positives):
        return None
    weights, bias = _separated(svm, positives, first, cost, weight)
    rows = np.concatenate([each for each in negatives if each is not first])
    hard = rows[rows @ weights + bias > MARGIN]
    return _separated(svm, positives, np.concatenate([first, hard]), cost, weight)


def _separated(
    svm: Any, positives: np.ndarray[Any, Any], negatives: np.ndarray[Any, Any], cost: float, weight: float
) -> tuple[np.ndarray[Any, Any], float]:
    model = svm(
        C=cost,
        loss="hinge",
        intercept_scaling=10,  # the bias is hardly held back
        class_weight={1: weight},
        max_iter=100_000,
        random_state=0,
    )
    model.fit(np.concatenate([positives, negatives]), np.repeat([1, 0], [len(positives), len(negatives)]))
    return model.coef_[0], float(model.intercept_[0])


def fit_box_regressors(
    detector: SPPDetector,
    images: Sequence[Tensor],
    proposals: Sequence[Tensor],
    targets: Sequence[Target],
    *,
    penalty: float = 4000.0,
    overlap: float = 0.5,
) -> SPPDetector:
    """A copy whose boxes are moved by a ridge regression on the pyramid, one for each class (R-CNN, appendix C).

    images, proposals, targets: as in training. Learnt from the proposals that overlap (IoU) an object by more than
    `overlap`, and the objects themselves; penalty: of the squared weights; both as released. Offsets are centred and
    decorrelated first. A class without such proposals leaves boxes where they are.
    """
    if penalty <= 0 or not 0 <= overlap < 1:
        raise InputError(f"expected a penalty above 0 and an overlap from 0 to 1, got {penalty} and {overlap}")
    fitted = copy.deepcopy(detector).eval()
    checked = check_targets(targets, len(images), detector.classes)
    rows, aims, labels = [], [], []
    for each, target in zip(_examples(fitted, images, proposals, checked), checked, strict=True):
        overlaps, which = best_matches(each.boxes, target["boxes"].to(each.boxes))
        near = overlaps > overlap
        truth = target["boxes"].to(each.boxes)[which[near]]
        rows.append(each.pooled[near].double())
        aims.append(encode_boxes(truth, each.boxes[near], deviations=detector.rule.deviations).double())
        labels.append(target["labels"].to(which)[which[near]])
    pooled, offsets, classes = torch.cat(rows), torch.cat(aims), torch.cat(labels)
    if not len(pooled):
        raise InputError(f"no proposal overlaps an object by more than {overlap}; give other proposals")
    scale = MEAN_NORM / pooled.norm(dim=1).mean().clamp(min=1e-12)
    weight, bias = torch.zeros_like(fitted.head.bbox_pred.weight), torch.zeros_like(fitted.head.bbox_pred.bias)
    for label in sorted(set(classes.tolist())):
        own = classes == label
        slope, shift = _ridge(pooled[own] * scale, offsets[own], penalty)
        weight[4 * label : 4 * label + 4] = (slope * scale).T.to(weight)
        bias[4 * label : 4 * label + 4] = shift.to(bias)
    with torch.no_grad():
        fitted.head.bbox_pred.weight.copy_(weight)
        fitted.head.bbox_pred.bias.copy_(bias)
    return fitted


def _ridge(rows: Tensor, aims: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Slopes (D, 4) and shifts (4,) of a ridge regression of rows (R, D) on whitened aims (R, 4)."""
    mean = aims.mean(0)
    values, vectors = torch.linalg.eigh((aims - mean).T @ (aims - mean) / len(aims))
    spread = (values.clamp(min=0) + 0.001).sqrt()
    whitened = (aims - mean) @ (vectors / spread) @ vectors.T
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    # As many equations as examples, which are fewer than the 12,801 features: (X'X + p)^-1 X' = X' (X X' + p)^-1.
    identity = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    found = rows.T @ torch.linalg.solve(rows @ rows.T + penalty * identity, whitened)
    found = found @ (vectors * spread) @ vectors.T
    return found[:-1], found[-1] + mean


@torch.no_grad()
def _examples(
    detector: SPPDetector, images: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Target]
) -> Iterator[_Examples]:
    if len(proposals) != len(images):
        raise InputError(f"expected proposals for each of {len(images)} images, got {len(proposals)}")
    for image, boxes, target in zip(images, proposals, targets, strict=True):
        pooled, placed = detector.pyramids(image, torch.cat([boxes.to(target["boxes"]), target["boxes"]]))
        yield _Examples(pooled, placed, len(target["boxes"]))


def _linear_svm() -> Any:
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise MissingExtraError("scikit-learn", needed_for="fit_svms()", extra="svm") from None
    return LinearSVC
