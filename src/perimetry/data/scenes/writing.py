"""Writing scenes as folders that other programs read: class folders, or the layout of PASCAL VOC."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from torch import Tensor

from perimetry.data.scenes.scene_set import SceneSet
from perimetry.errors import InputError
from perimetry.files import write_whole

# One colour a class, background first; the pixels of a palette image are the classes themselves.
PALETTE = (
    (0, 0, 0),
    (230, 85, 60),
    (70, 130, 220),
    (95, 190, 90),
    (240, 195, 60),
    (165, 100, 200),
    (70, 195, 195),
    (235, 130, 180),
    (150, 150, 150),
)


def write_scenes(folder: str | Path, sets: Mapping[str, SceneSet]) -> None:
    """Write sets of scenes by the name of their split, all of one task and the same classes, into a new folder.

    Classification: `SPLIT/CLASS/NAME.png` (readers number classes by the order of their names). Else PASCAL VOC's
    layout: `JPEGImages/NAME.png` (lossless), and `SegmentationClass/NAME.png` with `ImageSets/Segmentation/SPLIT.txt`,
    or `Annotations/NAME.xml` (1-based, last pixel included) with `ImageSets/Main/SPLIT.txt`; `class_names.txt`, for
    masks with `_background_` first.
    Raises `InputError` for a folder that holds something already.

    >>> import tempfile
    >>> from perimetry.data.scenes import scenes
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": scenes("segmentation", count=2, size=(16, 16), seed=0)})
    >>> sorted(path.name for path in folder.rglob("*.*"))
    ['class_names.txt', 'train.txt', 'train_00000.png', 'train_00000.png', 'train_00001.png', 'train_00001.png']
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} is there already and not empty; name a new folder")
    if len({(each.task, each.classes) for each in sets.values()}) != 1:
        told = "; ".join(f"{split}: {each.task}, {', '.join(each.classes)}" for split, each in sets.items())
        raise InputError(f"expected one task and the same classes in every split, got {told or 'no split'}")
    for split in sets:
        if not split or not split.replace("_", "").replace("-", "").isalnum():
            raise InputError(f"expected a split's name of letters, digits, - and _, got {split!r}")
    for split, each in sets.items():
        _WRITERS[each.task](root, split, each)


def _write_classes(root: Path, split: str, images: SceneSet) -> None:
    for index in range(len(images)):
        image, label = images[index]
        _write(root / split / images.classes[label] / f"{_name(split, index)}.png", _png(_photo(image)))


def _write_masks(root: Path, split: str, images: SceneSet) -> None:
    for index in range(len(images)):
        image, mask = images[index]
        name = f"{_name(split, index)}.png"
        _write(root / "JPEGImages" / name, _png(_photo(image)))
        picture = Image.fromarray(mask.numpy().astype(np.uint8), mode="P")
        picture.putpalette([level for color in PALETTE for level in color])
        _write(root / "SegmentationClass" / name, _png(picture))
    _write_names(root, "Segmentation", split, images)


def _write_boxes(root: Path, split: str, images: SceneSet) -> None:
    height, width = images.knobs.size
    for index in range(len(images)):
        image, target = images[index]
        name = _name(split, index)
        _write(root / "JPEGImages" / f"{name}.png", _png(_photo(image)))
        rows = zip(target["boxes"].long().tolist(), target["labels"].tolist(), strict=True)
        objects = "".join(_object(images.classes[label - 1], *box) for box, label in rows)
        text = (
            f"<annotation>\n  <filename>{name}.png</filename>\n"
            f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
        )
        _write(root / "Annotations" / f"{name}.xml", text.encode())
    _write_names(root, "Main", split, images)


def _object(name: str, left: int, top: int, right: int, bottom: int) -> str:
    """One object; the box, whose end is not included and begins at 0, in VOC's way of counting."""
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"  <object><name>{escape(name)}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>\n"


def _write_names(root: Path, kind: str, split: str, images: SceneSet) -> None:
    names = "".join(f"{_name(split, index)}\n" for index in range(len(images)))
    _write(root / "ImageSets" / kind / f"{split}.txt", names.encode())
    _write(root / "class_names.txt", "".join(f"{name}\n" for name in images.classes).encode())


def _name(split: str, index: int) -> str:
    return f"{split}_{index:05d}"


def _photo(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


_WRITERS = {"classification": _write_classes, "segmentation": _write_masks, "detection": _write_boxes}
