"""head:gap, global average pooling and one linear layer in place of a fully connected head."""

from __future__ import annotations

from torch import nn

from perimetry.errors import InputError
from perimetry.networks.classifier import FlattenMap
from perimetry.records import ModuleCall
from perimetry.surgery.activations import is_activation
from perimetry.surgery.edit import Edit, in_a_line, references_of
from perimetry.surgery.flow import Flow

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_BETWEEN = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.BatchNorm1d, nn.Identity)


def head(edit: Edit) -> None:
    """Average over all positions, then one linear layer to the classes; the bias of the last layer is kept.

    Raises `InputError` where no fully connected layer reads a map of several positions, or where the layers from
    there to the end are not a chain of modules.
    """
    if edit.request.layers != "*":
        raise InputError(f"{edit.request}: a model has one head; leave the layers out")
    network = edit.network
    flow = Flow(network, edit.module)
    leaves = [call for call in network.calls if call.leaf]
    linear = [call for call in leaves if isinstance(edit.module.get_submodule(call.path), nn.Linear)]
    if not linear:
        raise InputError(f"{edit.request}: the model has no fully connected layer")
    first, last = linear[0], linear[-1]
    map_value = _map_before(flow, edit, first)
    channels, height, width = network.values[map_value].shape[1:]
    if height * width == 1:
        raise InputError(f"{edit.request}: {first.path} reads a map of one position; the head pools globally already")
    if [index for _, index in network.outputs] != [last.outputs[0][1]]:
        raise InputError(f"{edit.request}: the model returns more than what its last linear layer {last.path} gives")
    chain = _chain(edit, leaves, first, last)
    source = next(call for call in reversed(leaves) if any(index == map_value for _, index in call.outputs))
    _pool(edit, source)
    for call in leaves:
        if source.index < call.index < first.index and isinstance(edit.module.get_submodule(call.path), FlattenMap):
            edit.replace(call.path, nn.Flatten())  # which takes what the pooling leaves
    old = edit.module.get_submodule(last.path)
    assert isinstance(old, nn.Linear)
    new = edit.fitted(nn.Linear(channels, old.out_features, bias=old.bias is not None))
    assert isinstance(new, nn.Linear)
    new.bias = old.bias
    edit.replace(first.path, new)
    for call in chain:
        if call.path != first.path:
            edit.replace(call.path, nn.Identity())


def _map_before(flow: Flow, edit: Edit, first: ModuleCall) -> int:
    """The map that is flattened for the first linear layer."""
    network = flow.network
    for node in network.nodes:
        if node.op not in ("aten.view", "aten._unsafe_view", "aten.clone"):
            continue
        read, out = next(iter(references_of(node)), None), node.outputs[0]
        if read is None or out is None or len(network.values[read].shape) != 4:
            continue
        features = network.values[out].shape
        layer = edit.module.get_submodule(first.path)
        if len(features) == 2 and isinstance(layer, nn.Linear) and features[1] == layer.in_features:
            return read
    raise InputError(
        f"{edit.request}: {first.path} reads no flattened map; there is no fully connected head to replace"
    )


def _chain(edit: Edit, leaves: list[ModuleCall], first: ModuleCall, last: ModuleCall) -> list[ModuleCall]:
    """The calls from the first linear layer to the last, where nothing but modules that are known runs there."""
    chain = [call for call in leaves if first.index <= call.index <= last.index]
    inside = {node for call in chain for node in range(*call.nodes)}
    outside = [node.op for node in edit.network.nodes[first.nodes[0] : last.nodes[1]] if node.index not in inside]
    others = [
        call.path
        for call in chain
        if not isinstance(edit.module.get_submodule(call.path), (nn.Linear, *_BETWEEN))
        and not is_activation(edit.module.get_submodule(call.path))
    ]
    if outside or others:
        raise InputError(f"{edit.request}: the head is not a chain of layers: it also runs {(outside + others)[0]}")
    return chain


def _pool(edit: Edit, source: ModuleCall) -> None:
    """Pool globally: in the place of a pooling to a fixed size, else behind what returns the map."""
    layer = edit.module.get_submodule(source.path)
    pool = nn.AdaptiveAvgPool2d(1)
    if isinstance(layer, _POOLS):
        edit.replace(source.path, pool)
    else:
        edit.replace(source.path, nn.Sequential(layer, pool), after=f"{in_a_line(layer)} + {in_a_line(pool)}")
