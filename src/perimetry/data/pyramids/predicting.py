"""Testing on image pyramids: one image at several scales, as it is and mirrored, its predictions merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry.data.pyramids.costs import Cost, run_measured
from perimetry.data.pyramids.detector_sizes import taken_as_given
from perimetry.data.pyramids.merging import Merge, merge_boxes
from perimetry.data.pyramids.scales import Scales
from perimetry.data.transforms.geometry import flip_boxes
from perimetry.errors import ShapeError, TrainingModeError, UnknownNameError

Flip = Literal["none", "horizontal"]
Task = Literal["classification", "segmentation", "detection"]
_AS_IT_IS = Scales(factors=(1.0,))


@dataclass(frozen=True, slots=True, eq=False)
class PyramidScores:
    """Class probabilities (classes,) or (classes, H, W), and what each view cost."""

    probabilities: Tensor
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PyramidBoxes:
    """What was detected: boxes_xyxy (K, 4) in pixels of the image, labels (K,), scores (K,); what each view cost."""

    boxes_xyxy: Tensor
    labels: Tensor
    scores: Tensor
    costs: tuple[Cost, ...]


def classify_pyramid(
    model: nn.Module, image: Tensor, *, scales: Scales = _AS_IT_IS, flip: Flip = "none"
) -> PyramidScores:
    """The mean over views of the class probabilities.

    model: (1, 3, h, w) to scores (1, classes), at any size, in eval mode. image: (3, H, W), normalised, on the model's
    device. flip: "horizontal" adds the mirror image of each scale.

    >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> found = classify_pyramid(model, torch.zeros(3, 8, 8), scales=Scales(factors=(1.0, 2.0)), flip="horizontal")
    >>> found.probabilities, [cost.size for cost in found.costs]
    (tensor([0.3333, 0.3333, 0.3333]), [(8, 8), (8, 8), (16, 16), (16, 16)])
    """
    found, costs = [], []
    for view, flipped in _views(model, image, scales, flip):
        scores, cost = _run(model, view[None], view, flipped)
        found.append(_scores(scores, 2).softmax(dim=1)[0])
        costs.append(cost)
    return PyramidScores(torch.stack(found).mean(dim=0), tuple(costs))


def segment_pyramid(
    model: nn.Module, image: Tensor, *, scales: Scales = _AS_IT_IS, flip: Flip = "none"
) -> PyramidScores:
    """The mean over views of each pixel's class probabilities.

    As `classify_pyramid`, but the model gives score maps (1, classes, h', w'), or a dict with them under "out" as
    torchvision does. They are resized to the image (bilinear, corners not aligned), then mirrored back, then softmax.
    """
    total, costs = torch.zeros(()), []
    for view, flipped in _views(model, image, scales, flip):
        maps, cost = _run(model, view[None], view, flipped)
        resized = functional.interpolate(_scores(maps, 4), size=image.shape[1:], mode="bilinear", align_corners=False)
        total = total.to(resized) + (resized.flip(-1) if flipped else resized).softmax(dim=1)[0]
        costs.append(cost)
    return PyramidScores(total / len(costs), tuple(costs))


def detect_pyramid(
    model: nn.Module,
    image: Tensor,
    *,
    scales: Scales = _AS_IT_IS,
    flip: Flip = "none",
    iou: float = 0.5,
    merge: Merge = "nms",
) -> PyramidBoxes:
    """The boxes of all views in the image's own pixels, merged by `merge_boxes`; those of a single view as they are.

    As `classify_pyramid`, but the model takes [(3, h, w)] and gives [{"boxes", "labels", "scores"}] with boxes xyxy in
    pixels of what it was given, as detectors of torchvision and of perimetry. Those resize what they are given, which
    would undo every scale: it is set aside during the run, so that `scales` alone decides. Raises `InputError` for a
    detector of one fixed size (SSD).
    """
    height, width = image.shape[-2:]
    found, costs = [], []
    for view, flipped in _views(model, image, scales, flip):
        with taken_as_given(model, view):
            (told,), cost = _run(model, [view], view, flipped)
        boxes = told["boxes"] * told["boxes"].new_tensor([width / view.shape[2], height / view.shape[1]] * 2)
        if flipped:
            boxes = flip_boxes(boxes, width)
        found.append((boxes, told["labels"], told["scores"]))
        costs.append(cost)
    if len(found) == 1:
        return PyramidBoxes(*found[0], tuple(costs))
    boxes, labels, scores = (torch.cat(each) for each in zip(*found, strict=True))
    return PyramidBoxes(*merge_boxes(boxes, labels, scores, iou=iou, merge=merge), tuple(costs))


def predict_pyramid(
    model: nn.Module, image: Tensor, *, task: Task, scales: Scales = _AS_IT_IS, flip: Flip = "none"
) -> PyramidScores | PyramidBoxes:
    """Classify, segment or detect by task: see `classify_pyramid`, `segment_pyramid`, `detect_pyramid`."""
    if task not in get_args(Task):
        raise UnknownNameError("task", task, known=get_args(Task), advice="one of " + ", ".join(get_args(Task)))
    if task == "classification":
        return classify_pyramid(model, image, scales=scales, flip=flip)
    if task == "segmentation":
        return segment_pyramid(model, image, scales=scales, flip=flip)
    return detect_pyramid(model, image, scales=scales, flip=flip)


def _views(model: nn.Module, image: Tensor, scales: Scales, flip: Flip) -> list[tuple[Tensor, bool]]:
    """Each scale of the image, and its mirror image after it; resized with antialiasing as in training."""
    if image.ndim != 3 or not image.is_floating_point():
        raise ShapeError(f"expected a normalised image (3, H, W) of floats, got {tuple(image.shape)} of {image.dtype}")
    if flip not in get_args(Flip):
        raise UnknownNameError("flip", flip, known=get_args(Flip), advice='"none" or "horizontal"')
    if model.training:
        raise TrainingModeError("the model is in training mode, where views would change its statistics; call eval()")
    views = []
    height, width = image.shape[1:]
    for size in scales.sizes(height, width):
        view = image
        if size != (height, width):
            view = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        views.append((view, False))
        if flip == "horizontal":
            views.append((view.flip(-1), True))
    return views


def _run(model: nn.Module, given: Any, view: Tensor, flipped: bool) -> tuple[Any, Cost]:
    height, width = view.shape[1:]

    def forward() -> Any:
        with torch.no_grad():
            return model(given)

    return run_measured(forward, size=(height, width), flipped=flipped, device=view.device)


def _scores(told: Any, axes: int) -> Tensor:
    """The scores that a model gave for one image."""
    scores = told.get("out") if isinstance(told, Mapping) else told
    if not isinstance(scores, Tensor) or scores.ndim != axes or len(scores) != 1:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(told).__name__
        expected = "(1, classes)" if axes == 2 else "(1, classes, h, w)"
        raise ShapeError(f'expected the model to give scores {expected}, or a dict with them under "out"; got {got}')
    return scores
