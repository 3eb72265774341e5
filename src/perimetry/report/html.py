"""Results as HTML: one page that needs nothing else, and a fragment for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perimetry.records import LayerRecord, ModelRecord, Photo
from perimetry.report import explanations
from perimetry.report.changes import change_lines
from perimetry.report.numbers import (
    megabytes,
    misaligned_text,
    output_text,
    plain,
    quantity,
    ratio,
    same_field,
    shape_text,
    share,
    size_text,
    start_text,
    stride_text,
)
from perimetry.report.page_data import json_for_script, page_data, photo_uri
from perimetry.report.pages import page_parts, template
from perimetry.report.stages import Comparison, Stage, comparison, stages
from perimetry.report.visible import visible_layers

# A notebook keeps its output in the file, so the fragment shows one screen of rows.
FRAGMENT_ROWS = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as it is shown, and the number it is sorted by (None sorts last)."""

    text: str
    value: float | str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of the page's table; `index` is its place in the page's data."""

    index: int
    name: str
    op: str
    container: bool
    output: Cell
    local: Cell
    stride: Cell
    start: Cell
    full: Cell
    global_mark: str
    parameters: Cell
    macs: Cell
    macs_share: str
    activations: Cell
    remarks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A cost of one stage: the number, and its part of the total in percent."""

    text: str
    share: str
    percent: float


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of the page's cost table."""

    label: str
    count: int
    field: str
    bars: tuple[Bar, Bar, Bar]


def inspection_page(models: Sequence[ModelRecord], photo: Photo | None) -> str:
    """The report as one HTML file: it asks the network for nothing, and opens from disk.

    Scripts and styles are allowed by their hashes only (Content-Security-Policy), names from the model are escaped.
    """
    page: str = template("report.html.j2").render(
        models=[_model_view(model) for model in models],
        comparison=_comparison_view(comparison(models)) if len(models) > 1 else None,
        photo=None if photo is None else photo_uri(photo),
        photo_name="" if photo is None else plain(photo.name),
        data=json_for_script(page_data(models)),
        explain=explanations,
        **page_parts(["report.css"], ["theme.js", "report.js"]),
    )
    return page


def inspection_fragment(models: Sequence[ModelRecord], photo: Photo | None) -> str:
    """The result for a notebook's output cell: totals and a static table, no script, styles of its own only.

    The photo is not shown here; `to_html()` gives the page on which one can point into it.
    """
    del photo  # Part of the signature shared with the page; a static table has no use for it.
    views = []
    for model in models:
        shown = visible_layers(model)
        view = _model_view(model, shown.layers[:FRAGMENT_ROWS])
        more = len(shown.layers) - FRAGMENT_ROWS
        message = f"{shown.hidden} more layers inside those shown" if shown.hidden else ""
        if more > 0:
            message = f"{more} more rows" + (f", {message}" if message else "")
        views.append({**view, "message": message})
    fragment: str = template("fragment.html.j2").render(
        models=views,
        comparison=_comparison_view(comparison(models)) if len(models) > 1 else None,
        explain=explanations,
    )
    return fragment


def _model_view(model: ModelRecord, layers: Sequence[LayerRecord] | None = None) -> dict[str, Any]:
    """One model in words, for the templates."""
    sources = list(dict.fromkeys(layer.global_by for layer in model.layers if _made_global(layer)))
    rows = [
        _row(index, layer, model, sources)
        for index, layer in enumerate(model.layers)
        if layers is None or any(layer is each for each in layers)
    ]
    fields = [layer.local_field for layer in model.layers if layer.local_field is not None]
    return {
        "name": plain(model.model),
        "input": shape_text(model.input),
        "parameters": quantity(model.totals.parameters),
        "macs": quantity(model.totals.macs, digits=4),
        "activations": megabytes(model.totals.activation_bytes),
        "classes": [(plain(each.label), f"{100 * each.probability:.1f} %") for each in model.classes],
        "notes": [plain(note) for note in [*model.notes, *change_lines(model)]],
        "unknown": [plain(message) for message in explanations.unknown_messages(model)],
        "rows": rows,
        "global_by": [(f"[{number}]", plain(name or "")) for number, name in enumerate(sources, start=1)],
        "stages": [_stage_row(stage, model) for stage in stages(model)],
        "has_containers": any(row.container for row in rows),
        "has_full": any(not same_field(layer.field, layer.local_field) for layer in model.layers),
        "has_fields": bool(fields),
        "unproductive": sum(layer.unproductive and not layer.container for layer in model.layers),
        "leaves": sum(not layer.container for layer in model.layers),
    }


