"""SPP-net's detector: scales, pyramids on boxes, SVMs and ridge regression; and selective search."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn import functional
from torch.testing import assert_close
from torchvision.ops import box_iou

import perimetry
from networks.small_detectors import SmallBackbone, ap50, scene
from perimetry.errors import InputError, MissingExtraError, ShapeError, UnknownNameError
from perimetry.models.from_perimetry import describe
from perimetry.networks import (
    CARDS,
    DetectionRule,
    fit_box_regressors,
    fit_svms,
    selective_search,
    spp_detector,
)
from perimetry.networks.box_coding import decode_boxes
from perimetry.networks.spp_detector import ZF5_OFFSET0, best_scales
from perimetry.networks.spp_fitting import _ridge

SCENES = [scene(seed) for seed in range(4)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]


def grid_of_boxes(size=(96, 128)):
    """Boxes of two sizes all over an image, in the place of selective search."""
    boxes = [
        (x, y, x + wide, y + high)
        for wide, high in ((36, 40), (28, 48), (44, 34))
        for x in range(0, size[1] - wide, 6)
        for y in range(0, size[0] - high, 6)
    ]
    return torch.tensor(boxes, dtype=torch.float)


PROPOSALS = [grid_of_boxes()] * 4


def small(**options):
    torch.manual_seed(0)
    options = {"scales": (96, 192), "widths": (64, 64), "offset0": 1.0, "offset": 0.0} | options
    return spp_detector(backbone=SmallBackbone(8), classes=2, **options)


# Pooling


def test_a_box_goes_to_the_scale_at_which_its_area_is_closest_to_224_squared():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 10 * 40 ** torch.rand(300, 2, generator=generator)], 1)
    ratios = [(side - 1) / 374 for side in (480, 576, 688, 864, 1200)]
    chosen = best_scales(boxes, ratios).tolist()
    for (x1, y1, x2, y2), found in zip(boxes.tolist(), chosen, strict=True):
        off = [abs((x2 - x1) * (y2 - y1) * ratio * ratio - 224 * 224) for ratio in ratios]
        assert found == off.index(min(off))
    assert set(chosen) == {0, 1, 2, 3, 4}


def test_regions_are_adaptive_pools_of_the_cells_of_their_scale_cut_out():
    """The release's rule in a slow loop: corners to corners of the resized image, then to cells, counted from 1."""
    network = small(scales=(96, 192), offset0=3.0, offset=2.5, levels=(3, 2, 1)).eval()
    batch = network.preparation(IMAGES[:1])
    features = network._features(batch)
    boxes = torch.tensor([[0.0, 0, 120, 90], [20, 10, 61, 72], [7, 7, 12, 12]])
    with torch.no_grad():
        pooled = network.head.pool(features, [boxes])
    assert set(best_scales(boxes, features[0].ratios).tolist()) == {1}
    for row, box in enumerate(boxes.tolist()):
        maps = features[0].maps[1]
        height, width = maps.shape[2:]
        assert (height, width) == (12, 16)
        x1, y1, x2, y2 = ((each * (192 - 1) / (96 - 1)) + 1 for each in (box[0], box[1], box[2] - 1, box[3] - 1))
        left, top = (int(np.floor((each - 3 + 2.5) / 16 + 0.5)) + 1 for each in (x1, y1))
        right, bottom = (int(np.ceil((each - 3 - 2.5) / 16 - 0.5)) + 1 for each in (x2, y2))
        if left > right:
            left = right = int((left + right) / 2)
        if top > bottom:
            top = bottom = int((top + bottom) / 2)
        left, right = (min(max(each, 1), width) for each in (left, right))
        top, bottom = (min(max(each, 1), height) for each in (top, bottom))
        cut = maps[:, :, top - 1 : bottom, left - 1 : right]
        expected = torch.cat([functional.adaptive_max_pool2d(cut, side).flatten(1) for side in (3, 2, 1)], 1)
        assert torch.equal(pooled[row], expected[0])


def test_regions_keep_their_order_over_scales_and_images():
    network = small().eval()
    boxes = [torch.tensor([[0.0, 0, 128, 96], [5, 5, 20, 25], [2, 2, 126, 95]]), torch.tensor([[9.0, 9, 30, 30]])]
    network.scales = (224, 900)
    with torch.no_grad():
        features = network._features(network.preparation(IMAGES[:2]))
        together = network.head.pool(features, boxes)
        alone = [
            network.head.pool(features[image : image + 1], [box[None]])
            for image, own in enumerate(boxes)
            for box in own
        ]
    assert len({int(each) for each in best_scales(boxes[0], features[0].ratios)}) == 2
    assert torch.equal(together, torch.cat(alone))


