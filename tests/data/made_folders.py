"""Small datasets that tests make, one for each layout, right in every way until a test spoils something."""

import json

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(3)
HOSTILE = "<img src=x onerror=alert(1)>"


def image(path, height=12, width=16, **options):
    """A random image; another one every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, **options)
    return path


def mask(path, labels=None, height=12, width=16):
    """A palette PNG of labels; of 0, 1 and 255 where none are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if labels is None:
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2] = 1
        labels[0, 0] = 255
    picture = Image.fromarray(np.asarray(labels, dtype=np.uint8), mode="P")
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)
    return path


def xml(path, objects, size=(12, 16), filename="x.jpg"):
    """A VOC annotation; objects: (name, xmin, ymin, xmax, ymax)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"<annotation><filename>{filename}</filename>"]
    parts.append(f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>")
    for name, *corners in objects:
        name = name.replace("<", "&lt;").replace(">", "&gt;")
        told = "".join(
            f"<{tag}>{each}</{tag}>" for tag, each in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        parts.append(f"<object><name>{name}</name><difficult>0</difficult><bndbox>{told}</bndbox></object>")
    path.write_text("".join(parts) + "</annotation>", encoding="utf-8")
    return path


def class_folders(root, splits=("train", "val"), classes=("cat", "dog"), count=2):
    for split in splits or ("",):
        for name in classes:
            for number in range(count):
                image(root / split / name / f"{number}.png")
    return root


def voc_masks(root, names=("a", "b", "c"), classes=("_background_", "cell")):
    for name in names:
        image(root / "JPEGImages" / f"{name}.jpg")
        mask(root / "SegmentationClass" / f"{name}.png")
    (root / "classes.txt").write_text("\n".join(classes), encoding="utf-8")
    return root


def voc_boxes(root, names=("a", "b", "c"), objects=(("cat", 1, 1, 8, 6), ("dog", 3, 4, 16, 12))):
    for name in names:
        image(root / "JPEGImages" / f"{name}.jpg")
        xml(root / "Annotations" / f"{name}.xml", objects)
    return root


def lists(root, kind, **splits):
    folder = root / "ImageSets" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")


def coco(root, file="annotations.json", images=("a.jpg", "b.jpg"), folder="images", **changed):
    """Two images and two objects, both on the first; `changed` keys take the place of COCO's."""
    for name in images:
        image(root / folder / name)
    content = {
        "images": [{"id": 7 + i, "file_name": name, "height": 12, "width": 16} for i, name in enumerate(images)],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 4, 5], "area": 18, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0.5, 0, 8, 8], "area": 64, "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
    } | changed
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content), encoding="utf-8")
    return root