def _made_global(layer: LayerRecord) -> bool:
    """True where the full field is the whole image and another layer is named as the reason."""
    return layer.global_by is not None and layer.field is not None and layer.field.whole_image


def _row(index: int, layer: LayerRecord, model: ModelRecord, sources: Sequence[str | None]) -> Row:
    local, full = layer.local_field, layer.field
    bound = "≤ " if layer.upper_bound else ""
    remarks: list[tuple[str, str]] = []
    if layer.unproductive:
        remarks.append(("no new context", explanations.UNPRODUCTIVE))
    if layer.upper_bound:
        remarks.append(("upper bound", explanations.UPPER_BOUND))
    if layer.misaligned is not None:
        remarks.append((f"misaligned by {misaligned_text(layer.misaligned)} px", explanations.MISALIGNED))
    if local is not None and not local.uniform:
        remarks.append(("uneven", explanations.NOT_UNIFORM))
    if local is None or full is None:
        remarks.append(("unknown", plain(layer.reason or explanations.UNKNOWN)))
    area = None if local is None else 1.0
    step = None if local is None else 1.0
    for axis in () if local is None else local.axes:
        area = (area or 0.0) * (1e12 if axis.size is None else axis.size)
        step = (step or 0.0) * float(axis.stride)
    full_text = "?"
    if full is not None:
        full_text = "same" if same_field(full, local) else size_text(full)
    count = 1
    for extent in layer.shape:
        count *= extent
    return Row(
        index=index,
        name=plain(layer.name) or "(model)",
        op=plain(layer.op),
        container=layer.container,
        output=Cell(output_text(layer, model), count),
        local=Cell("?" if local is None else bound + size_text(local), area),
        stride=Cell("?" if local is None else stride_text(local), step),
        start=Cell(
            "?" if local is None else start_text(local).replace("-", "−"),
            None if local is None else min(local.start, default=0),
        ),
        full=Cell(full_text, full_text),
        global_mark=f"[{sources.index(layer.global_by) + 1}]" if _made_global(layer) else "",
        parameters=Cell(quantity(layer.parameters) if layer.parameters else "", layer.parameters),
        macs=Cell(quantity(layer.macs) if layer.macs else "", layer.macs),
        macs_share=share(layer.macs, model.totals.macs) if layer.macs else "",
        activations=Cell(megabytes(layer.activation_bytes) if layer.activation_bytes else "", layer.activation_bytes),
        remarks=tuple(remarks),
    )


def _stage_row(stage: Stage, model: ModelRecord) -> StageRow:
    totals = model.totals

    def bar(text: str, part: int, total: int) -> Bar:
        return Bar(text, share(part, total), round(100 * part / total, 2) if total > 0 else 0.0)

    return StageRow(
        label=stage.label,
        count=stage.count,
        field="" if stage.field is None else size_text(stage.field),
        bars=(
            bar(quantity(stage.parameters), stage.parameters, totals.parameters),
            bar(quantity(stage.macs), stage.macs, totals.macs),
            bar(f"{megabytes(stage.activation_bytes)} MB", stage.activation_bytes, totals.activation_bytes),
        ),
    )


def _comparison_view(compared: Comparison) -> dict[str, Any]:
    first = compared.totals[0]
    rows = []
    for row in compared.rows:
        cells = [
            None
            if stage is None
            else (
                "" if stage.field is None else size_text(stage.field),
                quantity(stage.parameters),
                quantity(stage.macs),
                megabytes(stage.activation_bytes),
            )
            for stage in row
        ]
        rows.append({"label": next(stage.label for stage in row if stage is not None), "cells": cells})
    totals = [
        tuple(
            (text, "" if total is first else ratio(value, base))
            for text, value, base in (
                (quantity(total.parameters), total.parameters, first.parameters),
                (quantity(total.macs, digits=4), total.macs, first.macs),
                (megabytes(total.activation_bytes), total.activation_bytes, first.activation_bytes),
            )
        )
        for total in compared.totals
    ]
    return {"models": [plain(name) for name in compared.models], "rows": rows, "totals": totals}
