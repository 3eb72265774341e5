"""At which stride every layer of a network reads and writes, found by running it at two sizes."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from perimetry.errors import InputError, first_line

Sizes = tuple[tuple[int, int], tuple[int, int]]  # (H, W) at the image's size, and at twice that

# What looks at several positions of a map at once, or moves them, and so has to be told of a change of density.
_SPATIAL = {
    "convolution",
    "max_pool2d_with_indices",
    "avg_pool2d",
    "im2col",
    "unfold",
    "constant_pad_nd",
    "reflection_pad2d",
    "replication_pad2d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "roll",
    "slice",
    "grid_sampler_2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact2d",
    "max_unpool2d",
    "fractional_max_pool2d",
}
ATTENTION = ("bmm", "scaled_dot_product")  # parts of the names of operators that weigh positions against each other


@dataclass(frozen=True, slots=True)
class Reading:
    """One call of a module, or one operator outside the layers that were asked for.

    path: the module's name; op: the operator's name, empty for a module's call. reads, writes: the strides of input and
    output in (rows, columns), None where the size does not depend on the image. sizes: of the output.
    """

    path: str
    op: str
    reads: tuple[Fraction | None, Fraction | None]
    writes: tuple[Fraction | None, Fraction | None]
    sizes: Sizes | None


@dataclass(slots=True)
class _Log:
    """What one run met, in order: (path, operator, size of the input, size of the output)."""

    entries: list[tuple[str, str, tuple[int, int] | None, tuple[int, int] | None]] = field(default_factory=list)


def readings(module: nn.Module, layers: tuple[type[nn.Module], ...], *, image: int) -> list[Reading]:
    """Run a network on images of `image` and of twice as many pixels a side, and compare the sizes of its maps.

    layers: the classes whose insides are not looked at. Differences of sizes tell the stride exactly, whatever the
    padding. The network is run in eval mode, on tensors without contents where it lets itself, else on zeros.

    Raises `InputError` where it does not run, or not in the same way on both.
    """
    first = next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), 3)
    failure: Exception | None = None
    # Three channels too, since the first convolution may stand behind a space-to-depth.
    for channels, on_meta in itertools.product(dict.fromkeys((first, 3)), (True, False)):
        model = _double(module, on_meta=on_meta).eval()
        try:
            small, large = (_run(model, channels, side, layers) for side in (image, 2 * image))
        except Exception as error:  # noqa: BLE001 - the user's model may raise anything; the first one is told
            failure = failure or error
            continue
        return list(_compared(small, large, image))
    assert failure is not None, "each way was tried, and failed"
    raise InputError(
        f"expected a network that takes images (1, {first}, {image}, {image}) and twice that size, to tell its "
        f"strides; it raised {type(failure).__name__}: {first_line(failure)}; "
        "give its convolutional part alone, such as model.features"
    ) from failure


def _double(module: nn.Module, *, on_meta: bool) -> nn.Module:
    """A copy to run, so that the model stays as it is; on the meta device it takes no memory."""
    if not on_meta:
        return copy.deepcopy(module)
    memo: dict[int, Any] = {}
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(module, memo)


def _run(model: nn.Module, channels: int, side: int, layers: tuple[type[nn.Module], ...]) -> _Log:
    first = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    example = torch.zeros(1, channels, side, side, device=first.device, dtype=dtype)
    log = _Log()
    with torch.no_grad(), _watched(model, log, layers):
        model(example)
    return log


def _size(value: Any) -> tuple[int, int] | None:
    """(H, W) of a map; of a module's several results, of the first."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return (value.shape[2], value.shape[3]) if isinstance(value, Tensor) and value.ndim == 4 else None


@contextmanager
def _watched(model: nn.Module, log: _Log, layers: tuple[type[nn.Module], ...]) -> Iterator[None]:
    stack: list[tuple[str, bool]] = [("", False)]  # the module, and whether it or one around it is a layer

    def enter(path: str, module: nn.Module) -> None:
        stack.append((path, stack[-1][1] or isinstance(module, layers)))

    def leave(path: str, inputs: Any, output: Any) -> None:
        stack.pop()
        if not stack[-1][1]:
            log.entries.append((path, "", _size(inputs), _size(output)))

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if not stack[-1][1] and _told(name, args, result):
                log.entries.append((stack[-1][0], name, _size(args), _size(result)))
            return result

    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, _, path=path: enter(path, module)))
        hooks.append(module.register_forward_hook(lambda _, inputs, output, path=path: leave(path, inputs, output)))
    try:
        with Watch():  # type: ignore[no-untyped-call]
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _told(name: str, args: tuple[Any, ...], result: Any) -> bool:
    """True where an operator brings positions of a map together, or moves them."""
    if any(part in name for part in ATTENTION):
        return True
    if name not in _SPATIAL:
        return False
    size, changed = _size(args), _size(args) != _size(result)
    if size is None:
        return False
    if name == "convolution":
        return changed or bool(max(args[1].shape[2:]) > 1)
    if name in ("avg_pool2d", "max_pool2d_with_indices"):
        return changed or bool(max(args[1]) > 1)
    return changed or name in ("roll", "grid_sampler_2d", "unfold", "im2col")


def _compared(small: _Log, large: _Log, image: int) -> Iterator[Reading]:
    if [entry[:2] for entry in small.entries] != [entry[:2] for entry in large.entries]:
        raise InputError(
            f"the network runs other layers on images of {image} than of {2 * image} pixels; "
            "its strides cannot be told apart"
        )
    for (path, op, inner, outer), (_, _, inner_large, outer_large) in zip(small.entries, large.entries, strict=True):
        sizes = (outer, outer_large) if outer is not None and outer_large is not None else None
        yield Reading(path, op, _strides(inner, inner_large, image), _strides(outer, outer_large, image), sizes)


def _strides(
    small: tuple[int, int] | None, large: tuple[int, int] | None, image: int
) -> tuple[Fraction | None, Fraction | None]:
    if small is None or large is None:
        return None, None
    rows, columns = (Fraction(image, b - a) if b > a else None for a, b in zip(small, large, strict=True))
    return rows, columns


def by_path(found: list[Reading]) -> dict[str, list[Reading]]:
    """The calls of each module."""
    calls: dict[str, list[Reading]] = defaultdict(list)
    for each in found:
        if not each.op:
            calls[each.path].append(each)
    return calls
