"""Transforms: masks and boxes stay in step with pixels, and a sample is fixed by seed, epoch and index."""

import json
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from perimetry.data import transforms as t
from perimetry.data.scenes import scenes
from perimetry.data.transforms.geometry import crop, flip, resize
from perimetry.errors import InputError, ShapeError, UnknownNameError

close = torch.testing.assert_close


def photo(height, width, seed=0):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@st.composite
def one_box(draw):
    """An image that is white inside one box and black outside, the box, and it as a mask of class 3."""
    height, width = draw(st.integers(24, 70)), draw(st.integers(24, 70))
    left, top = draw(st.integers(0, width - 12)), draw(st.integers(0, height - 12))
    right, bottom = draw(st.integers(left + 10, width)), draw(st.integers(top + 10, height))
    mask = torch.zeros(height, width, dtype=torch.int64)
    mask[top:bottom, left:right] = 3
    image = (mask > 0).to(torch.uint8).repeat(3, 1, 1) * 255
    boxes = torch.tensor([[left, top, right, bottom]], dtype=torch.float32)
    return image, mask, {"boxes": boxes, "labels": torch.tensor([3])}


def bounds(inside):
    """The box of what is true in (H, W)."""
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


GEOMETRY = [
    t.ResizeShort((31,)),
    t.ResizeShort((20, 45, 80), longest=90),
    t.ResizeByEpoch((32, 24)),
    t.RandomScale(0.5, 2.0),
    t.Crop((30, 36), fill=(0, 0, 0), keep=0.0),
    t.Crop((40, 20), where="centre", fill=(0, 0, 0), keep=0.0),
    t.RandomResizedCrop((40, 30), area=(0.3, 1.0), keep=0.0),
    t.CropWithBoxes(keep=0.0),
    t.Flip(),
    t.Sanitize(),
]


