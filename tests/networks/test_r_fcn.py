"""R-FCN: the vote, hard examples as released, its dilated trunk, and what is refused."""

import pytest
import torch
from torch.testing import assert_close

from networks.small_detectors import SmallBackbone, SmallPyramidBackbone, scene
from perimetry import ops
from perimetry.errors import InputError, UnknownNameError
from perimetry.networks import R_FCN_HARD_EXAMPLES, R_FCN_HARD_PROPOSALS, AnchorGrid, ProposalRule, r_fcn
from perimetry.networks.box_coding import encode_boxes
from perimetry.networks.position_sensitive_head import PositionSensitiveHead
from perimetry.networks.region_heads import RegionOutputs, region_losses
from perimetry.networks.region_levels import region_levels
from perimetry.networks.residual_trunks import residual_trunk
from perimetry.networks.sampling import label_regions

GRID = AnchorGrid.published(16, scales=(2, 3))
SCENES = [scene(seed) for seed in range(2)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]
BOXES = [torch.tensor([[0.0, 0, 64, 48], [17, 5, 61, 70]]), torch.tensor([[30.0, 20, 90, 90]])]


def small(**options):
    torch.manual_seed(0)
    rule = ProposalRule(before=200, count=40, min_size=4)
    options = {"proposals": rule, "training_proposals": rule} | options
    return r_fcn(backbone=SmallBackbone(8), classes=2, short_side=None, grid=GRID, **options)


@pytest.mark.parametrize("offsets", ["class_agnostic", "class_aware"])
def test_scores_and_offsets_are_means_over_the_bins_of_their_own_maps(offsets):
    torch.manual_seed(0)
    head = PositionSensitiveHead({"c": 16}, channels=4, classes=3, width=5, offsets=offsets, bins=2)
    maps = torch.randn(2, 4, 6, 8)
    outputs = head({"c": maps}, BOXES)
    hidden = head.conv_new_1(maps).relu()
    scores, moves = head.rfcn_cls(hidden), head.rfcn_bbox(hidden)
    assert outputs.offsets.shape == (3, 2 if offsets == "class_agnostic" else 4, 4)
    row = 0
    for image, boxes in enumerate(BOXES):
        for x1, y1, x2, y2 in boxes.tolist():
            region = torch.tensor([[image, x1, y1, x2 - 1, y2 - 1]])  # the release's last pixel lies inside
            pooled = ops.position_sensitive_roi_pool(scores, region, size=2, scale=1 / 16)
            for label in range(4):
                assert_close(outputs.logits[row, label], pooled[0, label].sum() / 4)
            pooled = ops.position_sensitive_roi_pool(moves, region, size=2, scale=1 / 16)
            for kind in range(outputs.offsets.shape[1]):
                for side in range(4):
                    assert_close(outputs.offsets[row, kind, side], pooled[0, 4 * kind + side].sum() / 4)
            row += 1


def test_with_several_maps_each_region_is_read_from_its_own():
    torch.manual_seed(0)
    strides = {"p4": 16, "p5": 32}
    head = PositionSensitiveHead(strides, channels=4, classes=2, width=5)
    maps = {"p4": torch.randn(1, 4, 40, 40), "p5": torch.randn(1, 4, 20, 20)}
    boxes = torch.tensor([[0.0, 0, 600, 600], [5, 5, 60, 99], [9, 9, 500, 480], [0, 0, 300, 200]])
    outputs = head(maps, [boxes])
    levels = region_levels(boxes, (16, 32)).tolist()
    assert set(levels) == {0, 1}
    for row, level in enumerate(levels):
        name = list(strides)[level]
        single = PositionSensitiveHead({name: strides[name]}, channels=4, classes=2, width=5)
        single.load_state_dict(head.state_dict())
        alone = single(maps, [boxes[row : row + 1]])
        assert_close(outputs.logits[row], alone.logits[0])
        assert_close(outputs.offsets[row], alone.offsets[0])


