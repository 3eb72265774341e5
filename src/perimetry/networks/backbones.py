"""Any torchvision or timm model, or a module of one's own, as a backbone: named maps at known strides."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from perimetry.errors import InputError, ShapeError, UnknownNameError, WeightsError
from perimetry.networks.copies import copied
from perimetry.networks.cutting import cut
from perimetry.networks.dilation import dilate

STRIDES = (2, 4, 8, 16, 32)
# A probe large enough that borders without padding do not blur the strides; then the size that many models insist on.
_PROBES = (512, 224)
_HEADS = ("classifier", "head", "heads", "fc")  # a fully convolutional one would give class scores as the last map


class Backbone(nn.Module):
    """A network without its head: takes images (N, 3, H, W), returns {layer: map (N, C, h, w)}, finest first.

    channels and strides tell C and the pixels between neighbouring cells of each layer's map. `backbone` makes one.
    """

    def __init__(self, body: nn.Module, *, channels: Mapping[str, int], strides: Mapping[str, int]) -> None:
        super().__init__()
        self.body = body
        self.channels, self.strides = dict(channels), dict(strides)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps of the images."""
        coarsest = max(self.strides.values())
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"expected an image batch (N, 3, H, W), got {tuple(images.shape)}")
        if min(images.shape[2:]) < coarsest:
            raise ShapeError(
                f"the image is {images.shape[2]} x {images.shape[3]} pixels, smaller than the backbone's stride of "
                f"{coarsest}; enlarge or pad it"
            )
        maps: dict[str, Tensor] = self.body(images)
        return maps

    def layer_at(self, stride: int) -> str:
        """The name of the deepest layer whose map has that stride; raises `InputError` where none has."""
        found = [name for name, each in self.strides.items() if each == stride]
        if not found:
            has = ", ".join(f"{each}" for each in sorted(set(self.strides.values())))
            raise InputError(f"the backbone has no map of stride {stride}, only of {has}; choose another")
        return found[-1]


def backbone(
    source: str | nn.Module,
    *,
    output_stride: int | None = None,
    layers: Sequence[str] | None = None,
    pretrained: bool = False,
) -> Backbone:
    """The maps of a network at strides 2 ... 32, or those of the layers that are named.

    source: "torchvision:resnet50", "timm:tf_efficientnet_lite0", or a module, which is copied and keeps its weights (so
    does `perimetry.load_model().module`). output_stride: the coarsest stride wanted; what would be coarser is dilated
    instead (`dilate`), and keeps its place among the layers. layers: module names; without them the last one at each
    stride, or those that timm lists for the model. pretrained: weights of torchvision or timm, perhaps downloaded; for
    other weights load them into a module and pass that.

    Raises `UnknownNameError`, `WeightsError`, and `InputError` where the model gives no maps, cannot be cut, or cannot
    have that stride.

    >>> resnet = backbone("torchvision:resnet18", output_stride=16)
    >>> resnet.strides
    {'relu': 2, 'layer1': 4, 'layer2': 8, 'layer3': 16, 'layer4': 16}
    >>> resnet(torch.ones(1, 3, 64, 64))["layer4"].shape
    torch.Size([1, 512, 4, 4])
    """
    body = _body(source, layers, pretrained=pretrained)
    if output_stride is not None:
        body = dilate(body, output_stride=output_stride)
    size, maps = _probe(body)
    return Backbone(
        body,
        channels={name: each.shape[1] for name, each in maps.items()},
        strides={name: _stride(each, size) for name, each in maps.items()},
    )


