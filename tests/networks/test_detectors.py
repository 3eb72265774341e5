"""Fast R-CNN and Faster R-CNN: numbers, losses against slow loops, switches, and what is refused."""

import math

import pytest
import torch
import torchvision
from torch.testing import assert_close

import perimetry
from networks.small_detectors import SmallBackbone, scene
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.models.from_perimetry import describe
from perimetry.networks import (
    CARDS,
    ONLINE_HARD_EXAMPLES,
    AnchorGrid,
    DetectionRule,
    ProposalRule,
    RegionSampling,
    fast_rcnn,
    faster_rcnn,
    freeze,
    truncate_svd,
)
from perimetry.networks.box_coding import decode_boxes, encode_boxes
from perimetry.networks.detections import detections
from perimetry.networks.image_batch import ImageBatch, ImagePreparation
from perimetry.networks.region_heads import RegionMaxPool, RegionOutputs, region_losses
from perimetry.networks.region_proposals import RegionProposalHead
from perimetry.networks.trunks import zf_trunk

GRID = AnchorGrid.published(16, scales=(2, 3))
SCENES = [scene(seed, size=(96, 128 - 16 * seed)) for seed in range(2)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]
PROPOSALS = [torch.tensor([[0.0, 0, 40, 50], [5, 5, 60, 70], [30, 20, 90, 90]]) for _ in SCENES]


def small_faster(**options):
    torch.manual_seed(0)
    rule = ProposalRule(before=200, count=20, min_size=4)
    options = {"proposals": rule, "training_proposals": rule, "grid": GRID} | options
    return faster_rcnn(backbone=SmallBackbone(8), classes=2, short_side=None, **options)