@pytest.mark.parametrize("step", GEOMETRY, ids=repr)
@given(sample=one_box(), seed=st.integers(0, 1000), epoch=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_boxes_and_masks_stay_with_the_pixels(step, sample, seed, epoch):
    image, mask, target = sample
    draws = {"seed": seed, "epoch": epoch, "index": 0}
    moved, boxes = step((image, target), t.Draws(**draws))
    assert len(boxes["boxes"]) == len(boxes["labels"]) <= 1
    if len(boxes["boxes"]):
        (box,) = boxes["boxes"]
        height, width = moved.shape[1:]
        assert (box[:2] >= 0).all() and box[2] <= width and box[3] <= height and (box[2:] > box[:2]).all()
        if (box[2:] - box[:2]).min() >= 2:  # thinner than that, no pixel need be more than half inside
            assert (bounds(moved[0] > 127) - box).abs().max() <= 1
    else:
        assert (moved[0] > 127).sum() == 0
    if not isinstance(step, t.CropWithBoxes):  # which looks for boxes, so that a mask gets another window
        other, labels = step((image, mask), t.Draws(**draws))
        assert torch.equal(other, moved) and labels.shape == moved.shape[1:] and labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= {0, 3, 255}
        if len(boxes["boxes"]) and (box[2:] - box[:2]).min() >= 2:
            assert (bounds(labels == 3) - box).abs().max() <= 0.5001  # pixel centres


@given(
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    rows=st.integers(2, 50),  # torch 2.15 fails on antialiased uint8 of 1 x 1
    columns=st.integers(1, 50),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_geometry_is_that_of_torchvision(height, width, rows, columns, seed):
    image = photo(height, width, seed)
    corners = torch.rand(6, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    boxes = (corners * torch.tensor([width, height])).flatten(1)
    target = {"boxes": boxes, "labels": torch.arange(1, 7)}
    theirs = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    ours = resize((image, target), (rows, columns))
    assert torch.equal(ours[0], vision.resize(image, [rows, columns], antialias=True))
    close(ours[1]["boxes"], vision.resize(theirs, [rows, columns]).as_subclass(torch.Tensor))
    ours = flip((image, target))
    assert torch.equal(ours[0], vision.horizontal_flip(image))
    close(ours[1]["boxes"], vision.horizontal_flip(theirs).as_subclass(torch.Tensor))
    again = flip(ours)
    assert torch.equal(again[0], image)
    close(again[1]["boxes"], boxes)
    top, left = seed % 5, seed % 3
    ours = crop((image, target), top=top, left=left, size=(rows, columns), keep=0.0)
    assert torch.equal(ours[0], vision.crop(image, top, left, rows, columns))
    cut = vision.crop(theirs, top, left, rows, columns).as_subclass(torch.Tensor)
    far = torch.tensor([min(columns, width - left), min(rows, height - top)] * 2)  # ours end with the image, too
    cut = cut.minimum(far)
    close(ours[1]["boxes"], cut[(cut[:, 2:] > cut[:, :2]).all(1)])
    mask = torch.arange(height * width).reshape(height, width)
    centres = [[int(Fraction(2 * i + 1, 2) * m / n) for i in range(n)] for n, m in ((rows, height), (columns, width))]
    assert torch.equal(resize((image, mask), (rows, columns))[1], mask[centres[0]][:, centres[1]])


def test_a_crop_beyond_the_image_is_filled_and_ignored():
    image, mask = photo(5, 6), torch.ones(5, 6, dtype=torch.int64)
    cut, labels = crop((image, mask), top=-2, left=3, size=(9, 7), fill=(9, 8, 7))
    slow = torch.tensor([9, 8, 7], dtype=torch.uint8)[:, None, None].repeat(1, 9, 7)
    truth = torch.full((9, 7), 255)
    for row in range(9):
        for column in range(7):
            if 0 <= row - 2 < 5 and column + 3 < 6:
                slow[:, row, column], truth[row, column] = image[:, row - 2, column + 3], 1
    assert torch.equal(cut, slow) and torch.equal(labels, truth)


def test_boxes_stay_by_their_centre_or_by_a_share_of_their_area():
    boxes = torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10], [4, 0, 14, 10], [30, 0, 40, 10]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2, 3, 4])}

    def stay(keep):
        return crop((photo(20, 50), target), top=0, left=0, size=(10, 10), keep=keep)[1]["labels"].tolist()

    assert stay("centre") == [1, 3]  # centres at 5, 11, 9 and 35
    assert [stay(share) for share in (0.0, 0.4, 0.5, 0.6, 0.7)] == [[1, 2, 3], [1, 2, 3], [1, 3], [1, 3], [1]]


def test_what_stands_beside_boxes_follows_them():
    target = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [20, 0, 40, 10], [0, 0, 4, 4]]),
        "labels": torch.tensor([1, 2, 3]),
        "difficult": torch.tensor([False, True, False]),
        "areas": torch.tensor([50.0, 100.0, 16.0]),
        "proposals": torch.tensor([[0.0, 0, 30, 20], [0, 0, 5, 5]]),
        "hard_negatives": torch.tensor([[12.0, 2, 60, 4]]),
    }
    _, found = crop((photo(20, 50), target), top=0, left=10, size=(10, 30), keep=0.0)
    assert found["labels"].tolist() == [2] and found["difficult"].tolist() == [True]
    close(found["boxes"], torch.tensor([[10.0, 0, 30, 10]]))
    close(found["proposals"], torch.tensor([[0.0, 0, 20, 10]]))
    close(found["hard_negatives"], torch.tensor([[2.0, 2, 30, 4]]))
    _, found = resize((photo(20, 50), target), (40, 50))
    close(found["areas"], torch.tensor([100.0, 200.0, 32.0]))
    _, found = t.Sanitize(5)((photo(20, 50), target), t.Draws(seed=0, epoch=0, index=0))
    assert found["labels"].tolist() == [1, 2]


def test_a_crop_keeps_a_box_where_there_is_one():
    target = {"boxes": torch.tensor([[2.0, 3, 6, 7]]), "labels": torch.tensor([1])}
    for index in range(100):
        image, found = t.CropWithBoxes((0.2, 0.5))((photo(60, 60), target), t.Draws(seed=0, epoch=0, index=index))
        assert len(found["boxes"]) == 1
        assert image.shape[1] <= 30 or image.shape[1:] == (60, 60)
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    image, found = t.CropWithBoxes((0.2, 0.5))((photo(60, 60), empty), t.Draws(seed=0, epoch=0, index=0))
    assert image.shape[1] <= 30 and found["boxes"].shape == (0, 4)


