"""Proposals against a slow loop and torchvision, and each switch of the ablation by itself."""

import pytest
import torch
import torchvision
from torch.testing import assert_close

from networks.small_detectors import (
    GRID,
    IMAGES,
    PROPOSALS,
    TARGETS,
    same,
    seeded,
    small_fast,
    small_faster,
)
from perimetry.networks import (
    AnchorGrid,
    AnchorSampling,
    ProposalRule,
)
from perimetry.networks.box_coding import decode_boxes
from perimetry.networks.image_batch import ImageBatch
from perimetry.networks.region_proposals import RegionProposalHead, RegionProposals


def made(rule, *, generator=None, **options):
    network = small_faster(proposals=rule, **options).eval()
    torch.nn.init.normal_(network.rpn.head.rpn_cls_score.weight, std=0.5)
    torch.nn.init.normal_(network.rpn.head.rpn_bbox_pred.weight, std=0.1)
    return network, network.propose(IMAGES[:1], generator=generator)[0]


def everything(network, *, regressed=True, min_size=4.0):
    """All anchors of the first image, moved, cut and large enough, with their scores, the best first."""
    batch = network.preparation(IMAGES[:1])
    maps = network.backbone(batch.pixels)["c4"]
    scores, offsets = network.rpn.head(maps)
    boxes = GRID.over(*maps.shape[2:], like=maps)
    boxes = decode_boxes(offsets[0], boxes) if regressed else boxes
    height, width = batch.sizes[0]
    boxes = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], 2).flatten(1)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(1)
    order = scores[0, large].argsort(descending=True)
    return boxes[large][order], scores[0, large][order].sigmoid()


def slow_suppression(boxes, overlap):
    kept = []
    for box in boxes:
        if all(float(torchvision.ops.box_iou(box[None], each[None])) <= overlap for each in kept):
            kept.append(box)
    return torch.stack(kept)


def close_sets(one, other):
    """The same boxes in the same order; positions alone, where scores may tie within rounding."""
    assert_close(one, other, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_proposals_are_the_best_anchors_moved_cut_and_suppressed():
    network, found = made(ProposalRule(before=50, count=10, min_size=4))
    boxes, scores = everything(network)
    close_sets(found.boxes, slow_suppression(boxes[:50], 0.7)[:10])
    assert bool((found.scores.diff() <= 0).all())
    assert float(found.scores[0]) == pytest.approx(float(scores[0]), rel=1e-5)


@torch.no_grad()
def test_without_suppression_the_best_ones_are_kept_as_they_are():
    network, found = made(ProposalRule(before=50, count=30, min_size=4, overlap=None))
    close_sets(found.boxes, everything(network)[0][:30])


@torch.no_grad()
def test_without_regression_proposals_are_anchors():
    network, found = made(ProposalRule(before=50, count=10, min_size=4, boxes="anchors"))
    boxes, _ = everything(network, regressed=False)
    close_sets(found.boxes, slow_suppression(boxes[:50], 0.7)[:10])


def distances(boxes, others):
    return (boxes[:, None] - others).abs().amax(2)


@torch.no_grad()
def test_without_classification_proposals_are_drawn_from_all():
    rule = ProposalRule(before=10**6, count=12, min_size=4, overlap=None, order="random")
    network, found = made(rule, generator=seeded(1))
    boxes, _ = everything(network)
    assert len(found.boxes) == 12
    assert bool((distances(found.boxes, boxes).amin(1) < 1e-3).all())
    assert torch.equal(found.boxes, made(rule, generator=seeded(1))[1].boxes)
    assert not torch.equal(found.boxes, made(rule, generator=seeded(2))[1].boxes)
    # Over many draws every one comes, whatever its score.
    drawn = torch.cat([network.propose(IMAGES[:1], generator=seeded(seed))[0].boxes for seed in range(500)])
    assert bool((distances(boxes, drawn).amin(1) < 1e-3).all())


@torch.no_grad()
def test_the_number_of_proposals_is_that_of_the_rule():
    counts = [len(made(ProposalRule(before=50, count=count, min_size=4))[1].boxes) for count in (1, 3, 5)]
    assert counts == [1, 3, 5]


@torch.no_grad()
def test_the_smallest_side_is_in_pixels_of_the_image_that_was_given():
    _, found = made(ProposalRule(before=500, count=500, overlap=None, min_size=30))
    _, everyone = made(ProposalRule(before=500, count=500, overlap=None, min_size=0))
    assert 0 < len(found.boxes) < len(everyone.boxes)
    assert float((found.boxes[:, 2:] - found.boxes[:, :2]).amin()) >= 30
    batch = ImageBatch(torch.zeros(1, 3, 200, 200), ((200, 200),), ((100, 100),))
    assert batch.scale(0) == 2.0


@torch.no_grad()
def test_proposals_of_another_method_take_the_place_of_its_own():
    network = small_faster().eval()
    own = network.propose(IMAGES)
    assert same(network(IMAGES), network(IMAGES, proposals=[each.boxes for each in own]))
    given = network(IMAGES, proposals=PROPOSALS)
    fast = small_fast().eval()
    fast.load_state_dict({name: v for name, v in network.state_dict().items() if not name.startswith("rpn")})
    assert same(given, fast(IMAGES, PROPOSALS))


def test_training_on_given_proposals_leaves_the_proposal_network_alone():
    losses = small_faster().train()(IMAGES, TARGETS, proposals=PROPOSALS, generator=seeded())
    assert list(losses) == ["loss_classifier", "loss_box_reg"]


@torch.no_grad()
def test_proposals_over_levels_are_those_of_torchvision():
    torch.manual_seed(0)
    extents = {"p2": (20, 24), "p3": (10, 12), "p4": (5, 6)}
    grids = {name: AnchorGrid.published(4 * 2**level, scales=(8,)) for level, name in enumerate(extents)}
    rule = ProposalRule(before=60, count=70, min_size=0)
    head = RegionProposalHead(4, anchors=3, width=8, scoring="sigmoid")
    for layer in (head.rpn_conv, head.rpn_cls_score):
        torch.nn.init.normal_(layer.weight, std=0.5)
    maps = {name: torch.randn(2, 4, *extent) for name, extent in extents.items()}
    sizes = ((80, 96), (72, 90))
    proposals = RegionProposals(head, grids, training=rule, testing=rule, sampling=AnchorSampling()).eval()
    found, _ = proposals(maps, ImageBatch(torch.zeros(2, 3, 80, 96), sizes, sizes))

    scored = [head(each) for each in maps.values()]
    counts = {"training": 60, "testing": 60}, {"training": 70, "testing": 70}
    theirs = torchvision.models.detection.rpn.RegionProposalNetwork(None, head, 0.7, 0.3, 256, 0.5, *counts, 0.7).eval()
    anchors = torch.cat([grid.over(*extents[name], like=maps[name]) for name, grid in grids.items()])
    offsets = torch.cat([each for _, each in scored], 1)
    moved = torch.stack([theirs.box_coder.decode_single(each, anchors) for each in offsets])
    scores = torch.cat([each for each, _ in scored], 1)
    boxes, chances = theirs.filter_proposals(moved, scores.reshape(-1, 1), list(sizes), [s.shape[1] for s, _ in scored])
    for one, box, chance in zip(found, boxes, chances, strict=True):
        assert_close(one.boxes, box, rtol=1e-5, atol=1e-3)
        assert_close(one.scores, chance)
