"""Synthetic scenes: the same by seed, exact in their labels, and told where they say."""

import hashlib
from collections import Counter, defaultdict
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from perimetry.data.scenes import CUES, SHAPES, contact_sheet, scenes, write_scenes
from perimetry.data.scenes.drawing import Scene, draw
from perimetry.data.scenes.shapes import Placed
from perimetry.errors import InputError, UnknownNameError

TASKS = ("classification", "segmentation", "detection")


def same(one, other):
    if isinstance(one, tuple):
        return all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def digest(image):
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("task", TASKS)
def test_a_scene_is_the_same_in_any_order_and_process(task):
    images = scenes(task, count=6, size=(40, 56), seed=11, distractors=(1, 3), classes=8)
    forward = [images[index] for index in range(6)]
    again = scenes(task, count=9, size=(40, 56), seed=11, distractors=(1, 3), classes=8)
    loaded = list(DataLoader(images, batch_size=None, num_workers=2))
    for index in reversed(range(6)):
        for other in (again[index], loaded[index]):
            assert torch.equal(forward[index][0], other[0])
            assert same(forward[index][1], other[1])
    assert not torch.equal(forward[0][0], scenes(task, count=6, size=(40, 56), seed=12)[0][0])


def test_scenes_are_the_same_on_every_machine():
    """The pixels of three sets as they were first drawn: a change of numpy or of a platform would show here."""
    sets = (
        scenes("detection", count=6, size=(64, 80), seed=0, classes=8, distractors=3),
        scenes("segmentation", count=6, size=(64, 64), seed=1, label="corner", classes=2),
        scenes("classification", count=6, size=(48, 48), seed=2, label="count"),
    )
    assert [digest(images[5][0]) for images in sets] == GOLDEN


GOLDEN = ["cb1d33231521d555", "aabb8c4fcea4cfb7", "18bff0242a6703e4"]


@pytest.mark.parametrize("name", SHAPES)
def test_masks_are_exact_by_pixel_centres_and_edges_are_smooth(name):
    placed = Placed(name, 10.3, 9.8, 15.0, (0.8, 0.6), (200, 0, 0), 1)
    pixels, owners = draw(Scene((0, 0, 0), 0.0, 0, (), (placed,), ()), size=(20, 21))
    slow = [[placed.contains(np.array([r + 0.5]), np.array([c + 0.5]))[0, 0] for c in range(21)] for r in range(20)]
    assert (owners == 0).tolist() == slow
    # Red is the share of the pixel that is covered: near all inside, near none outside, and between at edges.
    area = pixels[:, :, 0].sum() / 200
    assert area == pytest.approx(np.sum(slow), rel=0.06)
    assert len(np.unique(pixels[:, :, 0])) > 3
    # Over half of the pixel is covered where its centre is inside, but for corners and thin parts.
    assert ((pixels[:, :, 0] > 100) == slow).mean() > 0.97


def test_shapes_can_be_told_apart_however_they_are_turned():
    def area(name):
        placed = Placed(name, 50.0, 50.0, 90.0, (0.8, 0.6), (0, 0, 0), 1)
        return placed.contains(np.arange(100) + 0.5, np.arange(100) + 0.5).sum() / (np.pi * 45**2)

    expected = {
        "disc": 1.0,
        "square": 2 / np.pi,
        "triangle": 3 * 3**0.5 / 4 / np.pi,
        "ring": 1 - 0.55**2,
        "half": 0.5,
        "bow": 1 / np.pi,
        "frame": (2 - 4 * 0.42**2) / np.pi,
        "cross": (4 * 0.6 * 0.95 - 0.36) / np.pi,
    }
    for name in SHAPES:
        assert area(name) == pytest.approx(expected[name], rel=0.01), name


def test_boxes_are_of_what_is_seen_and_what_is_hidden_has_none():
    under = Placed("disc", 8.0, 8.0, 6.0, (1.0, 0.0), (9, 9, 9), 1)
    half_hidden = Placed("square", 8.0, 14.0, 12.0, (1.0, 0.0), (9, 9, 9), 2)
    over = Placed("disc", 8.0, 8.0, 9.0, (1.0, 0.0), (200, 9, 9), 3)
    _, owners = draw(Scene((0, 0, 0), 0.0, 0, (), (under, half_hidden, over), ()), size=(16, 24))
    assert set(np.unique(owners)) == {-1, 1, 2}
    seen = np.argwhere(owners == 1)
    alone = np.argwhere(draw(Scene((0, 0, 0), 0.0, 0, (), (half_hidden,), ()), size=(16, 24))[1] == 0)
    assert seen[:, 1].min() > alone[:, 1].min() and seen[:, 1].max() == alone[:, 1].max()