@given(height=st.integers(10, 900), width=st.integers(10, 900), short=st.integers(5, 700))
@settings(max_examples=100, deadline=None)
def test_the_short_side_is_that_of_torchvision(height, width, short):
    assert list(t.ResizeShort((short,)).size(height, width)) == v2.functional._geometry._compute_resized_output_size(
        (height, width), size=[short]
    )
    longest = short + 50
    rows, columns = t.ResizeShort((short,), longest).size(height, width)
    assert max(rows, columns) <= longest and (min(rows, columns) == short or max(rows, columns) == longest)
    assert abs(rows / columns * width / height - 1) <= 1.01 / min(rows, columns)


def test_scales_are_drawn_by_image_and_by_epoch():
    pyramid = t.ResizeShort((48, 57, 68, 86, 120))
    image = photo(40, 50)
    shorts = Counter(
        min(pyramid((image, None), t.Draws(seed=1, epoch=0, index=index))[0].shape[1:]) for index in range(500)
    )
    assert set(shorts) == set(pyramid.sizes) and all(70 <= count <= 130 for count in shorts.values())
    sides = [
        t.ResizeByEpoch((224, 180))((image, None), t.Draws(seed=1, epoch=epoch, index=3))[0].shape[1]
        for epoch in range(4)
    ]
    assert sides == [224, 180, 224, 180]


def test_resized_crops_have_the_areas_and_ratios_they_say():
    step = t.RandomResizedCrop((8, 8), area=(0.1, 0.6))
    windows = [step.window(300, 400, t.Draws(seed=0, epoch=0, index=index)) for index in range(2000)]
    shares = torch.tensor([rows * columns / (300 * 400) for _, _, rows, columns in windows])
    ratios = torch.tensor([columns / rows for _, _, rows, columns in windows])
    assert all(top + rows <= 300 and left + columns <= 400 for top, left, rows, columns in windows)
    # Uniform between its ends: mean 0.35 and deviation 0.144, whose mean over 2000 strays by 0.0032.
    assert shares.min() > 0.095 and shares.max() < 0.605 and abs(shares.mean() - 0.35) < 0.02
    assert ratios.min() > 0.74 and ratios.max() < 1.35 and abs(ratios.log().mean()) < 0.02
    narrow = t.RandomResizedCrop((8, 8), area=(0.9, 1.0)).window(10, 1000, t.Draws(seed=0, epoch=0, index=0))
    assert narrow[2:] == (10, 13)  # no window fits, so the largest of ratio 4/3


SSD = t.ColorJitter(0.125, 0.5, 0.5, 0.05, probability=0.5)
PIPELINES = {
    "classic": (
        t.classic_training(seed=3, size=40, short=(48, 56), jitter=t.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        "classification",
    ),
    "resized": (t.resized_crop_training(seed=3, size=32, lighting=t.Lighting()), "classification"),
    "masks": (t.segmentation_training(seed=3, size=(40, 48)), "segmentation"),
    "boxes": (
        t.detection_training(
            seed=3, sizes=(40, 60), longest=90, crop=t.CropWithBoxes(), jitter=t.ColorJitter(0.125, 0.5, 0.5, 0.05, 0.5)
        ),
        "detection",
    ),
}


def equal(one, other):
    if isinstance(one, dict):
        return all(torch.equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("name", PIPELINES)
def test_a_sample_is_fixed_by_seed_epoch_and_index(name):
    transform, task = PIPELINES[name]
    dataset = t.Transformed(
        scenes(task, count=6, size=(50, 60), seed=0, objects=(0 if task == "detection" else 1, 3)), transform
    )
    keys = [(epoch, index) for epoch in range(2) for index in range(6)]
    before = torch.random.get_rng_state()
    forward = [dataset[key] for key in keys]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    backward = [dataset[key] for key in reversed(keys)][::-1]
    loaded = list(DataLoader(dataset, batch_size=None, sampler=keys, num_workers=2))
    for one, *others in zip(forward, backward, loaded, strict=True):
        assert one[0].dtype == torch.float32
        for other in others:
            assert torch.equal(one[0], other[0]) and equal(one[1], other[1])
    assert len(dataset) == 6
    assert len({image.sum().item() for image, _ in forward}) == 12  # epochs differ


@pytest.mark.parametrize("name", PIPELINES)
def test_no_class_is_invented_and_boxes_stay_inside(name):
    transform, task = PIPELINES[name]
    images = scenes(task, count=40, size=(50, 60), seed=1, classes=5, objects=(1, 4))
    for index in range(40):
        image, target = transform(*images[index], epoch=0, index=index)
        had = images[index][1]
        if task == "classification":
            assert target == had
        elif task == "segmentation":
            assert image.shape[1:] == target.shape == (40, 48)
            assert set(target.unique().tolist()) <= set(had.unique().tolist()) | {255}
            outside = (image.abs() < 0.01).all(0)  # the mean colour is what is added around the image
            assert outside[target == 255].all()
        else:
            boxes = target["boxes"]
            assert Counter(target["labels"].tolist()) <= Counter(had["labels"].tolist())
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= torch.tensor(image.shape[:0:-1])).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 1).all() and len(boxes) == len(target["labels"]) > 0


