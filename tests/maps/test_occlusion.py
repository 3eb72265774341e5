"""Occlusion maps against the plain definition: one full run of the real model for each position."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import perimetry
from perimetry.errors import InputError, TrainingModeError, UnknownNameError
from perimetry.maps.occlusion import occlude


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model.eval()


def image_of(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def plain(
    model: nn.Module, layer: str, image: Tensor, top: int, left: int, patch: tuple[int, int], fill: float
) -> Tensor:
    covered = image.clone()
    covered[:, :, top : top + patch[0], left : left + patch[1]] = fill
    return perimetry.endpoints(model, covered, layer)[layer]


def check(model: nn.Module, unit: str, image: Tensor, patch: tuple[int, int], stride: tuple[int, int], places: int = 4):
    """Compare some places of the map, corners among them, with full runs, to 1e-5 of the largest output."""
    found = occlude(model, image, unit, patch=patch, stride=stride, fill="constant:0.5", value="l2")
    layer = found.target.layer
    base = perimetry.endpoints(model, image, layer)[layer]
    scale = float(base.abs().max())
    rows, columns = found.map.shape
    chosen = {(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2), (0, columns - 1), (rows // 3, columns // 2)}
    for i, j in sorted(chosen)[:places]:
        covered = plain(model, layer, image, found.tops[i], found.lefts[j], patch, 0.5)
        change = (found.target.of(covered) - found.target.of(base)).norm()
        count = max(1, len(found.target.elements)) ** 0.5
        assert abs(float(change) - float(found.map[i, j])) <= 1e-5 * scale * count + 1e-7, (i, j)
    return found


def built(name: str) -> nn.Module:
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        if name.startswith("timm:"):
            return settled(timm.create_model(name[5:], pretrained=False))
        if name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large"):
            return settled(torchvision.models.get_model(name, weights=None, weights_backbone=None))
        return settled(torchvision.models.get_model(name, weights=None))


@pytest.mark.parametrize(
    ("name", "unit", "size", "patch", "stride"),
    [
        ("alexnet", "output", (96, 80), (9, 12), (29, 23)),
        ("alexnet", "features.8@1,1", (96, 80), (8, 8), (22, 19)),
        ("vgg11", "features.20@1,2", (64, 96), (7, 8), (19, 22)),
        ("vgg11", "output:3", (64, 64), (16, 16), (48, 48)),
        ("resnet18", "output", (70, 64), (10, 6), (30, 29)),
        ("resnet50", "layer3@2,1", (64, 64), (5, 5), (19, 18)),
        ("inception_v3", "output:7", (96, 96), (13, 16), (41, 40)),
        ("densenet121", "output:1", (64, 64), (16, 11), (48, 53)),
        ("densenet121", "features.denseblock2@1,1", (64, 64), (8, 8), (28, 28)),
        ("googlenet", "output:1", (64, 64), (9, 16), (55, 48)),
        ("mobilenet_v2", "output:5", (64, 64), (16, 16), (24, 24)),
        ("mobilenet_v3_small", "output:5", (64, 64), (16, 16), (24, 24)),
        ("shufflenet_v2_x0_5", "output:5", (64, 64), (16, 16), (24, 24)),
        ("convnext_tiny", "output:5", (64, 64), (16, 16), (48, 48)),
        ("swin_t", "output:5", (64, 64), (16, 16), (48, 48)),
        ("fcn_resnet50", "classifier.4:3@4,5", (64, 72), (12, 12), (26, 20)),
        ("fcn_resnet50", "output:3@40,20", (64, 64), (12, 12), (26, 26)),
        ("deeplabv3_mobilenet_v3_large", "classifier@2,2", (64, 64), (16, 16), (24, 24)),
        ("timm:tf_efficientnet_lite0", "output:5", (64, 96), (16, 16), (48, 40)),
        ("timm:vit_tiny_patch16_224", "output:5", (224, 224), (40, 40), (180, 180)),
    ],
)
def test_equals_one_full_run_per_place(name, unit, size, patch, stride) -> None:
    check(built(name), unit, image_of(1, 3, *size), patch, stride, places=3)


def small(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return settled(nn.Sequential(*layers))


def block(inputs: int, outputs: int, **form: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, **form), nn.BatchNorm2d(outputs), nn.ReLU()]


@pytest.mark.parametrize("patch", [(1, 1), (2, 3), (5, 4), (11, 9), (16, 20)])
def test_patches_of_any_size_at_every_place(patch) -> None:
    """Even and odd, larger than the first layers' fields, and the whole image."""
    model = small(*block(3, 4, padding=1), nn.MaxPool2d(3, 2, 1, ceil_mode=True), *block(4, 4, dilation=2, padding=2))
    found = check(model, "output@3,4", image_of(1, 3, 16, 20), patch, (1, 1), places=5)
    assert found.map.shape == (16 - patch[0] + 1, 20 - patch[1] + 1)