def small_fast(**options):
    torch.manual_seed(0)
    return fast_rcnn(backbone=SmallBackbone(8), classes=2, short_side=None, **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


# Structure


def test_truncation_by_svd_leaves_31989760_parameters_of_fc6_and_fc7():
    with torch.device("meta"):
        network = fast_rcnn()
    small = truncate_svd(network, {"head.fc6": 1024, "head.fc7": 256})

    def count(which):
        return sum(p.numel() for name, p in which.named_parameters() if name.startswith(("head.fc6", "head.fc7")))

    assert count(network) == 119_545_856
    assert count(small) == 31_989_760


def test_truncation_is_the_closest_product_of_that_rank_and_full_rank_changes_nothing():
    network = small_fast().eval()
    full = truncate_svd(network, {"head.fc7": 1024})
    assert_close(full.head.fc7.U.weight @ full.head.fc7.L.weight, network.head.fc7.weight, rtol=1e-3, atol=1e-5)
    half = truncate_svd(network, {"head.fc7": 300})
    values = torch.linalg.svdvals(network.head.fc7.weight.double())
    difference = half.head.fc7.U.weight.double() @ half.head.fc7.L.weight.double() - network.head.fc7.weight.double()
    assert_close(torch.linalg.matrix_norm(difference), values[300:].square().sum().sqrt(), rtol=1e-5, atol=0)
    assert isinstance(network.head.fc7, torch.nn.Linear)
    with pytest.raises(UnknownNameError, match="did you mean 'head\\.fc7'"):
        truncate_svd(network, {"head.fc77": 4})
    with pytest.raises(InputError, match="only fully connected layers"):
        truncate_svd(network, {"head": 4})
    with pytest.raises(InputError, match="at most the smaller of both, got 2000"):
        truncate_svd(network, {"head.fc7": 2000})


def test_the_field_of_zf_is_the_published_one_without_its_normalisation_over_cells():
    network = faster_rcnn(backbone=zf_trunk(), short_side=None)
    network.backbone.norm1 = network.backbone.norm2 = torch.nn.Identity()
    found = perimetry.inspect(describe(CARDS["faster_rcnn"], network), (160, 256))
    assert found.layer("rpn.head.rpn_conv").field.size == (171, 171)


@pytest.mark.parametrize("name", ["backbone.conv1_1.weight", "backbone.conv2_2.bias"])
def test_freezing_keeps_the_first_layers_and_trains_the_others(name):
    with torch.device("meta"):
        network = fast_rcnn()
    frozen = freeze(network, "backbone.conv1_*", "backbone.conv2_*")
    assert len(frozen) == 8
    assert not dict(network.named_parameters())[name].requires_grad
    assert sum(p.requires_grad for p in network.parameters()) == len(list(network.parameters())) - 8
    with pytest.raises(UnknownNameError, match="unknown parameter 'conv1_"):
        freeze(network, "conv1_*")


def test_two_way_softmax_is_the_sigmoid_of_the_difference():
    torch.manual_seed(0)
    head = RegionProposalHead(4, anchors=3, width=8)
    torch.nn.init.normal_(head.rpn_cls_score.weight)
    maps = torch.randn(2, 4, 5, 6)
    scores, offsets = head(maps)
    raw = head.rpn_cls_score(head.rpn_relu(head.rpn_conv(maps)))
    # As released: reshaped to two channels, all backgrounds in the first.
    chances = raw.reshape(2, 2, 3 * 5, 6).softmax(1)[:, 1].reshape(2, 3, 5, 6).permute(0, 2, 3, 1).flatten(1)
    assert_close(scores.sigmoid(), chances)
    moved = head.rpn_bbox_pred(head.rpn_relu(head.rpn_conv(maps)))
    assert_close(offsets[1, (2 * 6 + 4) * 3 + 1], moved[1, 4:8, 2, 4])


def test_regions_are_pooled_with_their_last_pixel():
    maps = torch.randn(1, 2, 6, 8)
    pool = RegionMaxPool("c4", size=2, stride=16)
    boxes = torch.tensor([[16.0, 16, 48, 80], [0, 0, 128, 96]])
    inclusive = torch.tensor([[0.0, 16, 16, 47, 79], [0, 0, 0, 127, 95]])
    expected = torchvision.ops.roi_pool(maps, inclusive, 2, 1 / 16)
    assert_close(pool({"c4": maps}, [boxes]), expected, rtol=0, atol=0)


# Images and boxes


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


# Losses


def test_region_losses_are_those_of_a_slow_loop():
    torch.manual_seed(0)
    outputs = RegionOutputs(torch.randn(6, 3), torch.randn(6, 3, 4))
    labels, aims = torch.tensor([0, 1, 2, 0, 2, 1]), torch.randn(6, 4)
    classification, box = region_losses(outputs, labels, aims, beta=0.5)
    for place, label in enumerate(labels.tolist()):
        row = outputs.logits[place].tolist()
        entropy = math.log(sum(math.exp(each) for each in row)) - row[label]
        assert float(classification[place]) == pytest.approx(entropy, rel=1e-5)
        total = 0.0
        for moved, aim in zip(outputs.offsets[place, label].tolist(), aims[place].tolist(), strict=True):
            far = abs(moved - aim)
            total += 0.5 * far * far / 0.5 if far < 0.5 else far - 0.25
        assert float(box[place]) == pytest.approx(total if label else 0.0, rel=1e-5)


def test_offsets_for_all_classes_alike_take_the_second_kind():
    outputs = RegionOutputs(torch.zeros(2, 5), torch.arange(16.0).reshape(2, 2, 4))
    _, box = region_losses(outputs, torch.tensor([4, 0]), torch.tensor([[4.0, 5, 6, 7], [0, 0, 0, 0]]))
    assert box.tolist() == [0, 0]


def test_proposal_losses_are_those_of_the_release():
    """Cross entropy and smooth L1 with sigma 3, both divided by the number of anchors drawn."""
    network = small_faster().train()
    torch.nn.init.normal_(network.rpn.head.rpn_cls_score.weight, std=0.3)
    batch = network.preparation(IMAGES)
    features = network.backbone(batch.pixels)
    truth = [target["boxes"] for target in TARGETS]
    _, losses = network.rpn(features, batch, truth, generator=seeded())
    losses = {name: float(loss.detach()) for name, loss in losses.items()}
    scores, offsets = (each.detach() for each in network.rpn.head(features["c4"]))
    anchors = GRID.over(*features["c4"].shape[2:], like=scores)
    entropy, moved, count = 0.0, 0.0, 0
    for image, boxes in enumerate(truth):
        height, width = batch.sizes[image]
        overlaps = torchvision.ops.box_iou(anchors, boxes)
        allowed = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
        largest = overlaps[allowed].amax(0)
        for place in range(len(anchors)):
            best = float(overlaps[place].max())
            positive = best >= 0.7 or bool((overlaps[place] == largest).any())
            if not allowed[place] or (best >= 0.3 and not positive):
                continue
            count += 1  # fewer than 256 in all, so that every one is drawn
            chance = float(scores[image, place].sigmoid())
            entropy -= math.log(chance if positive else 1 - chance)
            if not positive:
                continue
            t, a = boxes[int(overlaps[place].argmax())].tolist(), anchors[place].tolist()
            wide, high = a[2] - a[0], a[3] - a[1]
            aims = [
                ((t[0] + t[2]) / 2 - (a[0] + a[2]) / 2) / wide,
                ((t[1] + t[3]) / 2 - (a[1] + a[3]) / 2) / high,
                math.log((t[2] - t[0]) / wide),
                math.log((t[3] - t[1]) / high),
            ]
            for told, aim in zip(offsets[image, place].tolist(), aims, strict=True):
                far = abs(told - aim)
                moved += 4.5 * far * far if far < 1 / 9 else far - 1 / 18
    assert 0 < count < 512
    assert losses["loss_objectness"] == pytest.approx(entropy / count, rel=1e-4)
    assert losses["loss_rpn_box_reg"] == pytest.approx(moved / count, rel=1e-4)


def test_online_hard_examples_train_on_the_largest_losses_alone():
    network = small_fast(
        sampling=RegionSampling(count=2, background=(0.0, 0.5), choice="hardest", overlap=None)
    ).train()
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.nn.init.normal_(network.head.cls_score.weight, std=0.1)
    with torch.no_grad():
        losses = network(IMAGES, PROPOSALS, TARGETS)
    batch = network.preparation(IMAGES)
    features = {name: each.detach() for name, each in network.backbone(batch.pixels).items()}
    each = []
    for image, target in enumerate(TARGETS):
        alone = {"c4": features["c4"][image : image + 1]}
        boxes = torch.cat([PROPOSALS[image], target["boxes"]])
        overlaps = torchvision.ops.box_iou(boxes, target["boxes"])
        labels = torch.where(overlaps.amax(1) >= 0.5, target["labels"][overlaps.argmax(1)], 0)
        aims = encode_boxes(target["boxes"][overlaps.argmax(1)], boxes, deviations=(0.1, 0.1, 0.2, 0.2))
        with torch.no_grad():
            classification, box = region_losses(network.head(alone, [boxes]), labels, aims)
        top = sorted(range(len(boxes)), key=lambda place: -float(classification[place] + box[place]))[:2]
        each += [(float(classification[place]), float(box[place])) for place in top]
    assert float(losses["loss_classifier"]) == pytest.approx(sum(one for one, _ in each) / 4, rel=1e-4)
    assert float(losses["loss_box_reg"]) == pytest.approx(sum(two for _, two in each) / 4, rel=1e-4)


@pytest.mark.parametrize("sampling", [None, ONLINE_HARD_EXAMPLES])
def test_gradients_reach_every_parameter(sampling):
    fast = small_fast(sampling=sampling).train()
    sum(fast(IMAGES, PROPOSALS, TARGETS, generator=seeded()).values()).backward()
    faster = small_faster(sampling=sampling).train()
    losses = faster(IMAGES, TARGETS, generator=seeded())
    assert list(losses) == ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"]
    sum(losses.values()).backward()
    for network in (fast, faster):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_losses_of_proposals_do_not_train_the_head_and_the_other_way_round():
    network = small_faster().train()
    losses = network(IMAGES, TARGETS, generator=seeded())
    (losses["loss_classifier"] + losses["loss_box_reg"]).backward(retain_graph=True)
    assert all(p.grad is None for p in network.rpn.parameters())
    network.zero_grad(set_to_none=True)
    (losses["loss_objectness"] + losses["loss_rpn_box_reg"]).backward()
    assert all(p.grad is None for p in network.head.parameters())


def test_the_generator_decides_the_draws():
    network = small_fast(sampling=RegionSampling(count=2, background=(0.0, 0.5))).train()
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    many = [torch.cat([boxes + step for step in range(0, 40, 4)]) for boxes in PROPOSALS]

    def loss(seed):
        return float(network(IMAGES, many, TARGETS, generator=seeded(seed))["loss_classifier"].detach())

    found = [loss(seed) for seed in range(6)]
    assert found == [loss(seed) for seed in range(6)]
    assert len(set(found)) > 1


def test_images_without_objects_train_as_background():
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)} for _ in IMAGES]
    for network, losses in (
        (fast := small_fast().train(), fast(IMAGES, PROPOSALS, nothing)),
        (faster := small_faster().train(), faster(IMAGES, nothing)),
    ):
        sum(losses.values()).backward()
        assert all(math.isfinite(each) for each in losses.values())
        assert float(losses["loss_box_reg"]) == 0 < float(losses["loss_classifier"])
        assert network.head.cls_score.weight.grad.any()


