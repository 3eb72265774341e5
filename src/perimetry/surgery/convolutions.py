"""conv5x5:3x3, factorize:1xn, reduce:add|remove: large convolutions in smaller parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from perimetry.errors import InputError
from perimetry.surgery.edit import Edit
from perimetry.surgery.flow import Flow

Pair = tuple[int, int]


def split_five(edit: Edit) -> None:
    """Replace each 5x5 by two 3x3 with a ReLU between (Szegedy et al. 2016, section 3.1).

    Between them are as many channels as after them; the second has the stride, so that the field stays 5x5, and the
    bias of the 5x5.
    """
    for path, part in edit.matching(_is_square(lambda kernel: kernel == 5), "5x5 convolution"):
        layer = _known(edit, path, part)
        halves = [tuple(each // 2 for each in _cells(layer)), tuple(each - each // 2 for each in _cells(layer))]
        first = _like(layer, (3, 3), padding=halves[0], stride=(1, 1))
        second = _like(layer, (3, 3), padding=halves[1], into=layer.out_channels)
        _chain(edit, path, layer, first, second)


def factorize(edit: Edit) -> None:
    """Replace each n x n, n of at least 3, by 1 x n and n x 1 with a ReLU between (Szegedy et al. 2016, section 3.2).

    Each has the stride and the padding of its own axis; the second has the bias of the n x n.
    """
    for path, part in edit.matching(_is_square(lambda kernel: kernel >= 3), "square convolution of 3x3 or more"):
        layer = _known(edit, path, part)
        (rows, columns), (down, right) = _cells(layer), _pair(layer.stride)
        kernel = layer.kernel_size[0]
        first = _like(layer, (1, kernel), padding=(0, columns), stride=(1, right))
        second = _like(layer, (kernel, 1), padding=(rows, 0), stride=(down, 1), into=layer.out_channels)
        _chain(edit, path, layer, first, second)


def _chain(edit: Edit, path: str, layer: nn.Conv2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
    chain = nn.Sequential(first, nn.ReLU(), second)
    if second.bias is not None and layer.bias is not None:
        second.bias = layer.bias
    edit.replace(path, edit.fitted(chain))


def reduce(edit: Edit) -> None:
    """Insert 1x1 convolutions before larger ones, or take out those that reduce channels before a larger one."""
    if edit.request.value == "add":
        _add_reductions(edit)
    else:
        _remove_reductions(edit)


def _add_reductions(edit: Edit) -> None:
    """To the channels that were asked for, else to a quarter; a ReLU follows, as in Inception."""

    def wanted(part: nn.Module) -> bool:
        if not isinstance(part, nn.Conv2d) or part.groups > 1 or max(part.kernel_size) == 1:
            return False
        return 0 < edit.request.whole(part.in_channels // 4) < part.in_channels

    for path, part in edit.matching(wanted, "convolution larger than 1x1 that reads more channels than are left"):
        layer = _known(edit, path, part)
        channels = edit.request.whole(layer.in_channels // 4)
        large = _like(layer, layer.kernel_size, padding=_cells(layer), into=channels)
        if large.bias is not None:
            large.bias = layer.bias
        chain = nn.Sequential(nn.Conv2d(layer.in_channels, channels, 1), nn.ReLU(), large)
        edit.replace(path, edit.fitted(chain))


def _remove_reductions(edit: Edit) -> None:
    """Take out 1x1 convolutions, and the normalisation behind them; the larger convolution after them reads more."""
    flow = Flow(edit.network, edit.module)

    def wanted(part: nn.Module) -> bool:
        return (
            isinstance(part, nn.Conv2d)
            and tuple(part.kernel_size) == (1, 1)
            and part.groups == 1
            and part.in_channels > part.out_channels
            and _larger_after(edit, flow, part) is not None
        )

    for path, part in edit.matching(wanted, "1x1 convolution that reduces channels before a larger one alone"):
        small = cast("nn.Conv2d", part)
        after = _larger_after(edit, flow, small)
        assert after is not None
        norms, large_path = after
        layer = _known(edit, large_path, edit.module.get_submodule(large_path))
        stride = cast("Pair", tuple(a * b for a, b in zip(_pair(layer.stride), _pair(small.stride), strict=True)))
        new = _like(layer, layer.kernel_size, padding=_cells(layer), stride=stride, into=small.in_channels)
        if new.bias is not None:
            new.bias = layer.bias
        edit.replace(path, nn.Identity())
        for norm in norms:
            edit.replace(norm, nn.Identity())
            edit.notes.append(f"{norm} normalised the channels of {path}, and went with it")
        edit.replace(large_path, edit.fitted(new))
        edit.notes.append(
            f"{large_path} reads the {small.in_channels} channels that {path} reduced; its weights are new"
        )
        if stride != _pair(layer.stride):
            edit.notes.append(f"{large_path} took over the stride of {path}")


def _larger_after(edit: Edit, flow: Flow, small: nn.Conv2d) -> tuple[list[str], str] | None:
    """The normalisations and the one larger convolution behind a 1x1, where nothing else reads it."""
    path = edit.paths[id(small)][0]
    try:
        crossed, readers = flow.readers_after(path)
    except InputError:
        return None
    layers = [edit.module.get_submodule(each) for each in readers]
    large = len(layers) == 1 and isinstance(layers[0], nn.Conv2d) and max(layers[0].kernel_size) > 1
    if not large or cast("nn.Conv2d", layers[0]).groups > 1 or len(edit.paths[id(small)]) > 1:
        return None
    return crossed, readers[0]


def _is_square(fits: Callable[[int], bool]) -> Callable[[nn.Module], bool]:
    def wanted(part: nn.Module) -> bool:
        return isinstance(part, nn.Conv2d) and len({*part.kernel_size}) == 1 and fits(part.kernel_size[0])

    return wanted


def _known(edit: Edit, path: str, part: nn.Module) -> nn.Conv2d:
    """The layer, where its class is one whose arguments are known; raises `InputError`."""
    layer = cast("nn.Conv2d", part)
    if type(layer).__name__ not in ("Conv2d", "Conv2dSame"):
        raise InputError(
            f"{edit.request} at {path}: {type(layer).__name__} computes more than a convolution; leave it out with a "
            "pattern of layers"
        )
    if isinstance(layer.padding, str) and layer.padding != "valid" and max(_pair(layer.stride)) > 1:
        raise InputError(f"{edit.request} at {path}: its padding {layer.padding!r} has no stride")
    return layer


def _cells(layer: nn.Conv2d) -> Pair:
    """The padding of (rows, columns) in cells."""
    if isinstance(layer.padding, str):
        reach = [(size - 1) * by for size, by in zip(layer.kernel_size, _pair(layer.dilation), strict=True)]
        return (0, 0) if layer.padding == "valid" else (reach[0] // 2, reach[1] // 2)
    return _pair(layer.padding)


def _like(layer: nn.Conv2d, kernel: Any, *, padding: Any, stride: Any = None, into: int | None = None) -> nn.Conv2d:
    """A new convolution of the same class and channels; `into`: the channels that it reads, where they are others."""
    return type(layer)(
        layer.in_channels if into is None else into,
        layer.out_channels,
        kernel,
        stride=_pair(layer.stride) if stride is None else stride,
        padding=padding,
        dilation=_pair(layer.dilation),
        groups=layer.groups,
        bias=layer.bias is not None,
        **({} if layer.padding_mode == "zeros" else {"padding_mode": layer.padding_mode}),
    )


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def widened(edit: Edit, path: str, layer: nn.Module, *, before: int, after: int) -> nn.Module:
    """A layer that reads `after` channels in place of `before`; the weights of the first ones are those it had."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1:
            raise InputError(f"{path} reads its channels in {layer.groups} groups, so no more can be added behind them")
        wide: Any = _like(_known(edit, path, layer), layer.kernel_size, padding=layer.padding, into=after)
    elif isinstance(layer, nn.Linear):
        wide = nn.Linear(layer.in_features // before * after, layer.out_features, bias=layer.bias is not None)
    else:
        raise InputError(
            f"{path} ({type(layer).__name__}) reads the new channels, and is not a layer that can be widened"
        )
    wide = edit.fitted(wide)
    with torch.no_grad():
        edit.keep_partly(wide.weight, layer.weight)
    wide.bias = layer.bias
    return cast("nn.Module", wide)
