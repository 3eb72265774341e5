"""Results of scoring, made by hand or from small random images, without a file."""

import numpy as np

from perimetry.metrics import (
    BoxPrediction,
    BoxTruth,
    Unavailable,
    classify,
    mask_scores,
    match_boxes,
    threshold_sweep,
    warp,
)
from perimetry.scoring.pictures import BoundaryPicture, BoxPicture, MaskPicture
from perimetry.scoring.results import ImageScore, ScoreCurve, Scored

HOSTILE = "</script><img src=x onerror=alert(1)>"
FRUIT = ("apple", "pear", "fig", "plum")


def curves_of(scores, positive, label=""):
    """The ROC and the precision-recall curve of scores (N,), with the threshold of the largest F1 chosen."""
    sweep = threshold_sweep(positive, scores)
    best = sweep.best_f().threshold
    found = []
    for kind, curve, area, names in (
        ("roc", sweep.roc, sweep.roc_area, ("fpr", "tpr")),
        ("precision_recall", sweep.precision_recall, sweep.average_precision, ("recall", "precision")),
    ):
        chosen = int(np.flatnonzero(curve.thresholds == best)[0])
        found.append(ScoreCurve(kind, label, *names, curve.x, curve.y, curve.thresholds, area, chosen))
    return found


def labels(*, classes=FRUIT, rows=120, seed=0):
    """Rows of which two thirds are told right, and a curve per class."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(len(classes), size=rows)
    scores = generator.random((rows, len(classes)))
    scores[np.arange(rows), truth] += 0.45
    told = scores.argmax(axis=1)
    images = tuple(
        ImageScore(
            f"row{index:03d}",
            {"correct": float(true == guess), "score": float(scores[index].max())},
            facts={"label": classes[true], "predicted": classes[guess]},
        )
        for index, (true, guess) in enumerate(zip(truth.tolist(), told.tolist(), strict=True))
    )
    seen = mask_scores(truth, told, classes=len(classes))
    curves = [
        curve for index, name in enumerate(classes) for curve in curves_of(scores[:, index], truth == index, name)
    ]
    total = {
        "accuracy": float((truth == told).mean()),
        "mcc": Unavailable("truth or prediction holds one class only"),
        "macro": {"recall": 0.5, "precision": 0.6},
        "recall": dict(zip(classes, seen.accuracy, strict=True)),
    }
    return Scored("labels", {"top": (1, 5)}, images, total, tuple(classes), seen.confusion, tuple(curves))


def masks(*, count=5, shape=(24, 32), classes=FRUIT, seed=0, photo=None, names=None):
    """Masks of vertical stripes, told with more noise the later they come; the truth's first row is ignored."""
    generator = np.random.default_rng(seed)
    images, summed = [], None
    for index in range(count):
        truth = np.broadcast_to(np.arange(shape[1]) * len(classes) // shape[1], shape).copy()
        told = np.where(
            generator.random(shape) < 0.05 + 0.1 * index, generator.integers(len(classes), size=shape), truth
        )
        ignored = np.zeros(shape, bool)
        ignored[0] = True
        seen = mask_scores(np.where(ignored, 255, truth), told, classes=len(classes), ignore=255)
        picture = MaskPicture(truth, told, (truth != told) & ~ignored, ignored)
        scores = {"miou": seen.miou, "pixel_accuracy": seen.pixel_accuracy} | {
            "iou": dict(zip(classes, seen.iou, strict=True))
        }
        name = names[index] if names else f"image{index}"
        images.append(ImageScore(name, scores, photo=photo, look=lambda picture=picture: picture))
        summed = seen.confusion.counts + (0 if summed is None else summed)
    from perimetry.metrics import ConfusionMatrix, MaskScores

    seen = MaskScores(ConfusionMatrix(summed))
    total = {"miou": seen.miou, "pixel_accuracy": seen.pixel_accuracy, "iou": dict(zip(classes, seen.iou, strict=True))}
    return Scored("masks", {"ignore": 255}, tuple(images), total, tuple(classes), seen.confusion)


def boundaries(*, count=3, shape=(40, 48), seed=0, sweep=True, photo=None):
    """Cells between walls, told with holes in the walls and with specks."""
    generator = np.random.default_rng(seed)
    images = []
    for index in range(count):
        truth = np.ones(shape, bool)
        truth[::10] = truth[:, ::12] = False
        told = truth ^ (generator.random(shape) < 0.02 * (index + 1))
        warped = warp(truth, told)
        left = classify(warped)
        picture = BoundaryPicture(truth, told, warped.warped, left.image(*shape), 0.5)
        scores = {
            "pixel_error": float((truth != told).mean()),
            "warping_error": len(warped.places) / truth.size,
            **{name: float(value) for name, value in left.pixels.as_dict().items()},
            "components": {name: float(value) for name, value in left.components.as_dict().items()},
        }
        images.append(ImageScore(f"slice{index}", scores, photo=photo, look=lambda picture=picture: picture))
    total = dict(images[-1].scores)
    at = np.linspace(0, 0.9, 10)
    error = 0.02 + (at - 0.4) ** 2 / 10
    curves = (ScoreCurve("sweep", "", "threshold", "split_and_merge_error", at, error, at, Unavailable("none"), 4),)
    return Scored("boundaries", {"threshold": 0.5}, tuple(images), total, curves=curves if sweep else ())


def boxes(*, size=(60, 80), photo=None, names=("cat", "dog")):
    """Two images with a detection of every kind, and a missed object."""
    one, other = names
    truth = BoxTruth(
        [[5, 5, 25, 25], [40, 10, 70, 30], [10, 40, 30, 55], [60, 40, 75, 55]], [one, other, one, other], [0, 0, 0, 1]
    )
    told = BoxPrediction(
        [[5, 5, 25, 24], [6, 5, 25, 25], [48, 14, 78, 34], [45, 45, 55, 55], [60, 40, 75, 55]],
        [0.9, 0.8, 0.7, 0.6, 0.5],
        [one, one, other, one, other],
    )
    matching = match_boxes(truth, told, iou=0.6)
    picture = BoxPicture(truth, told, matching, *(size or (None, None)))
    images = tuple(
        ImageScore(name, {"f1": score, "missed": 2.0}, photo=photo, look=lambda: picture)
        for name, score in (("street", 0.4), ("garden", 0.2))
    )
    at = np.array([0.9, 0.8, 0.6])
    curves = tuple(
        ScoreCurve(
            "precision_recall",
            name,
            "recall",
            "precision",
            np.array([0.5, 0.5, 1]),
            np.array([1, 0.5, 0.6]),
            at,
            0.7,
            2,
        )
        for name in names
    )
    total = {"f1": 0.3, "voc07_ap": 0.4, "ap": {one: 0.5, other: Unavailable("no object of this class")}}
    return Scored("boxes", {"iou": 0.5}, images, total, tuple(names), curves=curves)


ALL = {"labels": labels, "masks": masks, "boundaries": boundaries, "boxes": boxes}