def test_hard_negatives_are_trained_on():
    network = small_fast(sampling=RegionSampling(count=3, background=(0.1, 0.5))).train()
    seen = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    hard = torch.tensor([[100.0, 80, 120, 95]])
    network(IMAGES[:1], PROPOSALS[:1], [TARGETS[0] | {"hard_negatives": hard}], generator=seeded())
    assert hard[0].tolist() in seen[0][0].tolist()


# Detections


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


# Proposals and the switches of the ablation


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


# What is refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda fast, _: fast(IMAGES, None), InputError, "needs proposals: a list with boxes"),
        (lambda fast, _: fast(IMAGES, PROPOSALS[:1]), InputError, "for each of 2 images, got 1"),
        (lambda fast, _: fast(IMAGES[:1], [torch.zeros(3, 5)]), ShapeError, r"tensor \(K, 4\) of x1, y1, x2, y2"),
        (lambda fast, _: fast(IMAGES[:1], [torch.full((1, 4), torch.nan)]), InputError, "hold NaN or infinity"),
        (lambda fast, _: fast(IMAGES[:1], [torch.tensor([[50.0, 5, 20, 20]])]), InputError, "in the wrong order"),
        (lambda fast, _: fast([], []), InputError, "at least one image"),
        (lambda fast, _: fast(IMAGES[0], PROPOSALS), ShapeError, "put it in a list"),
        (lambda fast, _: fast([torch.zeros(1, 9, 9)], PROPOSALS[:1]), ShapeError, r"images \(3, H, W\), got one"),
        (lambda fast, _: fast([torch.zeros(3, 9, 9).byte()], PROPOSALS[:1]), InputError, r"image.float\(\) / 255"),
        (lambda _, faster: faster.train()(IMAGES), InputError, "in training mode, give targets"),
        (lambda _, faster: faster.train()(IMAGES, TARGETS[:1]), InputError, "targets for each of 2 images, got 1"),
        (lambda _, faster: faster.train()(IMAGES[:1], [{"boxes": torch.zeros(0, 4)}]), InputError, "has no 'labels'"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(small_fast().eval(), small_faster().eval())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.tensor([[5.0, 5, 5, 9]]), "labels": torch.tensor([1])}, "must have x1 < x2 and y1 < y2"),
        ({"boxes": torch.tensor([[5.0, 5, torch.inf, 9]]), "labels": torch.tensor([1])}, "hold NaN or infinity"),
        ({"labels": torch.tensor([1, 3])}, "labels are 1 ... 2 .*image 0 has 1 ... 3; build the network with as many"),
        ({"labels": torch.tensor([0, 1])}, "labels are 1 ... 2"),
        ({"labels": torch.tensor([1])}, "expected 2 whole labels for image 0"),
        ({"hard_negatives": torch.zeros(4)}, "expected the hard negatives of image 0 as a tensor"),
    ],
)
def test_bad_targets_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        small_faster().train()(IMAGES[:1], [TARGETS[0] | change])


