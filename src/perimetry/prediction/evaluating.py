"""evaluate(): the scores of a run on a split, which are those of its predictions as `perimetry score` finds them."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from perimetry.data import Dataset, Sample
from perimetry.errors import InputError, UnknownNameError
from perimetry.files import encodable, write_whole
from perimetry.images import read_pixels
from perimetry.metrics import BoxPrediction, BoxTruth
from perimetry.prediction.pictures import png_of_mask
from perimetry.prediction.predicting import Show, check_proposals, told_of
from perimetry.prediction.sets import Boxes, LabelledImages, labelled_images, own_photos
from perimetry.prediction.views import Crops, Flip, Told, ToldBoxes, View, check_crops, check_scales, mask_of, merged
from perimetry.scoring.annotations import inclusive_corners
from perimetry.scoring.boxes import score_boxes
from perimetry.scoring.labels import score_labels
from perimetry.scoring.masks import score_masks
from perimetry.scoring.results import Scored
from perimetry.scoring.results import told as plain_scores
from perimetry.training.run import Run

# The score that stands for all, by kind.
HEADLINES: Mapping[str, tuple[str, ...]] = {
    "masks": ("miou", "pixel_accuracy"),
    "boxes": ("voc_map", "voc07_map", "coco_ap", "ap50"),
    "labels": ("accuracy", "balanced_accuracy"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One way to look at each image, its scores, and what it cost.

    scales: factors; crops: "ten" or "centre"; seconds: of the network alone on all views of an image, the
    mean over images; peak_bytes: the most that its results took at once, None where the device does not tell.
    """

    scales: tuple[float, ...]
    flip: Flip
    crops: Crops
    scored: Scored
    seconds: float
    peak_bytes: int | None

    def headlines(self) -> dict[str, Any]:
        """The few scores that stand for all."""
        total = plain_scores(self.scored.total)
        return {name: total[name] for name in HEADLINES[self.scored.kind] if name in total}

    def by_size(self) -> dict[str, Any]:
        """The scores by the size of objects, as `SizeScores`; empty where no `sizes` asked for them."""
        found: dict[str, Any] = plain_scores(self.scored.total).get("by_size", {})
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The scores of a run.

    choice: all scales and flips together; choices: each scale by itself, and then all, where there are several.
    photos: the image of each name.
    """

    run: Run
    data: str
    split: str | None
    choice: Choice
    choices: tuple[Choice, ...]
    photos: Mapping[str, Path]
    # The masks that were told lie there, as long as anyone may look at them.
    _folder: _Folder | None = field(default=None, repr=False)

    @property
    def scored(self) -> Scored:
        """All scores: of the whole set, by class, and of each image."""
        return self.choice.scored

    def mined_photos(self) -> dict[str, Path]:
        """The file of each image in which bootstrapping may have found something; none where the data has gone."""
        return own_photos(self.run) if self.run.mined() else {}

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, as `--json` writes it: the run, each choice, and what `perimetry score` tells."""
        cost = self.run.cost()
        return {
            "schema": 1,
            "run": str(self.run.path),
            "checkpoint": self.run.checkpoint,
            "step": self.run.step,
            "weights": self.run.weights,
            "trained": None if cost is None else cost.to_dict(),
            "data": self.data,
            "split": self.split,
            "scales": list(self.choice.scales),
            "flip": self.choice.flip,
            "crops": self.choice.crops,
            "choices": [
                {
                    "scales": list(each.scales),
                    "flip": each.flip,
                    "crops": each.crops,
                    **each.headlines(),
                    **({"by_size": each.by_size()} if each.by_size() else {}),
                    "seconds": each.seconds,
                    "peak_bytes": each.peak_bytes,
                }
                for each in self.choices
            ],
            **{name: value for name, value in self.scored.to_dict().items() if name != "schema"},
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return encodable(json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False))

    def to_csv(self) -> str:
        """One row for each image."""
        return self.scored.to_csv()

    def to_html(self) -> str:
        """One page: curves of the training, scores by class, samples with predictions, the worst ones, the recipe."""
        from perimetry.report.run_html import run_html

        return run_html(self)

    def to_text(self, *, width: int = 80, color: bool = False) -> str:
        """For a terminal."""
        from perimetry.report.run_text import run_text

        return run_text(self, width=width, color=color)


