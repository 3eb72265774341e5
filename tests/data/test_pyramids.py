"""Image pyramids: views come back to the image's own pixels, and say what they cost."""

import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from perimetry.data import pyramids
from perimetry.data.pyramids import (
    Scales,
    bytes_uncounted,
    classify_pyramid,
    detect_pyramid,
    merge_boxes,
    predict_pyramid,
    segment_pyramid,
)
from perimetry.errors import InputError, ShapeError, TrainingModeError, UnknownNameError

close = torch.testing.assert_close
TWICE = Scales(factors=(0.5, 1.0, 2.0))


def network(*, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)).eval()


def image(height=24, width=30, seed=0):
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


class Brightest(nn.Module):
    """Detects the box of what is brighter than a half: moves and scales with the image exactly."""

    def forward(self, images):
        (given,) = images
        inside = given[0] > 0.5
        rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        return [{"boxes": torch.tensor([box]).float(), "labels": torch.tensor([2]), "scores": torch.tensor([0.9])}]


class Fixed(nn.Module):
    """Detects one box at one place, whatever it is shown."""

    def __init__(self, *box):
        super().__init__()
        self.box = box

    def forward(self, images):
        return [{"boxes": torch.tensor([self.box]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}]


def test_one_scale_without_a_flip_is_the_plain_prediction():
    model, given = network(), image()
    maps = functional.interpolate(model(given[None]), size=(24, 30), mode="bilinear", align_corners=False)
    close(segment_pyramid(model, given).probabilities, maps.softmax(1)[0], rtol=0, atol=0)
    classifier = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    close(classify_pyramid(classifier, given).probabilities, classifier(given[None]).softmax(1)[0], rtol=0, atol=0)
    found = detect_pyramid(Fixed(2.0, 3.0, 10.0, 9.0).eval(), given)
    close(found.boxes_xyxy, torch.tensor([[2.0, 3, 10, 9]]), rtol=0, atol=0)


def test_several_views_are_the_mean_of_a_slow_loop():
    model, given = network(), image()
    expected = []
    for size in ((12, 15), (24, 30), (48, 60)):
        for mirrored in (False, True):
            view = functional.interpolate(given[None], size=size, mode="bilinear", antialias=True)
            maps = model(view.flip(3) if mirrored else view)
            maps = functional.interpolate(maps, size=(24, 30), mode="bilinear")
            expected.append((maps.flip(3) if mirrored else maps).softmax(1)[0])
    found = segment_pyramid(model, given, scales=TWICE, flip="horizontal")
    close(found.probabilities, torch.stack(expected).mean(0))
    close(found.probabilities.sum(0), torch.ones(24, 30))
    assert [(cost.size, cost.flipped) for cost in found.costs][:3] == [
        ((12, 15), False),
        ((12, 15), True),
        ((24, 30), False),
    ]
    classifier = nn.Sequential(model, nn.AdaptiveMaxPool2d(1), nn.Flatten()).eval()
    views = [
        functional.interpolate(given[None], size=size, mode="bilinear", antialias=True) for size in ((12, 15), (48, 60))
    ]
    slow = torch.stack([classifier(view).softmax(1)[0] for view in views]).mean(0)
    close(classify_pyramid(classifier, given, scales=Scales(factors=(0.5, 2.0))).probabilities, slow)


def test_a_model_without_context_says_the_same_in_every_view():
    """A 1 x 1 convolution on a ramp, which resizing leaves a ramp but at its ends."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    ramp = torch.stack((rows / 24, columns / 32, (rows + columns) / 56))
    model = nn.Conv2d(3, 4, 1).eval()
    plain, pyramid = segment_pyramid(model, ramp), segment_pyramid(model, ramp, scales=TWICE, flip="horizontal")
    inside = (slice(None), slice(4, -4), slice(4, -4))
    close(pyramid.probabilities[inside], plain.probabilities[inside], rtol=0, atol=1e-5)
    mirrored = segment_pyramid(model, image(), flip="horizontal")
    close(mirrored.probabilities, segment_pyramid(model, image()).probabilities)


@pytest.mark.parametrize("flip", ["none", "horizontal"])
@pytest.mark.parametrize("merge", ["nms", "vote"])
def test_a_detector_that_moves_with_the_image_finds_the_same_box_in_every_view(flip, merge):
    given = torch.zeros(3, 24, 40)
    given[:, 6:16, 4:20] = 1
    found = detect_pyramid(Brightest().eval(), given, scales=TWICE, flip=flip, merge=merge)
    close(found.boxes_xyxy, torch.tensor([[4.0, 6, 20, 16]]))
    assert found.labels.tolist() == [2] and len(found.costs) == (6 if flip == "horizontal" else 3)


def test_boxes_of_views_come_back_to_their_mirrored_and_scaled_places():
    model = Fixed(2.0, 3.0, 10.0, 9.0).eval()
    found = detect_pyramid(model, image(24, 30), flip="horizontal")
    assert sorted(found.boxes_xyxy.tolist()) == [[2, 3, 10, 9], [20, 3, 28, 9]]
    found = detect_pyramid(model, image(24, 30), scales=Scales(shorts=(12, 24)))
    assert sorted(found.boxes_xyxy.tolist()) == [[2, 3, 10, 9], [4, 6, 20, 18]]


def test_boxes_are_merged_by_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60], [5, 5, 5, 5]])
    labels, scores = torch.tensor([1, 1, 2, 1, 1]), torch.tensor([0.5, 0.9, 0.4, 0.3, 0.2])
    found = merge_boxes(boxes, labels, scores)
    assert found[1].tolist() == [1, 2, 1, 1] and found[0].tolist() == boxes[[1, 2, 3, 4]].tolist()
    close(found[2], torch.tensor([0.9, 0.4, 0.3, 0.2]))
    voted, *_ = merge_boxes(boxes, labels, scores, merge="vote")
    close(voted[0], (boxes[0] * 0.5 + boxes[1] * 0.9) / 1.4)
    close(voted[1:], boxes[[2, 3, 4]])
    nothing = merge_boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), merge="vote")
    assert [tuple(each.shape) for each in nothing] == [(0, 4), (0,), (0,)]


def test_classes_are_kept_apart_where_boxes_reach_above_or_left_of_the_image():
    # Shifted by one and the same amount per class, as torchvision does, the second lies on the first.
    boxes = torch.tensor([[0.0, 0, 10, 10], [-11, -11, -1, -1], [-10, -11, -1, -1]])
    found, labels, scores = merge_boxes(boxes, torch.tensor([1, 2, 2]), torch.tensor([0.9, 0.8, 0.7]))
    close(found, boxes[:2])
    assert (labels.tolist(), len(scores)) == ([1, 2], 2)


def test_small_objects_are_found_on_a_larger_scale():
    """A detector that only sees what is 12 pixels or wider: a pyramid raises its recall, and the cost is told."""

    class Coarse(Brightest):
        def forward(self, images):
            (found,) = super().forward(images)
            wide = (found["boxes"][:, 2] - found["boxes"][:, 0]) >= 12
            return [{key: value[wide] for key, value in found.items()}]

    given = torch.zeros(3, 32, 32)
    given[:, 4:12, 6:14] = 1
    assert len(detect_pyramid(Coarse().eval(), given).boxes_xyxy) == 0
    found = detect_pyramid(Coarse().eval(), given, scales=Scales(factors=(1.0, 2.0)))
    close(found.boxes_xyxy, torch.tensor([[6.0, 4, 14, 12]]))


def test_costs_grow_with_the_scale_as_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)).eval()
    found = segment_pyramid(model, image(16, 16), scales=Scales(factors=(1.0, 2.0)))
    # While the ReLU runs, its input and its output are alive: 2 x 8 maps of floats. Weights and image do not count.
    assert [cost.peak_bytes for cost in found.costs] == [2 * 8 * 16 * 16 * 4, 2 * 8 * 32 * 32 * 4]
    assert all(cost.seconds > 0 for cost in found.costs)
    in_place = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(inplace=True), nn.Flatten(2), nn.Unflatten(2, (16, 16)))
    (cost,) = segment_pyramid(in_place.eval(), image(16, 16)).costs
    assert cost.peak_bytes == 8 * 16 * 16 * 4  # views and changes in place take nothing


def test_a_detector_of_torchvision_sees_each_scale_and_is_left_as_found():
    with torch.random.fork_rng(devices=[]):
        detector = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, num_classes=3
        ).eval()
    before = detector.transform.min_size, detector.transform.max_size
    seen = []
    detector.transform.register_forward_hook(lambda module, given, result: seen.append(result[0].image_sizes[0]))
    found = detect_pyramid(detector, image(64, 80), scales=Scales(shorts=(64, 96)))
    assert seen == [(64, 80), (96, 120)] and found.boxes_xyxy.shape[1] == 4
    assert found.costs[0].peak_bytes < found.costs[1].peak_bytes
    assert (detector.transform.min_size, detector.transform.max_size) == before
    alone, (plain,) = detect_pyramid(detector, image(320, 320)), detector([image(320, 320)])
    close(alone.boxes_xyxy, plain["boxes"])
    close(alone.scores, plain["scores"])


def test_a_detector_of_one_size_is_refused():
    detector = Fixed(0.0, 0.0, 1.0, 1.0).eval()
    detector.transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
        300, 300, [0.5] * 3, [0.5] * 3, fixed_size=(300, 300)
    )
    with pytest.raises(InputError, match=r"takes images of \(300, 300\) alone; it has no pyramid"):
        detect_pyramid(detector, image())


def test_predict_goes_by_task():
    model, given = network(), image()
    found = predict_pyramid(model, given, task="segmentation", scales=TWICE)
    close(found.probabilities, segment_pyramid(model, given, scales=TWICE).probabilities)
    classifier = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert predict_pyramid(classifier, given, task="classification").probabilities.shape == (4,)
    assert predict_pyramid(Fixed(0.0, 0.0, 1.0, 1.0).eval(), given, task="detection").labels.tolist() == [1]
    with pytest.raises(UnknownNameError, match="unknown task 'detect'; did you mean 'detection'"):
        predict_pyramid(model, given, task="detect")


def test_a_dict_of_maps_is_taken_as_torchvision_gives_it():
    class Named(nn.Module):
        def forward(self, given):
            return {"out": given[:, :2], "aux": given}

    assert segment_pyramid(Named().eval(), image()).probabilities.shape == (2, 24, 30)


def test_what_cannot_be_used_is_refused():
    model, given = network(), image()
    with pytest.raises(TrainingModeError, match=r"in training mode.*call eval\(\)"):
        segment_pyramid(network().train(), given)
    with pytest.raises(ShapeError, match=r"expected a normalised image \(3, H, W\) of floats, got \(1, 3, 24, 30\)"):
        segment_pyramid(model, given[None])
    with pytest.raises(ShapeError, match=r"expected the model to give scores \(1, classes\).*got \(1, 4, 12, 15\)"):
        classify_pyramid(model, given)
    with pytest.raises(UnknownNameError, match="unknown flip 'vertical'"):
        segment_pyramid(model, given, flip="vertical")
    for wrong in ({}, {"factors": (1.0,), "shorts": (3,)}, {"factors": (0.0,)}, {"shorts": (9,), "longest": 5}):
        with pytest.raises(InputError):
            Scales(**wrong)
    for wrong in ({"factors": (1.0, math.nan)}, {"factors": (math.inf,)}, {"shorts": (math.nan,)}):
        with pytest.raises(InputError, match="expected scales above 0, got"):
            Scales(**wrong)
    with pytest.raises(InputError, match=r"expected short sides in whole pixels, got \(10.5,\)"):
        Scales(shorts=(10.5,))
    with pytest.raises(InputError, match="expected an overlap from 0 to 1, got iou=2"):
        merge_boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), iou=2)
    with pytest.raises(UnknownNameError, match="unknown merge 'voting'"):
        merge_boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), merge="voting")


def test_every_name_is_there_and_documented():
    assert all(getattr(pyramids, name).__doc__ for name in pyramids.__all__)


def test_bytes_are_counted_only_where_someone_wants_them():
    with bytes_uncounted():
        told = classify_pyramid(nn.Sequential(nn.Flatten()).eval(), image())
    assert [cost.peak_bytes for cost in told.costs] == [None]
    counted = classify_pyramid(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 30, 2)).eval(), image())
    assert counted.costs[0].peak_bytes == 2 * 4