def test_nothing_is_changed_in_place():
    for transform, task in PIPELINES.values():
        image, target = scenes(task, count=3, size=(50, 60), seed=1)[1]
        copies = image.clone(), {key: value.clone() for key, value in target.items()} if task == "detection" else target
        transform(image, target, epoch=0, index=1)
        assert torch.equal(image, copies[0]) and equal(target, copies[1])


def test_ten_crops_are_those_of_a_slow_loop_and_of_torchvision():
    image = photo(37, 50)
    crops, label = t.TenCrop((20, 23))((image, 4), t.Draws(seed=0, epoch=0, index=0))
    expected = []
    for mirrored in (False, True):
        for top, left in ((0, 0), (0, 27), (17, 0), (17, 27), (8, 14)):
            cut = image[:, top : top + 20, left : left + 23]
            expected.append(cut.flip(2) if mirrored else cut)
    assert label == 4 and torch.equal(crops, torch.stack(expected))
    # torchvision mirrors the image before it crops, which moves an odd centre by a pixel: here the sides are even.
    crops, _ = t.TenCrop((21, 22))((image, 4), t.Draws(seed=0, epoch=0, index=0))
    theirs = torch.stack(vision.ten_crop(image, [21, 22]))
    assert sorted(map(str, crops.flatten(1).tolist())) == sorted(map(str, theirs.flatten(1).tolist()))
    with pytest.raises(ShapeError, match="expected an image of 60 x 60 or more, got 37 x 50; resize it first"):
        t.TenCrop((60, 60))((image, 4), t.Draws(seed=0, epoch=0, index=0))


def test_the_mean_over_crops_is_of_probabilities():
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))
    crops = torch.rand(2, 10, 3, 8, 8)
    slow = torch.stack([torch.stack([model(each[None])[0].softmax(0) for each in one]).mean(0) for one in crops])
    close(t.mean_scores(model, crops), slow)
    with pytest.raises(ShapeError, match=r"expected crops \(N, crops, 3, H, W\), got \(10, 3, 8, 8\)"):
        t.mean_scores(model, crops[0])


def test_lighting_has_the_covariance_it_says():
    step = t.Lighting(std=0.1)
    image = torch.full((3, 2, 2), 128, dtype=torch.uint8)
    colors = torch.stack(
        [
            step((image, None), t.Draws(seed=0, epoch=0, index=index))[0][:, 1, 0].double() - 128 / 255
            for index in range(4000)
        ]
    )
    axes, spreads = torch.tensor(step.axes, dtype=torch.float64), torch.tensor(step.spreads, dtype=torch.float64)
    expected = axes @ torch.diag((0.1 * spreads) ** 2) @ axes.T
    # The deviation of an estimated variance from 4000 draws is 2.2 %; of means 1.6 % of a deviation.
    close(colors.T.cov(), expected, rtol=0, atol=0.08 * float(expected.max()))
    assert colors.mean(0).abs().max() < 4 * expected.max() ** 0.5 / 4000**0.5
    along = (colors @ axes).std(0)  # each axis by itself, the small ones too
    close(along, 0.1 * spreads, rtol=0.06, atol=0)


