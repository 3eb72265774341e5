"""pool:max|mean|lp|conv|blur|maxblur|stochastic: another reduction over the same windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from perimetry.errors import InputError
from perimetry.nn import (
    ConvolutionDownsample,
    DenseMaxPool,
    DenseMeanPool,
    DensePhases,
    Downsample,
    LPDownsample,
    MaxBlurDownsample,
    MaxDownsample,
    MeanDownsample,
    downsample,
)
from perimetry.nn.downsampling import Reduction
from perimetry.surgery.edit import Edit

_TORCH = (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
_DENSE = (DenseMaxPool, DenseMeanPool)


def pool(edit: Edit) -> None:
    """Replace every pooling layer by the one that was asked for, with its kernel, stride, padding and rounding."""
    found = edit.matching(lambda part: isinstance(part, (*_TORCH, *_DENSE, Downsample)), "pooling layer")
    shapes = edit.inputs if edit.request.value == "conv" else {}
    for path, layer in found:
        if edit.request.value == "conv" and path not in shapes and any(each in shapes for each, _ in found):
            edit.notes.append(f"{path} stays: it is not called on the example, so that its channels are not known")
            continue
        try:
            edit.replace(path, edit.fitted(_pooling(edit, layer, path, shapes)))
        except InputError as error:
            raise InputError(f"{edit.request} at {path}: {error}") from error


def _pooling(edit: Edit, layer: nn.Module, path: str, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    value = edit.request.value
    if getattr(layer, "return_indices", False):
        raise InputError("it returns the indices of its maxima, which an unpooling reads; leave it as it is")
    if isinstance(edit.module.get_submodule(path.rpartition(".")[0]), DensePhases):
        raise InputError("it runs on the phases of a dilated map; change the pooling first, then the stride")
    if isinstance(layer, DenseMaxPool | DenseMeanPool):
        kinds: dict[str, type[DenseMaxPool | DenseMeanPool]] = {"max": DenseMaxPool, "mean": DenseMeanPool}
        if value not in kinds:
            raise InputError("only max and mean have a form with dilation; change the pooling first, then the stride")
        return layer if isinstance(layer, kinds[value]) else kinds[value](layer.rows, layer.columns)
    if type(layer).__name__ in ("MaxPool2dSame", "AvgPool2dSame"):
        return _same(cast("Any", layer), value)
    if isinstance(layer, Downsample):
        return _ours(edit, layer, path, shapes)
    return _torch(edit, cast("Any", layer), path, shapes)


def _same(layer: Any, value: str) -> nn.Module:
    """Timm's poolings with TensorFlow's padding, which only max and mean have."""
    from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame  # timm takes seconds to load

    kinds = {"max": MaxPool2dSame, "mean": AvgPool2dSame}
    if value not in kinds:
        raise InputError("its padding follows the map's size; with that, only max and mean are there")
    same: nn.Module = layer
    if not isinstance(layer, kinds[value]):
        make: Any = kinds[value]
        same = make(layer.kernel_size, stride=layer.stride, ceil_mode=layer.ceil_mode)
    return same


def _torch(edit: Edit, layer: Any, path: str, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    value = edit.request.value
    windows = (layer.kernel_size, layer.stride, getattr(layer, "padding", 0))
    dilated = _pair(getattr(layer, "dilation", 1)) != (1, 1)
    if value == "max":
        return layer if isinstance(layer, nn.MaxPool2d) else nn.MaxPool2d(*windows, ceil_mode=layer.ceil_mode)
    if value == "mean" and not dilated:
        return layer if isinstance(layer, nn.AvgPool2d) else nn.AvgPool2d(*windows, ceil_mode=layer.ceil_mode)
    kernels, strides, paddings = (_pair(each) for each in windows)
    if dilated or len({*kernels}) > 1 or len({*strides}) > 1 or len({*paddings}) > 1:
        raise InputError(
            f"{value} needs square windows without dilation, got kernel {kernels}, stride {strides}, "
            f"padding {paddings}, dilation {_pair(getattr(layer, 'dilation', 1))}"
        )
    rounding = "ceil" if layer.ceil_mode else "floor"
    return _made(edit, path, shapes, kernel=kernels[0], stride=strides[0], padding=paddings[0], rounding=rounding)


def _ours(edit: Edit, layer: Downsample, path: str, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    return _made(
        edit,
        path,
        shapes,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        rounding=layer.rounding,
    )


def _made(
    edit: Edit, path: str, shapes: dict[str, tuple[int, ...]], *, kernel: int, stride: int, padding: int, rounding: Any
) -> nn.Module:
    request = edit.request
    makers: dict[str, Callable[..., Downsample]] = {
        "max": MaxDownsample,
        "mean": MeanDownsample,
        "lp": lambda **windows: LPDownsample(**windows, power=request.number(2.0, least=1.0)),
        "maxblur": lambda **windows: MaxBlurDownsample(**windows, taps=request.whole(3)),
    }
    windows = {"kernel": kernel, "stride": stride, "padding": padding, "rounding": rounding}
    if request.value in makers:
        return makers[request.value](**windows)
    if request.value == "conv":
        if path not in shapes:
            raise InputError("it is not called on the example, so that its channels are not known")
        return ConvolutionDownsample(shapes[path][1], kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    reduction = cast("Reduction", request.value)  # blur, stochastic
    return downsample(reduction, 1, kernel=kernel, stride=stride, padding=padding, rounding=rounding)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
