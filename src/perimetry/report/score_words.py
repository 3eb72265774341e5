"""What scores are called on their page: names and meanings of those that programs read by short names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perimetry.metrics.unavailable import Unavailable
from perimetry.report.numbers import plain

NONE = "–"

# What each is, in a few words; what is not here goes by its own name, with spaces.
_NAMES = {
    "miou": ("mean IoU", "mean over classes of intersection over union"),
    "iou": ("IoU", "intersection over union"),
    "frequency_weighted_iou": ("frequency-weighted IoU", "each class weighted by its true pixels"),
    "pixel_accuracy": ("pixel accuracy", "share of the pixels that are right"),
    "mean_accuracy": ("mean accuracy", "mean over classes of the share of true pixels that are right"),
    "dice": ("Dice", "twice the intersection over the sum of the areas"),
    "mean_dice": ("mean Dice", "mean over classes"),
    "pixel_error": ("pixel error", "share of the pixels that differ"),
    "warping_error": ("warping error", "share of the pixels that differ after the truth was warped"),
    "isbi_error": ("ISBI warping error", "least share of pixels in splits and merges, of all thresholds"),
    "split_and_merge_error": ("split and merge error", "share of the pixels in splits and merges"),
    "mismatches": ("mismatches", "pixels that remain after the warp"),
    "split": ("splits", "pixels that divide an object"),
    "merge": ("merges", "pixels that join objects"),
    "object_addition": ("objects added", ""),
    "object_deletion": ("objects deleted", ""),
    "hole_addition": ("holes added", ""),
    "hole_deletion": ("holes deleted", ""),
    "components": ("connected groups", ""),
    "v_rand": ("V-Rand", "foreground-restricted Rand score, merges and splits weighted alike"),
    "v_info": ("V-Info", "foreground-restricted information score, merges and splits weighted alike"),
    "adapted_rand_error": ("adapted Rand error", "as scikit-image defines it"),
    "tpr": ("TPR", "true positive rate: recall"),
    "recall": ("recall", "share of what is there that was told"),
    "fpr": ("FPR", "false positive rate"),
    "tnr": ("TNR", "true negative rate: specificity"),
    "fnr": ("FNR", "false negative rate"),
    "npv": ("NPV", "negative predictive value"),
    "precision": ("precision", "share of what was told that is there"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "mcc": ("MCC", "Matthews correlation coefficient"),
    "balanced_accuracy": ("balanced accuracy", "mean of the classes' recalls"),
    "isbi_threshold": ("best threshold", "the one of the ISBI warping error"),
    "rand_error": ("Rand error", "share of the pairs of pixels that are joined in one image only"),
    "boundary_f": ("boundary F", "harmonic mean of the precision and recall of outlines"),
    "boundary_iou": ("boundary IoU", "intersection over union of the bands inside outlines"),
    "hausdorff": ("Hausdorff distance", "pixels"),
    "average_surface_distance": ("average surface distance", "pixels"),
    "differing": ("differing", "pixels, before the warp"),
    "ignored": ("ignored", ""),
    "roc_area": ("area under ROC", ""),
    "tp": ("TP", "true positives"),
    "fp": ("FP", "false positives"),
    "fn": ("FN", "false negatives"),
    "tn": ("TN", "true negatives"),
    "ap": ("AP", "average precision"),
    "ap50": ("AP50", "average precision at an overlap of 0.50"),
    "ar100": ("AR100", "recall, the mean over the overlaps 0.50 to 0.95, of at most 100 detections of a class"),
    "recall50": ("recall at 0.50", "at an overlap of 0.50, of at most 100 detections of a class"),
    "by_size": ("by size", "of objects, in pixels: the side of a square of the same area"),
    "ap75": ("AP75", "average precision at an overlap of 0.75"),
    "voc07_map": ("VOC 2007 mAP", "mean over classes of the average precision of eleven points"),
    "voc_map": ("VOC mAP", "mean over classes of the area under precision made monotonic"),
    "min_score": ("least score", "from which on detections count in precision, recall and F1"),
    "average_precision": ("average precision", ""),
    "top1": ("top-1 accuracy", "share of the rows whose true class has the highest score"),
    "top5": ("top-5 accuracy", "share of the rows whose true class is among the five highest scores"),
    "exact_match": ("exact match", "share of the rows of which every label is right"),
    "hamming_loss": ("Hamming loss", "share of the labels that are wrong"),
    "best_threshold": ("best threshold", "the one of the largest F1"),
    "best_f1": ("largest F1", "of all thresholds"),
    "rand_f_error": ("Rand F error", "one minus the F score of pairs of pixels"),
    "voc07_ap": ("VOC 2007 AP", "mean of eleven points"),
    "voc_ap": ("VOC AP", "area under precision made monotonic"),
    "coco_ap": ("COCO AP", "mean over the overlaps 0.50 to 0.95"),
    "roc": ("ROC", ""),
    "precision_recall": ("precision and recall", ""),
    "true": ("true", "detections that are right"),
    "false": ("false", "detections that are wrong, of any kind"),
    "duplicate": ("duplicate", "the object had been found by a higher score"),
    "badly_localised": ("badly localised", "overlaps an object of its class, but not enough"),
    "background": ("on background", "hardly overlaps any object of its class"),
    "missed": ("missed", "objects that nothing found"),
}


def name_of(name: str) -> str:
    """A score's name for people.

    >>> name_of("miou"), name_of("top_5")
    ('mean IoU', 'top 5')
    """
    return _NAMES[name][0] if name in _NAMES else plain(name).replace("_", " ")


def path_name(path: tuple[str, ...]) -> str:
    """The name of a score within others: its class or group behind it.

    >>> path_name(("iou", "cat")), path_name(("components", "split"))
    ('IoU, cat', 'connected groups, splits')
    """
    first, *more = path
    return ", ".join([name_of(first), *(name_of(each) for each in more)])


def meaning_of(name: str) -> str:
    """What a score is, in a few words; empty where its name says it."""
    return _NAMES.get(name, ("", ""))[1]


def value_text(value: object) -> str:
    """A score as people read it: whole numbers in full, others to four digits; a dash for what is unavailable.

    >>> value_text(123), value_text(0.123456), value_text(2e-5), value_text(Unavailable("no positives"))
    ('123', '0.1235', '2.00e−5', '–')
    """
    if value is None or isinstance(value, Unavailable):
        return NONE
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return plain(str(value))
    if value == int(value) and abs(value) < 1e15 and (isinstance(value, int) or abs(value) > 1):
        return f"{int(value):,}".replace(",", "\N{NO-BREAK SPACE}").replace("-", "−")
    if value == int(value):
        return f"{value:.0f}"
    small = abs(value) < 1e-3
    text = f"{value:.2e}".replace("e-0", "e-") if small else f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"
    return text.replace("-", "−")


def setting_text(value: Any) -> str:
    """How something was set: nothing as "none", yes and no, lists with commas."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(key))} {setting_text(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting_text, value))
    return plain(str(value))
