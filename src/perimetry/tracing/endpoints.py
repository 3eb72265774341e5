"""endpoints(): every named layer's output, from one real run."""

from __future__ import annotations

import fnmatch
from typing import Any

import torch

from perimetry.errors import InputError, TraceError, UnknownNameError
from perimetry.records import Layer
from perimetry.tracing.arguments import storage_of
from perimetry.tracing.capture import Inputs, on_meta, ready, record, run
from perimetry.tracing.failure import explain
from perimetry.tracing.structure import tensors_in


def endpoints(model: Any, image: Any, pattern: str | None = None) -> dict[str, torch.Tensor]:
    """Every named layer's output on an image, in the order in which the outputs appeared.

    model, image: as `trace` takes them; the image must hold data. Names are those of `trace`: a module's own path,
    `name:2` for a second call, `parent/operator` for an operator outside any leaf module.
    pattern: a glob that names must match, such as "layer*" or "*.relu"; None asks for all.
    Outputs are as they were when the layer returned them: later in-place operators do not change them.

    Raises `UnknownNameError` where nothing matches the pattern, `InputError` where the image or the model is on the
    meta device, and what `trace` raises.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True))
    >>> found = endpoints(model, torch.ones(1, 1, 4, 4))
    >>> {name: tuple(tensor.shape) for name, tensor in found.items() if name != "output"}
    {'0': (1, 2, 2, 2), '1': (1, 2, 2, 2)}
    """
    model, inputs = ready(model), Inputs(image)
    if inputs.image.is_meta or on_meta(model):
        raise InputError("expected an image and a model with contents, got tensors on the meta device (shapes only)")
    try:
        network = record(model, inputs, "real", "")
    except Exception as error:  # the user's model may raise anything
        raise TraceError(explain(error, inputs.image)) from error
    assert network is not None, "a real run knows everything"
    wanted = [layer for layer in network.layers if pattern is None or fnmatch.fnmatchcase(layer.name, pattern)]
    if not wanted:
        raise UnknownNameError("layer", pattern or "*", known=[layer.name for layer in network.layers])
    keeper = _Keeper(wanted, {index: call.outputs for index, call in enumerate(network.calls)})
    run(model, inputs, "real", watch=keeper.node_ran, on_exit=keeper.call_ended, before_write=keeper.before_write)
    return {layer.name: keeper.kept[layer.name] for layer in wanted if layer.name in keeper.kept}


class _Keeper:
    """Keeps the outputs that were asked for, and copies them just before something overwrites them."""

    def __init__(self, wanted: list[Layer], outputs: dict[int, tuple[tuple[str, int], ...]]) -> None:
        self.kept: dict[str, torch.Tensor] = {}
        self._by_node = {layer.nodes[0]: layer for layer in wanted if not layer.module}
        self._by_call: dict[int, list[Layer]] = {}
        for layer in wanted:
            if layer.module:
                self._by_call.setdefault(layer.call, []).append(layer)
        self._outputs = outputs

    def node_ran(self, node: int, result: Any) -> None:
        layer = self._by_node.get(node)
        if layer is not None:
            self.kept[layer.name] = result if isinstance(result, torch.Tensor) else result[0]

    def call_ended(self, call: int, outputs: Any) -> None:
        for layer in self._by_call.get(call, ()):
            for (_, value), (_, tensor) in zip(self._outputs[call], tensors_in(outputs), strict=True):
                if value == layer.value:
                    self.kept[layer.name] = tensor
                    break

    def before_write(self, target: torch.Tensor) -> None:
        place = storage_of(target)
        for name, tensor in self.kept.items():
            if storage_of(tensor) == place:
                self.kept[name] = tensor.clone()
