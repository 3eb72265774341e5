"""Every way to name a target, each against the model itself: covered image by image, and by plain autograd."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import perimetry
from perimetry.errors import InputError
from perimetry.models import LoadedModel

PATCH, STRIDE = 6, 9
FORM = {"patch": PATCH, "stride": STRIDE, "fill": "constant:0"}


class Segmenter(nn.Module):
    """Scores at full size under "out", coarse ones under "aux", as torchvision's segmenters have."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        coarse = self.head(self.body(x))
        fine = nn.functional.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return {"out": fine, "aux": coarse}


class Classifier(Segmenter):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean((2, 3))


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return kind().eval()


IMAGE = torch.rand((1, 3, 24, 27), generator=torch.Generator().manual_seed(6)) - 0.3

# (model, name, value, the numbers that it names in what the model gives, the number that changes)
NAMED = [
    (Segmenter, "body", None, lambda m, x: m.body(x)[:, :, 6, 7]),
    (Segmenter, "body:2", "signed", lambda m, x: m.body(x)[:, 2:3, 6, 7]),
    (Segmenter, "body@3,9", "l2", lambda m, x: m.body(x)[:, :, 3, 9]),
    (Segmenter, "body@3,9", "norm", lambda m, x: m.body(x)[:, :, 3, 9]),
    (Segmenter, "body:4@11,0", "absolute", lambda m, x: m.body(x)[:, 4:5, 11, 0]),
    (Segmenter, "output[out]:3@20,11", None, lambda m, x: m(x)["out"][:, 3:4, 20, 11]),
    (Segmenter, "output[out]@20,11", "argmax", lambda m, x: m(x)["out"][:, :, 20, 11]),
    (Classifier, "output:3", None, lambda m, x: m(x)[:, 3:4]),
    (Classifier, "output", "norm", lambda m, x: m(x)),
    (Classifier, "output", None, lambda m, x: m(x)),
]


def told(covered: Tensor, uncovered: Tensor, value: str) -> float:
    if value == "l2":
        return float((covered - uncovered).norm())
    if value == "norm":
        return float(covered.norm() - uncovered.norm())
    if value == "argmax":
        return float(covered.argmax() != uncovered.argmax())
    return float(covered - uncovered) if value == "signed" else float((covered - uncovered).abs())


@pytest.mark.parametrize(("kind", "name", "value", "of"), NAMED)
def test_occlusion_is_one_full_run_a_place(kind, name, value, of) -> None:
    model = made(kind)
    found = perimetry.occlude(model, IMAGE, name, value=value, **FORM)
    with torch.no_grad():
        uncovered = of(model, IMAGE)[0]
        expected = np.zeros(found.map.shape)
        for i, top in enumerate(range(0, 24 - PATCH + 1, STRIDE)):
            for j, left in enumerate(range(0, 27 - PATCH + 1, STRIDE)):
                covered = IMAGE.clone()
                covered[:, :, top : top + PATCH, left : left + PATCH] = 0
                expected[i, j] = told(of(model, covered)[0], uncovered, found.convention)
    np.testing.assert_allclose(found.map, expected, atol=1e-6)
    assert expected.any() or value == "argmax"
    assert found.target.channel == (int(name.split(":")[1].split("@")[0]) if ":" in name else None)


