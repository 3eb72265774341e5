"""What a detector stands on: a published trunk, any model of torchvision or timm, or a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from torch import nn

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks.backbones import backbone

Source = str | nn.Module


def detector_backbone(
    source: Source, *, published: Mapping[str, Callable[[], nn.Module]], output_stride: int | None
) -> nn.Module:
    """A module that returns named maps, with their `channels` and `strides` by name.

    source: a name in `published`; "torchvision:NAME" or "timm:NAME", dilated to `output_stride`; a module with
    `channels` and `strides`, as it is; or another network, which is cut as `backbone` does. Raises `UnknownNameError`,
    and what `backbone` raises.

    >>> detector_backbone("torchvision:resnet18", published={}, output_stride=16).strides["layer4"]
    16
    """
    if isinstance(source, str):
        if source in published:
            return published[source]()
        if ":" not in source:
            advice = f"{', '.join(published)}, torchvision:NAME or timm:NAME"
            raise UnknownNameError("backbone", source, known=published, advice=advice)
    elif isinstance(getattr(source, "strides", None), Mapping) and hasattr(source, "channels"):
        return source
    return backbone(source, output_stride=output_stride)


def maps_at(body: nn.Module, stride: int) -> dict[str, int]:
    """The channels of the maps of that stride, by name, the deepest last; raises `InputError` where there is none."""
    strides, channels = cast("Mapping[str, int]", body.strides), cast("Mapping[str, int]", body.channels)
    found = {name: channels[name] for name, each in strides.items() if each == stride}
    if not found:
        raise InputError(
            f"expected a backbone with a map of stride {stride}, named in its `strides` and `channels`; got "
            f"{type(body).__name__} with strides {dict(strides)}"
        )
    return found
