"""Detectors on a feature pyramid: levels, anchors, torchvision's detector with its weights, and what is refused."""

import math

import pytest
import torch
import torchvision
from torch.testing import assert_close
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from networks.small_detectors import SmallBackbone, SmallPyramidBackbone, scene
from perimetry.errors import InputError, UnknownNameError, WeightsError
from perimetry.networks import (
    AnchorGrid,
    ProposalRule,
    fast_rcnn_fpn,
    faster_rcnn_fpn,
    feature_pyramid,
    fix_batch_norms,
    pyramid_anchors,
    r_fcn_fpn,
    torchvision_anchors,
    torchvision_weights,
)
from perimetry.networks.region_levels import PyramidRegionAlign, region_levels

SCENES = [scene(seed, size=(96, 128 - 16 * seed)) for seed in range(2)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]
STRIDES = (4, 8, 16, 32)


def small(build=faster_rcnn_fpn, **options):
    torch.manual_seed(0)
    rule = ProposalRule(before=100, count=30, min_size=0.0)
    if build is not fast_rcnn_fpn:
        options = {"proposals": rule, "training_proposals": rule} | options
    return build(backbone=SmallPyramidBackbone(8), classes=2, short_side=None, **options)


def boxes_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 300
    sides = 8 * 100 ** torch.rand(count, 2, generator=generator)
    return torch.cat([corners, corners + sides], 1)


# Levels


def test_levels_are_those_of_a_slow_loop_over_boxes_with_the_last_pixel_inside():
    boxes = boxes_of(500)
    levels = region_levels(boxes, STRIDES)
    for (x1, y1, x2, y2), level in zip(boxes.tolist(), levels.tolist(), strict=True):
        last_x, last_y = x2 - 1, y2 - 1
        side = math.sqrt((last_x - x1 + 1) * (last_y - y1 + 1))
        assert level + 2 == min(5, max(2, math.floor(4 + math.log2(side / 224 + 1e-6))))
    assert set(levels.tolist()) == {0, 1, 2, 3}


def test_levels_change_at_112_224_and_448_pixels_as_torchvision_has_it():
    mapper = torchvision.ops.poolers.LevelMapper(2, 5)
    sides = torch.tensor([1.0, 111.9, 112, 223.9, 224, 447.9, 448, 2000])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    assert region_levels(boxes, STRIDES).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(region_levels(boxes, STRIDES), mapper([boxes]))
    assert torch.equal(region_levels(boxes_of(2000), STRIDES), mapper([boxes_of(2000)]))
    assert region_levels(torch.zeros(2, 4), STRIDES).tolist() == [0, 0]
    assert region_levels(torch.zeros(0, 4), STRIDES).tolist() == []


def test_levels_of_other_strides_are_refused():
    with pytest.raises(InputError, match=r"each twice the one before; got \(4, 16\)"):
        region_levels(boxes_of(1), (4, 16))
    with pytest.raises(InputError, match="powers of 2"):
        region_levels(boxes_of(1), (3, 6))