def _body(source: str | nn.Module, layers: Sequence[str] | None, *, pretrained: bool) -> nn.Module:
    """A module that returns the maps as a dict."""
    if isinstance(source, nn.Module):
        if pretrained:
            raise WeightsError("a module has its weights; leave out pretrained, or name a model of torchvision or timm")
        return _cut_copy(copied(source), layers)
    if not isinstance(source, str):
        raise InputError(f"expected a backbone's name or a module, got {type(source).__name__}")
    origin, _, name = source.partition(":")
    if origin == "timm" and name.partition(".")[0] in _timm_names():
        if layers is None:
            return _TimmFeatures(_timm(name, pretrained=pretrained, features_only=True))
        return _cut_copy(_timm(name, pretrained=pretrained, features_only=False), layers)
    if origin == "torchvision" and name in _torchvision_names():
        return _cut_copy(_torchvision(name, pretrained=pretrained), layers)
    raise UnknownNameError(
        "backbone",
        source,
        known=[*(f"torchvision:{each}" for each in _torchvision_names()), *(f"timm:{each}" for each in _timm_names())],
        advice="a classifier of torchvision, or a model of timm, or a module",
    )


class _TimmFeatures(nn.Module):
    """timm's own extraction, with names and with channels first."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.names: list[str] = features.feature_info.module_name()  # type: ignore[union-attr,operator]  # timm's record
        self.channels_last = str(getattr(features, "output_fmt", "")).endswith("NHWC")
        reductions: list[int] = features.feature_info.reduction()  # type: ignore[union-attr,operator]
        last = {stride: name for name, stride in zip(self.names, reductions, strict=True) if stride in STRIDES}
        self.kept = frozenset(last.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The last map at each stride."""
        maps = dict(zip(self.names, self.features(images), strict=True))
        return {
            name: each.permute(0, 3, 1, 2) if self.channels_last else each
            for name, each in maps.items()
            if name in self.kept
        }


def _timm(name: str, *, pretrained: bool, features_only: bool) -> nn.Module:
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old architectures announce their new names
        try:
            options: dict[str, Any] = {"features_only": True} if features_only else {}
            return timm.create_model(name, pretrained=pretrained, **options)
        except (OSError, RuntimeError) as error:
            if pretrained:
                raise _no_weights(f"timm:{name}", error) from error
            if not features_only:
                raise
            raise InputError(
                f"timm:{name} gives no maps ({error}); name its layers, or take another backbone"
            ) from error


def _torchvision(name: str, *, pretrained: bool) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # two builders announce another random initialisation
        try:
            return models.get_model(name, weights="DEFAULT" if pretrained else None, progress=False)  # type: ignore[no-any-return]
        except OSError as error:
            raise _no_weights(f"torchvision:{name}", error) from error


def _no_weights(name: str, reason: Exception) -> WeightsError:
    return WeightsError(
        f"the pretrained weights of {name} could not be had ({reason}); connect to the network and try again, or load "
        "weights of your own into the module and pass that"
    )


@cache
def _timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())


@cache
def _torchvision_names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


def _cut_copy(module: nn.Module, layers: Sequence[str] | None) -> nn.Module:
    """The module up to the layers wanted; it is changed, so it has to be ours."""
    in_place = [each for each in module.modules() if getattr(each, "inplace", None) is True]
    _set_in_place(in_place, False)  # they might write over a map that is returned
    names = [name for name, _ in module.named_modules() if name]
    if layers is None:
        layers = _listed_by_timm(module) or _last_at_each_stride(module)
    if not layers:
        raise InputError("expected the name of at least one layer, got none")
    for layer in layers:
        if layer not in names:
            raise UnknownNameError("layer", layer, known=names, advice=f"{type(module).__name__} has {len(names)}")
    body = cut(module, layers)
    _set_in_place(in_place, True)
    if _overwritten(body, layers):
        _set_in_place(in_place, False)
    return body


def _set_in_place(activations: Sequence[nn.Module], value: bool) -> None:
    for each in activations:
        each.inplace = value  # type: ignore[assignment]  # theirs is a bool


def _overwritten(body: nn.Module, layers: Sequence[str]) -> bool:
    """Whether something writes into the map of one of the layers after it is there; torch counts such writes."""
    written: dict[str, tuple[Tensor, int]] = {}

    def note(name: str, output: Tensor) -> None:
        written[name] = output, output._version

    handles = [
        body.get_submodule(name).register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name in layers
    ]
    try:
        _run(body)
    finally:
        for handle in handles:
            handle.remove()
    return any(output._version != version for output, version in written.values())


