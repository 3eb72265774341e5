"""Inputs and outputs of every structure, calls repeated and shared, and the names that layers get."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perimetry
from perimetry.records import Network

Pair = namedtuple("Pair", ["near", "far"])


@dataclass
class Result:
    """What a Hugging-Face-like model gives back."""

    near: Tensor
    far: Tensor | None = None


class TwoHeads(nn.Module):
    """Two convolutions of one map, given back in the structure that `pack` makes."""

    def __init__(self, pack) -> None:
        super().__init__()
        self.near, self.far, self.pack = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2, 5), pack

    def forward(self, x: Tensor):
        return self.pack(self.near(x), self.far(x))


def names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


def trace(model: nn.Module, *shape: int) -> Network:
    return perimetry.trace(model.eval(), torch.rand(shape or (1, 3, 12, 17)))


PACKS = {
    "tuple": (lambda a, b: (a, b), ("[0]", "[1]")),
    "list": (lambda a, b: [a, b], ("[0]", "[1]")),
    "dict": (lambda a, b: {"out": a, "aux": b}, ("[out]", "[aux]")),
    "ordered-dict": (lambda a, b: OrderedDict(out=a, aux=b), ("[out]", "[aux]")),
    "namedtuple": (Pair, ("[near]", "[far]")),
    "dataclass": (Result, ("[near]", "[far]")),
}


@pytest.mark.parametrize("name", PACKS)
def test_output_structures(name: str) -> None:
    """Both tensors of the output are layers, each with its own field."""
    pack, keys = PACKS[name]
    network = trace(TwoHeads(pack))
    found = [each for each in names(network) if each.startswith("output")]
    if name == "namedtuple":  # a named tuple may be told by name or by number
        keys = keys if f"output{keys[0]}" in found else ("[0]", "[1]")
    assert found == [f"output{key}" for key in keys]
    fields = perimetry.fields(network)
    assert fields[f"output{keys[0]}"].full.size == (3, 3)
    assert fields[f"output{keys[1]}"].full.size == (5, 5)


def test_output_with_none_and_nesting() -> None:
    network = trace(TwoHeads(lambda a, b: {"maps": [a, b], "loss": None, "scale": 2.0}))
    found = [each for each in names(network) if each.startswith("output")]
    assert len(found) == 2 and len(set(found)) == 2
    assert {perimetry.fields(network)[each].full.size for each in found} == {(3, 3), (5, 5)}


def test_inner_module_with_several_outputs() -> None:
    """A module in the middle that gives a dict lists one layer per tensor."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neck = TwoHeads(lambda a, b: {"out": a, "aux": b})

        def forward(self, x: Tensor) -> Tensor:
            found = self.neck(x)
            return found["out"].mean() + found["aux"].mean()

    found = names(trace(Model()))
    assert "neck[out]" in found and "neck[aux]" in found and "neck" not in found


def test_several_inputs_as_tuple_and_dict() -> None:
    """The first image is what fields are counted in; a call by position and one by name agree."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor, scale: Tensor, flip: bool = False) -> Tensor:
            y = self.conv(x) * scale
            return y.flip(3) if flip else y

    model, image, scale = Model().eval(), torch.rand(1, 3, 9, 10), torch.rand(1)
    by_position = perimetry.trace(model, (image, scale))
    by_name = perimetry.trace(model, {"x": image, "scale": scale, "flip": True})
    assert by_position.image_shape == by_name.image_shape == (9, 10)
    assert perimetry.fields(by_position)["output"].full.size == (3, 3)
    assert perimetry.fields(by_name)["output"].full.size == (3, 3)
    assert perimetry.support(by_name, "output", (0, 0))[0, 9]


def test_module_called_twice() -> None:
    """The second call has its own name and its own, larger field."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.relu(self.conv(x)))

    network = trace(Model())
    assert names(network) == ["conv", "/relu", "conv:2", "output"]
    fields = perimetry.fields(network)
    assert [fields[name].full.size for name in ("conv", "conv:2")] == [(3, 3), (5, 5)]


