"""In which numbers and which memory layout a model trains fastest on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from perimetry.training.recipe import MemoryFormat, Precision


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices of bfloat16 in hardware made for it.

    On CPUs that is AMX; on CUDA devices compute capability 8 and later. Elsewhere bfloat16 is emulated, and slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def chosen_precision(asked: Precision, device: torch.device) -> Precision:
    """What "auto" means on that device: bfloat16 where it is fast, so the same on every start on one machine.

    >>> chosen_precision("float32", torch.device("cpu"))
    'float32'
    """
    if asked != "auto":
        return asked
    return "bfloat16" if fast_bfloat16(device) else "float32"


def chosen_format(asked: MemoryFormat, module: nn.Module) -> torch.memory_format:
    """What "auto" means for a model: channels last where it holds convolutions of images.

    >>> chosen_format("auto", nn.Conv2d(3, 8, 3)), chosen_format("auto", nn.Linear(2, 2))
    (torch.channels_last, torch.contiguous_format)
    """
    if asked == "auto":
        asked = "channels_last" if any(isinstance(part, nn.Conv2d) for part in module.modules()) else "contiguous"
    return torch.channels_last if asked == "channels_last" else torch.contiguous_format


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """The context in which the model and its loss run; on CPUs depthwise convolutions stay in single precision."""
    if precision != "bfloat16":
        yield
        return
    depthwise = _DepthwiseInSingle() if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=torch.bfloat16), depthwise:
        yield


class _DepthwiseInSingle(TorchFunctionMode):
    """Depthwise convolutions in the precision of their weights: bfloat16 takes a CPU three times as long."""

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        if function is not torch.conv2d or len(arguments) < 2 or not _depthwise(*arguments[:2]):
            return function(*arguments, **named)
        images, weight, *rest = arguments
        with torch.autocast("cpu", enabled=False):
            return function(images.to(weight.dtype), weight, *rest, **named).to(torch.bfloat16)


def _depthwise(images: Tensor, weight: Tensor) -> bool:
    """Whether each channel has filters of its own."""
    return images.shape[1] > 1 == weight.shape[1]
