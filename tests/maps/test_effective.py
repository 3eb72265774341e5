"""Effective fields: against autograd with hooks on the real model, closed forms, and conventions worked out by hand."""

import math

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import perimetry
from perimetry.errors import FileError, InputError, ShapeError, TrainingModeError, UnknownNameError
from perimetry.images import sample_photo
from perimetry.maps.effective import effective_field, effective_fields
from perimetry.maps.support import support

CONVENTIONS = ("luo2016", "replknet2022", "replknet2022-linear", "openerf", "norm")


def output_of(model, path, pixels):
    """A module's output as it was made: operators in place come later."""
    seen = []
    handle = model.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: seen.append(output * 1))
    try:
        model(pixels)
    finally:
        handle.remove()
    return seen[0]


def plain_map(model, images, path, pick, convention):
    """The definition: one hook, one forward and one backward per image, everything whole. Double precision."""
    total = 0
    for image in images.split(1):
        pixels = image.clone().requires_grad_()
        y = pick(output_of(model, path, pixels * 1))
        if convention.startswith("replknet"):
            y = torch.relu(y).sum()
        elif convention == "norm":
            y = y.pow(2).sum().sqrt()
        else:
            y = y.mean() if convention == "openerf" else y.sum()
        (gradient,) = torch.autograd.grad(y, pixels)
        if convention in ("luo2016", "norm"):
            total = total + gradient[0].abs().sum(0)
        elif convention == "openerf":
            total = total + gradient[0].mean(0).clamp(min=0)
        else:
            total = total + gradient[0].clamp(min=0).sum(0)
    total = total / len(images)
    if convention == "openerf":
        return (total / total.sum()).numpy()
    if convention == "replknet2022":
        total = torch.log10(total + 1)
    return (total if convention in ("luo2016", "norm") else total / total.max()).numpy()