def _listed_by_timm(module: nn.Module) -> list[str]:
    """The layers that a timm model itself names for its strides."""
    entries = getattr(module, "feature_info", None)
    if not isinstance(entries, list):
        return []
    last = {entry["reduction"]: entry["module"] for entry in entries if entry["reduction"] in STRIDES}
    return list(last.values())


def _last_at_each_stride(module: nn.Module) -> list[str]:
    """Names of the modules that finish last at strides 2 ... 32, outside of blocks that go on to a coarser one."""
    finished: dict[str, Tensor] = {}

    def note(name: str, output: object) -> None:
        finished.pop(name, None)  # so that the order is that of last calls
        if isinstance(output, Tensor):
            finished[name] = output

    handles = [
        each.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, each in module.named_modules()
        if name and name.partition(".")[0] not in _HEADS
    ]
    try:
        size, _ = _run(module)
    finally:
        for handle in handles:
            handle.remove()
    strides = {
        name: _stride(each, size)
        for name, each in finished.items()
        if each.ndim == 4 and each.shape[2] == each.shape[3] > 1
    }
    last: dict[int, str] = {}
    for name, output in finished.items():
        if output.ndim == 3:
            last.clear()  # tokens: what maps there were before only fed them
        elif strides.get(name) in STRIDES and not _inside_coarser(module, name, strides):
            last[strides[name]] = name
    if not last:
        raise InputError(
            f"{type(module).__name__} gives no maps (N, C, H, W) at strides of 2 to 32; name its layers in `layers`, "
            "or take a network of timm, which knows the maps of attention"
        )
    return [last[stride] for stride in sorted(last)]


def _inside_coarser(module: nn.Module, name: str, strides: Mapping[str, int]) -> bool:
    """True for a layer in the branch of a block whose own map is coarser; in a plain chain it is a layer of the net."""
    parts = name.split(".")
    around = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    return any(
        type(module.get_submodule(each)) is not nn.Sequential and strides.get(each, 0) > strides[name]
        for each in around
    )


def _probe(body: nn.Module) -> tuple[int, dict[str, Tensor]]:
    """The side of a square image that the body takes, and its maps."""
    size, maps = _run(body)
    for name, each in maps.items():
        if not isinstance(each, Tensor) or each.ndim != 4 or each.shape[2] != each.shape[3]:
            shape = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise InputError(f"layer {name!r} gives no map (N, C, H, W) but {shape}; name another layer")
    return size, maps


def _run(module: nn.Module) -> tuple[int, dict[str, Tensor]]:
    """Run the module on a square image, without contents, and in eval mode; what it returns, and the side."""
    was_training = [each for each in module.modules() if each.training]
    tried: list[str] = []
    try:
        module.eval()
        for size in _PROBES:
            # Meta tensors in the place of parameters: shapes alone, and no copy of the weights.
            empty = {name: torch.empty_like(each, device="meta") for name, each in _tensors(module)}
            precision = next((each.dtype for each in empty.values() if each.is_floating_point()), torch.float32)
            image = torch.empty(1, 3, size, size, device="meta", dtype=precision)
            try:
                with torch.no_grad():
                    return size, torch.func.functional_call(module, empty, image)
            except (RuntimeError, AssertionError, ValueError, InputError) as error:
                tried.append(f"{size} pixels: {error}")
    finally:
        for each in was_training:
            each.training = True
    raise InputError(f"{type(module).__name__} takes no square images ({'; '.join(tried)}); pass a network of images")


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _stride(features: Tensor, size: int) -> int:
    """Pixels between cells, to the nearest power of two: layers without padding lose a few cells at the border."""
    return int(2 ** round(math.log2(size / features.shape[2])))
