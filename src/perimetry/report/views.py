"""Results as plain data: the stable JSON form, and flat rows for CSV and data frames."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from perimetry.geometry import Field
from perimetry.records import LayerRecord, ModelRecord
from perimetry.report.changes import changes_data
from perimetry.report.explanations import unknown_messages
from perimetry.report.numbers import finite
from perimetry.report.stages import Comparison, Stage, comparison, stages
from perimetry.report.visible import SORT_KEYS, VisibleLayers, visible_layers

__all__ = [
    "SORT_KEYS",
    "Comparison",
    "Stage",
    "VisibleLayers",
    "comparison",
    "flat_rows",
    "inspection_data",
    "package_version",
    "stages",
    "visible_layers",
]

SCHEMA = 1


def package_version() -> str:
    """The version of perimetry that made a result."""
    from perimetry import __version__  # here, so that a report can be imported on its own

    return __version__


def inspection_data(models: Sequence[ModelRecord]) -> dict[str, Any]:
    """The stable form of `perimetry inspect --json`: dicts, lists, texts, numbers and None only.

    Per axis, `size`, `stride` and `start` are lists; strides are whole numbers where they are whole. A `size` of None
    is the whole image. What is unknown is None, with the "reason" beside it.
    """
    return {"schema": SCHEMA, "perimetry": package_version(), "models": [_model_data(model) for model in models]}


def _model_data(model: ModelRecord) -> dict[str, Any]:
    return {
        "model": model.model,
        "input": [int(extent) for extent in model.input],
        "layers": [_layer_data(layer) for layer in model.layers],
        "totals": {
            "parameters": int(model.totals.parameters),
            "macs": int(model.totals.macs),
            "activation_bytes": int(model.totals.activation_bytes),
        },
        "image_shape": [int(extent) for extent in model.image_shape],
        "unknown": unknown_messages(model),
        "notes": list(model.notes),
        "changes": changes_data(model),
        "classes": [{"label": each.label, "probability": finite(float(each.probability))} for each in model.classes],
    }


def _layer_data(layer: LayerRecord) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "shape": [int(extent) for extent in layer.shape],
        "field": _field_data(layer.field),
        "local_field": _field_data(layer.local_field),
        "global_by": layer.global_by,
        "parameters": int(layer.parameters),
        "macs": int(layer.macs),
        "activation_bytes": int(layer.activation_bytes),
        "unproductive": bool(layer.unproductive),
        "upper_bound": bool(layer.upper_bound),
        "misaligned": None if layer.misaligned is None else [finite(float(each)) for each in layer.misaligned],
        "container": bool(layer.container),
        "reason": layer.reason,
    }


def _field_data(field: Field | None) -> dict[str, Any] | None:
    if field is None:
        return None
    return {
        "size": None if field.whole_image else [None if size is None else int(size) for size in field.size],
        "stride": [_number(stride) for stride in field.stride],
        "start": [int(start) for start in field.start],
        "uniform": bool(field.uniform),
    }


def _number(value: Fraction) -> int | float:
    exact = Fraction(value)
    return exact.numerator if exact.denominator == 1 else float(exact)


def flat_rows(models: Sequence[ModelRecord]) -> list[dict[str, Any]]:
    """One flat dict per layer and model, every one with the same keys: a table for CSV or a data frame.

    Axes are named h and w (d, h, w for volumes; w for signals). A whole image is told by `whole_image` and an empty
    size; an unknown field has `whole_image` None and a `reason`.
    """
    ranks = {len(model.image_shape) for model in models}
    axes = axis_names(max(ranks, default=2))
    return [_flat_row(model, layer, axes) for model in models for layer in model.layers]


def axis_names(rank: int) -> tuple[str, ...]:
    """Short names of the image axes, the last ones being rows and columns.

    >>> axis_names(2), axis_names(4)
    (('h', 'w'), ('axis0', 'd', 'h', 'w'))
    """
    known = ("d", "h", "w")
    return tuple(f"axis{each}" for each in range(rank - 3)) + (known[-rank:] if rank else ())


def _flat_row(model: ModelRecord, layer: LayerRecord, axes: tuple[str, ...]) -> dict[str, Any]:
    # A model with fewer axes than the widest fills the last ones: its columns are still columns.
    own = axis_names(len(model.image_shape))
    row: dict[str, Any] = {
        "model": model.model,
        "name": layer.name,
        "op": layer.op,
        "container": layer.container,
        "depth": layer.depth,
        "shape": "x".join(str(extent) for extent in layer.shape),
    }
    for prefix, field in (("", layer.field), ("local_", layer.local_field)):
        row[f"{prefix}whole_image"] = None if field is None else field.whole_image
        facts = {} if field is None else dict(zip(own, field.axes, strict=False))
        for column in ("field", "stride", "start"):
            for axis in axes:
                row[f"{prefix}{column}_{axis}"] = None
        for axis, fact in facts.items():
            row[f"{prefix}field_{axis}"] = None if fact.size is None else int(fact.size)
            row[f"{prefix}stride_{axis}"] = _number(fact.stride)
            row[f"{prefix}start_{axis}"] = int(fact.start)
        row[f"{prefix}uniform"] = None if field is None else field.uniform
    row |= {
        "global_by": layer.global_by,
        "parameters": layer.parameters,
        "macs": layer.macs,
        "activation_bytes": layer.activation_bytes,
        "unproductive": layer.unproductive,
        "upper_bound": layer.upper_bound,
    }
    offsets = dict(zip(own, layer.misaligned or (), strict=False))
    for axis in axes:
        row[f"misaligned_{axis}"] = finite(float(offsets[axis])) if axis in offsets else None
    row["reason"] = layer.reason
    return row
