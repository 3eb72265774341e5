"""Anchors, offsets, labels, draws and hard examples: each against a slow definition or published numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from perimetry.errors import InputError
from perimetry.networks import AnchorGrid, AnchorSampling, ProposalRule, RegionRule, RegionSampling, false_positives
from perimetry.networks.anchors import inside
from perimetry.networks.box_coding import decode_boxes, encode_boxes
from perimetry.networks.mining import hardest
from perimetry.networks.sampling import best_matches, draw, draw_regions, label_anchors, label_regions

# The table of py-faster-rcnn as its code computes it, the last pixel counted as inside.
RELEASED = [
    (-84, -40, 99, 55),
    (-176, -88, 191, 103),
    (-360, -184, 375, 199),
    (-56, -56, 71, 71),
    (-120, -120, 135, 135),
    (-248, -248, 263, 263),
    (-36, -80, 51, 95),
    (-80, -168, 95, 183),
    (-168, -344, 183, 359),
]


def released_anchors(stride: int, ratios, scales):
    """The releases' steps one by one: a square of one stride, its ratios rounded, then scaled; inclusive corners."""
    middle = (stride - 1) / 2
    found = []
    for ratio in ratios:
        width = round(math.sqrt(stride * stride / ratio))
        height = round(width * ratio)
        for scale in scales:
            wide, high = width * scale, height * scale
            found.append(
                (
                    middle - 0.5 * (wide - 1),
                    middle - 0.5 * (high - 1),
                    middle + 0.5 * (wide - 1),
                    middle + 0.5 * (high - 1),
                )
            )
    return found


def some_boxes(count: int, seed: int, size: float = 100.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * size * 0.7
    return torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=generator) * size * 0.3], 1)


boxes_of = st.builds(some_boxes, st.integers(0, 12), st.integers(0, 1000))


def test_the_nine_anchors_are_those_of_the_release():
    shifted = [(x1, y1, x2 - 1, y2 - 1) for x1, y1, x2, y2 in AnchorGrid.published(16).boxes]
    assert shifted == RELEASED == released_anchors(16, (0.5, 1, 2), (8, 16, 32))


@pytest.mark.parametrize("stride", [4, 8, 16, 32, 64])
def test_detectrons_levels_have_three_anchors_of_eight_strides(stride):
    found = AnchorGrid.published(stride, scales=(8,)).boxes
    assert [(x1, y1, x2 - 1, y2 - 1) for x1, y1, x2, y2 in found] == released_anchors(stride, (0.5, 1, 2), (8,))


def test_an_image_of_600_by_1000_has_8151_anchors_inside():
    anchors = AnchorGrid.published(16).over(38, 63, like=torch.zeros(1))
    assert len(anchors) == 21_546
    assert int(inside(anchors, (600, 1000)).sum()) == 8_151


def test_the_levels_of_a_pyramid_have_268569_anchors_on_800_by_1344():
    extents = {stride: (math.ceil(800 / stride), math.ceil(1344 / stride)) for stride in (4, 8, 16, 32, 64)}
    counts = [
        len(AnchorGrid.published(stride, scales=(8,)).over(*extent, like=torch.zeros(1)))
        for stride, extent in extents.items()
    ]
    assert sum(counts) == 268_569


def test_anchors_go_by_row_then_column_then_shape():
    grid = AnchorGrid(4, ((0, 0, 1, 2), (0, 0, 3, 3)))
    expected = [(x + a, y + b, x + c, y + d) for y in (0, 4) for x in (0, 4, 8) for a, b, c, d in grid.boxes]
    assert grid.over(2, 3, like=torch.zeros(1)).tolist() == [list(map(float, each)) for each in expected]


@given(boxes_of, st.sampled_from([(1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)]))
def test_offsets_are_those_of_torchvision_and_bring_boxes_back(boxes, deviations):
    truth = some_boxes(len(boxes), 7)
    offsets = encode_boxes(truth, boxes, deviations=deviations)
    coder = BoxCoder(tuple(1 / each for each in deviations))
    assert_close(offsets, coder.encode_single(truth, boxes), rtol=1e-4, atol=1e-5)  # another order of divisions
    assert_close(decode_boxes(offsets, boxes, deviations=deviations), truth, rtol=1e-4, atol=1e-3)