def test_a_patch_outside_the_field_is_not_run_and_changes_nothing() -> None:
    model = small(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    found = occlude(model, image_of(1, 3, 40, 40), "output@0,0", patch=4, stride=4, fill="constant:2")
    assert found.facts["positions_run"] == 4 and found.facts["positions"] == 100
    assert (found.map[2:] == 0).all() and (found.map[:, 2:] == 0).all() and (found.map[:2, :2] > 0).all()


def test_work_for_a_watched_unit_does_not_grow_with_the_image() -> None:
    model = small(*block(3, 4), *block(4, 4), *block(4, 4, stride=2))
    runs = [
        occlude(model, image_of(1, 3, size, size), f"output@{at},{at}", patch=4, stride=2).facts["positions_run"]
        for size, at in ((32, 5), (64, 13), (128, 29))
    ]
    assert runs[0] == runs[1] == runs[2]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_networks(data) -> None:
    """Branches, joins, strides, dilation, pads and pools in any order, against full runs."""
    layers: list[nn.Module] = []
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(("conv", "pool", "average", "pad", "branch", "gate", "up")))
        padding, stride = data.draw(st.integers(0, 1)), data.draw(st.integers(1, 2))
        layers.append(
            {
                "conv": lambda p=padding, s=stride: nn.Sequential(
                    *block(3, 3, padding=p + 1, stride=s, dilation=p + 1)
                ),
                "pool": lambda p=padding, s=stride: nn.MaxPool2d(3, s, p, ceil_mode=True),
                "average": lambda p=padding, s=stride: nn.AvgPool2d(2, s, p),
                "pad": lambda: nn.ZeroPad2d((1, 0, 2, 1)),
                "branch": lambda: Branches(),
                "gate": lambda: Gate(),
                "up": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
            }[kind]()
        )
    model = small(*layers)
    image = image_of(1, 3, 17, 14)
    patch = (data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    with torch.no_grad():
        rows, columns = model(image).shape[2:]
    unit = f"output@{data.draw(st.integers(0, rows - 1))},{data.draw(st.integers(0, columns - 1))}"
    check(model, data.draw(st.sampled_from((unit, "output:1" + unit[6:]))), image, patch, (3, 4), places=5)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], 1) + x


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def test_fills() -> None:
    model, image = small(*block(3, 4), nn.Flatten()), image_of(1, 3, 12, 12)
    other = image_of(1, 3, 12, 12).flip(3)
    maps = {
        name: occlude(model, image, "0@4,4", patch=4, stride=4, fill=name).map for name in ("noise", "mean", "blur")
    }
    maps["image"] = occlude(model, image, "0@4,4", patch=4, stride=4, fill=other).map
    assert all(found.shape == (3, 3) and found.max() > 0 for found in maps.values())
    assert occlude(model, image, "0@4,4", patch=4, stride=4, fill=image).map.max() < 1e-5
    again = occlude(model, image, "0@4,4", patch=4, stride=4, fill="noise", seed=0).map
    assert (again == maps["noise"]).all()
    assert (occlude(model, image, "0@4,4", patch=4, stride=4, fill="noise", seed=1).map != again).any()


def test_a_constant_fill_is_as_exact_as_the_image() -> None:
    model = nn.Conv2d(1, 1, 1, bias=False).double().eval()
    image = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    found = occlude(model, image, "output@0,0", patch=2, stride=2, fill="constant:0.9")
    change = (0.9 - 1) * float(model.weight.detach())
    assert abs(found.facts["largest_change"] - abs(change)) < 1e-15


