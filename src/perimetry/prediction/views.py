"""What a run tells of one image: seen at several scales and mirrored, each view by itself, then together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry.data.pyramids import (
    Cost,
    Scales,
    classify_pyramid,
    merge_boxes,
    own_size,
    run_measured,
    segment_pyramid,
    taken_as_given,
)
from perimetry.data.transforms import Crop, TenCrop, TestTransform
from perimetry.data.transforms.geometry import flip_boxes
from perimetry.errors import InputError, PerimetryError, UnknownNameError, first_line
from perimetry.training.detection import takes_proposals
from perimetry.training.run import Run
from perimetry.training.tasks import named_outputs

Flip = Literal["none", "horizontal"]
Crops = Literal["centre", "ten"]


@dataclass(frozen=True, slots=True, eq=False)
class ToldBoxes:
    """What was detected, the best first: boxes_xyxy (K, 4), continuous, in pixels of the image; labels, scores (K,)."""

    boxes_xyxy: Tensor
    labels: Tensor
    scores: Tensor

    def reaching(self, threshold: float) -> ToldBoxes:
        """Those with at least that score."""
        kept = self.scores >= threshold
        return ToldBoxes(self.boxes_xyxy[kept], self.labels[kept], self.scores[kept])


# Probabilities (classes,) or (classes, H, W), or boxes; all on the CPU.
Told = Tensor | ToldBoxes


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the network told of one view, mirrored back and in the image's own pixels, and what that cost."""

    scale: float
    flipped: bool
    told: Told
    cost: Cost


def check_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """The factors, each once; raises `InputError` for what can be none.

    >>> check_scales([0.75, 1])
    (0.75, 1.0)
    """
    found = tuple(map(float, scales))
    if not found or not all(0 < each <= 16 for each in found) or len(set(found)) < len(found):
        raise InputError(f"expected scales above 0 and up to 16, each once, as 0.75,1,1.25; got {tuple(scales)}")
    return found