def test_an_offset_that_would_overflow_is_limited():
    huge = decode_boxes(torch.tensor([[0.0, 0, 1000, 0]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert_close(huge[0, 2] - huge[0, 0], torch.tensor(1000.0))


def slow_anchor_labels(anchors, truth, size, rule):
    overlaps = [[float(box_iou(a[None], t[None])) for t in truth] for a in anchors]
    allowed = [bool(inside(a[None], size)) or not rule.inside_only for a in anchors]
    tops = [
        max((row[j] for row, ok in zip(overlaps, allowed, strict=True) if ok), default=0) for j in range(len(truth))
    ]
    labels = []
    for row, ok in zip(overlaps, allowed, strict=True):
        best = max(row, default=0.0)
        label = 0 if best < rule.negative else -1
        if best >= rule.positive or any(o == top > 0 for o, top in zip(row, tops, strict=True)):
            label = 1
        labels.append(label if ok else -1)
    return labels


@settings(deadline=None)
@given(boxes_of, st.integers(0, 4), st.booleans())
def test_anchors_are_labelled_as_defined(anchors, objects, inside_only):
    rule = AnchorSampling(inside_only=inside_only, positive=0.4, negative=0.2)
    truth = some_boxes(objects, 3)
    labels, which = label_anchors(anchors, truth, (80, 90), rule)
    assert labels.tolist() == slow_anchor_labels(anchors, truth, (80, 90), rule)
    for anchor, label, place in zip(anchors, labels.tolist(), which.tolist(), strict=True):
        if label == 1:
            assert int(box_iou(anchor[None], truth).argmax()) == place


def test_an_object_that_no_anchor_touches_makes_none_positive():
    anchors = torch.tensor([[0.0, 0, 4, 4], [8, 8, 12, 12]])
    labels, _ = label_anchors(anchors, torch.tensor([[30.0, 30, 40, 40]]), (50, 50), AnchorSampling())
    assert labels.tolist() == [0, 0]


@given(st.lists(st.sampled_from([-1, 0, 1, 2]), max_size=60), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_a_draw_keeps_its_shares(labels, count, positives, seed):
    labels = torch.tensor(labels, dtype=torch.long)
    drawn = draw(labels, count=count, positives=positives, generator=torch.Generator().manual_seed(seed))
    objects, background = int((labels > 0).sum()), int((labels == 0).sum())
    assert len(drawn.unique()) == len(drawn) <= count
    found = labels[drawn]
    assert int((found > 0).sum()) == min(objects, round(count * positives))
    assert int((found == 0).sum()) == min(background, count - int((found > 0).sum()))
    assert not bool((found < 0).any())
    again = draw(labels, count=count, positives=positives, generator=torch.Generator().manual_seed(seed))
    assert drawn.tolist() == again.tolist()


def test_draws_without_a_generator_follow_the_seed_of_torch():
    labels = torch.zeros(50, dtype=torch.long)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(draw(labels, count=5, positives=0.5).tolist())
    assert draws[0] == draws[1] != draws[2]


@settings(deadline=None)
@given(boxes_of, st.integers(0, 4), st.sampled_from([(0.1, 0.5), (0.0, 0.5), (0.0, 0.3)]))
def test_regions_are_labelled_by_their_nearest_object(proposals, objects, background):
    truth, classes = some_boxes(objects, 3), torch.arange(1, objects + 1)
    rule = RegionSampling(background=background)
    regions = label_regions(proposals, truth, classes, rule)
    expected = []
    everything = torch.cat([proposals, truth])
    overlaps, which = best_matches(everything, truth)
    in_range = [background[0] <= o < background[1] for o in overlaps.tolist()]
    low = background[0] if any(in_range) else 0.0
    for box, overlap, place in zip(everything.tolist(), overlaps.tolist(), which.tolist(), strict=True):
        if overlap >= 0.5:
            expected.append((box, int(classes[place]), truth[place].tolist()))
        elif low <= overlap < background[1]:
            expected.append((box, 0, box))
    found = zip(regions.boxes.tolist(), regions.labels.tolist(), regions.truth.tolist(), strict=True)
    assert list(found) == expected


@given(st.integers(1, 64), st.floats(0, 1), st.integers(0, 99))
def test_a_quarter_of_the_regions_are_objects_at_most(count, positives, seed):
    truth = some_boxes(3, 3)
    proposals = torch.cat([some_boxes(40, seed), truth.repeat(10, 1) + 0.5])
    rule = RegionSampling(count=count, positives=positives, background=(0.0, 0.5))
    regions = label_regions(proposals, truth, torch.tensor([1, 2, 3]), rule)
    drawn = draw_regions(regions, rule, torch.Generator().manual_seed(seed))
    assert len(drawn.boxes) <= count
    assert int((drawn.labels > 0).sum()) == min(round(count * positives), int((regions.labels > 0).sum()))


def test_an_image_without_objects_gives_background():
    regions = label_regions(some_boxes(5, 0), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), RegionSampling())
    assert regions.labels.tolist() == [0] * 5
    assert_close(encode_boxes(regions.truth, regions.boxes), torch.zeros(5, 4))


def test_hard_negatives_come_first_and_only_where_there_is_no_object():
    truth = torch.tensor([[0.0, 0, 10, 10]])
    hard = torch.tensor([[50.0, 50, 60, 60], [0, 0, 10, 9]])
    rule = RegionSampling(count=4, background=(0.1, 0.5))
    proposals = torch.tensor([[0.0, 0, 10, 3]]).repeat(20, 1)
    regions = label_regions(proposals, truth, torch.tensor([2]), rule, hard_negatives=hard)
    assert regions.forced.sum() == 1  # the other one overlaps the object
    for seed in range(5):
        drawn = draw_regions(regions, rule, torch.Generator().manual_seed(seed))
        assert drawn.labels.tolist() == [2, 0, 0, 0]
        assert drawn.boxes[1].tolist() == hard[0].tolist()


def slow_hardest(boxes, losses, labels, count, overlap):
    """Greedily, from the largest loss down, of one label at a time; then the largest over all labels."""
    order = sorted(range(len(boxes)), key=lambda place: -float(losses[place]))
    kept = []
    for place in order:
        rivals = [each for each in kept if labels[each] == labels[place]]
        if overlap is None or all(float(box_iou(boxes[place][None], boxes[each][None])) <= overlap for each in rivals):
            kept.append(place)
    return kept[:count]


@settings(deadline=None)
@given(
    st.integers(0, 30),
    st.integers(0, 999),
    st.integers(1, 20),
    st.sampled_from([None, 0.1, 0.3, 0.7]),
    st.integers(1, 3),
)
def test_hard_examples_are_those_of_a_slow_loop(count, seed, wanted, overlap, kinds):
    boxes = some_boxes(count, seed, 20.0)
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(count, generator=generator)
    labels = torch.randint(kinds, (count,), generator=generator)
    found = hardest(boxes, losses, labels, count=wanted, overlap=overlap)
    assert found.tolist() == slow_hardest(boxes, losses, labels, wanted, overlap)


def test_false_positives_are_counted_for_each_class():
    found = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 3], [30, 30, 40, 40]]),
        "labels": torch.tensor([1, 2, 1, 1]),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.2]),
    }
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
    assert false_positives(found, target).tolist() == found["boxes"][1:].tolist()
    assert false_positives(found, target, score=0.5, overlap=0.2).tolist() == found["boxes"][1:2].tolist()
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    assert len(false_positives(found, nothing)) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RegionSampling(count=0), "count of at least 1"),
        (lambda: RegionSampling(background=(0.5, 0.1)), "expected 0 <= low < high <= positive"),
        (lambda: RegionSampling(choice="hard"), "choice is 'random' or 'hardest', got 'hard'"),
        (lambda: RegionSampling(overlap=1.5), "an overlap from 0 to 1, or None, got 1.5"),
        (lambda: ProposalRule(overlap=-0.1), "an overlap from 0 to 1, or None, got -0.1"),
        (lambda: RegionRule(deviations=(0.1, 0.1, 0.0, 0.2)), "deviations above 0"),
        (lambda: RegionRule(beta=-1.0), "a beta of at least 0"),
        (lambda: RegionRule(box_count=0), "a box_count of at least 1"),
        (lambda: AnchorSampling(positive=0.2), "expected 0 <= negative <= positive <= 1"),
        (lambda: AnchorGrid(0, ((0, 0, 1, 1),)), "a stride of at least 1"),
        (lambda: AnchorGrid(16, ()), "and a box, got 16 and 0"),
    ],
)
def test_rules_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()