def test_offset0_is_the_middle_of_the_first_cell_of_zf5():
    with torch.device("meta"):
        network = spp_detector(scales=(224,))
    found = perimetry.inspect(network.backbone.eval(), 224).layer("conv5").field
    middle = {start + (size - 1) / 2 + 1 for start, size in zip(found.start, found.size, strict=True)}  # from 1
    assert middle == {ZF5_OFFSET0}


# Training


def test_convolutions_get_no_gradient_and_the_rest_does():
    network = small().train()
    losses = network(IMAGES, PROPOSALS, TARGETS, generator=torch.Generator().manual_seed(0))
    assert set(losses) == {"loss_classifier", "loss_box_reg"}
    sum(losses.values()).backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in network.named_parameters() if name.startswith("head.")}


def test_a_network_that_was_not_trained_leaves_boxes_where_they_are():
    network = small(detection=DetectionRule(score=0.0, count=500, overlap=1.0)).eval()
    boxes = torch.tensor([[5.0, 6, 50, 60], [70, 20, 100, 90]])
    with torch.no_grad():
        found = network(IMAGES[:1], [boxes])[0]
    for box in found["boxes"]:
        assert any(torch.allclose(box, each, atol=1e-3) for each in boxes)


@pytest.fixture(scope="module")
def fitted():
    return fit_svms(small(), IMAGES, PROPOSALS, TARGETS, cost=1.0)  # four objects cannot outweigh more


def test_svms_tell_objects_from_proposals_that_hardly_overlap_them(fitted):
    scores, own = [], []
    for image, target in zip(IMAGES, TARGETS, strict=True):
        boxes = torch.cat([target["boxes"], grid_of_boxes()])
        pooled, placed = fitted.pyramids(image, boxes)
        with torch.no_grad():
            scores.append(fitted.head.cls_score(fitted.head.hidden(pooled)))
        overlaps = torch.stack([box_iou(placed, each[None])[:, 0] for each in target["boxes"]], 1)
        own.append(overlaps)
    scores, own = torch.cat(scores), torch.cat(own)
    for label in (1, 2):
        objects = scores[own[:, label - 1] == 1, label]
        others = scores[own[:, label - 1] <= 0.3, label]
        assert len(objects) == 4
        # The mean over pairs of an object and a background: area under the curve.
        assert (objects[:, None] > others).float().mean() > 0.95
    assert fitted.rule.detection.scoring == "sigmoid"


