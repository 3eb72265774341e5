"""Using a run: predictions of images as files, and scores on a data set, which are the scores of those files."""

from __future__ import annotations

from perimetry.prediction.evaluating import Choice, Evaluated, evaluate
from perimetry.prediction.predicting import Predicted, predict
from perimetry.prediction.views import ToldBoxes, View, mask_of, merged, views_of
from perimetry.training.run import Run, load_run

__all__ = [
    "Choice",
    "Evaluated",
    "Predicted",
    "Run",
    "ToldBoxes",
    "View",
    "evaluate",
    "load_run",
    "mask_of",
    "merged",
    "predict",
    "views_of",
]
