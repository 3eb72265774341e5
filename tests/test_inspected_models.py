"""inspect(): models and inputs of every kind that people have, each answered or refused with one clear message."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import perimetry
from perimetry.images import sample_photo

SIZES = {"0": (3, 3), "2": (7, 7)}  # of `small`'s convolutions


def small(channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)).eval()


def sizes(found: perimetry.Inspection) -> dict[str, tuple[int | None, ...] | None]:
    return {name: row.field.size if (row := found.layer(name)).field else None for name in SIZES}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("given", [32, None, "photo"])
def test_the_image_has_the_type_of_the_models_weights(dtype: torch.dtype, given: object) -> None:
    found = perimetry.inspect(small().to(dtype), sample_photo() if given == "photo" else given)
    assert sizes(found) == SIZES
    assert found.layer("0").activation_bytes % dtype.itemsize == 0


def test_an_image_of_another_type_than_the_weights_is_named() -> None:
    with pytest.raises(perimetry.TraceError, match=r"image is torch\.float32; give it the type of the model's weights"):
        perimetry.inspect(small().half(), torch.zeros(1, 3, 32, 32))


def test_a_model_on_the_meta_device_needs_no_weights() -> None:
    with torch.device("meta"):
        model = small()
    assert sizes(perimetry.inspect(model, 32)) == SIZES


class LooksAtData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y if y.mean() > 0 else y * 2


def test_a_meta_model_that_looks_at_data_is_refused() -> None:
    """A real run on weights without contents took whichever way the uninitialised memory told."""
    with torch.device("meta"):
        model = LooksAtData().eval()
    with pytest.raises(perimetry.TraceError, match="meta device"):
        perimetry.inspect(model, 16)


def test_inspecting_in_inference_mode() -> None:
    """There, operators reach the recorder whole (aten.conv2d), and none had a rule."""
    model, image = small(), torch.zeros(1, 3, 32, 32)
    with torch.inference_mode():
        found = perimetry.inspect(model, image)
        made_here = perimetry.inspect(small(), torch.zeros(1, 3, 32, 32))
    assert not found.models[0].unknown
    assert sizes(found) == sizes(made_here) == SIZES


def test_a_compiled_model_keeps_its_own_names() -> None:
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = perimetry.inspect(torch.compile(model), 32)
        parts = perimetry.inspect(nn.Sequential(*map(torch.compile, model)).eval(), 32)
    assert found.models == perimetry.inspect(model, 32).models
    assert parts.layer("2").field.size == (7, 7)


def test_a_lazy_model_is_refused_and_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3)).eval()
    for given in (16, torch.zeros(1, 3, 16, 16)):
        with pytest.raises(perimetry.InputError, match="lazy layers"):
            perimetry.inspect(model, given)
    assert torch.nn.parameter.is_lazy(model[0].weight)


@pytest.mark.parametrize(
    ("model", "given", "shape"),
    [
        (nn.Conv1d(2, 4, 5), 64, (1, 2, 64)),
        (nn.Conv1d(2, 4, 5), (64,), (1, 2, 64)),
        (nn.Conv3d(1, 4, 3), 16, (1, 1, 16, 16, 16)),
        (nn.Conv3d(1, 4, 3), (8, 16, 20), (1, 1, 8, 16, 20)),
        (nn.Conv2d(5, 4, 3), [16, 20], (1, 5, 16, 20)),
        (nn.Conv2d(3, 4, 3), (numpy.int64(16), numpy.int64(20)), (1, 3, 16, 20)),
    ],
)
def test_a_size_has_as_many_axes_as_the_convolutions(model: nn.Module, given: object, shape: tuple[int, ...]) -> None:
    assert perimetry.inspect(model.eval(), given).models[0].input == shape


@pytest.mark.parametrize(
    "given", [True, 0, (-2, 3), (22.5, 3), 224.0, (1, 3, 32, 32), (), {}, numpy.zeros((8, 8, 3))], ids=str
)
def test_what_is_no_size_and_no_image_is_refused(given: object) -> None:
    """Tuples of three or four numbers were taken for 224 pixels without a word, and others ended in a TypeError."""
    with pytest.raises(perimetry.ShapeError, match="expected a size in pixels such as 224"):
        perimetry.inspect(small(), given)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, near: Tensor, far: Tensor) -> Tensor:
        return self.conv(near) + self.conv(far)


@pytest.mark.parametrize("keywords", [False, True])
def test_several_inputs(keywords: bool) -> None:
    near, far = torch.zeros(1, 3, 16, 20), torch.zeros(1, 3, 16, 20)
    found = perimetry.inspect(TwoInputs().eval(), {"near": near, "far": far} if keywords else (near, far))
    assert found.models[0].input == (1, 3, 16, 20)
    assert found.layer("output").field.size == (3, 3)
    with pytest.raises(perimetry.InputError, match="NaN"):
        perimetry.inspect(TwoInputs().eval(), (near, far / 0))


def test_a_gray_model_normalises_photos_as_one_from_a_function_does() -> None:
    """A bare module with one channel took the mean of ImageNet's red."""
    seen = []
    model = nn.Sequential(nn.Conv2d(1, 2, 1)).eval()
    model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape))
    loaded = perimetry.models.loaded.of_module("gray", model)
    assert (loaded.mean, loaded.std) == ((0.5,), (0.5,))
    assert perimetry.inspect(model, Image.open(sample_photo())).models[0].input == (1, 1, 224, 224)
    assert seen