def test_published_axes_are_directions():
    """The published numbers have four digits: the axes are orthonormal to that precision."""
    axes = torch.tensor(t.IMAGENET_AXES)
    close(axes.T @ axes, torch.eye(3), rtol=0, atol=3e-4)


def test_lighting_is_measured_on_images():
    images = [photo(9, 12, seed) // (seed + 1) for seed in range(3)]
    step = t.Lighting.of(iter(images), std=0.2)
    pixels = torch.cat([image.flatten(1).double() / 255 for image in images], dim=1)
    covariance = pixels.cov(correction=0)
    axes, spreads = torch.tensor(step.axes, dtype=torch.float64), torch.tensor(step.spreads, dtype=torch.float64)
    close(axes @ torch.diag(spreads**2) @ axes.T, covariance)
    assert step.std == 0.2 and step.spreads == tuple(sorted(step.spreads, reverse=True))
    with pytest.raises(InputError, match="needs at least one image"):
        t.Lighting.of([])


def test_colours_are_changed_as_torchvision_does():
    image = photo(8, 8)

    def changed(step, index=0):
        return step((image, None), t.Draws(seed=0, epoch=0, index=index))[0]

    assert torch.equal(changed(t.ColorJitter()), image)
    brighter = [changed(t.ColorJitter(brightness=0.4), index) for index in range(30)]
    factors = [(each.float().sum() / image.float().sum()).item() for each in brighter]
    assert 0.58 < min(factors) < 0.75 and 1.1 < max(factors) < 1.4  # white pixels cannot get brighter
    unchanged = sum(
        torch.equal(changed(t.ColorJitter(contrast=0.5, probability=0.5), index), image) for index in range(200)
    )
    assert 70 <= unchanged <= 130
    gray = changed(t.ColorJitter(saturation=0.5, hue=0.2))
    assert gray.dtype == torch.uint8 and not torch.equal(gray, image)
    normalized = changed(t.Normalize())
    close(normalized, vision.normalize(image / 255, t.IMAGENET_MEAN, t.IMAGENET_STD))


@pytest.mark.parametrize("name", PIPELINES)
def test_a_transform_is_stored_and_read_again(name):
    transform, _ = PIPELINES[name]
    stored = json.loads(json.dumps(transform.to_dict()))
    assert t.TrainTransform.from_dict(stored) == transform
    assert str(transform).startswith("seed 3\n") and repr(transform.steps[-1]) in str(transform)


def test_a_test_transform_is_the_same_each_time():
    for crops, shape in (("centre", (3, 32, 32)), ("ten", (10, 3, 32, 32))):
        transform = t.classic_testing(size=32, short=40, crops=crops)
        image, label = transform(photo(50, 60), 2)
        assert image.shape == shape and label == 2 and torch.equal(image, transform(photo(50, 60))[0])
        assert t.TestTransform.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform
    image, target = t.detection_testing(size=30, longest=50)(
        photo(60, 120), {"boxes": torch.tensor([[0.0, 0, 120, 60]]), "labels": torch.tensor([1])}
    )
    assert image.shape == (3, 25, 50) and target["boxes"].tolist() == [[0, 0, 50, 25]]
    with pytest.raises(InputError, match=r"Flip\(probability=0.5\) differs between calls"):
        t.TestTransform((t.Flip(),))
    t.TestTransform((t.Flip(1.0),))


def test_centre_crop_is_torchvisions():
    for size in ((20, 23), (21, 22)):
        cut = t.Crop(size, "centre", keep=0.0)((photo(37, 50), None), t.Draws(seed=0, epoch=0, index=0))[0]
        assert torch.equal(cut, torchvision.transforms.v2.functional.center_crop(photo(37, 50), list(size)))


@dataclass(frozen=True)
class Own:
    random = False

    def __call__(self, sample, draws):
        return sample


def test_what_cannot_be_used_is_refused():
    draws = t.Draws(seed=0, epoch=0, index=0)
    run = t.TestTransform((t.Normalize(),))
    assert t.TestTransform((Own(),))(photo(4, 4))[0].shape == (3, 4, 4)
    with pytest.raises(InputError, match="is a step of your own, which could not be read again"):
        t.TestTransform((Own(),)).to_dict()
    with pytest.raises(UnknownNameError, match="unknown step 'Flipp'; did you mean 'Flip'"):
        t.TestTransform.from_dict({"steps": [{"step": "Flipp"}]})
    with pytest.raises(InputError, match="expected the step Flip to have step, probability; got step, p"):
        t.TestTransform.from_dict({"steps": [{"step": "Flip", "p": 1.0}]})
    with pytest.raises(InputError, match="expected a transform to have seed, steps; got steps"):
        t.TrainTransform.from_dict({"steps": []})
    with pytest.raises(ShapeError, match=r"expected an image \(3, H, W\) of uint8, got \(3, 4, 4\) of torch.float32"):
        run(torch.zeros(3, 4, 4))
    with pytest.raises(ShapeError, match=r"expected a mask \(4, 4\) of whole numbers.*, got \(4, 5\)"):
        run(photo(4, 4), torch.zeros(4, 5, dtype=torch.int64))
    # Where a crop reaches beyond the image, True would stand for 255, and be a class.
    with pytest.raises(ShapeError, match=r"whole numbers that can be 255, got \(4, 4\) of torch.bool"):
        run(photo(4, 4), torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"holds no 'boxes', only labels; give \(0, 4\) for none"):
        run(photo(4, 4), {"labels": torch.zeros(0)})
    with pytest.raises(InputError, match="the target holds 'keypoints', which transforms cannot keep in step"):
        run(photo(4, 4), {"boxes": torch.zeros(0, 4), "keypoints": torch.zeros(0, 2)})
    with pytest.raises(ShapeError, match=r"expected 'labels' of shape \(1,\), got \(2,\)"):
        run(photo(4, 4), {"boxes": torch.zeros(1, 4), "labels": torch.zeros(2)})
    with pytest.raises(InputError, match=r"expected 'boxes' as floats, got torch.int64; convert them"):
        run(photo(4, 4), {"boxes": torch.zeros(1, 4, dtype=torch.int64), "labels": torch.zeros(1)})
    with pytest.raises(InputError, match="expected a class"):
        run(photo(4, 4), "cat")
    with pytest.raises(ShapeError, match="ten crops have one class"):
        t.TenCrop((2, 2))((photo(4, 4), torch.zeros(4, 4)), draws)
    with pytest.raises(InputError, match="expected seed, epoch and index from 0, got -1"):
        t.Draws(seed=-1, epoch=0, index=0)
    for wrong in (
        lambda: t.ResizeByEpoch(()),
        lambda: t.ResizeByEpoch((224, 0)),
        lambda: t.RandomResizedCrop((0, 4)),
        lambda: t.TenCrop((4, 0)),
        lambda: t.Lighting(-0.1),
        lambda: t.Lighting(float("nan")),
        lambda: t.ColorJitter(0.0, float("nan")),
        lambda: t.ResizeShort(()),
        lambda: t.ResizeShort((600,), 500),
        lambda: t.RandomScale(2.0, 1.0),
        lambda: t.Crop((0, 4)),
        lambda: t.Crop((4, 4), keep="center"),
        lambda: t.CropWithBoxes(keep=1.5),
        lambda: t.CropWithBoxes((0.5, 2.0)),
        lambda: t.RandomResizedCrop((4, 4), area=(0.0, 1.0)),
        lambda: t.Flip(1.5),
        lambda: t.ColorJitter(hue=0.7),
        lambda: t.ColorJitter(probability=2.0),
        lambda: t.Normalize(std=(0.0, 1.0, 1.0)),
        lambda: t.classic_testing(crops="five"),
    ):
        with pytest.raises(InputError):
            wrong()


def test_every_name_is_there_and_documented():
    assert all(getattr(t, name).__doc__ for name in t.__all__ if not name.startswith("IMAGENET") and name != "STEPS")