def test_backbones_that_do_not_fit_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'vgg16'"):
        fast_rcnn(backbone="vgg_16")
    with pytest.raises(InputError, match="a map of stride 16"):
        faster_rcnn(backbone=torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError, match="classes counts what is to be found"):
        fast_rcnn(classes=0)
    with pytest.raises(InputError, match="a grid of stride 8"):
        faster_rcnn(grid=AnchorGrid.published(8))
    with pytest.raises(InputError, match="order is 'score' or 'random'"):
        ProposalRule(order="area")


# Everywhere


def test_any_backbone_is_taken_by_name():
    torch.manual_seed(0)
    network = faster_rcnn(backbone="torchvision:resnet18", classes=2, short_side=96, long_side=160).eval()
    assert network.anchors((96, 128)) == 6 * 8 * 9
    assert {"boxes", "labels", "scores"} == set(network(IMAGES[:1])[0])


@torch.no_grad()
def test_the_dense_parts_compile_and_export():
    network = small_faster().eval()
    pixels = torch.rand(1, 3, 64, 96)
    maps = network.backbone(pixels)["c4"]
    compiled = torch.compile(network.backbone, backend="aot_eager", fullgraph=True)
    assert_close(compiled(pixels)["c4"], maps)
    assert_close(torch.compile(network.rpn.head, backend="aot_eager", fullgraph=True)(maps), network.rpn.head(maps))
    exported = torch.export.export(torch.nn.Sequential(network.backbone), (pixels,)).module()
    assert_close(exported(pixels)["c4"], maps)
    exported = torch.export.export(network.rpn.head, (maps,)).module()
    assert_close(exported(maps), network.rpn.head(maps))


