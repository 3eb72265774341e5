"""In which numbers and which memory layout a model trains fastest on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from perimetry.training.depthwise import depthwise_conv2d
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
    """The context in which the model and its loss run; on CPUs depthwise convolutions have gradients of their own."""
    if precision != "bfloat16":
        yield
        return
    depthwise = _FastDepthwise() if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=torch.bfloat16), depthwise:
        yield


class _FastDepthwise(TorchFunctionMode):
    """Depthwise convolutions by `depthwise_conv2d`: torch's gradients in bfloat16 take a CPU ten times as long."""

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        if function is torch.conv2d and len(arguments) > 1 and _depthwise(*arguments[:2]):
            return _convolved(*arguments, **named)
        return function(*arguments, **named)


def _depthwise(images: Tensor, weight: Tensor) -> bool:
    """Whether each channel of a batch has filters of its own, in numbers that autocast would change."""
    return images.ndim == 4 and images.shape[1] > 1 == weight.shape[1] and images.dtype != torch.float64


def _convolved(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """As `torch.conv2d` takes its arguments; several filters a channel see it as several channels."""
    images, weight = images.to(torch.bfloat16), weight.to(torch.bfloat16)
    stride, dilation = _pair(stride), _pair(dilation)
    if isinstance(padding, str):
        images, padding = _padded(images, weight, dilation) if padding == "same" else images, 0
    if len(weight) > groups:
        images = images.repeat_interleave(len(weight) // groups, 1)
    return depthwise_conv2d(
        images,
        weight,
        None if bias is None else bias.to(torch.bfloat16),
        stride=stride,
        padding=_pair(padding),
        dilation=dilation,
    )


def _padded(images: Tensor, weight: Tensor, dilation: tuple[int, int]) -> Tensor:
    """With zeros around, so that a convolution leaves the size as it is; one that is odd comes after."""
    rows, columns = ((side - 1) * step for side, step in zip(weight.shape[2:], dilation, strict=True))
    return functional.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def _pair(given: int | Sequence[int]) -> tuple[int, int]:
    """For rows and columns; torch's modules give pairs, its functions also single numbers, bare or in a list."""
    first, *others = (given,) if isinstance(given, int) else given
    return first, (others or [first])[0]
