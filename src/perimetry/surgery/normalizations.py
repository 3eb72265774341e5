"""lrn, batchnorm, l2norm, context: normalisation and context, put behind layers or taken out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from perimetry.errors import InputError
from perimetry.nn import GlobalContext, L2Normalize, LocalResponseNorm
from perimetry.surgery.activations import is_activation
from perimetry.surgery.convolutions import widened
from perimetry.surgery.edit import Edit, in_a_line
from perimetry.surgery.flow import Flow


def lrn(edit: Edit) -> None:
    """Put local response normalisation behind activations of maps, as AlexNet does, or take it out."""
    if edit.request.value == "remove":
        _remove(edit, lambda part: isinstance(part, LocalResponseNorm | nn.LocalResponseNorm), "LRN")
        return
    makers: dict[str, Callable[[], LocalResponseNorm]] = {
        "paper": LocalResponseNorm.paper,
        "caffe": LocalResponseNorm.caffe,
        "tensorflow": LocalResponseNorm.tensorflow,
    }
    calls = [call for call in edit.network.calls if call.outputs]
    on_maps = {call.path for call in calls if edit.has_channels_first(call.outputs[0][1])}
    found = edit.matching(
        lambda part: is_activation(part) and on_maps.issuperset(edit.paths[id(part)][:1]), "activation of a map"
    )
    for path, layer in found:
        _behind(edit, path, layer, "lrn", makers[edit.request.argument or "paper"]())


def batchnorm(edit: Edit) -> None:
    """Put a batch norm behind each convolution that has none, or take batch norms out."""
    if edit.request.value == "remove":
        _remove(edit, _is_batch_norm, "batch norm")
        return
    flow = Flow(edit.network, edit.module)

    def wanted(part: nn.Module) -> bool:
        path = edit.paths[id(part)][0]
        called = any(call.path == path for call in flow.network.calls)
        return isinstance(part, nn.Conv2d) and called and not flow.is_normalized(path)

    for path, part in edit.matching(wanted, "convolution without a batch norm behind it"):
        convolution = cast("nn.Conv2d", part)
        _behind(edit, path, convolution, "batchnorm", nn.BatchNorm2d(convolution.out_channels))


def l2norm(edit: Edit) -> None:
    """Put L2 normalisation with a learned scale behind layers that are named, or take it out."""
    if edit.request.value == "remove":
        _remove(edit, lambda part: isinstance(part, L2Normalize), "L2 normalisation")
        return
    scale = edit.request.number(10.0)
    for path, layer, channels in _named_maps(edit):
        _behind(edit, path, layer, "l2norm", L2Normalize(channels, scale=scale))


def context(edit: Edit) -> None:
    """Put global context behind layers that are named: twice the channels, so what reads them is widened (ParseNet).

    The weights for the channels that were there are kept; those for the context are new.
    """
    scale = edit.request.number(10.0)
    flow = Flow(edit.network, edit.module)
    for path, _, channels in _named_maps(edit):
        layer = edit.module.get_submodule(path)  # a wider one by now, where it reads another of these maps
        crossed, readers = flow.readers_after(path)
        if not readers:
            raise InputError(f"{edit.request}: no layer with weights reads the result of {path}")
        _behind(edit, path, layer, "context", GlobalContext(channels, scale=scale))
        for each in crossed:
            edit.replace(each, _wide_norm(edit, each, channels))
            edit.notes.append(f"{each} normalises {2 * channels} channels in place of {channels}; the new ones are new")
        for each in readers:
            reader = edit.module.get_submodule(each)
            edit.replace(each, widened(edit, each, reader, before=channels, after=2 * channels))
            edit.notes.append(
                f"{each} reads {2 * channels} channels in place of {channels}; weights of the new are new"
            )


def _wide_norm(edit: Edit, path: str, channels: int) -> nn.Module:
    norm: Any = edit.module.get_submodule(path)
    if type(norm) is not nn.BatchNorm2d:
        raise InputError(f"{edit.request}: {path} ({type(norm).__name__}) cannot be widened; name a layer behind it")
    wide = edit.fitted(nn.BatchNorm2d(2 * channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats))
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            getattr(wide, name)[:channels] = getattr(norm, name)
    for name in ("weight", "bias"):
        if getattr(norm, name) is not None:
            edit.keep_partly(getattr(wide, name), getattr(norm, name))
    return wide


def _named_maps(edit: Edit) -> list[tuple[str, nn.Module, int]]:
    """(path, layer, channels) of what the pattern names; it has to name it, since any map could be meant."""
    network = edit.network
    results = {call.path: call.outputs[0][1] for call in network.calls if call.outputs and call.path}
    maps = {path: network.values[value].shape for path, value in results.items() if edit.has_channels_first(value)}
    if edit.request.layers == "*":
        # The last map before a global pooling, by the outermost name that it has.
        last = {call.path: call.outputs[0][1] for call in network.calls if call.path in maps}
        large = [path for path in maps if max(maps[path][2:]) > 1] or list(maps)
        name = max(large, key=lambda path: (last[path], -len(path)), default="features.*")
        raise InputError(f"{edit.request}: name the layers that it goes behind, such as {edit.request}@{name}")
    known = {path for _, paths in edit.paths.items() for path in paths}
    exact = edit.request.layers
    if exact in known:
        if exact not in maps:
            raise InputError(f"{edit.request}: {exact} does not return a map (N, C, H, W)")
        return [(exact, edit.module.get_submodule(exact), maps[exact][1])]
    found = edit.matching(lambda part: edit.paths[id(part)][0] in maps, "layer that returns a map (N, C, H, W)")
    # Parts before what holds them: their names are others once that stands in a chain.
    found.sort(key=lambda each: -each[0].count("."))
    return [(path, part, maps[path][1]) for path, part in found]


def _behind(edit: Edit, path: str, layer: nn.Module, name: str, new: nn.Module) -> None:
    """Put a new layer behind one, in a chain that takes its place."""
    before = in_a_line(layer)
    chain = nn.Sequential(OrderedDict([("layer", layer), (name, edit.fitted(new))]))
    edit.replace(path, chain, after=f"{before} + {in_a_line(new)}")


def _remove(edit: Edit, wanted: Callable[[nn.Module], bool], what: str) -> None:
    for path, layer in edit.matching(wanted, what):
        # timm's norms hold the activation behind them, which stays.
        activation = getattr(layer, "act", None)
        edit.replace(path, activation if isinstance(activation, nn.Module) else nn.Identity())


def _is_batch_norm(part: nn.Module) -> bool:
    return isinstance(part, nn.BatchNorm2d) or type(part).__name__ in ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")