def test_svms_are_the_same_twice_and_leave_the_network_as_it_was(fitted):
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    again = fit_svms(network, IMAGES, PROPOSALS, TARGETS, cost=1.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(again.head.cls_score.weight, fitted.head.cls_score.weight)
    assert network.rule.detection.scoring == "softmax"
    assert network.training


def test_a_class_without_objects_keeps_a_score_of_minus_1():
    first = [{"boxes": target["boxes"][:1], "labels": target["labels"][:1]} for target in TARGETS]
    found = fit_svms(small(), IMAGES, PROPOSALS, first)
    assert found.head.cls_score.bias[2].item() == -1
    assert not found.head.cls_score.weight[2].any()
    assert found.head.cls_score.weight[1].any()


def test_boxes_of_regressors_lie_closer_to_the_objects():
    network = small(detection=DetectionRule(score=0.0, overlap=1.0, count=10_000))
    fitted = fit_box_regressors(network, IMAGES, PROPOSALS, TARGETS, penalty=1.0)
    assert not network.head.bbox_pred.weight.any()
    for image, target in zip(IMAGES, TARGETS, strict=True):
        boxes = grid_of_boxes()
        overlaps, which = box_iou(boxes, target["boxes"]).max(1)
        near, labels = overlaps > 0.5, target["labels"][which]
        pooled, placed = fitted.pyramids(image, boxes[near])
        offsets = fitted.head.bbox_pred(pooled).reshape(len(pooled), -1, 4)[torch.arange(len(pooled)), labels[near]]
        moved = decode_boxes(offsets.detach(), placed, deviations=fitted.rule.deviations)
        after = box_iou(moved, target["boxes"]).max(1).values
        assert after.mean() > overlaps[near].mean() + 0.1


def test_a_ridge_without_whitening_would_be_scikit_learns():
    """Aims that are white already: the regression is then the plain one, with the bias held back as released."""
    torch.manual_seed(0)
    rows, aims = torch.randn(60, 7, dtype=torch.float64), torch.randn(60, 4, dtype=torch.float64)
    aims -= aims.mean(0)
    values, vectors = torch.linalg.eigh(aims.T @ aims / 60)
    aims = aims @ (vectors * (0.999 / values).sqrt()) @ vectors.T  # with the release's 0.001 its spread is 1
    slope, shift = _ridge(rows, aims + 5, 3.0)
    with_bias = torch.cat([rows, torch.ones(60, 1)], 1)
    model = Ridge(alpha=3.0, fit_intercept=False).fit(with_bias.numpy(), aims.numpy())
    assert_close(torch.cat([slope, (shift - 5)[None]]).T, torch.as_tensor(model.coef_), rtol=1e-6, atol=1e-8)


# Refused


def test_what_does_not_fit_is_refused(monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean 'zf5'"):
        spp_detector(backbone="zf")
    with pytest.raises(InputError, match="Linear takes no square images"):
        spp_detector(backbone=torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="sides of at least 1 pixel"):
        small(scales=())
    with pytest.raises(InputError, match=r"levels are bins a side, .* got \(\)"):
        small(levels=())
    with pytest.raises(InputError, match="at least 1; got 0"):
        spp_detector(backbone=SmallBackbone(4), classes=0, widths=(4, 4))
    nothing = [{"boxes": target["boxes"][:0], "labels": target["labels"][:0]} for target in TARGETS]
    with pytest.raises(InputError, match=r"no proposal overlaps an object by more than 0\.9"):
        fit_box_regressors(small(), IMAGES, PROPOSALS, nothing, overlap=0.9)
    with pytest.raises(InputError, match="proposals for each of 4 images, got 1"):
        fit_svms(small(), IMAGES, PROPOSALS[:1], TARGETS)
    with pytest.raises(InputError, match="a cost and a weight above 0"):
        fit_svms(small(), IMAGES, PROPOSALS, TARGETS, cost=0)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'perimetry\[svm\]'"):
        fit_svms(small(), IMAGES, PROPOSALS, TARGETS)


def test_inspection_by_name_gives_it_boxes():
    network = spp_detector(backbone=SmallBackbone(4), classes=2, widths=(8, 8), scales=(64,))
    found = perimetry.inspect(describe(CARDS["spp_detector"], network), (64, 96))
    assert found.layer("head.cls_score").shape[1:] == (3,)


# Selective search


class _Search:
    """Stands in for OpenCV's: notes what it is given, and returns x, y, width, height."""

    def __init__(self):
        self.mode = None

    def setBaseImage(self, image):  # noqa: N802
        self.image = image

    def switchToSelectiveSearchFast(self):  # noqa: N802
        self.mode = "fast"

    def switchToSelectiveSearchQuality(self):  # noqa: N802
        self.mode = "quality"

    def process(self):
        return np.array([[0, 0, 8, 6], [1, 2, 3, 4], [5, 1, 1, 5], [2, 2, 0, 3]], dtype=np.int32)


@pytest.fixture
def opencv(monkeypatch):
    made = _Search()
    module, contrib, segmentation = ModuleType("cv2"), ModuleType("cv2.ximgproc"), ModuleType("segmentation")
    segmentation.createSelectiveSearchSegmentation = lambda: made
    contrib.segmentation = segmentation
    module.ximgproc = contrib
    monkeypatch.setitem(sys.modules, "cv2", module)
    return made


def test_selective_search_gives_corners_of_opencvs_boxes(opencv):
    image = torch.zeros(3, 6, 8)
    image[0] = 1.0  # red
    boxes = selective_search(image)
    assert boxes.tolist() == [[0, 0, 8, 6], [1, 2, 4, 6], [5, 1, 6, 6]]  # the one without width is left out
    assert opencv.mode == "fast"
    assert opencv.image.shape == (6, 8, 3) and opencv.image.dtype == np.uint8
    assert opencv.image[0, 0].tolist() == [0, 0, 255]  # blue first
    assert selective_search(image, mode="quality", count=1, min_size=2).tolist() == [[0, 0, 8, 6]]
    assert selective_search(image, min_size=3).tolist() == [[0, 0, 8, 6], [1, 2, 4, 6]]
    assert opencv.mode == "fast"


def test_selective_search_refuses_bad_input(opencv):
    with pytest.raises(ShapeError, match=r"expected images \(3, H, W\)"):
        selective_search(torch.zeros(1, 6, 8))
    with pytest.raises(InputError, match="float"):
        selective_search(torch.zeros(3, 6, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="mode is 'fast' or 'quality', got 'slow'"):
        selective_search(torch.zeros(3, 6, 8), mode="slow")
    with pytest.raises(InputError, match="a count of at least 1"):
        selective_search(torch.zeros(3, 6, 8), count=0)


@pytest.mark.parametrize("module", [None, ModuleType("cv2")], ids=["no OpenCV", "no contrib"])
def test_without_opencvs_contrib_build_the_extra_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "cv2", module)
    with pytest.raises(MissingExtraError, match=r"selective search needs .*'perimetry\[proposals\]'"):
        selective_search(torch.zeros(3, 6, 8))


@pytest.mark.slow
def test_svms_and_regressors_find_the_objects_of_four_images(fitted):
    found = fit_box_regressors(fitted, IMAGES, PROPOSALS, TARGETS, penalty=10.0)
    with torch.no_grad():
        assert ap50(found(IMAGES, PROPOSALS), TARGETS) > 0.9
