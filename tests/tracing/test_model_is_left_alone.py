"""Tracing leaves the user's model, and the process, exactly as found; also after an exception."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as module_globals

import perimetry

HOOKS = [name for name in vars(nn.Module()) if name.endswith(("_hooks", "_hooks_with_kwargs", "_always_called"))]
GLOBAL_HOOKS = [name for name in vars(module_globals) if name.startswith("_global_") and "hook" in name]


class Small(nn.Module):
    """Convolution, batch norm, an in-place activation, dropout, and a buffer that the forward pass counts up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.drop(F.relu(self.norm(self.conv(x)), inplace=True)))


class Counting(Small):
    """Counts its calls in a buffer, as some quantised and momentum models do."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.norm.running_mean.mul_(0.5)
        return super().forward(x)


class Failing(Small):
    """Breaks half-way."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise ValueError("broken on purpose")


class DataDependent(Small):
    """Looks at its numbers, so that a run on fake tensors cannot go on."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if float(y.sum()) > 0 else -y


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a run could change, by value and by identity."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        found[f"{path} training"] = module.training
        found[f"{path} keys"] = sorted(vars(module))
        found[f"{path} class"] = type(module)
        found[f"{path} forward"] = "forward" in vars(module)
        for hooks in HOOKS:
            found[f"{path} {hooks}"] = list(getattr(module, hooks).items())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        grad = None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        found[name] = (
            id(tensor), type(tensor), tensor.data_ptr(), tensor._version, tensor.requires_grad, tensor.device, grad,
            tensor.tolist(),
        )  # fmt: skip
    return found


def process_state() -> dict[str, Any]:
    """Modes, global hooks and random states of the process."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "torch rng": torch.get_rng_state().tolist(),
        "python rng": random.getstate(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        **{
            name: list(getattr(module_globals, name).items())
            for name in GLOBAL_HOOKS
            if hasattr(getattr(module_globals, name), "items")
        },
    }


def prepared(model: nn.Module) -> nn.Module:
    """In eval mode, with a gradient on one parameter and a hook of the user's."""
    model.eval()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    model.conv.register_forward_hook(lambda module, inputs, output: None)
    model.register_forward_pre_hook(lambda module, inputs: None)
    return model


@pytest.mark.parametrize("make", [Small, Counting, DataDependent], ids=lambda make: make.__name__)
def test_model_is_as_found_after_tracing(make: type[nn.Module]) -> None:
    model, image = prepared(make()), torch.rand(2, 3, 8, 9)
    before, outside = state_of(model), process_state()
    perimetry.trace(model, image)
    assert state_of(model) == before
    assert process_state() == outside


def test_model_is_as_found_after_an_exception() -> None:
    model, image = prepared(Failing()), torch.rand(2, 3, 8, 9)
    before, outside = state_of(model), process_state()
    with pytest.raises(perimetry.PerimetryError, match="broken on purpose"):
        perimetry.trace(model, image)
    assert state_of(model) == before
    assert process_state() == outside


def test_model_is_as_found_after_inspect_and_endpoints() -> None:
    model, image = prepared(Small()), torch.rand(1, 3, 8, 9)
    kept = image.clone()
    before, outside = state_of(model), process_state()
    perimetry.inspect(model, image)
    perimetry.endpoints(model, image)
    assert state_of(model) == before
    assert process_state() == outside
    assert torch.equal(image, kept) and not image.requires_grad


def test_a_failing_model_can_be_repaired_and_traced() -> None:
    """Nothing of the failed run stays behind: the same object traces cleanly once its fault is gone."""
    model = Failing().eval()
    with pytest.raises(perimetry.PerimetryError):
        perimetry.trace(model, torch.rand(1, 3, 8, 8))
    model.__class__ = Small
    network = perimetry.trace(model, torch.rand(1, 3, 8, 8))
    assert [layer.name for layer in network.layers] == [
        layer.name for layer in perimetry.trace(copy.deepcopy(model), torch.rand(1, 3, 8, 8)).layers
    ]


def test_users_image_is_not_written() -> None:
    """A model whose first layer works in place must not write into the user's tensor."""
    image = torch.rand(1, 3, 8, 8) - 0.5
    before = image.clone()
    perimetry.trace(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3)).eval(), image)
    assert torch.equal(image, before) and image.grad is None


def test_user_modes_are_respected() -> None:
    """Under no_grad and inference mode the same layers are found, attention included, and the modes stay."""
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    wrapped = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.Flatten(2), Transposed(), model)
    image = torch.rand(1, 3, 8, 8)
    expected = [layer.name for layer in perimetry.trace(wrapped, image).layers]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert [layer.name for layer in perimetry.trace(wrapped, image).layers] == expected
            assert not torch.is_grad_enabled()


class Transposed(nn.Module):
    """Swap the last two axes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_training_mode_is_refused() -> None:
    """In training mode batch norm mixes images: one clear message, and the flag stays as it was."""
    model = Small().train()
    with pytest.raises(perimetry.TrainingModeError, match="eval"):
        perimetry.inspect(model, torch.rand(1, 3, 8, 8))
    assert model.training and model.norm.training


def test_fake_captures_hold_no_activations() -> None:
    """A network keeps references to the model's own tensors and to constants, and nothing that the image reached."""
    model = Small().eval()
    network = perimetry.trace(model, torch.rand(1, 3, 64, 64))
    assert network.captured in ("meta", "fake")
    own = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    for value in network.values:
        if network.depends[value.index]:
            assert value.tensor is None
        elif value.kind in ("parameter", "buffer"):
            assert value.tensor is None or id(value.tensor) in own
    assert not [each for node in network.nodes for each in (*node.args, *node.kwargs.values()) if torch.is_tensor(each)]
