"""inspect(): what every layer of a model sees and costs, gathered into one result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from perimetry.costs import costs
from perimetry.errors import InputError, ShapeError, TrainingModeError
from perimetry.maps import LayerFields, layer_fields, walk
from perimetry.models import LoadedModel, load_model
from perimetry.models.loaded import image_axes, image_dtype, of_module
from perimetry.records import ClassScore, Layer, LayerRecord, ModelRecord, Network, Photo, Value
from perimetry.tracing import trace
from perimetry.tracing.capture import ready
from perimetry.tracing.structure import tensors_in

if TYPE_CHECKING:
    import pandas

    Model = torch.nn.Module | LoadedModel | str
    Example = torch.Tensor | tuple[Any, ...] | list[torch.Tensor] | Mapping[str, Any]
    ImageOrSize = int | tuple[int, ...] | Example | Image.Image | str | Path


def inspect(
    model: Model | Sequence[Model], image_or_size: ImageOrSize | None = None, *, name: str | None = None
) -> Inspection:
    """Tell what every layer of one or several models sees, and what it costs.

    model: a module in eval mode, a name such as "torchvision:resnet50", a `LoadedModel`, or a list of these.
    image_or_size: pixels of a square, (H, W), an image batch (N, C, H, W), or a photo (a path or a Pillow image, which
    a trained classifier also classifies); without it, the size the model is made for (224 for a bare module). For
    models in one or three dimensions a size is (L,) or (D, H, W); those with several inputs take a tuple of arguments
    or a dict of keywords, as `trace` does.
    name: what to call a bare module in the result; its class, without.

    Raises `TrainingModeError` for a model whose batch norms are in training mode, `ShapeError`, `TraceError` or
    `FileError` where the input does not fit.

    >>> import torch, perimetry
    >>> result = perimetry.inspect(torch.nn.Conv2d(3, 8, 3, stride=2).eval(), 32)
    >>> [(row.name, row.field.size, row.macs) for row in result if not row.container]
    [('/convolution', (3, 3), 48600)]
    """
    models: list[Any] = list(model) if isinstance(model, list | tuple) else [model]
    if not models:
        raise InputError("expected at least one model, got an empty list")
    records, photo = [], None
    for each in models:
        loaded = _loaded(each, name)
        example, shown = _example(loaded, image_or_size)
        records.append(_model_record(loaded, example, shown is not None))
        photo = photo or shown
    return Inspection(tuple(records), photo)


def _loaded(model: Any, name: str | None) -> LoadedModel:
    if isinstance(model, str):
        return load_model(model)
    if isinstance(model, LoadedModel):
        return model
    if not isinstance(model, torch.nn.Module):
        hint = "give its .module()" if hasattr(model, "graph_signature") else "to trace a function use perimetry.trace"
        raise InputError(
            f"expected a torch.nn.Module, a model's name or a LoadedModel, got {type(model).__name__}; {hint}"
        )
    module = ready(model)
    return of_module(name or type(module).__name__, module)


def _example(model: LoadedModel, given: Any) -> tuple[Any, Photo | None]:
    """What to trace the model with (on the meta device when only a size is given), and the photo to show."""
    dtype = image_dtype(model.module)
    if isinstance(given, torch.Tensor) or (isinstance(given, tuple | list | dict) and any(tensors_in(given))):
        for _, tensor in tensors_in(given):
            readable = tensor.is_floating_point() and not tensor.is_meta and tensor.layout == torch.strided
            if readable and not bool(torch.isfinite(tensor).all()):
                raise InputError("the image holds NaN or infinite values; clean it first")
        return given, None
    if isinstance(given, str | Path | Image.Image):
        image, photo = model.photo(given)
        return image.to(dtype).expand(model.batch, -1, -1, -1), photo
    size = model.input_size if given is None else _size(given, image_axes(model.module))
    return torch.empty(model.batch, model.channels, *size, device="meta", dtype=dtype), None


def _size(given: Any, axes: int) -> tuple[int, ...]:
    """The extents of the image's axes; one number stands for all of them."""
    extents = tuple(given) if isinstance(given, tuple | list) else (given,) * axes
    try:
        whole = tuple(map(index, extents))
    except TypeError:
        whole = ()
    if not 1 <= len(whole) <= 3 or min(whole) < 1 or any(isinstance(extent, bool) for extent in extents):
        raise ShapeError(
            "expected a size in pixels such as 224 or (224, 320), an image batch (N, C, H, W) as a tensor, or a photo "
            f"(a path or a Pillow image), got {given!r:.200}"
        )
    return whole


