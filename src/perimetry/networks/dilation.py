"""Stride to dilation: a network's maps at a finer stride, with the weights that it has (the atrous algorithm)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

from torch import nn

from perimetry.errors import InputError
from perimetry.networks.copies import copied, put
from perimetry.networks.strides import ATTENTION, Reading, by_path, readings
from perimetry.nn import (
    ConvolutionDownsample,
    DenseConvolution,
    DenseMaxPool,
    DenseMeanPool,
    DensePhases,
    DenseWindows,
    Downsample,
    LPDownsample,
    MaxBlurDownsample,
    MaxDownsample,
    MeanDownsample,
    StochasticDownsample,
)
from perimetry.nn.dense import Border

Pair = tuple[int, int]

_LAYERS: tuple[type[nn.Module], ...] = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.LPPool2d,
    nn.ConstantPad2d,
    Downsample,
    DenseMaxPool,
    DenseMeanPool,
)
# timm's layers that find TensorFlow's padding from the map's size; its others compute weights in their forward pass.
_SAME = ("Conv2dSame", "MaxPool2dSame", "AvgPool2dSame")
_SAME_AND_MORE = ("StdConv2dSame", "ScaledStdConv2dSame", "Conv2dSameExport")


def dilate(module: nn.Module, *, output_stride: int, image: int = 256) -> nn.Module:
    """A copy of a convolutional network whose maps are nowhere coarser than `output_stride` (Chen et al. 2015, 3.1).

    module: any network of convolutions and poolings; it is left as found, weights are copied. image: pixels a side of
    the image that strides are found with, a multiple of the network's own stride; another size may be run afterwards.

    A layer that read at stride s now reads f = s / output_stride times more positions, or as many as before where s is
    finer: its dilation and padding are multiplied by f, its stride is what is still missing to `output_stride`. The new
    maps, taken at every f-th position, are the original ones exactly. What averages over the whole image (squeeze and
    excitation, group norm, a global pooling) averages over more positions than before: the same only nearly.

    Raises `InputError` for a stride that the network does not have, and for what has no dense form: attention, patch
    merging, resizing, padding in a forward function, a fully connected layer that takes a map of one size.

    >>> pooled = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    >>> dilate(pooled, output_stride=1)[2]
    Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(2, 2), dilation=(2, 2))
    """
    dilated = copied(module)
    layers = _LAYERS + _blur_pools()
    found = readings(module, layers, image=image)
    _check_attention(found)
    _check_stride(found, output_stride, image)
    _check_operators(found, output_stride)
    for path, calls in by_path(found).items():
        layer = dilated.get_submodule(path)
        settings = _plan(path, calls, output_stride) if isinstance(layer, layers) else None
        if settings is None:
            continue
        try:
            new = _dense(layer, *settings)
        except InputError as error:
            raise InputError(f"{path or 'the network'} ({type(layer).__name__}) cannot be dilated: {error}") from None
        if not path:
            dilated = new
        elif new is not layer:
            put(dilated, layer, new)
    _check_sizes(dilated, found, output_stride, image)
    return dilated


def _blur_pools() -> tuple[type[nn.Module], ...]:
    from timm.layers.blur_pool import BlurPool2d  # timm takes seconds to load

    return (BlurPool2d,)


def _check_stride(found: list[Reading], output_stride: int, image: int) -> None:
    strides = {stride for each in found for stride in (*each.reads, *each.writes) if stride is not None}
    if any(stride.denominator != 1 or image % stride for stride in strides if stride >= 1):
        raise InputError(
            f"an image of {image} pixels does not tell this network's strides; give one that is a multiple of the "
            "coarsest of them, such as image=480 for strides of 2, 3 and 5"
        )
    own = int(max(strides, default=Fraction(1)))
    possible = [
        each for each in range(1, own + 1) if all(stride % each == 0 or each % stride == 0 for stride in strides)
    ]
    if output_stride not in possible:
        raise InputError(
            f"the network's own stride is {own}; an output stride is one of {', '.join(map(str, possible))}, "
            f"got {output_stride!r}"
        )


def _check_attention(found: list[Reading]) -> None:
    for each in found:
        if any(part in each.op for part in ATTENTION):
            raise InputError(
                f"{each.path or 'the network'} computes attention ({each.op}), which weighs all positions against one "
                "another; dilation is for networks of convolutions and poolings"
            )


def _check_operators(found: list[Reading], output_stride: int) -> None:
    """Raise where something outside the layers that have a dense form depends on how far positions are apart."""
    for each in found:
        coarse = any(stride is not None and stride > output_stride for stride in (*each.reads, *each.writes))
        if each.op and coarse:
            raise InputError(
                f"{each.path or 'the network'} calls {each.op} outside a layer that can be dilated, at a stride above "
                f"{output_stride}; make it a module (nn.MaxPool2d, nn.AvgPool2d, nn.ZeroPad2d), or dilate the backbone "
                "alone where a decoder resizes its maps"
            )


def _plan(path: str, calls: list[Reading], output_stride: int) -> tuple[Pair, Pair] | None:
    """(density, step) of a layer, each (rows, columns); None where it stays as it is."""
    settings, finest = set(), Fraction(output_stride)
    for each in calls:
        density, step = [], []
        for reads, writes in zip(each.reads, each.writes, strict=True):
            if reads is None or writes is None:
                density.append(1)
                step.append(0)  # as it is: the map's size does not depend on the image
                continue
            density.append(int(reads / min(reads, finest)))
            step.append(int(min(writes, finest) / min(reads, finest)) if writes > reads else 1)
        unchanged = all(
            reads is None or writes is None or max(reads, writes) <= output_stride
            for reads, writes in zip(each.reads, each.writes, strict=True)
        )
        settings.add(None if unchanged else ((density[0], density[1]), (step[0], step[1])))
    if len(settings) > 1:
        raise InputError(
            f"{path or 'the network'} is used at several strides ({len(calls)} calls), and would need a dilation for "
            "each; give every stride its own copy of the layer"
        )
    return settings.pop()


def _dense(layer: nn.Module, density: Pair, step: Pair) -> nn.Module:
    """What stands in the place of a layer."""
    name = type(layer).__name__
    if name in _SAME_AND_MORE and (getattr(layer, "same_pad", True)):
        raise InputError("its padding and its weights are computed as it runs; use the model's form without 'same'")
    if isinstance(layer, nn.ConstantPad2d):
        left, right, top, bottom = layer.padding
        layer.padding = (left * density[1], right * density[1], top * density[0], bottom * density[0])
        return layer
    if isinstance(layer, DenseConvolution | DenseMaxPool | DenseMeanPool):
        return _denser(layer, density, step)
    rows, columns = (_windows(layer, axis, density[axis], step[axis]) for axis in (0, 1))
    if isinstance(layer, nn.Conv2d):
        return _dense_convolution(layer, rows, columns)
    if isinstance(layer, ConvolutionDownsample):
        convolution = DenseConvolution.of(layer.convolution, rows, columns)
        return nn.Sequential(OrderedDict(convolution=convolution)).train(layer.training)
    if isinstance(layer, nn.MaxPool2d | MaxDownsample):
        if getattr(layer, "return_indices", False):
            raise InputError("it returns indices, which would point into the denser map")
        return DenseMaxPool(rows, columns).train(layer.training)
    if isinstance(layer, nn.AvgPool2d | MeanDownsample):
        divisor: Literal["padded", "cells"] | int = "padded"
        # timm's layer pads by itself, so that its zeros count whatever it says.
        if isinstance(layer, nn.AvgPool2d) and type(layer).__name__ != "AvgPool2dSame":
            divisor = layer.divisor_override or ("padded" if layer.count_include_pad else "cells")
        return DenseMeanPool(rows, columns, divisor=divisor).train(layer.training)
    return _phases(layer, rows, columns)


def _windows(layer: Any, axis: int, density: int, step: int) -> DenseWindows:
    """The windows of a layer on one axis, as it is, told in one form."""
    if isinstance(layer, Downsample):
        left = step or layer.stride
        return DenseWindows(layer.kernel, layer.stride, layer.padding, 1, layer.rounding, density, left)
    if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d):  # a BlurPool2d
        return DenseWindows(layer.filt_size, layer.stride, layer.padding[0], 1, "floor", density, step or layer.stride)
    kernel = _pair(layer.kernel_size)[axis]
    stride = _pair(layer.stride if layer.stride is not None else layer.kernel_size)[axis]
    dilation = _pair(getattr(layer, "dilation", 1))[axis]
    padding: Any = getattr(layer, "padding", 0)
    rounding: Border = "ceil" if getattr(layer, "ceil_mode", False) else "floor"
    if type(layer).__name__ in _SAME or padding == "same":
        return DenseWindows(kernel, stride, 0, dilation, "same", density, step or stride)
    cells = 0 if padding == "valid" else _pair(padding)[axis]
    return DenseWindows(kernel, stride, cells, dilation, rounding, density, step or stride)


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _dense_convolution(layer: nn.Conv2d, rows: DenseWindows, columns: DenseWindows) -> nn.Conv2d:
    """The layer itself with other attributes, where torch's padding says what is meant; else one of our own."""
    axes = (rows, columns)
    if layer.padding_mode != "zeros" and max(rows.density, columns.density) > 1:
        raise InputError(f"its padding_mode={layer.padding_mode!r} would repeat cells that lie closer than before")
    plain = all(
        windows.border == "floor"
        and (windows.step == windows.stride or (windows.kernel - 1) * windows.dilation == 2 * windows.padding)
        for windows in axes
    )
    if not plain and type(layer).__name__ in ("Conv2d", "Conv2dSame"):
        return DenseConvolution.of(layer, rows, columns)
    if any(windows.border != "floor" for windows in axes):
        raise InputError("its padding is found from the map's size, in a class that is not known here")
    layer.stride = (rows.step, columns.step)
    layer.dilation = tuple(each.dilation * (each.density if each.kernel > 1 else 1) for each in axes)
    layer.padding = tuple(each.padding * each.density for each in axes)
    return layer