def test_boxes_and_masks_of_one_scene_agree():
    options = {"count": 30, "size": (40, 60), "seed": 4, "objects": (3, 9), "classes": 4, "object_size": (4, 22)}
    masks, boxes = scenes("segmentation", **options), scenes("detection", **options)
    hidden = 0
    for index in range(30):
        (image, mask), (other, target) = masks[index], boxes[index]
        assert torch.equal(image, other) and mask.dtype == torch.int64
        assert target["boxes"].dtype == torch.float32 and target["labels"].dtype == torch.int64
        hidden += len(boxes.scene(index).objects) - len(target["labels"])
        assert set(mask.unique().tolist()) - {0} == set(target["labels"].tolist())
        inside = torch.zeros_like(mask, dtype=torch.bool)
        for (left, top, right, bottom), label in zip(target["boxes"].long().tolist(), target["labels"], strict=True):
            window = mask[top:bottom, left:right] == label
            assert all(window.select(axis, end).any() for axis in (0, 1) for end in (0, -1))
            inside[top:bottom, left:right] = True
        assert not mask[~inside].any()
    assert hidden > 0  # or dropping was not tested


@pytest.mark.parametrize("task", TASKS)
def test_a_shifted_scene_has_shifted_pixels_and_labels(task):
    images = scenes(task, count=6, size=(48, 48), seed=5, objects=(2, 5), distractors=4, texture=1.0)
    moved = images.shifted(3, -5)
    for index in range(6):
        (image, target), (other, shifted) = images[index], moved[index]
        assert torch.equal(image[:, :-3, 5:], other[:, 3:, :-5])
        if task == "classification":
            assert target == shifted
        elif task == "segmentation":
            assert torch.equal(target[:-3, 5:], shifted[3:, :-5])
    back = moved.shifted(-3, 5)
    assert same(images[0], back[0])


def test_shifted_boxes_are_the_boxes_shifted_where_nothing_leaves():
    images = scenes("detection", count=10, size=(60, 60), seed=5, position=(20, 20, 40, 40), object_size=(4, 12))
    for index in range(10):
        target, shifted = images[index][1], images.shifted(-7, 9)[index][1]
        torch.testing.assert_close(target["boxes"] + torch.tensor([9.0, -7, 9, -7]), shifted["boxes"], rtol=0, atol=0)
        assert torch.equal(target["labels"], shifted["labels"])


@pytest.mark.parametrize(("label", "classes"), [("corner", 2), ("corner", 5), ("count", 3)])
@pytest.mark.parametrize("task", TASKS)
def test_what_does_not_show_the_cue_tells_nothing(task, label, classes):
    """Every crop below the cue occurs equally often with every class: no function of it does better than chance."""
    images = scenes(task, count=4 * classes, size=(64, 64), seed=6, label=label, classes=classes, distractors=2)
    seen = defaultdict(Counter)
    for index in range(len(images)):
        image, target = images[index]
        told = index % classes
        if task == "segmentation":
            assert set(target.unique().tolist()) == {0, told + 1}
        elif task == "detection":
            assert set(target["labels"].tolist()) == {told + 1}
        else:
            assert target == told
        for row in range(images.knobs.cue_size, 64 - 24, 8):
            for column in range(0, 64 - 24, 8):
                seen[digest(image[:, row : row + 24, column : column + 24].contiguous())][told] += 1
    assert len(seen) == 4 * len(range(images.knobs.cue_size, 40, 8)) * 5
    assert all(set(counts.values()) == {1} and len(counts) == classes for counts in seen.values())


@pytest.mark.parametrize(("label", "classes"), [("corner", 2), ("count", 3)])
def test_a_network_with_a_local_field_is_at_chance_exactly(label, classes):
    """Whatever its weights: it says the same of each scene of a group, and one of them is right."""
    images = scenes("segmentation", count=5 * classes, size=(48, 48), seed=6, label=label, classes=classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        local = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(8, classes, 5, padding=2)
        ).double()  # sees 9 pixels; the gap is 12
    right = seen = 0
    told = []
    for index in range(len(images)):
        image, mask = images[index]
        pixels = image[None].double() / 255
        with torch.no_grad():
            scores = local(pixels)[0]
            told.append((scores + pixels.mean() * scores)[:, mask > 0])  # and with global context
        guess = scores.argmax(0) + 1
        right, seen = right + int((guess == mask)[mask > 0].sum()), seen + int((mask > 0).sum())
    assert seen > 1000 and right * classes == seen
    assert not torch.equal(told[0], told[1])


