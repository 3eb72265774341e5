"""Fast R-CNN and Faster R-CNN: structure, what is refused, and where they run."""

import math

import pytest
import torch
import torchvision
from torch.testing import assert_close

import perimetry
from networks.small_detectors import IMAGES, PROPOSALS, TARGETS, small_fast, small_faster
from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.models.from_perimetry import describe
from perimetry.networks import (
    CARDS,
    ONLINE_HARD_EXAMPLES,
    AnchorGrid,
    ProposalRule,
    backbone,
    fast_rcnn,
    faster_rcnn,
    freeze,
    truncate_svd,
)
from perimetry.networks.region_heads import RegionMaxPool
from perimetry.networks.region_proposals import RegionProposalHead
from perimetry.networks.trunks import zf_trunk


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
    with pytest.raises(UnknownNameError, match="unknown parameter or pattern 'conv1_"):
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
    with pytest.raises(InputError, match="Conv2d gives no maps"):
        faster_rcnn(backbone=torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError, match="a map of stride 16, named in its `strides` and `channels`; got Backbone"):
        faster_rcnn(backbone=backbone("torchvision:resnet18", layers=["layer1"]))
    with pytest.raises(InputError, match="expected a backbone's name or a module, got int"):
        faster_rcnn(backbone=18)
    with pytest.raises(InputError, match="classes counts what is to be found"):
        fast_rcnn(classes=0)
    with pytest.raises(InputError, match="a grid of stride 8"):
        faster_rcnn(grid=AnchorGrid.published(8))
    with pytest.raises(InputError, match="order is 'score' or 'random'"):
        ProposalRule(order="area")


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


@pytest.mark.parametrize("sampling", [None, ONLINE_HARD_EXAMPLES])
def test_nothing_is_made_on_the_default_device(sampling, monkeypatch):
    """With another default device, what is made without naming one would not fit the rest."""
    suppress = torchvision.ops.batched_nms

    def at_home(*given):
        with torch.device("cpu"):  # torchvision makes a number without naming a device, and moves it
            return suppress(*given)

    monkeypatch.setattr(torchvision.ops, "batched_nms", at_home)
    fast, faster = small_fast(sampling=sampling), small_faster(sampling=sampling)
    with torch.device("meta"):
        for network, inputs in ((fast, (IMAGES, PROPOSALS)), (faster, (IMAGES,))):
            losses = network.train()(*inputs, TARGETS)
            assert all(math.isfinite(loss.detach()) for loss in losses.values())
            assert network.eval()(*inputs)[0]["boxes"].device.type == "cpu"