def views_of(
    run: Run,
    image: Tensor,
    *,
    scales: Sequence[float] = (1.0,),
    flip: Flip = "none",
    crops: Crops = "centre",
    proposals: Tensor | None = None,
) -> list[View]:
    """What the run's network tells of each view of an image, uint8 (3, H, W).

    scales: factors of the size at which the run's images were tested (of detectors: to which they bring images
    themselves). flip: "horizontal" adds each view's mirror image. crops: see `check_crops`. proposals: (P, 4) in pixels
    of the image, for detectors that are given them.
    Raises `InputError` where the network does not take an image of that size.
    """
    check_crops(run, crops, flip)
    device = next(iter(run.network.parameters())).device
    prepared, _ = (_ten_crops(run.transform) if crops == "ten" else run.transform)(image)
    prepared = prepared.to(device)
    if proposals is not None:
        proposals = proposals.to(device) * _ratio(image, prepared)
    if crops == "ten":
        looks = [(crop, number >= len(prepared) // 2) for number, crop in enumerate(prepared)]
    else:
        looks = [(prepared, False), (prepared.flip(-1), True)][: 1 + (flip == "horizontal")]
    found = []
    for scale in scales:
        for given, flipped in looks:
            try:
                boxes = flip_boxes(proposals, prepared.shape[2]) if flipped and proposals is not None else proposals
                told, cost = _tell(run, given, scale, boxes)
            except PerimetryError:
                raise
            except Exception as error:  # sizes that do not fit a layer, too little memory; networks raise anything
                size = "×".join(str(round(side * scale)) for side in given.shape[1:])
                raise InputError(
                    f"the network of {run.path} fails on an image of {size} pixels: {first_line(error)}; leave "
                    "other scales out, or give images of the size that it was trained on"
                ) from error
            back = _brought_back(told, prepared, image, flipped=flipped)
            found.append(View(scale, flipped, back, Cost(cost.size, flipped, cost.seconds, cost.peak_bytes)))
    return found


def check_crops(run: Run, crops: Crops, flip: Flip) -> None:
    """Raise where crops cannot be had: "ten" are a classifier's, the corners, the centre and each of them mirrored.

    Source: Krizhevsky et al. 2012, section 4.1.
    """
    if crops not in get_args(Crops):
        raise UnknownNameError("choice of crops", crops, known=get_args(Crops), advice='"centre" or "ten"')
    if crops == "ten" and run.recipe.task != "classification":
        raise InputError(f"ten crops are of classifiers, and the run is for {run.recipe.task}; leave --ten-crop out")
    if crops == "ten" and flip != "none":
        raise InputError("five of the ten crops are mirrored already; leave --flip or --ten-crop out")


def _ten_crops(transform: TestTransform) -> TestTransform:
    """The transform with ten crops where it has one."""
    return TestTransform(tuple(TenCrop(step.size) if isinstance(step, Crop) else step for step in transform.steps))


def merged(views: Sequence[View]) -> Told:
    """All views as one: the mean of probabilities; boxes by `perimetry.data.pyramids.merge_boxes`, unless it is one."""
    told = [view.told for view in views]
    if len(told) == 1:
        return told[0]
    boxes = [each for each in told if isinstance(each, ToldBoxes)]
    if not boxes:
        return torch.stack([each for each in told if isinstance(each, Tensor)]).mean(dim=0)
    parts = (torch.cat([getattr(each, name) for each in boxes]) for name in ("boxes_xyxy", "labels", "scores"))
    return ToldBoxes(*merge_boxes(*parts))


def mask_of(probabilities: Tensor) -> Tensor:
    """The most probable label of each pixel: (classes, H, W) to (H, W)."""
    return probabilities.argmax(dim=0)


class _Main(nn.Module):
    """A network whose main output alone is told, whatever else it returns."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        return named_outputs(self.network(images), self.name)[self.name]


def _tell(run: Run, image: Tensor, scale: float, proposals: Tensor | None) -> tuple[Any, Cost]:
    """What the network says of one prepared view."""
    levels = Scales(factors=(scale,))
    if run.recipe.task == "classification":
        found = classify_pyramid(_Main(run.network, "logits").eval(), image, scales=levels)
        return found.probabilities, found.costs[0]
    if run.recipe.task == "segmentation":
        found = segment_pyramid(_Main(run.network, "out").eval(), image, scales=levels)
        return found.probabilities, found.costs[0]
    return _detect(run, image, scale, proposals)


def _detect(run: Run, image: Tensor, scale: float, proposals: Tensor | None) -> tuple[ToldBoxes, Cost]:
    height, width = image.shape[1:]
    rows, columns = own_size(run.network, height, width)
    view = image
    if scale != 1:
        size = (max(1, round(rows * scale)), max(1, round(columns * scale)))
        view = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        rows, columns = size
    ratio = _ratio(image, view)
    given: tuple[Any, ...] = ()
    if takes_proposals(run.network):
        if proposals is None:
            raise InputError(
                f"the network of {run.path} is given proposals, and the images have none; name their file with "
                "--proposals (proposals=)"
            )
        given = ([proposals * ratio],)

    def forward() -> Any:
        with torch.no_grad():
            return run.network([view], *given)

    # Unscaled the network's own resizing is at work, as in training.
    with taken_as_given(run.network, view) if scale != 1 else nullcontext():
        (told,), cost = run_measured(forward, size=(rows, columns), flipped=False, device=image.device)
    return ToldBoxes(told["boxes"] / ratio, told["labels"], told["scores"]), cost


def _ratio(image: Tensor, other: Tensor) -> Tensor:
    """How many pixels of the other are one of the image: x, y, x, y."""
    x, y = other.shape[2] / image.shape[2], other.shape[1] / image.shape[1]
    return torch.tensor([x, y, x, y], device=other.device)


def _brought_back(told: Any, prepared: Tensor, image: Tensor, *, flipped: bool) -> Told:
    """In pixels of the image as it was read, on the CPU."""
    if isinstance(told, Tensor):
        if told.ndim == 1:
            return told.float().cpu()
        upright = (told.flip(-1) if flipped else told).float()
        if upright.shape[1:] != image.shape[1:]:
            upright = functional.interpolate(upright[None], size=image.shape[1:], mode="bilinear")[0]
        return upright.cpu()
    boxes = flip_boxes(told.boxes_xyxy, prepared.shape[2]) if flipped else told.boxes_xyxy
    boxes = boxes.float().cpu() * _ratio(prepared, image).cpu()
    order = told.scores.float().cpu().argsort(descending=True, stable=True)
    return ToldBoxes(boxes[order], told.labels.cpu()[order], told.scores.float().cpu()[order])
