"""change(): a copy of a model with one thing changed, and a record of what that did to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from perimetry.errors import InputError, ShapeError, TraceError
from perimetry.inspection import inspect
from perimetry.models import LoadedModel, load_model
from perimetry.models.loaded import image_axes, image_dtype, of_module
from perimetry.networks.copies import copied
from perimetry.records import ChangeRecord, Figures, ModelRecord
from perimetry.surgery import activations, convolutions, heads, normalizations, poolings, strides
from perimetry.surgery.edit import Edit
from perimetry.surgery.grammar import parse
from perimetry.tracing.structure import tensors_in

_DOERS = {
    "pool": poolings.pool,
    "activation": activations.activation,
    "stride": strides.stride,
    "conv5x5": convolutions.split_five,
    "factorize": convolutions.factorize,
    "reduce": convolutions.reduce,
    "lrn": normalizations.lrn,
    "batchnorm": normalizations.batchnorm,
    "l2norm": normalizations.l2norm,
    "context": normalizations.context,
    "head": heads.head,
}


@dataclass(frozen=True)
class Changed:
    """A changed model: its module, the changes that led to it, and what it was made from.

    module: a copy; the original is untouched. changes: one record each, in order. model: the same with its name and
    the preparation of photos, as `perimetry.inspect` takes it; example: what it was run with.
    """

    module: nn.Module
    changes: tuple[ChangeRecord, ...]
    model: LoadedModel
    example: Any

    @property
    def last(self) -> ChangeRecord:
        """The record of the last change."""
        return self.changes[-1]


def change(
    model: nn.Module | LoadedModel | Changed | str, what: str, *, layers: str = "*", example: Any = None, seed: int = 0
) -> Changed:
    """Change one thing in a copy of a model, keep the weights that still fit, and tell what came of it.

    model: a module, a name such as "torchvision:vgg16", or what an earlier change returned.
    what: the change, kind:value: "pool:mean", "activation:elu", "stride:8", "conv5x5:3x3", "factorize:1xn",
    "reduce:add", "lrn:remove", "batchnorm:add", "l2norm:add", "context:add", "head:gap"; docs/how-to/change.md lists
    all, with their arguments.
    layers: which layers, by a pattern of module names ("features.*"), or a module's own name for all that it holds.
    example: the image's size in pixels, (H, W), or an example as `inspect` takes it; without, the size that the model
    is made for. seed: of the weights that have to be drawn.

    Raises `UnknownNameError` for a change or layer that is not known, `InputError` where the model has nothing to
    change, or would not run any more.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    >>> changed = change(net, "pool:mean", example=32)
    >>> changed.module[2], changed.last.kept, changed.last.new
    (AvgPool2d(kernel_size=2, stride=2, padding=0), 112, 0)
    """
    request = parse(what, layers=layers)
    loaded, earlier = _loaded(model)
    if isinstance(loaded.module, torch.jit.ScriptModule | torch.fx.GraphModule):
        raise InputError(
            f"{loaded.name} is an exported or scripted program, which has no layers that could be replaced; "
            "change the model that it was made from"
        )
    if example is None:
        example = model.example if isinstance(model, Changed) else loaded.input_size
    module = copied(loaded.module)
    modes = {path: part.training for path, part in module.named_modules()}
    module.eval()
    known = isinstance(model, Changed) and example is model.example
    before = earlier[-1].after if known else _figures(loaded, module, example)
    edit = Edit(module, request, _arguments(loaded, example))
    # Only the CPU's generator draws here, so only its state is kept; torch.manual_seed would reach further.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        _DOERS[request.kind](edit)
    if not edit.changes:
        edit.notes.append("nothing was changed: it is so already")
    edit.module.eval()
    try:
        after = _figures(loaded, edit.module, example)
    except (TraceError, ShapeError) as error:
        raise InputError(f"after {request} the model does not run any more, so it was not made: {error}") from error
    _restore_modes(edit.module, modes)
    kept, new = edit.count()
    record = ChangeRecord(str(request), tuple(edit.changes), before, after, kept, new, tuple(edit.notes))
    changes = (*earlier, record)
    name = f"{_plain_name(loaded.name, earlier)} [{', '.join(each.change for each in changes)}]"
    return Changed(edit.module, changes, replace(loaded, name=name, module=edit.module), example)


def _loaded(model: Any) -> tuple[LoadedModel, tuple[ChangeRecord, ...]]:
    if isinstance(model, Changed):
        return model.model, model.changes
    if isinstance(model, LoadedModel):
        return model, ()
    if isinstance(model, str):
        return load_model(model), ()
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected a torch.nn.Module, a model's name or what change() returned, got {type(model).__name__}"
        )
    return of_module(type(model).__name__, model), ()


def _plain_name(name: str, earlier: tuple[ChangeRecord, ...]) -> str:
    listed = f" [{', '.join(each.change for each in earlier)}]"
    return name.removesuffix(listed) if earlier else name


def _arguments(loaded: LoadedModel, example: Any) -> Any:
    """What to run the model with; shapes alone, where a size was given."""
    if isinstance(example, torch.Tensor) or (isinstance(example, tuple | list | dict) and any(tensors_in(example))):
        return example
    size = tuple(example) if isinstance(example, tuple | list) else (example,) * image_axes(loaded.module)
    image = torch.empty(loaded.batch, loaded.channels, *size, device="meta", dtype=image_dtype(loaded.module))
    return (list(image),) if loaded.takes == "list" else image


def _figures(loaded: LoadedModel, module: nn.Module, example: Any) -> Figures:
    return figures(inspect(replace(loaded, module=module), example).models[0])


def figures(record: ModelRecord) -> Figures:
    """The figures of an inspected model that a change can move."""
    totals = record.totals
    for row in reversed(record.layers):
        seen = row.local_field
        if not row.container and seen is not None and any(seen.stride) and None not in seen.size:
            return Figures(totals.parameters, totals.macs, row.name, seen.size, seen.stride)
    return Figures(totals.parameters, totals.macs)


def _restore_modes(module: nn.Module, modes: dict[str, bool]) -> None:
    """Give every part its mode of before; a new one has that of what holds it."""
    for path, part in module.named_modules():
        while path not in modes:
            path = path.rpartition(".")[0]
        part.training = modes[path]