def test_a_batch_norm_in_single_precision_after_a_convolution_in_half() -> None:
    model = settled(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    model.bfloat16()[1].float()
    image = image_of(1, 3, 12, 14).bfloat16()
    found = occlude(model, image, "output", patch=4, stride=4, fill="constant:0.5")
    with torch.no_grad():
        base = model(image)
        image[:, :, 4:8, 8:12] = 0.5
        change = float(found.target.of(model(image) - base).double().norm())
    assert abs(change / float(found.map[1, 2]) - 1) < 0.02  # bfloat16 has three digits


def test_a_photo_may_fill_and_is_told_by_its_name() -> None:
    from perimetry.images import sample_photo

    model = perimetry.load_model("timm:test_resnet")
    image, _ = model.photo(sample_photo())
    form = {"patch": (40, 48), "stride": 60, "region": (10, 0, 150, 160)}
    by_name = occlude(model, image * 0.5, "layer1", fill=str(sample_photo()), **form)
    given = occlude(model, image * 0.5, "layer1", fill=image, **form)
    assert (by_name.map == given.map).all() and by_name.map.any()
    facts = by_name.facts
    assert (facts["fill"], given.facts["fill"]) == ("chelsea.jpg", "image")
    assert (facts["stride"], facts["region"]) == ([60, 60], [10, 0, 150, 160])
    assert (by_name.tops, by_name.lefts) == ((10, 70), (0, 60))


def test_values_agree_with_each_other() -> None:
    model, image = small(*block(3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()), image_of(1, 3, 12, 12)
    maps = {
        value: occlude(model, image, "output:2", patch=4, stride=4, value=value).map
        for value in ("signed", "absolute", "relative", "l2")
    }
    base = abs(float(model(image)[0, 2].detach()))
    torch.testing.assert_close(abs(maps["signed"]), maps["absolute"])
    torch.testing.assert_close(maps["l2"], maps["absolute"])
    torch.testing.assert_close(maps["relative"] * base, maps["absolute"], rtol=1e-5, atol=1e-7)
    changed = occlude(model, image, "output", patch=4, stride=4, value="argmax").map
    assert set(changed.ravel()) <= {0.0, 1.0}


def test_an_interrupted_run_continues_to_the_same_result(tmp_path, monkeypatch) -> None:
    from perimetry.maps import checkpoint

    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    model, image = small(*block(3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()), image_of(1, 3, 32, 32)
    whole = occlude(model, image, "output", patch=4, stride=2, memory=1 << 16).map

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done > total // 2:
            raise KilledError

    path = tmp_path / "partial.npz"
    with pytest.raises(KilledError):
        occlude(model, image, "output", patch=4, stride=2, memory=1 << 16, checkpoint=path, progress=kill)
    seen: list[int] = []
    resumed = occlude(
        model, image, "output", patch=4, stride=2, memory=1 << 16, checkpoint=path, progress=lambda d, _: seen.append(d)
    ).map
    assert (resumed == whole).all() and 0 < len(seen) < 225
    with pytest.raises(InputError, match="belongs to another run"):
        occlude(model, image, "output", patch=4, stride=4, checkpoint=path)


def test_the_error_of_the_difference_is_told() -> None:
    found = occlude(built("resnet18"), image_of(1, 3, 64, 64), "output:5", patch=16, stride=16)
    assert 0 <= found.facts["error_of_largest_change"] < 1e-3 and found.facts["largest_change"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 50}, "larger than the image of 32x32"),
        ({"patch": 0}, "expected patch as pixels"),
        ({"unit": "outptu"}, "unknown layer 'outptu'; did you mean 'output'"),
        ({"unit": "0@99,0"}, r"unit \(99, 0\) lies outside layer '0'"),
        ({"unit": "output:9"}, "has 4 channels"),
        ({"fill": "nois"}, "unknown fill 'nois'; did you mean 'noise'"),
        ({"fill": "constant:x"}, "expected a number"),
        ({"fill": "constant:nan"}, "expected a number"),
        ({"share": 1.0}, "expected a threshold from 0 to below 1"),
        ({"value": "relative", "unit": "output"}, "ask for value 'l2', 'norm' or 'argmax'"),
        ({"value": "singed"}, "unknown value 'singed'; did you mean 'signed'"),
        ({"value": "signed", "unit": "output"}, "that of one number"),
        ({"region": (0, 0, 99, 9)}, "does not lie inside"),
    ],
)
def test_bad_input(change, message) -> None:
    model = small(*block(3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    form = {"unit": "output:1", "patch": 4, "stride": 4, **change}
    with pytest.raises((InputError, UnknownNameError), match=message):
        occlude(model, image_of(1, 3, 32, 32), **form)


def test_nan_and_training_mode_are_refused() -> None:
    model = small(*block(3, 4))
    with pytest.raises(InputError, match="NaN"):
        occlude(model, torch.full((1, 3, 16, 16), float("nan")), patch=4)
    with pytest.raises(TrainingModeError, match="eval"):
        occlude(model.train(), image_of(1, 3, 16, 16), patch=4)