@pytest.mark.parametrize(("label", "classes"), [("corner", 6), ("count", 3)])
def test_the_cue_tells_the_class_and_objects_stay_away_from_it(label, classes):
    images = scenes("detection", count=classes * 5, size=(64, 72), seed=7, label=label, classes=classes)
    cue, gap = images.knobs.cue_size, images.knobs.cue_gap
    for index in range(len(images)):
        image, target = images[index]
        # Nothing but the cue is this saturated: backgrounds, and so what lies on them, reach 115.
        shown = image[:, image.amax(0) - image.amin(0) > 118]
        color, patches = ("red", index % classes + 1) if label == "count" else (images.classes[index % classes], 1)
        assert shown.T.tolist() == [list(CUES[color])] * (patches * cue * cue)
        assert (target["boxes"][:, 1] >= cue + gap).all() and len(target["boxes"])


@pytest.mark.slow
def test_a_network_learns_the_cue_from_global_context_alone():
    """Two small networks, the same but for the mean over the image: one solves what the other cannot."""

    def joined(seed, count):
        images = scenes("segmentation", count=count, size=(32, 32), seed=seed, label="corner", classes=2)
        pixels, masks = zip(*(images[index] for index in range(count)), strict=True)
        return torch.stack(pixels).float() / 255 - 0.5, torch.stack(masks)

    class Context(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.BatchNorm2d(24)

        def forward(self, maps):
            return torch.cat((maps, self.scale(maps.mean((2, 3), keepdim=True)).expand_as(maps)), 1)

    def score(*context, channels):
        layers = []
        for before in (3, 24):
            convolution = torch.nn.Conv2d(before, 24, 3, stride=2 if before == 3 else 1, padding=1)
            layers += [convolution, torch.nn.BatchNorm2d(24), torch.nn.ReLU()]
        layers += [*context, torch.nn.Conv2d(channels, 24, 1), torch.nn.ReLU(), torch.nn.Conv2d(24, 3, 1)]
        network = torch.nn.Sequential(*layers, torch.nn.Upsample(scale_factor=2, mode="bilinear"))
        optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
        for _ in range(20):
            for batch in torch.randperm(len(pixels)).split(20):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(pixels[batch]), masks[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            guess = network.eval()(unseen)[:, 1:].argmax(1) + 1
        return (guess == truth)[truth > 0].double().mean().item()

    (pixels, masks), (unseen, truth) = joined(0, 300), joined(1, 200)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert score(channels=24) == 0.5
        assert score(Context(), channels=48) > 0.9


def test_shapes_tell_the_class_where_they_should():
    images = scenes("classification", count=12, size=(40, 40), seed=8, classes=("cross", "ring"))
    assert [images[index][1] for index in range(12)] == [0, 1] * 6
    assert {each.shape for each in images.scene(5).objects} == {"ring"}
    drawn = Counter(
        each.shape
        for index in range(200)
        for each in scenes("detection", count=200, size=(40, 40), seed=8, classes=4, objects=5).scene(index).objects
    )
    assert all(200 < drawn[name] < 300 for name in ("disc", "square", "triangle", "ring"))


def test_knobs_do_what_they_say():
    sizes = scenes("detection", count=40, size=(64, 64), seed=9, object_size=(7, 9), objects=(0, 3), overlap="avoided")
    counts = Counter(len(sizes.scene(index).objects) for index in range(40))
    assert set(counts) == {0, 1, 2, 3}
    for index in range(40):
        boxes = sizes[index][1]["boxes"]
        assert ((boxes[:, 2:] - boxes[:, :2]) <= 10).all()
        assert len(boxes) == len(sizes.scene(index).objects)
    placed = scenes("detection", count=40, size=(64, 64), seed=9, position=(0, 50, 10, 60))
    centres = [(each.row, each.column) for index in range(40) for each in placed.scene(index).objects]
    assert all(0 <= row <= 10 and 50 <= column <= 60 for row, column in centres)
    rough, plain = (
        scenes("segmentation", count=4, size=(64, 64), seed=9, texture=texture)[0] for texture in (1.0, 0.0)
    )
    assert torch.equal(rough[1], plain[1])
    background = [image[:, mask == 0].float().std(dim=1).mean() for image, mask in (rough, plain)]
    assert background[0] > 10 > background[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objects": 0}, "a scene without objects shows no class; give objects from 1"),
        ({"object_size": 80}, "objects of 80 pixels find no place in 64 x 64 pixels; make them smaller"),
        ({"label": "corner", "cue_gap": 50}, "find no place in 64 x 64 pixels below 66 rows of cue and gap"),
        ({"label": "corner", "classes": 4}, "come in groups of 4, one of each class; got 10, give 8 or 12"),
        ({"label": "count", "classes": 5, "cue_gap": 0}, "5 marks of 8 pixels find no place along 64 pixels"),
        ({"classes": 9}, "expected 1 to 8 classes where the label is told by shape, got 9"),
        ({"classes": ("disc", "disc")}, "expected each class once"),
        ({"texture": 2}, "expected texture from 0 to 1, got 2"),
        ({"distractors": (3, 1)}, r"expected distractors from 0, as a number or \(from, to\), got \(3, 1\)"),
        ({"seed": -1}, "a seed from 0"),
        ({"object_size": 0}, r"expected object_size from 1, as a number or \(from, to\), got 0"),
        ({"position": (10, 10, 70, 20)}, "expected positions of centres inside 64 x 64 pixels"),
        ({"position": (10, 10, 20)}, "expected positions of centres inside 64 x 64 pixels"),
        ({"size": (4, 64)}, "expected scenes of 8 x 8 pixels or more, got 4 x 64"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        scenes("classification", **{"count": 10, "size": (64, 64), "seed": 0} | options)


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown class 'dics'; did you mean 'disc'"):
        scenes("detection", count=1, size=(64, 64), seed=0, classes=("dics",))
    with pytest.raises(UnknownNameError, match="unknown task 'segment'; did you mean 'segmentation'"):
        scenes("segment", count=1, size=(64, 64), seed=0)
    with pytest.raises(IndexError, match="there are 3 scenes, from 0; got 3"):
        scenes("detection", count=3, size=(64, 64), seed=0)[3]


def test_written_classes_are_folders(tmp_path):
    sets = {
        "train": scenes("classification", count=6, size=(24, 24), seed=0),
        "val": scenes("classification", count=3, size=(24, 24), seed=1),
    }
    write_scenes(tmp_path / "out", sets)
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.png"))
    assert len(files) == 9 and "train/square/train_00001.png" in files
    pixels = np.asarray(Image.open(tmp_path / "out" / "train/square/train_00001.png"))
    assert torch.equal(torch.from_numpy(pixels.copy()).permute(2, 0, 1), sets["train"][1][0])
    with pytest.raises(InputError, match="is there already and not empty"):
        write_scenes(tmp_path / "out", sets)


def test_written_masks_and_boxes_follow_voc(tmp_path):
    options = {"count": 4, "size": (24, 30), "seed": 0, "objects": (0, 3)}
    masks, boxes = scenes("segmentation", **options), scenes("detection", **options)
    write_scenes(tmp_path / "masks", {"train": masks})
    write_scenes(tmp_path / "boxes", {"val": boxes})
    assert (tmp_path / "masks" / "class_names.txt").read_text().split()[:2] == ["_background_", "disc"]
    assert (tmp_path / "boxes" / "class_names.txt").read_text().split()[0] == "disc"
    assert (tmp_path / "boxes" / "ImageSets" / "Main" / "val.txt").read_text().split()[3] == "val_00003"
    for index in range(4):
        picture = Image.open(tmp_path / "masks" / "SegmentationClass" / f"train_{index:05d}.png")
        assert picture.mode == "P" and np.array_equal(np.asarray(picture), masks[index][1].numpy())
        tree = ElementTree.parse(tmp_path / "boxes" / "Annotations" / f"val_{index:05d}.xml")
        read = [
            [int(each.find(f"bndbox/{name}").text) for name in ("xmin", "ymin", "xmax", "ymax")]
            for each in tree.iter("object")
        ]
        expected = boxes[index][1]["boxes"] + torch.tensor([1.0, 1, 0, 0])
        assert read == expected.tolist()
    with pytest.raises(InputError, match="expected one task and the same classes in every split"):
        write_scenes(tmp_path / "mixed", {"train": masks, "val": boxes})


def test_a_contact_sheet_shows_every_scene():
    sheet = np.asarray(
        contact_sheet(scenes("classification", count=8, size=(16, 16), seed=0), first=2, rows=2, columns=3)
    )
    assert sheet.shape == (44, 64, 3)
    image = scenes("classification", count=8, size=(16, 16), seed=0)[6][0]
    assert np.array_equal(sheet[24:40, 24:40], image.permute(1, 2, 0).numpy())
    with pytest.raises(InputError, match="needs more than the 8 there are"):
        contact_sheet(scenes("classification", count=8, size=(16, 16), seed=0), rows=3, columns=3)
