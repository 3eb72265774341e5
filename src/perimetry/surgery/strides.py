"""stride:N, from strides to dilation."""

from __future__ import annotations

from torch import nn

from perimetry.errors import InputError
from perimetry.networks import dilate
from perimetry.records import LayerChange
from perimetry.surgery.edit import Edit, in_a_line


def stride(edit: Edit) -> None:
    """Give the whole network an output stride; the weights are those that it had."""
    if edit.request.layers != "*":
        raise InputError(f"{edit.request}: a stride is of the whole network; leave the layers out")
    before = {path: in_a_line(part) for path, part in edit.module.named_modules()}
    dilated = dilate(edit.module, output_stride=int(edit.request.value))
    old = dict(edit.module.named_parameters(remove_duplicate=False))
    new = dict(dilated.named_parameters(remove_duplicate=False))
    # A copy was made of the copy: its parameters give way to those that were here, so that they count as kept.
    for (path, parameter), (_, copied) in zip(old.items(), new.items(), strict=True):
        assert parameter.shape == copied.shape, path
    places = {id(copied): parameter for parameter, copied in zip(old.values(), new.values(), strict=True)}
    for part in dilated.modules():
        for name, copied in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, places[id(copied)])
    edit.module = dilated
    edit.changes += [
        LayerChange(path, before[path], in_a_line(part))
        for path, part in dilated.named_modules()
        if path in before and before[path] != in_a_line(part) and not isinstance(part, nn.Sequential)
    ]