def test_shared_weights_under_two_names() -> None:
    """Two modules that hold the same parameter are two layers; the parameter counts once in total."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    model[1].weight = model[0].weight
    network = trace(model)
    assert [name for name in names(network) if name in "01"] == ["0", "1"]
    assert perimetry.inspect(model, 12).models[0].totals.parameters == sum(each.numel() for each in model.parameters())


def test_the_same_module_under_two_names() -> None:
    """One module object registered twice: two calls, both listed."""
    conv = nn.Conv2d(3, 3, 3)
    network = trace(nn.Sequential(conv, nn.ReLU(), conv))
    fields = perimetry.fields(network)
    assert len([name for name in names(network) if name != "output"]) == 3
    assert fields["output"].full.size == (5, 5)


def test_functional_calls_are_named_after_their_parent() -> None:
    """Operators outside leaf modules are `parent/op`, numbered when they repeat."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.conv(x) + x) + x

    network = trace(nn.Sequential(OrderedDict(layer1=Block(), layer2=Block())))
    assert names(network) == [
        "layer1.conv", "layer1/add", "layer1/relu", "layer1/add:2", "layer1",
        "layer2.conv", "layer2/add", "layer2/relu", "layer2/add:2", "layer2",
        "output",
    ]  # fmt: skip


def test_root_operators_start_with_a_slash() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y * 2 + y

    assert names(trace(Model())) == ["conv", "/mul", "/add", "output"]


def test_views_are_not_listed() -> None:
    """Views, permutations and flattening move no memory and are no layers; a copying reshape may be one."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            tokens = y.flatten(2).transpose(1, 2).unsqueeze(0).squeeze(0)
            return tokens.permute(0, 2, 1).view(y.shape)[:, 1:]

    assert names(trace(Model())) == ["conv", "output"]


def test_layer_names_are_unique_and_found() -> None:
    network = trace(TwoHeads(lambda a, b: (a, b)))
    assert len(set(names(network))) == len(network.layers)
    for name in names(network):
        assert network.layer(name).name == name
    with pytest.raises(perimetry.UnknownNameError, match="near"):
        network.layer("naer")


def test_batch_and_oblong_images() -> None:
    """Batch entries do not mix; the field does not depend on their number."""
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 5), (2, 1)), nn.MaxPool2d(2)).eval()
    single, batch = trace(model, 1, 3, 20, 31), trace(model, 5, 3, 20, 31)
    assert single.image_shape == batch.image_shape == (20, 31)
    assert perimetry.fields(single)["output"].full.size == perimetry.fields(batch)["output"].full.size == (5, 6)
    assert torch.equal(perimetry.support(single, "output", (1, 2)), perimetry.support(batch, "output", (1, 2)))


def test_image_used_twice_and_ignored_input() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(x, 3, 1, 1) - x

    assert perimetry.fields(trace(Model()))["output"].full.size == (3, 3)


def test_output_that_ignores_the_image() -> None:
    """A constant output sees nothing; asking for its support gives an empty mask."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = nn.Parameter(torch.ones(1, 2, 3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.constant * 2

    network = trace(Model())
    assert not perimetry.support(network, "output", (0, 0)).any()


def test_one_dimensional_and_video_inputs() -> None:
    line = perimetry.trace(nn.Conv1d(2, 3, 5, stride=2).eval(), torch.rand(1, 2, 40))
    assert line.image_shape == (40,)
    assert perimetry.fields(line)["output"].full.size == (5,)
    video = perimetry.trace(nn.Conv3d(2, 3, (3, 5, 7)).eval(), torch.rand(1, 2, 8, 16, 20))
    assert video.image_shape == (8, 16, 20)
    assert perimetry.fields(video)["output"].full.size == (3, 5, 7)


def test_wrong_example_is_one_clear_message() -> None:
    """Too few channels: the message says what was given."""
    with pytest.raises(perimetry.PerimetryError, match=r"channel|\[1, 2, 8, 8\]|\(1, 2, 8, 8\)"):
        perimetry.trace(nn.Conv2d(3, 4, 3).eval(), torch.rand(1, 2, 8, 8))


def test_image_too_small_is_one_clear_message() -> None:
    with pytest.raises(perimetry.PerimetryError, match=r"4"):
        perimetry.trace(nn.Conv2d(3, 4, 7).eval(), torch.rand(1, 3, 4, 4))


def test_detector_is_captured_by_a_real_run() -> None:
    """Boxes depend on numbers: the run is real, the backbone's fields are exact, the head answers or says why not."""
    from torchvision.models import detection

    model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    network = perimetry.trace(model, ([torch.rand(3, 160, 160)],))
    assert network.captured == "real"
    fields = perimetry.fields(network)
    stem = fields["backbone.features.0.0.0"]
    assert stem.full is not None and stem.full.stride[0] > 0
    for name, answer in fields.items():
        assert answer.full is not None or answer.reason, name
