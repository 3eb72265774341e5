"""What detectors are trained by: each loss against a slow loop, and where gradients go."""

import math

import pytest
import torch
import torchvision

from networks.small_detectors import (
    GRID,
    IMAGES,
    PROPOSALS,
    TARGETS,
    seeded,
    small_fast,
    small_faster,
)
from perimetry.networks import (
    ONLINE_HARD_EXAMPLES,
    RegionSampling,
)
from perimetry.networks.box_coding import encode_boxes
from perimetry.networks.region_heads import RegionOutputs, region_losses


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
        losses = {name: float(loss.detach()) for name, loss in losses.items()}
        assert all(math.isfinite(each) for each in losses.values())
        assert losses["loss_box_reg"] == 0 < losses["loss_classifier"]
        assert network.head.cls_score.weight.grad.any()


def test_hard_negatives_are_trained_on():
    network = small_fast(sampling=RegionSampling(count=3, background=(0.1, 0.5))).train()
    seen = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    hard = torch.tensor([[100.0, 80, 120, 95]])
    network(IMAGES[:1], PROPOSALS[:1], [TARGETS[0] | {"hard_negatives": hard}], generator=seeded())
    assert hard[0].tolist() in seen[0][0].tolist()
