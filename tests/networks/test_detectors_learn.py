"""Detectors learn four scenes by heart, take a step on real images, and are the same after saving and loading."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from networks.small_detectors import SmallBackbone, ap50, scene
from perimetry.networks import (
    ONLINE_HARD_EXAMPLES,
    AnchorGrid,
    ProposalRule,
    RegionSampling,
    false_positives,
    fast_rcnn,
    faster_rcnn,
)

GRID = AnchorGrid.published(16, scales=(2, 3))
SCENES = [scene(seed) for seed in range(4)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]


def small_faster(**options):
    rule = ProposalRule(before=500, count=60, min_size=8)
    parts = {"backbone": SmallBackbone(16), "grid": GRID, "proposals": rule, "training_proposals": rule}
    return faster_rcnn(classes=2, short_side=None, **parts, **options)


def small_fast(**options):
    return fast_rcnn(backbone=SmallBackbone(16), classes=2, short_side=None, **options)


def windows(image):
    """Proposals: windows of several sizes, every 12 pixels."""
    height, width = image.shape[1:]
    found = [
        (x, y, x + w, y + h)
        for w, h in ((32, 36), (40, 44))
        for y in range(0, height - h + 1, 12)
        for x in range(0, width - w + 1, 12)
    ]
    return torch.tensor(found, dtype=torch.float)


PROPOSALS = [windows(image) for image in IMAGES]


def learn(network, inputs, *, steps, rate=1e-3, seed=0):
    """Adam on all four images at once; returns the sums of the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    told = []
    network.train()
    for _ in range(steps):
        loss = sum(network(*inputs, generator=generator).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        told.append(float(loss.detach()))
    network.eval()
    return told


def overfitted(network, inputs, shown, *, steps):
    losses = learn(network, inputs, steps=steps)
    with torch.no_grad():
        return losses, ap50(network(*shown), TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [None, RegionSampling(count=64, background=(0.0, 0.5)), ONLINE_HARD_EXAMPLES])
def test_fast_rcnn_learns_four_scenes_by_heart(sampling):
    torch.manual_seed(0)
    network = small_fast(sampling=sampling)
    losses, score = overfitted(network, (IMAGES, PROPOSALS, TARGETS), (IMAGES, PROPOSALS), steps=120)
    assert losses[-1] < 0.5 * losses[0]
    assert score > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [None, ONLINE_HARD_EXAMPLES])
def test_faster_rcnn_learns_four_scenes_by_heart(sampling):
    torch.manual_seed(0)
    network = small_faster(sampling=sampling)
    losses, score = overfitted(network, (IMAGES, TARGETS), (IMAGES,), steps=200)
    assert losses[-1] < 0.5 * losses[0]
    assert score > 0.95


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    losses = learn(small_fast(), (IMAGES[:2], PROPOSALS[:2], TARGETS[:2]), steps=6)
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_false_positives_of_a_round_are_fewer_after_the_next():
    torch.manual_seed(0)
    network = small_fast(sampling=RegionSampling(count=16, background=(0.1, 0.5)))
    learn(network, (IMAGES, PROPOSALS, TARGETS), steps=20)

    def mistakes():
        with torch.no_grad():
            found = network(IMAGES, PROPOSALS)
        return [false_positives(one, target, score=0.1) for one, target in zip(found, TARGETS, strict=True)]

    before = mistakes()
    assert sum(map(len, before)) > 0
    mined = [target | {"hard_negatives": wrong} for target, wrong in zip(TARGETS, before, strict=True)]
    learn(network, (IMAGES, PROPOSALS, mined), steps=60, rate=5e-4)
    assert sum(map(len, mistakes())) < sum(map(len, before))


def read_cells(folder, count):
    """Photos of blood cells with their boxes; VOC's counts from 1, the last pixel inside."""
    names = {"RBC": 1, "WBC": 2, "Platelets": 3}
    photos, targets = [], []
    for path in sorted((folder / "Annotations").glob("*.xml"))[:count]:
        objects = ElementTree.parse(path).getroot().findall("object")
        corners = [
            [float(each.find(f"bndbox/{edge}").text) for edge in ("xmin", "ymin", "xmax", "ymax")] for each in objects
        ]
        boxes = torch.tensor(corners) - torch.tensor([1.0, 1, 0, 0])
        with Image.open(folder / "JPEGImages" / f"{path.stem}.jpg") as photo:
            photos.append(to_tensor(photo.convert("RGB")))
        targets.append({"boxes": boxes, "labels": torch.tensor([names[each.find("name").text] for each in objects])})
    return photos, targets


@pytest.mark.parametrize("kind", ["fast_rcnn", "faster_rcnn"])
def test_a_step_on_real_images_is_kept_by_saving_and_loading(kind, data, tmp_path):
    photos, targets = read_cells(data / "bccd320", 2)
    torch.manual_seed(0)

    def build():
        if kind == "fast_rcnn":
            return fast_rcnn(backbone=SmallBackbone(), classes=3, short_side=240)
        return faster_rcnn(backbone=SmallBackbone(), classes=3, short_side=240, grid=GRID)

    network = build().train()
    inputs = (photos, [windows(photo) for photo in photos]) if kind == "fast_rcnn" else (photos,)
    before = network.head.fc6.weight.detach().clone()
    losses = learn(network, (*inputs, targets), steps=1)
    assert 0 < losses[0] < 100
    assert not torch.equal(before, network.head.fc6.weight)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = build().eval()
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        for one, other in zip(network(*inputs), again(*inputs), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in ("boxes", "labels", "scores"))


@pytest.mark.slow
def test_the_published_networks_take_a_step_on_a_real_image(data):
    """VGG-16 and ZF in full, at 600 pixels."""
    photos, targets = read_cells(data / "bccd320", 1)
    for backbone in ("zf", "vgg16"):
        torch.manual_seed(0)
        network = faster_rcnn(backbone=backbone, classes=3).train()
        losses = network(photos, targets, generator=torch.Generator().manual_seed(0))
        sum(losses.values()).backward()
        assert all(0 < float(loss.detach()) < 100 for loss in losses.values()), losses
        assert network.backbone.conv1.weight.grad.any() if backbone == "zf" else True
