"""Reading samples and proposals: pixels and truth as tensors, and one error that names the file."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.made_folders import class_folders, coco, mask, voc_boxes, voc_masks
from perimetry.data import Sample, open_dataset, read_mask, read_proposals, read_sample, with_proposals
from perimetry.errors import FileError, InputError, ShapeError


def test_a_class(tmp_path):
    dataset = open_dataset(class_folders(tmp_path, splits=None))
    pixels, label = read_sample(dataset.samples[2])
    assert label == 1
    stored = np.asarray(Image.open(dataset.samples[2].image))
    torch.testing.assert_close(pixels, torch.from_numpy(stored.transpose(2, 0, 1).copy()), rtol=0, atol=0)


def test_a_mask_keeps_its_indices(tmp_path):
    dataset = open_dataset(voc_masks(tmp_path))
    pixels, labels = read_sample(dataset.samples[0])
    assert (pixels.dtype, labels.dtype, labels.shape) == (torch.uint8, torch.int64, pixels.shape[1:])
    assert labels.unique().tolist() == [0, 1, 255] and labels[0, 0] == 255


def test_masks_of_one_bit_are_0_and_1(tmp_path):
    Image.fromarray(np.eye(4) > 0).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == np.eye(4, dtype=int).tolist()


def test_boxes(tmp_path):
    dataset = open_dataset(voc_boxes(tmp_path))
    _, target = read_sample(dataset.samples[0])
    torch.testing.assert_close(target["boxes"], torch.tensor([[0.0, 0, 8, 6], [2, 3, 16, 12]]))
    assert target["labels"].tolist() == [1, 2] and not target["difficult"].any()
    _, empty = read_sample(Sample("a", dataset.samples[0].image, objects=type(dataset.samples[0].objects)()))
    assert (empty["boxes"].shape, empty["labels"].dtype) == ((0, 4), torch.int64)


def test_errors_name_the_file(tmp_path):
    dataset = open_dataset(voc_masks(tmp_path))
    first = dataset.samples[0]
    mask(first.mask, height=3)
    with pytest.raises(ShapeError, match=r"a\.png has 3×16 pixels and its image .*a\.jpg has 12×16"):
        read_sample(first)
    first.image.write_bytes(b"")
    with pytest.raises(FileError, match=r"a\.jpg is not a photo"):
        read_sample(first)
    with pytest.raises(InputError, match="the sample b has no label, mask or objects"):
        read_sample(Sample("b", dataset.samples[1].image))


BOXES = {"a": [[0, 0, 8, 6], [1, 1, 2, 2]], "b": [], "c": [[0, 0, 1, 1]]}


def written(folder):
    """The same proposals in every form."""
    (folder / "p.json").write_text(json.dumps(BOXES))
    np.savez(folder / "p.npz", **{f"{name}.jpg": np.reshape(boxes, (-1, 4)) for name, boxes in BOXES.items()})
    rows = [f"{name},{','.join(map(str, box))}" for name, boxes in BOXES.items() for box in boxes] + ["b,,,,"]
    (folder / "p.csv").write_text("\n".join(["name,x1,y1,x2,y2", *rows]))
    coco = [
        {"image_id": name, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 1 / (1 + number)}
        for name, boxes in BOXES.items()
        for number, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    (folder / "results.json").write_text(json.dumps(coco[::-1]))  # the order of the scores counts


@pytest.mark.parametrize("file", ["p.json", "p.npz", "p.csv", "results.json"])
def test_proposals_in_every_form(tmp_path, file):
    written(tmp_path)
    dataset = open_dataset(voc_boxes(tmp_path / "voc"))
    found = read_proposals(tmp_path / file)
    if file == "results.json":  # which cannot say that an image has none
        with pytest.raises(InputError, match="1 of 3 images have no proposals: b; an empty list is one"):
            with_proposals(dataset, found)
        found["b"] = np.zeros((0, 4), np.float32)
    for sample in with_proposals(dataset, found).samples:
        told = read_sample(sample)[1]["proposals"]
        torch.testing.assert_close(told, torch.tensor(BOXES[sample.name], dtype=torch.float32).reshape(-1, 4))


def test_proposals_of_images_of_one_name_in_two_folders_are_kept_apart(tmp_path):
    for split in ("train", "val"):
        coco(tmp_path / split, images=("a.v1.jpg", "b.jpg"), folder=".")
    dataset = open_dataset(tmp_path, task="detection")
    boxes = {name: np.full((1, 4), place, np.float32) for place, name in enumerate(s.name for s in dataset.samples)}
    for given in (boxes, {f"{name}.jpg": each for name, each in boxes.items()}):
        for sample in with_proposals(dataset, given).samples:
            np.testing.assert_array_equal(sample.proposals, boxes[sample.name])
    short = {"a.v1": boxes["train/a.v1"], "b.jpg": boxes["train/b"]}
    with pytest.raises(InputError, match=r"the proposals of a.v1 may be those of train/a.v1, val/a.v1; name them as"):
        with_proposals(dataset, short)
    for sample in with_proposals(dataset.part("val"), short).samples:
        np.testing.assert_array_equal(sample.proposals, boxes[sample.name.replace("val", "train")])
    voc = open_dataset(voc_boxes(tmp_path / "voc", names="a"))
    assert len(with_proposals(voc, {"x/a.jpg": boxes["val/b"]}).samples[0].proposals) == 1
    with pytest.raises(InputError, match=r"the proposals of x/a\.jpg, y/a\.jpg may be those of a;"):
        with_proposals(voc, {"x/a.jpg": boxes["val/b"], "y/a.jpg": boxes["val/b"]})


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("p.json", '{"a": [[1, 2, 3]]}', ShapeError, r"a: expected boxes \(P, 4\)"),
        ("p.json", '{"a": [[5, 0, 3, 3]]}', InputError, "x2 < x1"),
        ("p.json", '{"a": [[5, 0, 3, "x"]]}', InputError, "in numbers"),
        ("p.json", '[{"image_id": 1}]', InputError, "entry 0"),
        ("p.json", "7", InputError, "holds a int"),
        ("p.json", "{", FileError, "is not JSON"),
        ("p.npz", "{", FileError, "NPZ"),
        ("p.csv", "name,x1\n", InputError, "lacks the columns y1, x2, y2"),
        ("p.mat", "", InputError, r"is called \.mat; expected \.json, \.npz, \.csv"),
    ],
)
def test_proposals_that_are_none(tmp_path, name, content, error, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_proposals(tmp_path / name)


def test_proposals_in_a_damaged_archive_are_named(tmp_path):
    np.savez(tmp_path / "p.npz", a=np.ones((2, 4)))
    content = bytearray((tmp_path / "p.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 32  # as if the file were a patch to another
    (tmp_path / "p.npz").write_bytes(bytes(content))
    with pytest.raises(FileError, match=r"p\.npz cannot be read as an NPZ file: "):
        read_proposals(tmp_path / "p.npz")


def test_proposals_that_hold_code_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", a=np.array([{}], dtype=object))
    with pytest.raises(FileError, match="cannot be read as an NPZ file"):
        read_proposals(tmp_path / "p.npz")
