"""End points: every named layer's output, in order, with the values that forward hooks see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perimetry


class Block(nn.Module):
    """A residual block with in-place activations, on modules and by function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.norm(self.conv1(x))))
        y += x
        return F.relu(y, inplace=True)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), Block(), nn.ReLU(inplace=True), Block(), nn.Flatten(), nn.Linear(400, 5)
    ).eval()


IMAGE = torch.linspace(-1, 1, 3 * 12 * 12).reshape(1, 3, 12, 12)


def hooked(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Copies of all module outputs at the moment that they were given back."""
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda module, args, out, path=path: seen.__setitem__(path, out.clone()))
        for path, module in model.named_modules()
    ]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return seen


def test_values_are_those_of_forward_hooks(model: nn.Module) -> None:
    """Also for convolutions that an in-place activation overwrites right after."""
    expected, found = hooked(model, IMAGE), perimetry.endpoints(model, IMAGE)
    for path, value in expected.items():
        torch.testing.assert_close(found[path or "output"], value, rtol=0, atol=0)
    assert (found["1.norm"] < 0).any() and (found["1.relu"] >= 0).all()


def test_order_and_names_are_those_of_the_network(model: nn.Module) -> None:
    network = perimetry.trace(model, IMAGE)
    found = perimetry.endpoints(model, IMAGE)
    assert list(found) == [layer.name for layer in network.layers]
    for layer in network.layers:
        assert tuple(found[layer.name].shape) == network.values[layer.value].shape


def test_operators_between_modules_have_values(model: nn.Module) -> None:
    found = perimetry.endpoints(model, IMAGE)
    first = hooked(model, IMAGE)["0"]
    torch.testing.assert_close(found["1/add"], found["1.conv2"] + first)
    torch.testing.assert_close(found["1/relu"], (found["1.conv2"] + first).relu())


def test_pattern_selects(model: nn.Module) -> None:
    everything = perimetry.endpoints(model, IMAGE)
    for pattern in ("1.conv*", "*conv2", "output"):
        found = perimetry.endpoints(model, IMAGE, pattern)
        assert found and set(found) < set(everything)
        for name, value in found.items():
            torch.testing.assert_close(value, everything[name], rtol=0, atol=0)
    assert list(perimetry.endpoints(model, IMAGE, "1.conv*")) == ["1.conv1", "1.conv2"]


def test_pattern_without_a_match_is_an_error(model: nn.Module) -> None:
    with pytest.raises(perimetry.PerimetryError, match="convolution7"):
        perimetry.endpoints(model, IMAGE, "convolution7")


def test_repeated_calls_are_numbered() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    model = Twice().eval()
    found = perimetry.endpoints(model, IMAGE)
    assert list(found) == ["conv", "conv:2", "output"]
    torch.testing.assert_close(found["conv"], model.conv(IMAGE).detach())
    torch.testing.assert_close(found["conv:2"], model.conv(model.conv(IMAGE)).detach())
    assert torch.equal(found["conv:2"], found["output"])


def test_end_points_carry_no_graph_and_are_independent(model: nn.Module) -> None:
    found = perimetry.endpoints(model, IMAGE)
    assert not any(value.requires_grad for value in found.values())
    before = found["1.relu"].clone()
    found["1.norm"].zero_()
    assert torch.equal(found["1.relu"], before)


def test_all_outputs_of_a_dict() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 5)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.near(x), "aux": self.far(x)}

    found = perimetry.endpoints(Heads().eval(), IMAGE)
    assert {"output[out]", "output[aux]"} <= set(found)


def test_attention_model_is_answered() -> None:
    """Eval-mode attention would take an opaque fast path: its parts must still be end points."""
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(2), nn.Linear(9, 4), encoder).eval()
    found = perimetry.endpoints(model, IMAGE)
    assert "3.self_attn" in "".join(found)
    torch.testing.assert_close(found["output"], model(IMAGE).detach(), rtol=1e-4, atol=1e-5)
