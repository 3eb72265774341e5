"""inspect(): what every layer of a model sees and costs, gathered into one result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from perimetry.costs import costs
from perimetry.errors import InputError, ShapeError, TrainingModeError
from perimetry.maps import LayerFields, layer_fields, walk
from perimetry.models import LoadedModel, load_model
from perimetry.records import ClassScore, Layer, LayerRecord, ModelRecord, Network, Photo
from perimetry.tracing import trace

if TYPE_CHECKING:
    from pathlib import Path

    import pandas
    from PIL import Image

    Model = torch.nn.Module | LoadedModel | str
    ImageOrSize = int | tuple[int, int] | torch.Tensor | Image.Image | str | Path


def inspect(
    model: Model | Sequence[Model], image_or_size: ImageOrSize | None = None, *, name: str | None = None
) -> Inspection:
    """Tell what every layer of one or several models sees, and what it costs.

    model: a module in eval mode, a name such as "torchvision:resnet50", a `LoadedModel`, or a list of these.
    image_or_size: pixels of a square, (H, W), an image batch (N, C, H, W), or a photo (a path or a Pillow image, which
    a trained classifier also classifies); without it, the size the model is made for (224 for a bare module).
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
        loaded = _loaded(each, image_or_size, name)
        example, shown = _example(loaded, image_or_size)
        records.append(_model_record(loaded, example, shown is not None))
        photo = photo or shown
    return Inspection(tuple(records), photo)


def _loaded(model: Model, image_or_size: Any, name: str | None) -> LoadedModel:
    if isinstance(model, str):
        model = load_model(model)
    elif not isinstance(model, LoadedModel):
        if not isinstance(model, torch.nn.Module):
            raise InputError(
                f"expected a torch.nn.Module, a model's name or a LoadedModel, got {type(model).__name__}; "
                "to trace a function use perimetry.trace"
            )
        label = name or type(model).__name__
        model = LoadedModel(label, label, model, channels=_first_channels(model))
        model = replace(model, mean=model.mean[: model.channels], std=model.std[: model.channels])
    if isinstance(image_or_size, int) and not isinstance(image_or_size, bool):
        image_or_size = (image_or_size, image_or_size)
    if isinstance(image_or_size, tuple) and len(image_or_size) == 2:
        if not all(isinstance(extent, int) and extent > 0 for extent in image_or_size):
            raise ShapeError(f"expected a size in pixels such as 224 or (224, 320), got {image_or_size}")
        model = replace(model, input_size=image_or_size, resize=None)
    return model


def _first_channels(model: torch.nn.Module) -> int:
    """How many channels the first convolution takes; 3 where there is none."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
            return module.in_channels
    return 3


def _example(model: LoadedModel, image_or_size: Any) -> tuple[torch.Tensor, Photo | None]:
    """The image batch to trace with (on the meta device when only its size is given), and the photo to show."""
    if isinstance(image_or_size, torch.Tensor):
        has_values = image_or_size.is_floating_point() and image_or_size.device.type != "meta"
        if has_values and not bool(torch.isfinite(image_or_size).all()):
            raise InputError("the image holds NaN or infinite values; clean it first")
        return image_or_size, None
    if image_or_size is None or isinstance(image_or_size, int | tuple):
        return torch.empty(1, model.channels, *model.input_size, device="meta"), None
    if isinstance(image_or_size, bool):
        raise InputError("expected an image or a size, got a boolean")
    return model.photo(image_or_size)


def _model_record(model: LoadedModel, image: torch.Tensor, is_photo: bool) -> ModelRecord:
    module = model.module
    _check_mode(module, model.name)
    example: Any = image
    if model.takes == "list":
        example = (list(image) if image.ndim == 4 else [image],)
    network = trace(module, example, name=model.name)
    found = walk(network)
    told = layer_fields(found)
    spent = costs(network)
    rows = tuple(_row(network, layer, told, spent.of(layer)) for layer in network.layers)
    return ModelRecord(
        model=model.name,
        input=tuple(image.shape),
        image_shape=network.image_shape,
        layers=rows,
        totals=spent.totals(),
        unknown=found.unknown_operators(),
        classes=_classes(model, image) if is_photo and model.trained else (),
        notes=_notes(network),
    )


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
    """The five most probable classes, where the model answers with one score per class."""
    with torch.no_grad():
        scores = model.module(image)
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[1] < 2:
        return ()
    top = scores[0].float().softmax(0).topk(min(5, scores.shape[1]))
    names = model.class_names
    known = names is not None and len(names) == scores.shape[1]
    return tuple(
        ClassScore(names[index] if names is not None and known else f"class {index}", float(probability))
        for probability, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )


def _notes(network: Network) -> tuple[str, ...]:
    if network.captured == "real":
        return (
            "captured from a real run, because the model's control flow looks at the data: "
            "another image may take another way",
        )
    return ()


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
