"""The folder of predictions: what was told of each image, kept by the weights that told it."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from perimetry.data import Sample
from perimetry.errors import FileError, InputError
from perimetry.files import encodable, write_whole
from perimetry.prediction import tables
from perimetry.prediction.pictures import box_picture, mask_picture, png_of_mask
from perimetry.prediction.views import Told, ToldBoxes, mask_of
from perimetry.report.views import package_version

_RECORD = "predictions.json"
# Seconds between two writings of the record, the work of which a kill can lose; and at most this share of the time.
_SAVE_EVERY, _SAVE_SHARE = 2.0, 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides predictions, so that those of other settings are not taken for these.

    weights: SHA-256 of the file of weights; labels: the name of each from 0 on; threshold: least score of boxes.
    """

    run: str
    checkpoint: str
    weights: str
    task: str
    labels: tuple[str, ...]
    scales: tuple[float, ...]
    flip: str
    crops: str
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in self._fields()}

    def same_as(self, stored: Mapping[str, Any]) -> bool:
        """Whether predictions with those settings are the same; where the run lies does not matter."""
        own = self.to_dict()
        return all(stored.get(name) == own[name] for name in own if name not in ("run", "checkpoint"))

    def _fields(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__dataclass_fields__]


@dataclass(slots=True, eq=False)
class PredictionFolder:
    """Where predictions go.

    predictions.json: the settings, and of each image its file and what was told; beside it, by task: masks/NAME.png
    (palette, of the image's size); boxes.json (COCO's results); labels.csv (for people) and scores.csv (for
    `perimetry score labels`); pictures/NAME.jpg. All are written whole.
    """

    path: Path
    settings: Settings
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    _next_save: float = 0.0

    @classmethod
    def open(cls, path: str | Path, settings: Settings) -> PredictionFolder:
        """Make the folder, or take it up again; predictions by other weights or settings are removed from it.

        Raises `InputError` for a folder that holds something else.
        """
        folder = cls(Path(path), settings)
        record = folder.path / _RECORD
        if record.is_file():
            stored = _read(record)
            if settings.same_as(stored["settings"]):
                folder.images = dict(stored["images"])
            else:
                for name in stored["images"]:
                    folder.drop(name)
                folder.save()  # before anything is told, or a kill would leave it under the old settings
        elif folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
            raise InputError(f"{path} holds something else; name a new folder for the predictions")
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {path}: {error.strerror}") from error
        return folder

    def mask_file(self, name: str) -> Path:
        """Where the mask of an image goes."""
        return self._inside("masks", name, ".png")

    def picture_file(self, name: str) -> Path:
        """Where the picture of an image goes."""
        return self._inside("pictures", name, ".jpg")

    def holds(self, sample: Sample, *, pictures: bool) -> bool:
        """Whether all was told of this image, by its name, size, time of change and proposals, and is there."""
        known = self.images.get(sample.name)
        if known is None or known["file"] != _state_of(sample):
            return False
        files = [self.mask_file(sample.name)] if self.settings.task == "segmentation" else []
        files += [self.picture_file(sample.name)] if pictures and self.settings.task != "classification" else []
        return all(file.is_file() for file in files)

    def add(self, sample: Sample, image: Tensor, told: Told, *, pictures: bool, labels: Sequence[str]) -> None:
        """Write what was told of an image, uint8 (3, H, W)."""
        kept: dict[str, Any] = {}
        pixels = image.permute(1, 2, 0).numpy()
        if isinstance(told, ToldBoxes):
            reaching = told.reaching(self.settings.threshold)
            kept = {
                "boxes": reaching.boxes_xyxy.double().tolist(),
                "labels": reaching.labels.tolist(),
                "scores": reaching.scores.double().tolist(),
            }
            if pictures:
                self._write(self.picture_file(sample.name), box_picture(pixels, reaching, labels))
        elif self.settings.task == "segmentation":
            mask = mask_of(told).numpy()
            self._write(self.mask_file(sample.name), png_of_mask(mask, classes=len(labels)))
            if pictures:
                self._write(self.picture_file(sample.name), mask_picture(pixels, mask, classes=len(labels)))
        else:
            kept = {"probabilities": told.double().tolist()}
        self.images[sample.name] = {"file": _state_of(sample), "path": str(sample.image), **kept}
        if time.monotonic() > self._next_save:
            self.save()

    def drop(self, name: str) -> None:
        """Remove what was told of an image, if anything was."""
        self.images.pop(name, None)
        for file in (self.mask_file(name), self.picture_file(name)):
            file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the record."""
        start = time.monotonic()
        content = {
            "schema": 1,
            "perimetry": package_version(),
            "settings": self.settings.to_dict(),
            "images": dict(sorted(self.images.items())),
        }
        write_whole(self.path / _RECORD, encodable(json.dumps(content, ensure_ascii=False)).encode())
        now = time.monotonic()
        self._next_save = now + max(_SAVE_EVERY, (now - start) / _SAVE_SHARE)

    def finish(self, *, ids: str | Path | None = None) -> tuple[Path, ...]:
        """Write the record and the files of all images together; returns what there is to use.

        ids: COCO's annotations by whose ids boxes.json calls images and classes, and not by name.
        """
        self.save()
        if self.settings.task == "segmentation":
            return (self.path / "masks",)
        images = dict(sorted(self.images.items()))
        labels = self.settings.labels
        if self.settings.task == "detection":
            self._write(self.path / "boxes.json", tables.coco_results(images, labels, ids=ids).encode())
            return (self.path / "boxes.json",)
        self._write(self.path / "labels.csv", tables.labels_csv(images, labels).encode(errors="surrogateescape"))
        self._write(self.path / "scores.csv", tables.scores_csv(images, labels).encode(errors="surrogateescape"))
        return self.path / "labels.csv", self.path / "scores.csv"

    def _inside(self, kind: str, name: str, suffix: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"an image called {name!r} would be written outside of {self.path}; give it another name")
        return self.path / kind / f"{name}{suffix}"

    def _write(self, file: Path, content: bytes) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {file.parent}: {error.strerror}") from error
        write_whole(file, content)


def _state_of(sample: Sample) -> list[int]:
    """What changes when an image does: bytes, nanoseconds of its last change, and a sum over its proposals."""
    try:
        known = sample.image.stat()
    except OSError as error:
        raise FileError(f"{sample.image} cannot be read: {error.strerror}") from error
    proposals = [] if sample.proposals is None else [zlib.crc32(sample.proposals.tobytes())]
    return [known.st_size, known.st_mtime_ns, *proposals]


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_bytes())
        ok = isinstance(content["settings"], dict) and all("file" in each for each in content["images"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{record} is no record of predictions: {error}; name a new folder") from error
    if not ok:
        raise FileError(f"{record} is no record of predictions; name a new folder")
    return dict(content)
