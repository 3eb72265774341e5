"""Occlusion averaged over images, against one full run per image and position; interrupted at every place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import perimetry
from perimetry.errors import InputError
from perimetry.images import sample_photo
from perimetry.maps import checkpoint as checkpoints
from perimetry.maps.occlusion import occlude


class KilledError(Exception):
    pass


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ).eval()


def images_of(count: int) -> Tensor:
    return torch.rand((count, 3, 20, 18), generator=torch.Generator().manual_seed(4)) * 2 - 1


def by_full_runs(model: nn.Module, images: Tensor, told) -> np.ndarray:
    """`told(covered, uncovered)` for each image and place of a 5x4 patch of zeros at stride 4."""
    found = []
    with torch.no_grad():
        for image in images.split(1):
            rows = []
            for top in range(0, 16, 4):
                row = []
                for left in range(0, 15, 4):
                    covered = image.clone()
                    covered[:, :, top : top + 5, left : left + 4] = 0
                    row.append(float(told(model(covered)[0].double(), model(image)[0].double())))
                rows.append(row)
            found.append(rows)
    return np.array(found)


FORM = {"patch": (5, 4), "stride": 4, "fill": "constant:0"}
DEFINITIONS = {
    ("output:2", "signed"): lambda a, b: a[2] - b[2],
    ("output:2", "absolute"): lambda a, b: abs(a[2] - b[2]),
    ("output:2", "relative"): lambda a, b: abs(a[2] - b[2]) / abs(b[2]),
    ("output", "l2"): lambda a, b: (a - b).norm(),
    ("output", "norm"): lambda a, b: a.norm() - b.norm(),
    ("output", "argmax"): lambda a, b: a.argmax() != b.argmax(),
}


@pytest.mark.parametrize(("unit", "value"), DEFINITIONS)
def test_the_map_is_the_mean_of_the_value_over_images(unit, value) -> None:
    model, images = net(), images_of(3)
    found = occlude(model, images, unit, value=value, **FORM)
    each = by_full_runs(model, images, DEFINITIONS[unit, value])
    assert found.images == 3 and found.map.shape == (4, 4)
    np.testing.assert_allclose(found.map, each.mean(0), atol=2e-6 * max(1, abs(each).max()))
    magnitude = found.map if found.magnitude is None else found.magnitude
    np.testing.assert_allclose(abs(magnitude), abs(each).mean(0), atol=2e-6 * max(1, abs(each).max()))


def test_a_field_is_measured_where_the_mean_magnitude_is_large_not_where_the_mean_is() -> None:
    """Two images that move a unit in opposite ways: their mean cancels, what they answer to does not."""
    model = nn.Conv2d(1, 1, 3, bias=False).eval()
    nn.init.ones_(model.weight)
    one = torch.ones(1, 1, 6, 6)
    found = occlude(model, torch.cat((one, -one)), "output:0@1,1", patch=1, stride=1, fill="constant:0")
    assert not found.map.any() and found.magnitude is not None
    assert (found.measured.area, found.measured.extent) == (9, (3, 3))
    assert (
        found.with_share(0.5).measured
        == occlude(
            model, torch.cat((one, -one)), "output:0@1,1", patch=1, stride=1, fill="constant:0", share=0.5
        ).measured
    )


def test_noise_has_each_image_s_own_mean_and_deviation() -> None:
    model, images = net(), torch.cat((images_of(1), 3 * images_of(1) + 1))
    alone = [occlude(model, image, "output", patch=4, stride=4).map for image in images.split(1)]
    found = occlude(model, images, "output", patch=4, stride=4)
    np.testing.assert_allclose(found.map, np.mean(alone, axis=0), rtol=1e-5)


def test_what_effective_field_takes_is_taken(tmp_path) -> None:
    from PIL import Image

    pixels = Image.open(sample_photo()).resize((32, 32))
    for name in ("b.png", "a.png"):
        pixels.rotate(90 * (name == "a.png")).save(tmp_path / name)
    model = net()
    form = {"patch": 112, "stride": 112, "fill": "mean"}
    folder = occlude(model, tmp_path, "output", **form)
    listed = occlude(model, [tmp_path / "a.png", str(tmp_path / "b.png")], "output", **form)
    assert folder.images == listed.images == 2
    assert (folder.map == listed.map).all()
    assert occlude(model, 2, "output", seed=3, **form).images == 2


def test_images_come_one_at_a_time(monkeypatch) -> None:
    """Each is asked for when the one before is done with."""
    from perimetry.maps import occlusion

    order: list[str] = []
    stream = occlusion.image_stream

    def watched(*given, **more):
        count, images = stream(*given, **more)

        def told():
            for number, image in enumerate(images):
                order.append(f"image {number}")
                yield image

        return count, told()

    monkeypatch.setattr(occlusion, "image_stream", watched)
    occlude(net(), images_of(3), "output", progress=lambda done, total: order.append(f"{done}/{total}"), **FORM)
    assert order[1:] == ["image 0", "16/48", "image 1", "32/48", "image 2", "48/48"]


@pytest.mark.parametrize("kills", [[1], [9], [16, 17], [3, 20, 31, 47]])
def test_interrupted_anywhere_it_goes_on_to_the_same_file(kills, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", -1.0)
    monkeypatch.setattr("perimetry.maps.batching._LARGEST_FULL", 2)
    model, images, partial = net(), images_of(3), tmp_path / "partial"
    whole = occlude(model, images, "output", **FORM)
    whole.save_npz(tmp_path / "whole.npz")
    for at in kills:

        def kill(done: int, total: int, at: int = at) -> None:
            if done >= at:
                raise KilledError

        with pytest.raises(KilledError):
            occlude(model, images, "output", checkpoint=partial, progress=kill, **FORM)
    seen: list[int] = []
    again = occlude(model, images, "output", checkpoint=partial, progress=lambda done, _: seen.append(done), **FORM)
    again.save_npz(tmp_path / "again.npz")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    assert not seen or seen[0] > kills[-1]


def test_a_finished_run_goes_on_with_images_added_at_the_end(tmp_path) -> None:
    model, images, partial = net(), images_of(4), tmp_path / "partial"
    occlude(model, images[:2], "output", checkpoint=partial, **FORM)
    seen: list[int] = []
    more = occlude(model, images, "output", checkpoint=partial, progress=lambda done, _: seen.append(done), **FORM)
    assert seen[0] > 32 and (more.map == occlude(model, images, "output", **FORM).map).all()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": images_of(2) + 1}, "another image"),
        ({"images": images_of(1)}, "another set of images"),
        ({"unit": "output:1"}, "another model, patch"),
        ({"value": "norm"}, "another model, patch"),
        ({"fill": "constant:1"}, "another model, patch"),
        ({"stride": 5}, "another model, patch"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(change, what, tmp_path) -> None:
    given = {"images": images_of(2), "unit": "output", "checkpoint": tmp_path / "partial", **FORM}
    occlude(net(), **given)
    with pytest.raises(InputError, match=f"belongs to another run \\({what}"):
        occlude(net(), **{**given, **change})


def test_the_error_told_is_the_worst_over_images() -> None:
    model, images = net(), images_of(3)
    found = occlude(model, images, "output:1", **FORM)
    worst = max(occlude(model, image, "output:1", **FORM).facts["largest_error"] for image in images.split(1))
    assert 0 <= found.facts["largest_error"] <= worst < 1e-5


def test_a_unit_that_is_nan_is_told_with_its_image() -> None:
    class Logarithm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    images = torch.cat((torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), -1.0)))
    with pytest.raises(InputError, match="NaN or infinite on image 2 as it is"):
        occlude(Logarithm(), images, "output", patch=2, stride=2, fill="constant:2")
    with pytest.raises(InputError, match="becomes NaN or infinite where image 1 is covered"):
        occlude(Logarithm(), images[:1], "output", patch=2, stride=2, fill="constant:-2")


def test_without_a_unit_both_methods_ask_the_same() -> None:
    model, image = net(), images_of(1)
    unit = perimetry.effective_field(model, image).unit
    assert occlude(model, image, patch=4, stride=4).unit == unit == "2"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 18, 3)).eval()
    assert occlude(flat, image, patch=4, stride=4).unit == perimetry.effective_field(flat, image).unit