def _denser(
    layer: DenseConvolution | DenseMaxPool | DenseMeanPool, density: Pair, step: Pair
) -> DenseConvolution | DenseMaxPool | DenseMeanPool:
    """A layer that is dense already, over a map denser still."""
    rows, columns = (
        replace(windows, density=windows.density * density[axis], step=step[axis] or windows.step)
        for axis, windows in enumerate((layer.rows, layer.columns))
    )
    if isinstance(layer, DenseConvolution):
        return DenseConvolution.of(layer, rows, columns)
    layer.rows, layer.columns = rows, columns
    return layer


def _phases(layer: Any, rows: DenseWindows, columns: DenseWindows) -> nn.Module:
    """A layer that knows no dilation, run on every phase of the map."""
    if rows.step != columns.step:
        raise InputError("its strides over rows and columns would differ")
    zeros = isinstance(layer, LPDownsample | StochasticDownsample)
    if rows.border == "ceil" and not (zeros and rows.padding == 0):
        raise InputError("it rounds the number of windows up; use rounding='floor'")
    if isinstance(layer, MaxBlurDownsample) and rows.padding:
        raise InputError("its blur mirrors a border that lies elsewhere in a denser map; use padding=0")
    zeros = zeros or isinstance(layer, nn.LPPool2d)
    layer.stride = rows.step
    if isinstance(layer, Downsample):
        layer.rounding = "floor"
    return DensePhases(layer, rows, columns, ending="zeros" if zeros and not rows.padding else "none")


