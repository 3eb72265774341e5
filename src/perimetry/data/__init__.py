"""One's own labelled images: opening them by their layout, checking them before training, parting them by seed."""

from __future__ import annotations

from perimetry.data.check import check
from perimetry.data.dataset import BACKGROUND, IGNORED, TASKS, Dataset, Objects, Sample, Task
from perimetry.data.layouts import LAYOUTS, open_dataset
from perimetry.data.problems import KINDS, Problem
from perimetry.data.proposals import read_proposals, with_proposals
from perimetry.data.reading import read_mask, read_sample
from perimetry.data.splitting import split
from perimetry.data.summary import ClassCount, DataReport, ObjectSizes

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "KINDS",
    "LAYOUTS",
    "TASKS",
    "ClassCount",
    "DataReport",
    "Dataset",
    "ObjectSizes",
    "Objects",
    "Problem",
    "Sample",
    "Task",
    "check",
    "open_dataset",
    "read_mask",
    "read_proposals",
    "read_sample",
    "split",
    "with_proposals",
]