def test_a_model_that_leaves_pytorch_is_unknown_from_there_on() -> None:
    """The output was said to see nothing: 0 x 0 pixels."""

    class ThroughNumpy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(self.conv(x).detach().numpy() * 2)

    found = perimetry.inspect(ThroughNumpy().eval(), 16)
    assert found.layer("conv").field.size == (3, 3)
    assert found.layer("output").field is None
    assert found.layer("output").reason == "no recorded operator leads from the image to here"
    assert "not followed" in found.models[0].notes[0]


def test_a_real_run_does_not_write_into_the_users_image() -> None:
    class WritesAndLooks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x += 1
            return x if x.mean() > 0 else -x

    image = torch.zeros(1, 3, 8, 8)
    perimetry.inspect(WritesAndLooks().eval(), image)
    perimetry.endpoints(WritesAndLooks().eval(), image)
    assert image.count_nonzero() == 0


def save_script(model: nn.Module, path: Path) -> str:
    """Write a scripted model; a second time where scripting met a number that it holds for one of its own functions.

    TorchScript knows its functions by `id`, some of which have been freed and given to other objects: now and then a
    list of a convolution "cannot be used as a value". A copy of the model lies elsewhere in memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for candidate in (model, copy.deepcopy(model), copy.deepcopy(model)):
            try:
                torch.jit.script(candidate).save(str(path))
                break
            except RuntimeError as error:
                if "builtin cannot be used as a value" not in str(error):
                    raise
    return str(path)


def test_a_torchscript_file_tells_its_channels_and_type(tmp_path: Path) -> None:
    found = perimetry.inspect(save_script(small(1).half(), tmp_path / "gray_half.pt"), 32)
    assert found.models[0].input == (1, 1, 32, 32)
    assert [row.field.size for row in found if row.op == "aten.convolution"] == [(3, 3), (7, 7)]
    assert "named after their operators" in found.models[0].notes[0]


def test_an_error_inside_torchscript_is_told_without_its_code(tmp_path: Path) -> None:
    half = save_script(small().half(), tmp_path / "half.pt")
    with pytest.raises(perimetry.TraceError, match=r"32, 32\): RuntimeError: Input type \(float\)"):
        perimetry.inspect(half, torch.zeros(1, 3, 32, 32))
    single = save_script(small(), tmp_path / "single.pt")
    with pytest.raises(perimetry.TraceError, match=r"32, 32\): (an operator inside|RuntimeError: Given)") as caught:
        perimetry.inspect(single, torch.zeros(1, 1, 32, 32))
    assert "getattr" not in str(caught.value)


def test_an_exported_program_tells_its_batch_and_type(tmp_path: Path) -> None:
    path = tmp_path / "four.pt2"
    torch.export.save(torch.export.export(small().half(), (torch.zeros(4, 3, 32, 40).half(),)), path)
    assert perimetry.inspect(str(path)).models[0].input == (4, 3, 32, 40)
    assert perimetry.inspect(str(path), sample_photo()).models[0].input == (4, 3, 32, 40)


def test_an_exported_program_of_any_batch_is_shown_one_image(tmp_path: Path) -> None:
    path = tmp_path / "any.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(small(), (torch.zeros(4, 3, 32, 40),), dynamic_shapes=dynamic), path)
    assert perimetry.inspect(str(path)).models[0].input == (1, 3, 32, 40)


def test_endpoints_refuse_what_trace_refuses() -> None:
    """They let torch's own RuntimeError through, and answered an image without contents with random numbers."""
    with pytest.raises(perimetry.TraceError, match="number of channels"):
        perimetry.endpoints(small(), torch.zeros(1, 1, 8, 8))
    with pytest.raises(perimetry.InputError, match="meta device"):
        perimetry.endpoints(small(), torch.empty(1, 3, 8, 8, device="meta"))


def test_a_unit_of_support_is_whole_numbers() -> None:
    network = perimetry.trace(small(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(perimetry.InputError, match=r"whole numbers, got \(0.5, 0\)"):
        perimetry.support(network, "0", (0.5, 0))