def _check_sizes(dilated: nn.Module, found: list[Reading], output_stride: int, image: int) -> None:
    """Run the result: its maps have to be as much denser as was asked for, or something was missed."""
    try:
        after = readings(dilated, _LAYERS + (DensePhases,) + _blur_pools(), image=image)
    except InputError as error:
        raise InputError(
            "with dilation the network does not run any more: a fully connected layer takes a map of one size, or "
            f"branches do not meet; dilate its convolutional part alone, such as model.features ({error})"
        ) from error
    now = by_path(after)
    for path, calls in by_path(found).items():
        for before, dense in zip(calls, now.get(path, []), strict=False):
            for axis in (0, 1):
                stride = before.writes[axis]
                if stride is None or before.sizes is None or dense.sizes is None:
                    continue
                density = int(stride / min(stride, Fraction(output_stride)))
                for original, extent in zip(before.sizes, dense.sizes, strict=True):
                    if not (original[axis] - 1) * density < extent[axis] <= original[axis] * density:
                        raise InputError(
                            f"{path or 'the network'} did not become {density} times denser: its map went from "
                            f"{original[0]} x {original[1]} to {extent[0]} x {extent[1]}; it changes the stride by "
                            "other means than a convolution or pooling layer (merging patches, slicing, a fixed size)"
                        )