def _model_record(model: LoadedModel, images: Any, is_photo: bool) -> ModelRecord:
    module = model.module
    _check_mode(module, model.name)
    example = images
    if model.takes == "list" and isinstance(images, torch.Tensor):
        example = (list(images) if images.ndim == 4 else [images],)
    network = trace(module, example, name=model.name)
    found = walk(network)
    told = layer_fields(found)
    spent = costs(network)
    rows = tuple(_row(network, layer, told, spent.of(layer)) for layer in network.layers)
    return ModelRecord(
        model=model.name,
        input=tuple(images.shape) if isinstance(images, torch.Tensor) else _image(network).shape,
        image_shape=network.image_shape,
        layers=rows,
        totals=spent.totals(),
        unknown=found.unknown_operators(),
        classes=_classes(model, images) if is_photo and model.trained else (),
        notes=_notes(network, module),
    )


def _image(network: Network) -> Value:
    return next(value for value in network.values if value.kind == "image")


def _check_mode(module: torch.nn.Module, name: str) -> None:
    for path, part in module.named_modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.training and part.track_running_stats:
            raise TrainingModeError(
                f"{name} is in training mode: its batch norm {path or 'itself'!r} would use the statistics of the "
                "whole batch, so that every unit sees every pixel; call model.eval() first"
            )


def _row(network: Network, layer: Layer, told: dict[str, LayerFields], cost: Any) -> LayerRecord:
    seen = told[layer.name]
    return LayerRecord(
        name=layer.name,
        op=layer.op,
        container=layer.container,
        depth=layer.name.count(".") + 1 + ("/" in layer.name.strip("/")),
        shape=network.values[layer.value].shape,
        field=seen.full,
        local_field=seen.local,
        global_by=seen.global_by,
        upper_bound=seen.upper_bound,
        reason=seen.reason,
        parameters=cost.parameters,
        macs=cost.macs,
        activation_bytes=cost.activation_bytes,
        unproductive=seen.unproductive,
        misaligned=seen.misaligned,
    )


def _classes(model: LoadedModel, image: torch.Tensor) -> tuple[ClassScore, ...]:
    """The five most probable classes, where the model answers with one score per class, alone or as "logits"."""
    with torch.no_grad():
        scores = model.module(image)
    scores = scores.get("logits") if isinstance(scores, dict) else scores
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[1] < 2:
        return ()
    top = scores[0].float().softmax(0).topk(min(5, scores.shape[1]))
    names = model.class_names
    known = names is not None and len(names) == scores.shape[1]
    return tuple(
        ClassScore(names[index] if names is not None and known else f"class {index}", float(probability))
        for probability, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )


def _notes(network: Network, module: torch.nn.Module) -> tuple[str, ...]:
    notes = []
    if network.captured == "real":
        notes.append(
            "captured from a real run, because shapes alone did not tell what the model does: another image may take "
            "another way, and what left PyTorch on the way (numbers, NumPy arrays) is not followed"
        )
    if isinstance(module, torch.jit.ScriptModule):
        notes.append("TorchScript does not tell which module runs: layers are named after their operators")
    return tuple(notes)


@dataclass(frozen=True, repr=False)
class Inspection:
    """What `inspect` found: one `ModelRecord` per model, and the photo if there was one.

    Iterating gives the first model's rows; `models` holds all of them.
    """

    models: tuple[ModelRecord, ...]
    photo: Photo | None = None

    def __iter__(self) -> Iterator[LayerRecord]:
        return iter(self.models[0].layers)

    def __len__(self) -> int:
        return len(self.models[0].layers)

    def layer(self, name: str) -> LayerRecord:
        """The first model's row of that name; raises `UnknownNameError` with suggestions."""
        return self.models[0].layer(name)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, in the stable form of `perimetry inspect --json` ("schema": 1)."""
        from perimetry.report.views import inspection_data

        return inspection_data(self.models)

    def to_json(self, *, indent: int | None = 1) -> str:
        """The result as JSON text."""
        import json

        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_html(self) -> str:
        """The report: one HTML page that needs nothing else."""
        from perimetry.report.html import inspection_page

        return inspection_page(self.models, self.photo)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per layer and model; raises `MissingExtraError` where pandas is not installed."""
        from perimetry.errors import MissingExtraError
        from perimetry.report.views import flat_rows

        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", needed_for="to_dataframe()", extra="pandas") from None
        return pandas.DataFrame.from_records(flat_rows(self.models))

    def __repr__(self) -> str:
        from perimetry.report.text import inspection_text

        return inspection_text(self.models, width=100)

    def _repr_html_(self) -> str:
        from perimetry.report.html import inspection_fragment

        return inspection_fragment(self.models, self.photo)