@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated")  # by torchvision's suppression
def test_the_whole_detector_compiles_with_breaks():
    network = small_faster().eval()
    with torch.no_grad():
        expected = network(IMAGES)
        found = torch.compile(network, backend="eager")(IMAGES)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("name", ["fast_rcnn", "faster_rcnn"])
def test_detectors_are_inspected_with_the_names_of_the_release(name):
    build = small_fast if name == "fast_rcnn" else small_faster
    loaded = describe(CARDS[name], build())
    found = perimetry.inspect(loaded, (96, 128))
    assert found.layer("head.cls_score").shape[1:] == (3,)
    assert found.layer("head.roi_pool5").shape[1:] == (16, 7, 7)
    assert not found.models[0].unknown
    assert found.layer("backbone.layers.6").field.size == (61, 61)
    answer = perimetry.effective_field(loaded, torch.rand(1, 3, 96, 128), "backbone.layers.6")
    rows, columns = (answer.map.sum(axis).nonzero()[0] for axis in (1, 0))
    assert (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1) == (61, 61)


def test_half_precision_and_double_run():
    for dtype in (torch.float64, torch.bfloat16):
        network = small_faster().to(dtype).eval()
        found = network([image.to(dtype) for image in IMAGES])
        assert all(each["boxes"].isfinite().all() for each in found)