@pytest.mark.parametrize(("kind", "name", "of"), [(kind, name, of) for kind, name, _, of in NAMED])
def test_the_gradient_is_that_of_the_same_numbers(kind, name, of) -> None:
    model, pixels = made(kind), IMAGE.clone().requires_grad_()
    found = perimetry.effective_field(model, IMAGE, name)
    (gradient,) = torch.autograd.grad(of(model, pixels).sum(), pixels)
    torch.testing.assert_close(torch.from_numpy(found.map), gradient[0].abs().sum(0), rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def detector() -> LoadedModel:
    """A Faster R-CNN with random weights that works at 64x64 pixels."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        module = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, min_size=64, max_size=96
        ).eval()
    return LoadedModel("detector", "detector", module, input_size=(64, 64), takes="list")


def before_proposals(module: nn.Module, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """A detector's scores and boxes per location, by its own parts: (levels), (levels)."""
    images, _ = module.transform([pixels[0]])
    return module.rpn.head(list(module.backbone(images.tensors).values()))


@pytest.mark.parametrize(
    ("unit", "of"),
    [
        ("rpn.head.cls_logits:1@9,10", lambda scores, boxes: scores[0][0, 1, 9, 10]),
        ("rpn.head.cls_logits:2:0@4,5", lambda scores, boxes: scores[1][0, 0, 4, 5]),
        ("rpn.head.bbox_pred:6@9,10", lambda scores, boxes: boxes[0][0, 6, 9, 10]),
    ],
)
def test_a_detector_s_scores_and_boxes_before_suppression(detector, data, unit, of) -> None:
    photo = sorted((data / "voc_sample3").rglob("*.jpg"))[0]
    image = torch.nn.functional.interpolate(detector.photo(photo)[0], size=(64, 64))
    found = perimetry.occlude(detector, image, unit, patch=24, stride=20, fill="mean")
    with torch.no_grad():
        expected = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                covered = image.clone()
                box = (..., slice(20 * i, 20 * i + 24), slice(20 * j, 20 * j + 24))
                covered[box] = image.mean((2, 3), keepdim=True)
                expected[i, j] = of(*before_proposals(detector.module, covered)) - of(
                    *before_proposals(detector.module, image)
                )
    assert expected.any() and found.convention == "signed"
    np.testing.assert_allclose(found.map, expected, atol=1e-5 * abs(expected).max())
    assert "takes a list of images" in found.notes[0]

    pixels = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(*before_proposals(detector.module, pixels)), pixels)
    effective = perimetry.effective_field(detector, image, unit)
    expected_map = gradient[0].abs().sum(0)
    torch.testing.assert_close(
        torch.from_numpy(effective.map), expected_map, rtol=1e-3, atol=1e-4 * float(expected_map.max())
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x[:, :, :0].reshape(0),
        lambda x: x[:0].reshape(0, 2),
        lambda x: x[:, :, :0].flatten(1),
        lambda x: x[0, 0, 3, 2:3].reshape(()),
        lambda x: x[0, 0, :1, :1].reshape(1).reshape(()),
    ],
)
def test_reshaping_to_no_elements_or_no_dimensions_breaks_no_field(form) -> None:
    """A detector that finds nothing goes on with tensors of no rows, and takes single numbers out."""

    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return form(self.body(x))

    fields = perimetry.fields(perimetry.trace(Empty(), torch.zeros(1, 3, 9, 9)))
    assert fields["body"].full is not None and fields["body"].full.size == (3, 3)


class Chooser(nn.Module):
    """Takes a list, and another way for dark images."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.last = nn.Conv2d(3, 2, 3), nn.ReLU()

    def forward(self, images: list[Tensor]) -> Tensor:
        x = self.bright(images[0][None])
        return self.last(x if float(images[0].mean()) > 0.35 else 1 - x)


def test_a_way_that_the_patch_changes_is_refused() -> None:
    model = LoadedModel("chooser", "chooser", made(Chooser), input_size=(12, 12), takes="list")
    image = torch.full((1, 3, 12, 12), 0.4)
    with pytest.raises(InputError, match="which way the model goes to layer 'last' depends on the image's contents"):
        perimetry.occlude(model, image, "last@5,5", patch=6, stride=6, fill="constant:0")
    assert perimetry.occlude(model, image, "bright@5,5", patch=6, stride=6, fill="constant:0").map.any()


def test_a_windowed_layer_is_refused_with_what_to_do() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            cut = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
            return self.inside(cut).mean((0, 1))[None]

    with pytest.raises(InputError, match=r"windows or regions on its first axis, .*ask for the layer that puts them"):
        perimetry.occlude(made(Windows), torch.rand(1, 3, 8, 8), "inside", patch=4)


class TokenAlone(nn.Module):
    """Ends in a normalised class token, which sees everything by attention and stands nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat((self.token.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)), 1)
        tokens = tokens + (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        return self.norm(tokens[:, :1])


def test_a_class_token_is_passed_over_for_the_default_unit() -> None:
    from perimetry.maps.receptive import walk
    from perimetry.maps.targets import default_unit

    network = perimetry.trace(TokenAlone().eval(), torch.empty(1, 3, 16, 16))
    assert default_unit(walk(network)) not in ("output", "norm")
