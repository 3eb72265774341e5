"""Images in, detections out: sizes, coordinates, and post-processing against a slow loop."""

import pytest
import torch
import torchvision
from torch.testing import assert_close

from networks.small_detectors import (
    IMAGES,
    PROPOSALS,
    SmallBackbone,
    same,
    seeded,
    small_fast,
)
from perimetry.networks import (
    DetectionRule,
    fast_rcnn,
)
from perimetry.networks.box_coding import decode_boxes
from perimetry.networks.detections import detections
from perimetry.networks.image_batch import ImagePreparation
from perimetry.networks.region_heads import RegionOutputs


@pytest.mark.parametrize(
    ("given", "size"), [((375, 500), (600, 800)), ((300, 1000), (300, 1000)), ((333, 500), (600, 901))]
)
def test_the_short_side_becomes_600_and_the_long_one_1000_at_most(given, size):
    batch = ImagePreparation()([torch.rand(3, *given)])
    assert batch.pixels.shape == (1, 3, *size)
    assert batch.sizes == (size,)


def test_images_are_padded_at_the_right_and_below_and_boxes_come_back():
    batch = ImagePreparation(short_side=64, long_side=200, divisor=32)([torch.rand(3, 40, 50), torch.rand(3, 80, 64)])
    assert batch.sizes == ((64, 80), (80, 64))
    assert batch.pixels.shape == (2, 3, 96, 96)
    assert not batch.pixels[0, :, 64:].any()
    assert not batch.pixels[0, :, :, 80:].any()
    boxes = torch.tensor([[0.0, 0, 50, 40]])
    assert batch.enter(0, boxes).tolist() == [[0, 0, 80, 64]]
    assert_close(batch.leave(0, batch.enter(0, boxes)), boxes)


def test_a_single_image_is_as_torchvision_prepares_it():
    image = torch.rand(3, 50, 80)
    theirs = torchvision.models.detection.transform.GeneralizedRCNNTransform(
        100, 160, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], size_divisible=1
    )
    ours = ImagePreparation(short_side=100, long_side=160)
    assert_close(ours([image]).pixels, theirs([image])[0].tensors)


def test_one_of_several_short_sides_is_drawn_in_training():
    preparation = ImagePreparation(short_side=(20, 30, 40), long_side=99)
    sizes = {preparation([torch.rand(3, 10, 10)], seeded(seed)).sizes[0][0] for seed in range(20)}
    assert sizes == {20, 30, 40}
    assert preparation.eval()([torch.rand(3, 10, 10)]).sizes == ((40, 40),)


def slow_detections(outputs, boxes, size, deviations, rule):
    chances = outputs.logits.softmax(1)
    found = []
    for label in range(1, chances.shape[1]):
        of_class = []
        for place in range(len(boxes)):
            score = float(chances[place, label])
            moved = decode_boxes(outputs.offsets[place, label], boxes[place], deviations=deviations)
            moved[0::2] = moved[0::2].clamp(0, size[1])
            moved[1::2] = moved[1::2].clamp(0, size[0])
            if score > rule.score and moved[2] > moved[0] and moved[3] > moved[1]:
                of_class.append((score, label, moved))
        kept = []
        for score, _, moved in sorted(of_class, key=lambda each: -each[0]):
            if all(float(torchvision.ops.box_iou(moved[None], o[None])) <= rule.overlap for _, _, o in kept):
                kept.append((score, label, moved))
        found += kept
    return sorted(found, key=lambda each: -each[0])[: rule.count]


@pytest.mark.parametrize("rule", [DetectionRule(), DetectionRule(score=0.3, overlap=0.5, count=7)])
def test_detections_are_those_of_a_slow_loop(rule):
    torch.manual_seed(1)
    outputs = RegionOutputs(torch.randn(30, 4), torch.randn(30, 4, 4))
    corners = torch.rand(30, 2) * 60
    boxes = torch.cat([corners, corners + 5 + torch.rand(30, 2) * 40], 1)
    deviations = (0.1, 0.1, 0.2, 0.2)
    found = detections(outputs, boxes, (80, 90), deviations=deviations, rule=rule)
    expected = slow_detections(outputs, boxes, (80, 90), deviations, rule)
    assert_close(found["scores"], torch.tensor([each[0] for each in expected]))
    assert found["labels"].tolist() == [each[1] for each in expected]
    assert_close(found["boxes"], torch.stack([each[2] for each in expected]))


def test_proposals_outside_the_image_are_cut_or_dropped():
    network = small_fast(detection=DetectionRule(score=0.0, overlap=1.0)).eval()
    boxes = torch.tensor([[10.0, 10, 200, 200]])
    outside = torch.tensor([[500.0, 500, 600, 600], [-90, 0, -20, 50]])
    within = torch.tensor([[10.0, 10, 128, 96]])
    assert same(network(IMAGES[:1], [torch.cat([boxes, outside])]), network(IMAGES[:1], [within]))


def test_an_image_without_proposals_has_no_detections():
    network = small_fast().eval()
    found = network(IMAGES, [PROPOSALS[0], torch.zeros(0, 4)])
    assert len(found[0]["boxes"]) > 0
    assert {name: len(value) for name, value in found[1].items()} == {"boxes": 0, "labels": 0, "scores": 0}
    assert [len(each["boxes"]) for each in network(IMAGES, [torch.zeros(0, 4)] * 2)] == [0, 0]


def test_images_of_a_batch_are_detected_as_if_alone():
    """Where they have one size; the border of a smaller one sees the filling, in the releases too."""
    network = small_fast(detection=DetectionRule(score=0.0, overlap=1.0)).eval()
    images, proposals = [IMAGES[0], 1 - IMAGES[0]], [PROPOSALS[0], PROPOSALS[1][:2]]
    for image, boxes, found in zip(images, proposals, network(images, proposals), strict=True):
        assert_close(network([image], [boxes])[0], found)


def test_boxes_come_back_in_pixels_of_the_image_that_was_given():
    torch.manual_seed(0)
    network = fast_rcnn(backbone=SmallBackbone(8), classes=2, short_side=192, long_side=400).eval()
    torch.nn.init.zeros_(network.head.bbox_pred.weight)
    found = network(IMAGES[:1], [torch.tensor([[16.0, 32, 64, 80]])])[0]
    assert_close(found["boxes"][0], torch.tensor([16.0, 32, 64, 80]))