def centre(y):
    return y[0, :, y.shape[2] // 2, y.shape[3] // 2]


def scores(y):
    return y[0]


def assert_same(found, expected):
    # Double precision inside; maps are handed out in single precision.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def randomised(model):
    """In double precision and in eval mode, with statistics that are not trivial."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model.double().eval()


MODELS = {
    "alexnet": (
        lambda: torchvision.models.alexnet(weights=None),
        (71, 95),
        ("features.3", "features.12", "classifier.1"),
    ),
    "resnet18": (lambda: torchvision.models.resnet18(weights=None), (64, 96), ("layer1.0.conv2", "layer3", "layer4")),
    "resnet50": (lambda: torchvision.models.resnet50(weights=None), (64, 64), ("layer2.0", "layer4.0.conv2")),
    "densenet121": (lambda: torchvision.models.densenet121(weights=None), (64, 96), ("features.denseblock2",)),
    "mobilenet_v3_small": (
        lambda: torchvision.models.mobilenet_v3_small(weights=None),
        (64, 96),
        ("features.1", "features.8"),
    ),
    "googlenet": (
        lambda: torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False),
        (64, 80),
        ("inception3a", "inception4c"),
    ),
    "fcn": (
        lambda: torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None),
        (48, 64),
        ("backbone.layer3", "classifier"),
    ),
    "convnext": (lambda: timm.create_model("convnext_atto"), (64, 96), ("stages.1",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_those_of_a_plain_loop_with_hooks(name):
    torch.manual_seed(0)
    build, size, layers = MODELS[name]
    model = randomised(build())
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    found = effective_fields(model, images, layers)
    for layer in layers:
        expected = plain_map(model, images, layer, scores if "classifier." in layer else centre, "luo2016")
        assert expected.max() > 0
        assert_same(found[layer].map, expected)
        assert not any("hooks" in note for note in found[layer].notes)
        assert found[layer].facts["replay_difference"] < 1e-9


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_each_convention_is_that_of_a_plain_loop(convention):
    torch.manual_seed(1)
    model = randomised(torchvision.models.resnet18(weights=None))
    images = torch.randn(3, 3, 48, 80, dtype=torch.float64)
    found = effective_field(model, images, "layer3", convention=convention)
    assert_same(found.map, plain_map(model, images, "layer3", centre, convention))
    assert found.images == 3
    one = effective_field(model, images, "layer2.1.conv1:5@2,3", convention=convention)
    assert_same(one.map, plain_map(model, images, "layer2.1.conv1", lambda y: y[0, 5:6, 2, 3], convention) * 1.0)


def test_conventions_by_hand():
    # Two image channels, two output channels, one pixel: dy/dx = w, and the second output is negative.
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -1.0], [-2.0, -4.0]])[:, :, None, None])
    image = torch.ones(1, 2, 1, 1)  # y = (2, -6)
    maps = {name: float(effective_field(model, image, "0", convention=name).map[0, 0]) for name in CONVENTIONS}
    assert maps["luo2016"] == abs(3 - 2) + abs(-1 - 4)
    assert maps["openerf"] == 0.0  # the mean over channels of (0.5, -2.5) is negative
    # y / |y| = (1, -3) / sqrt(10): the gradient is (3 + 6, -1 + 12) / sqrt(10).
    assert maps["norm"] == pytest.approx((9 + 11) / math.sqrt(10), rel=1e-6)
    # Only y_0 is positive: gradient (3, -1), rectified (3, 0); a lone pixel is its own maximum.
    assert maps["replknet2022-linear"] == maps["replknet2022"] == 1.0
    two = nn.Sequential(nn.Conv2d(2, 1, (1, 3), bias=False)).eval()
    with torch.no_grad():
        two[0].weight.copy_(torch.tensor([[[[9.0, 1.0, -5.0]], [[-1.0, 98.0, 4.0]]]]))
    image = torch.ones(1, 2, 1, 3)
    told = {name: effective_field(two, image, "0", convention=name).map[0] for name in CONVENTIONS}
    np.testing.assert_allclose(told["luo2016"], [10, 99, 9], rtol=1e-6)
    np.testing.assert_allclose(told["replknet2022-linear"], np.array([9, 99, 4]) / 99, rtol=1e-6)
    np.testing.assert_allclose(told["replknet2022"], np.log10([10, 100, 5]) / 2, rtol=1e-6)
    np.testing.assert_allclose(told["openerf"], np.array([4, 49.5, 0]) / 53.5, rtol=1e-6)


def test_the_norm_of_a_unit_that_is_off_moves_with_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    nn.init.constant_(model[0].bias, -100.0)
    found = effective_field(model, torch.rand(1, 3, 5, 5), "1", convention="norm")
    assert not found.map.any()
    assert found.measured is None


def test_a_chain_of_box_filters_is_a_binomial():
    depth = 6
    model = nn.Sequential(*(nn.Conv2d(1, 1, (2, 1), bias=False) for _ in range(depth))).eval()
    for convolution in model:
        nn.init.ones_(convolution.weight)
    found = effective_field(model, torch.randn(1, 1, depth + 1, 1), str(depth - 1))
    np.testing.assert_allclose(found.map[:, 0], [math.comb(depth, k) for k in range(depth + 1)], rtol=1e-6)


def test_a_chain_of_known_kernels_is_their_convolution():
    generator = np.random.default_rng(0)
    kernels = [generator.random((3, 3)), generator.random((5, 5))]
    model = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.Conv2d(1, 1, 5, dilation=2, bias=False)).double().eval()
    with torch.no_grad():
        for convolution, kernel in zip(model, kernels, strict=True):
            convolution.weight.copy_(torch.from_numpy(kernel)[None, None])
    expected = np.zeros((11, 11))
    for (i, j), outer in np.ndenumerate(kernels[1]):
        expected[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += outer * kernels[0]
    found = effective_field(model, torch.randn(1, 1, 15, 17, dtype=torch.float64), "1@1,2")
    np.testing.assert_allclose(found.map[1:12, 2:13], expected, rtol=1e-6)
    assert found.map.sum() == pytest.approx(expected.sum(), rel=1e-6)


def test_every_layer_from_one_pass_is_each_layer_by_itself():
    torch.manual_seed(0)
    model = randomised(torchvision.models.resnet18(weights=None))
    image = torch.randn(1, 3, 48, 64, dtype=torch.float64)
    found = effective_fields(model, image)
    assert list(found) == list(perimetry.fields(perimetry.trace(model, image)))
    for name in list(found)[::7]:
        alone = effective_field(model, image, name)
        np.testing.assert_allclose(found[name].map, alone.map, rtol=1e-5, atol=1e-7 * alone.map.max())
        assert found[name].measured == pytest.approx(alone.measured) or alone.measured is not None


def test_gradients_lie_inside_the_theoretical_support():
    torch.manual_seed(0)
    model = randomised(torchvision.models.resnet18(weights=None))
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    network = perimetry.trace(model, image)
    for name, unit in effective_fields(model, image, "layer[12]*").items():
        mask = support(network, name, unit.target.unit).numpy()
        assert not unit.map[~mask].any()
        assert unit.map[mask].any()


def test_tokens_of_a_transformer():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=(48, 64)).double().eval()
    images = torch.randn(1, 3, 48, 64, dtype=torch.float64)
    found = effective_field(model, images, "blocks.3")
    # 3 x 4 patches: the centre is (1, 2), token 6 behind the class token.
    assert found.target.unit == (1, 2)
    assert_same(found.map, plain_map(model, images, "blocks.3", lambda y: y[0, 1 + 1 * 4 + 2], "luo2016"))


def test_shifted_windows_whose_mask_is_written_in_place():
    torch.manual_seed(0)
    model = torchvision.models.swin_t(weights=None).double().eval()
    images = torch.randn(1, 3, 72, 96, dtype=torch.float64)
    found = effective_field(model, images, "features.1")
    expected = plain_map(model, images, "features.1", lambda y: y[0, y.shape[1] // 2, y.shape[2] // 2], "luo2016")
    assert_same(found.map, expected)
    assert not any("hooks" in note for note in found.notes)


def test_windows_of_a_transformer():
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(2, 2), num_classes=3)
    model = model.double().eval()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    found = effective_field(model, images, "layers.0")
    assert_same(
        found.map, plain_map(model, images, "layers.0", lambda y: y[0, y.shape[1] // 2, y.shape[2] // 2], "luo2016")
    )


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (lambda: torchvision.models.resnet18(weights=None), "layer2"),
        (lambda: torchvision.models.densenet121(weights=None), "features.denseblock1"),
        (lambda: torchvision.models.mobilenet_v3_small(weights=None), "features.2"),
        (lambda: torchvision.models.mobilenet_v2(weights=None), "features.4"),
    ],
)
def test_more_images_than_run_together(build, layer):
    torch.manual_seed(0)
    model = randomised(build())
    images = torch.randn(11, 3, 32, 48, dtype=torch.float64)
    seen = []
    found = effective_field(model, images, layer, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(done, 11) for done in range(1, 12)]
    assert found.images == 11
    assert found.facts["silent_images"] == 0
    assert_same(found.map, plain_map(model, images, layer, centre, "luo2016"))


class Reused(nn.Module):
    """Maps that are read again after a rectifier or a sum has read them, and a constant beside a map."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.kind = kind
        self.beside = nn.Parameter(torch.randn(1, 4, 9, 12))

    def forward(self, x):
        y = self.first(x)
        if self.kind == "read again":
            return torch.relu(y) + self.second(y) * 1
        if self.kind == "twice":
            return torch.relu(y + y).add(y, alpha=3)
        if self.kind == "sum with a constant":
            return torch.relu(self.second(y) + self.beside) - y
        return self.second(torch.relu(torch.cat([y, self.beside], 1)[:, 2:6]))


@pytest.mark.parametrize("kind", ["read again", "twice", "sum with a constant", "constant beside"])
def test_maps_that_are_read_again(kind):
    torch.manual_seed(0)
    model = Reused(kind).double().eval()
    images = torch.randn(3, 3, 9, 12, dtype=torch.float64)
    found = effective_field(model, images, "output")
    assert_same(found.map, plain_map(model, images, "", centre, "luo2016"))
    assert not any("hooks" in note for note in found.notes)


def test_targets_split_into_halves_are_the_same(monkeypatch):
    torch.manual_seed(0)
    model = randomised(torchvision.models.resnet18(weights=None))
    image = torch.randn(1, 3, 48, 64, dtype=torch.float64)
    together = effective_fields(model, image, "layer[12]*")
    monkeypatch.setattr("perimetry.maps.pullback._AT_HAND", 1)
    apart = effective_fields(model, image, "layer[12]*")
    for name, unit in together.items():
        np.testing.assert_allclose(apart[name].map, unit.map, rtol=1e-5, atol=1e-7 * unit.map.max())


def test_the_same_call_gives_the_same_numbers():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    images = torch.randn(3, 3, 64, 64)
    one, two = (effective_field(model, images, "layer3").map for _ in range(2))
    np.testing.assert_array_equal(one, two)


class Wrapped(nn.Module):
    """Gives other modules' outputs another form."""

    def __init__(self, body):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.kind = body

    def forward(self, x):
        y = self.body(x)
        if self.kind == "scaled in place":
            y = y * 2
            y *= y.sigmoid()
            y[:, :2] += 1
        elif self.kind == "data dependent":
            y = y * 2 if float(x.detach().sum()) > 0 else -y
        elif self.kind == "padded":
            y = nn.functional.interpolate(nn.functional.pad(y, (1, 2, 0, 1), mode="reflect"), scale_factor=2.0)
        elif self.kind == "transposed":
            weight = self.body.weight.transpose(0, 1)[:, :3].transpose(0, 1).transpose(0, 1)
            y = nn.functional.conv_transpose2d(y[:, :3], weight, stride=2, groups=1)
        return y


@pytest.mark.parametrize("kind", ["scaled in place", "data dependent", "padded", "transposed"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_awkward_models(kind, sign):
    torch.manual_seed(0)
    model = Wrapped(kind).double().eval()
    image = sign * torch.rand(1, 3, 9, 12, dtype=torch.float64)
    found = effective_field(model, image, "output")
    assert_same(found.map, plain_map(model, image, "", centre, "luo2016"))


def test_images_that_take_another_way_than_the_traced_one_go_through_the_model_itself():
    model = Wrapped("data dependent").double().eval()
    ones = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    images = torch.cat([ones, -ones])
    found = effective_field(model, images, "output")
    assert_same(found.map, plain_map(model, images, "", centre, "luo2016"))
    assert any("with hooks on the model itself" in note for note in found.notes)


def test_a_detector_is_measured_at_its_backbone():
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    loaded = perimetry.LoadedModel("ssdlite", "ssdlite", model, input_size=(320, 320), takes="list")
    found = effective_field(loaded, torch.rand(1, 3, 320, 320), "backbone.features.0.3")
    assert found.map.shape == (320, 320)
    assert found.measured is not None


def test_the_model_is_left_as_found():
    model = torchvision.models.resnet18(weights=None).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    effective_fields(model, 1, "layer1*")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_photos_folders_and_lists_are_averaged(tmp_path):
    from PIL import Image

    model = perimetry.load_model()
    layer = "blocks.1.0"
    photo = Image.open(sample_photo())
    photo.save(tmp_path / "a.png")
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("no photo")
    seen = []
    both = effective_field(model, tmp_path, layer, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 2), (2, 2)]
    singles = [effective_field(model, tmp_path / name, layer).map for name in ("a.png", "b.png")]
    np.testing.assert_allclose(both.map, np.mean(singles, axis=0), rtol=1e-4, atol=1e-5 * both.map.max())
    listed = effective_field(model, [tmp_path / "a.png", str(tmp_path / "b.png")], layer)
    np.testing.assert_array_equal(listed.map, both.map)
    assert not any("random" in note for note in both.notes)


def test_noise_is_drawn_from_the_seed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    maps = [effective_field(model, 2, "2", seed=seed).map for seed in (0, 0, 1)]
    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def test_without_a_unit_it_is_the_centre_of_the_last_map():
    model = torchvision.models.resnet18(weights=None).eval()
    found = effective_field(model, torch.rand(1, 3, 64, 64))
    assert (found.unit, found.target.unit) == ("layer4", (1, 1))


def test_a_class_score():
    torch.manual_seed(0)
    model = randomised(torchvision.models.resnet18(weights=None))
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    found = effective_field(model, images, "output:281")
    assert_same(found.map, plain_map(model, images, "", lambda y: y[0, 281:282], "luo2016"))


# ---- innocent reasons


def test_random_weights_are_told_and_trained_ones_not():
    assert any(
        "random" in note
        for note in effective_field(torchvision.models.resnet18(weights=None).eval(), 1, "layer1").notes
    )
    assert not effective_field(nn.Sequential(nn.Conv2d(3, 1, 1)).eval(), 1, "0").notes


def test_branches_that_start_at_zero_are_told():
    model = timm.create_model("resnet18", zero_init_last=True).eval()
    found = effective_field(model, torch.randn(1, 3, 96, 96), "layer2")
    assert any("bn2 and 7 more are all zero" in note for note in found.notes)
    # 7x7 stem with stride 2, 3x3 max pooling, and 1x1 convolutions on the way past the branches.
    assert found.measured.extent <= (11, 11)


def test_sums_over_normalised_channels_are_told():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=(48, 64)).eval()
    images = torch.randn(1, 3, 48, 64)
    assert any("normalised together" in note for note in effective_field(model, images, "blocks.1.norm1").notes)
    one = effective_field(model, images, "blocks.1.norm1:5")
    assert not any("normalised together" in note for note in one.notes)
    assert one.measured.area > 100


def test_a_unit_that_is_off_is_told_and_not_measured():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    nn.init.constant_(model[0].bias, -100.0)
    found = effective_field(model, torch.rand(1, 3, 8, 8), "1")
    assert found.measured is None
    assert any("no pixel of the image moves 1" in note for note in found.notes)
    told = found.to_dict()
    assert told["measured"] is None
    assert "zero everywhere" in told["reason"]


# ---- bad input


@pytest.mark.parametrize(
    ("images", "unit", "error", "message"),
    [
        (torch.full((1, 3, 8, 8), math.nan), "0", InputError, "NaN"),
        (torch.ones(3, 8, 8), "0", ShapeError, r"add a batch axis"),
        (torch.ones(1, 3, 8, 8, dtype=torch.uint8), "0", InputError, "floating numbers"),
        (torch.ones(0, 3, 8, 8), "0", InputError, "at least one image"),
        ([torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 9)], "0", ShapeError, "one shape"),
        (torch.ones(1, 3, 8, 8), "o", UnknownNameError, "unknown layer"),
        (torch.ones(1, 3, 8, 8), "0@9,9", InputError, "outside"),
        (torch.ones(1, 3, 8, 8), "0:7", InputError, "4 channels"),
        (torch.ones(1, 5, 8, 8), "0", InputError, "channels"),
        ("no/such/photo.jpg", "0", FileError, "no such photo"),
        (0, "0", InputError, "at least one image"),
    ],
)
def test_bad_input_is_refused(images, unit, error, message):
    with pytest.raises(error, match=message):
        effective_field(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), images, unit)


def test_training_mode_an_unknown_convention_and_no_model_are_refused():
    with pytest.raises(TrainingModeError, match=r"call model.eval\(\) first"):
        effective_field(torchvision.models.resnet18(weights=None), 1)
    with pytest.raises(UnknownNameError, match="did you mean 'luo2016'"):
        effective_field(nn.Conv2d(3, 1, 1), 1, convention="luo2017")
    with pytest.raises(InputError, match=r"expected a torch.nn.Module"):
        effective_field(lambda x: x, 1)
    with pytest.raises(UnknownNameError, match="unknown layer"):
        effective_fields(nn.Conv2d(3, 1, 1).eval(), 1, "block*")