def test_regions_are_aligned_as_torchvision_does():
    torch.manual_seed(0)
    names = ("p2", "p3", "p4", "p5")
    maps = {name: torch.randn(2, 6, 256 // stride, 320 // stride) for name, stride in zip(names, STRIDES, strict=True)}
    boxes = [boxes_of(60), boxes_of(40, seed=1)]
    theirs = torchvision.ops.MultiScaleRoIAlign(list(names), 7, 2)(maps, boxes, [(256, 320)] * 2)
    assert torch.equal(PyramidRegionAlign(dict(zip(names, STRIDES, strict=True)))(maps, boxes), theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_regions_in_half_precision_lie_where_they_lie_in_single(dtype):
    # A column at 1001 is 1000 in bfloat16, and torchvision's RoIAlign has no bfloat16.
    maps = {"p2": torch.arange(256.0).expand(1, 1, 8, 256)}
    align, boxes = PyramidRegionAlign({"p2": 4}, size=1), [torch.tensor([[1001.0, 4, 1007, 10]])]
    found = align({"p2": maps["p2"].to(dtype)}, boxes)
    assert found.dtype == dtype
    assert_close(found, align(maps, boxes).to(dtype), rtol=0, atol=0)


# Anchors


def test_anchors_of_a_pyramid_are_detectrons():
    """Slow copy of its generate_anchors: a square of one stride, rounded at each ratio, then eight times as large."""
    for level, (name, grid) in enumerate(pyramid_anchors().items(), start=2):
        stride = 2**level
        assert (name, grid.stride) == (f"p{level}", stride)
        middle = (stride - 1) / 2
        for ratio, box in zip((0.5, 1, 2), grid.boxes, strict=True):
            width = round(math.sqrt(stride * stride / ratio))
            height = round(width * ratio)
            inclusive = (
                middle - (8 * width - 1) / 2,
                middle - (8 * height - 1) / 2,
                middle + (8 * width - 1) / 2,
                middle + (8 * height - 1) / 2,
            )
            assert box == (inclusive[0], inclusive[1], inclusive[2] + 1, inclusive[3] + 1)


@pytest.mark.parametrize("sides", [(256, 320), (128, 192)])
def test_anchors_of_torchvision_are_its_own(sides):
    theirs = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    maps = [torch.zeros(1, 1, -(-sides[0] // 2**level), -(-sides[1] // 2**level)) for level in range(2, 7)]
    expected = theirs(ImageList(torch.zeros(1, 3, *sides), [sides]), maps)[0]
    found = [
        grid.over(*each.shape[2:], like=each) for grid, each in zip(torchvision_anchors().values(), maps, strict=True)
    ]
    assert torch.equal(torch.cat(found), expected)


# Against torchvision's detector


@pytest.fixture(scope="module")
def pair():
    """torchvision's detector with weights that make scores and boxes vary, and ours with the same."""
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=6, min_size=128).eval()
    ours = faster_rcnn_fpn(classes=5, grids=torchvision_anchors(), short_side=128).eval()
    image = torch.rand(3, 128, 192)
    with torch.no_grad():
        batch = theirs.transform([image])[0]
        maps = theirs.backbone(batch.tensors)
        for layer, outputs in zip(
            (theirs.rpn.head.cls_logits, theirs.rpn.head.bbox_pred), theirs.rpn.head(list(maps.values())), strict=True
        ):
            layer.weight.mul_(1 / torch.cat([each.flatten() for each in outputs]).std())
        proposals = theirs.rpn(batch, maps)[0]
        regions = theirs.roi_heads.box_head(theirs.roi_heads.box_roi_pool(maps, proposals, batch.image_sizes))
        for layer in (theirs.roi_heads.box_predictor.cls_score, theirs.roi_heads.box_predictor.bbox_pred):
            layer.weight.mul_(1 / layer(regions).std())
    ours.load_state_dict(torchvision_weights(theirs.state_dict()))
    return theirs, ours, image


def test_proposals_are_torchvisions_with_its_weights_and_anchors(pair):
    theirs, ours, image = pair
    with torch.no_grad():
        batch = theirs.transform([image])[0]
        expected = theirs.rpn(batch, theirs.backbone(batch.tensors))[0][0]
    found = ours.propose([image])[0].boxes
    assert len(expected) > 300
    assert_close(found, expected, rtol=0, atol=1e-3)  # sums in another order


def test_detections_are_torchvisions_with_its_weights_and_anchors(pair):
    theirs, ours, image = pair
    with torch.no_grad():
        expected, found = theirs([image])[0], ours([image])[0]
    assert len(expected["boxes"]) > 20
    assert_close(found["boxes"], expected["boxes"], rtol=0, atol=1e-3)
    assert torch.equal(found["labels"], expected["labels"])
    assert_close(found["scores"], expected["scores"], rtol=0, atol=1e-5)


def test_weights_saved_by_older_torchvision_are_renamed_and_others_refused():
    assert list(torchvision_weights({"rpn.head.conv.weight": torch.zeros(1)})) == ["rpn.head.rpn_conv.weight"]
    assert list(torchvision_weights({"rpn.head.conv.0.0.bias": torch.zeros(1)})) == ["rpn.head.rpn_conv.bias"]
    with pytest.raises(WeightsError, match=r"'fc\.weight' is no tensor of torchvision's"):
        torchvision_weights({"fc.weight": torch.zeros(1)})


def test_a_photo_of_375_by_500_is_rounded_up_where_torchvision_rounds_down():
    theirs = torchvision.models.detection.transform.GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3)
    assert theirs([torch.zeros(3, 375, 500)])[0].image_sizes == [(800, 1066)]
    with torch.device("meta"):
        network = faster_rcnn_fpn()
    assert network.preparation.target_size((375, 500)) == (800, 1067)


# Training, saving


@pytest.mark.parametrize("build", [faster_rcnn_fpn, r_fcn_fpn, fast_rcnn_fpn])
def test_every_parameter_is_trained_and_a_saved_network_predicts_the_same(build, tmp_path):
    network = small(build).train()
    given = ([target["boxes"] + 3 for target in TARGETS],) if build is fast_rcnn_fpn else ()
    losses = network(IMAGES, *given, TARGETS, generator=torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        idle = build is fast_rcnn_fpn and name.startswith("backbone.fpn.") and parameter.grad is None
        assert idle or (parameter.grad is not None and parameter.grad.isfinite().all()), name
    assert all(loss.isfinite() for loss in losses.values())
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = small(build)
    torch.nn.init.ones_(again.backbone.body.layers[0][0].weight)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    network.eval(), again.eval()
    with torch.no_grad():
        for one, other in zip(network(IMAGES, *given), again(IMAGES, *given), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("build", [faster_rcnn_fpn, r_fcn_fpn])
def test_without_proposals_there_are_no_detections(build):
    network = small(build).eval()
    with torch.no_grad():
        found = network(IMAGES, proposals=[torch.zeros(0, 4)] * 2)
    assert [len(each["boxes"]) for each in found] == [0, 0]


def test_fixed_batch_norms_keep_statistics_and_scale_in_training():
    with torch.random.fork_rng():
        pyramid = feature_pyramid("torchvision:resnet18")
    fixed = fix_batch_norms(pyramid).train()
    before = {name: value.clone() for name, value in fixed.state_dict().items()}
    image = torch.rand(2, 3, 64, 64)
    out = fixed(image)["p2"]
    out.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in fixed.state_dict().items())
    assert not any(parameter.requires_grad for name, parameter in fixed.named_parameters() if ".bn" in name)
    assert_close(out, pyramid.eval()(image)["p2"])
    assert any(parameter.requires_grad for name, parameter in pyramid.named_parameters() if ".bn" in name)
    with pytest.raises(InputError, match="has no batch normalisation"):
        fix_batch_norms(torch.nn.Linear(1, 1))


# Refused


def test_a_backbone_needs_the_four_strides_and_a_known_name():
    with pytest.raises(InputError, match=r"a pyramid stands on maps of strides 4, 8, 16, 32.*SmallBackbone has 16"):
        faster_rcnn_fpn(backbone=SmallBackbone(8))
    with pytest.raises(InputError, match="Linear takes no square images"):
        feature_pyramid(torch.nn.Linear(1, 1))
    with pytest.raises(UnknownNameError, match="did you mean 'resnet50'"):
        feature_pyramid("resnet5")


def test_grids_that_do_not_fit_the_levels_are_refused():
    with pytest.raises(InputError, match="with the strides of"):
        small(grids={"p2": AnchorGrid.published(8)})
    with pytest.raises(InputError, match=r"with 3, 9 shapes"):
        small(grids={"p2": AnchorGrid.published(4), "p3": AnchorGrid.published(8, scales=(8,))})
    with pytest.raises(InputError, match="at least 1; got 0"):
        fast_rcnn_fpn(backbone=SmallPyramidBackbone(8), classes=0)