def test_hard_examples_are_those_of_the_largest_sum_of_losses_among_all_regions():
    """A slow loop over the release's: no share of objects, no suppression, the box loss divided by a fixed count."""
    rule = R_FCN_HARD_EXAMPLES
    assert (rule.count, rule.overlap, rule.choice) == (128, None, "hardest")
    assert (R_FCN_HARD_PROPOSALS.before, R_FCN_HARD_PROPOSALS.count) == (6000, 300)
    few = type(rule)(count=5, background=(0.0, 0.5), choice="hardest", overlap=None)
    network = small(sampling=few).train()
    torch.nn.init.normal_(network.head.rfcn_cls.weight, std=1.0)
    torch.nn.init.normal_(network.head.rfcn_bbox.weight, std=1.0)
    given = [torch.tensor([[x, y, x + 40.0, y + 40] for x in (0, 20, 60) for y in (0, 30, 50)])] * 2
    losses = network(IMAGES, TARGETS, proposals=given)
    batch = network.preparation(IMAGES)
    maps = network.backbone(batch.pixels)
    classification_sum = box_sum = 0.0
    for image, target in enumerate(TARGETS):
        regions = label_regions(given[image], target["boxes"], target["labels"], few)
        assert len(regions.boxes) == 9 + 2
        each = []
        for place in range(len(regions.boxes)):
            one = {"c4": maps["c4"][image : image + 1]}
            outputs = network.head(one, [regions.boxes[place : place + 1]])
            kind = min(int(regions.labels[place]), 1)
            aim = encode_boxes(
                regions.truth[place : place + 1], regions.boxes[place : place + 1], deviations=(0.1, 0.1, 0.2, 0.2)
            )
            classification, _ = region_losses(outputs, regions.labels[place : place + 1], aim)
            far = (outputs.offsets[0, kind] - aim[0]).abs()
            box = torch.where(far < 1, far.square() / 2, far - 0.5).sum() if kind else torch.zeros(())
            each.append((float(classification.detach()), float(box.detach())))
        chosen = sorted(each, key=sum, reverse=True)[:5]
        classification_sum += sum(one for one, _ in chosen)
        box_sum += sum(two for _, two in chosen)
    assert float(losses["loss_classifier"].detach()) == pytest.approx(classification_sum / 10, rel=1e-4)
    assert float(losses["loss_box_reg"].detach()) == pytest.approx(box_sum / 10, rel=1e-4)


def test_the_box_loss_is_divided_by_the_fixed_count_even_where_fewer_regions_are_left():
    given = [torch.tensor([[0.0, 0, 40, 40]])] * 2
    losses = {
        count: small(sampling=type(R_FCN_HARD_EXAMPLES)(count=count, choice="hardest", overlap=None)).train()(
            IMAGES, TARGETS, proposals=given
        )
        for count in (8, 16)
    }
    assert float(losses[8]["loss_box_reg"].detach()) == pytest.approx(2 * float(losses[16]["loss_box_reg"].detach()))
    assert_close(losses[8]["loss_classifier"], losses[16]["loss_classifier"])


def test_the_dilated_trunk_has_the_map_of_stride_32_among_its_cells():
    torch.manual_seed(0)
    coarse = residual_trunk("resnet50").eval()
    fine = residual_trunk("resnet50", output_stride=16).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        one, other = coarse(image), fine(image)
    assert [tuple(each.shape[1:]) for each in other.values()] == [
        (256, 24, 16),
        (512, 12, 8),
        (1024, 6, 4),
        (2048, 6, 4),
    ]
    assert_close(other["res5c"][:, :, ::2, ::2], one["res5c"], rtol=1e-4, atol=1e-4)


def test_any_backbone_at_stride_16_will_do():
    torch.manual_seed(0)
    network = r_fcn(backbone="torchvision:resnet18", classes=3, short_side=None, grid=GRID).eval()
    assert list(network.rpn.grids) == ["layer3"]
    assert list(network.head.strides) == ["layer4"]
    with torch.no_grad():
        found = network(IMAGES[:1])
    assert set(found[0]) == {"boxes", "labels", "scores"}


def test_a_saved_network_predicts_the_same(tmp_path):
    network = small().train()
    losses = network(IMAGES, TARGETS, generator=torch.Generator().manual_seed(0))
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = small()
    torch.nn.init.ones_(again.head.rfcn_cls.weight)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    network.eval(), again.eval()
    with torch.no_grad():
        for one, other in zip(network(IMAGES), again(IMAGES), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'resnet101'"):
        r_fcn(backbone="resnet100")
    with pytest.raises(InputError, match="Linear takes no square images"):
        r_fcn(backbone=torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="a grid of stride 8"):
        r_fcn(backbone=SmallPyramidBackbone(4), grid=AnchorGrid.published(8))
    with pytest.raises(InputError, match="'class_agnostic' or 'class_aware', got 'both'"):
        r_fcn(backbone=SmallBackbone(4), offsets="both")
    with pytest.raises(InputError, match="at least one class"):
        PositionSensitiveHead({"c": 16}, channels=4, classes=0)


def test_a_region_outputs_two_kinds_of_offsets_when_they_do_not_depend_on_the_class():
    outputs = small().head({"c4": torch.zeros(1, 16, 6, 8)}, [BOXES[0]])
    assert isinstance(outputs, RegionOutputs)
    assert outputs.offsets.shape == (2, 2, 4)