def evaluate(
    run: Run,
    data: str | Path | Dataset | None = None,
    *,
    split: str | None = None,
    proposals: str | Path | None = None,
    scales: Sequence[float] = (1.0,),
    flip: Flip = "none",
    crops: Crops = "centre",
    boxes: Boxes | None = None,
    sizes: Sequence[float] = (),
    progress: Show | None = None,
) -> Evaluated:
    """Score the run on the images of a split.

    data, split, proposals: see `perimetry.prediction.sets.labelled_images`. scales, flip, crops: see `views_of`; with
    several scales each is scored by itself too, with its time and memory. boxes: whose definition of average precision
    detections are scored by, "voc" or "coco"; by default that which is usual for the data. sizes: of objects, bounds in
    pixels between which COCO's scores are told apart, as `perimetry.metrics.coco_by_size` does. Images are read one by
    one. Raises `FileError` for an image or a truth that cannot be read, `InputError` for data that do not fit.
    """
    factors = check_scales(scales)
    check_proposals(run, proposals)
    check_crops(run, crops, flip)
    chosen = labelled_images(run, data, split=split, proposals=proposals)
    chosen = replace(chosen, boxes=_definition(run, chosen.boxes, boxes, sizes))
    samples = chosen.data.samples
    # Each scale by itself, and all together at the end.
    ways = [*((factor,) for factor in factors if len(factors) > 1), factors]
    folder = _Folder()
    collected = [_Collected(run, chosen, folder.path / str(place), sizes) for place in range(len(ways))]
    for number, sample in enumerate(samples):
        if progress is not None:
            progress(number, len(samples))
        views = told_of(run, sample, read_pixels(sample.image), factors, flip, crops)
        for way, each in zip(ways, collected, strict=True):
            each.add(sample, [view for view in views if view.scale in way])
    choices = tuple(
        Choice(way, flip, crops, each.scored(), each.seconds / len(samples), each.peak)
        for way, each in zip(ways, collected, strict=True)
    )
    photos = {sample.name: sample.image for sample in samples}
    where = str(data) if isinstance(data, str | Path) else chosen.data.name if data is not None else run.recipe.data
    return Evaluated(run, where, chosen.split, choices[-1], choices, photos, folder)


def _definition(run: Run, usual: Boxes, asked: Boxes | None, sizes: Sequence[float]) -> Boxes:
    """Whose average precision is told; raises `InputError` for what is not of boxes, or not of that definition."""
    for name, given in (("boxes", asked), ("sizes", sizes)):
        if given and run.recipe.task != "detection":
            raise InputError(f"{name} is for detection, and the run is for {run.recipe.task}; leave --{name} out")
    if asked is not None and asked not in get_args(Boxes):
        raise UnknownNameError("definition of scores", asked, known=get_args(Boxes), advice='"voc" or "coco"')
    definition = asked or usual
    if len(sizes) and definition != "coco":
        raise InputError("sizes are told apart by COCO's scores; ask for those with --boxes coco (boxes='coco')")
    return definition


class _Folder:
    """A folder that is there as long as this object is."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="perimetry-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _Collected:
    """What one choice of views told of all images."""

    def __init__(self, run: Run, chosen: LabelledImages, folder: Path, sizes: Sequence[float]) -> None:
        self.run, self.chosen, self.folder, self.sizes = run, chosen, folder, sizes
        self.told: dict[str, Any] = {}
        self.seconds = 0.0
        self.peak: int | None = 0
        folder.mkdir()

    def add(self, sample: Sample, views: Sequence[View]) -> None:
        """Keep what the views tell together."""
        self.told[sample.name] = self._kept(merged(views), len(self.told))
        self.seconds += sum(view.cost.seconds for view in views)
        for view in views:
            peak = view.cost.peak_bytes
            self.peak = None if peak is None or self.peak is None else max(self.peak, peak)

    def scored(self) -> Scored:
        """The scores, as `perimetry score` finds them."""
        samples, classes = self.chosen.data.samples, self.run.classes
        photos = {sample.name: sample.image for sample in samples}
        if self.run.recipe.task == "classification":
            labels = {sample.name: classes[_known(sample.label, sample)] for sample in samples}
            return score_labels(labels, self.told, classes=classes)
        if self.run.recipe.task == "segmentation":
            truth = {sample.name: _known(sample.mask, sample) for sample in samples}
            return score_masks(truth, self.told, classes=classes, ignore=self.run.recipe.ignore, photos=photos)
        inclusive = self.chosen.boxes == "voc"
        true = {sample.name: _box_truth(sample, classes, inclusive=inclusive) for sample in samples}
        return score_boxes(
            true,
            self.told,
            metrics=("voc07", "voc10") if inclusive else ("coco",),
            classes=classes,
            sizes=self.sizes,
            photos=photos,
        )

    def _kept(self, told: Told, number: int) -> Any:
        """In the form that scoring takes; masks go to a file, since those of a large set would fill the memory."""
        if isinstance(told, ToldBoxes):
            boxes = told.boxes_xyxy.double().tolist()
            if self.chosen.boxes == "voc":
                boxes = [inclusive_corners(box) for box in boxes]
            labels = [self.run.label_names[label] for label in told.labels.tolist()]
            return BoxPrediction(np.array(boxes).reshape(-1, 4), told.scores.double().tolist(), labels)
        if self.run.recipe.task == "segmentation":
            file = self.folder / f"{number}.png"
            write_whole(file, png_of_mask(mask_of(told).numpy(), classes=len(self.run.classes)))
            return file
        return dict(zip(self.run.classes, told.double().tolist(), strict=True))


def _box_truth(sample: Sample, classes: Sequence[str], *, inclusive: bool) -> BoxTruth:
    objects = _known(sample.objects, sample)
    boxes = [inclusive_corners(box) if inclusive else list(box) for box in objects.boxes_xyxy]
    labels = [classes[label - 1] for label in objects.labels]
    return BoxTruth(np.array(boxes).reshape(-1, 4), labels, objects.difficult, None if inclusive else objects.areas)


def _known(truth: Any, sample: Sample) -> Any:
    if truth is None:
        raise InputError(f"the sample {sample.name} has no truth for this task; evaluate on labelled data")
    return truth
