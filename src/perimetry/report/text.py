"""Results as text for a terminal: readable at 80 columns, one line per layer where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from perimetry.records import LayerRecord, ModelRecord
from perimetry.report import explanations
from perimetry.report.changes import change_lines
from perimetry.report.columns import Column, fitted_widths, fold, pad, table_row, table_width, wrap
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
    size_at_stride,
    size_text,
    start_text,
)
from perimetry.report.stages import Comparison, Stage, comparison, stages
from perimetry.report.visible import visible_layers

NARROWEST = 40
LAYER = Column("layer", "left", narrowest=12)
OPERATOR = Column("operator", "left", narrowest=9)
OUTPUT = Column("output", narrowest=9)
STAGE_FACTS = (Column("field"), Column("params"), Column("multiply-adds"), Column("MB"))


@dataclass(frozen=True, slots=True)
class Style:
    """Bold and dim as terminal codes; empty where colours are off."""

    bold: str = ""
    dim: str = ""
    end: str = ""

    @classmethod
    def of(cls, *, color: bool) -> Style:
        """Codes of the standard for terminals, or none."""
        return cls("\x1b[1m", "\x1b[2m", "\x1b[0m") if color else cls()


@dataclass
class Legend:
    """Collects what the marks of one table need explained, in the order they are met."""

    global_by: list[str] = field(default_factory=list)
    misaligned: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)

    def source(self, name: str) -> str:
        """The number under which the layer that made a field global is explained."""
        if name not in self.global_by:
            self.global_by.append(name)
        return f"[{self.global_by.index(name) + 1}]"


def inspection_text(
    models: Sequence[ModelRecord],
    *,
    width: int,
    depth: int | None = None,
    pattern: str | None = None,
    sort: str | None = None,
    color: bool = False,
) -> str:
    """The whole result as lines of at most `width` columns (no less than 40), without a newline at the end.

    depth, pattern, sort: which rows, see `visible_layers`. color: bold and dim, for terminals. Several models start
    with the comparison of their stages. Names are escaped: the text holds no control character of theirs.
    """
    width = max(width, NARROWEST)
    style = Style.of(color=color)
    blocks = []
    if len(models) > 1:
        blocks.append(_comparison_lines(comparison(models), width, style))
    for model in models:
        blocks.append(_header_lines(model, width, style))
        blocks.append(_layer_lines(model, width, depth, pattern, sort, style))
        if pattern is None and len(models) == 1:
            blocks.append(_stage_lines(model, width, style))
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _header_lines(model: ModelRecord, width: int, style: Style) -> list[str]:
    title = [f"{style.bold}{line}{style.end}" for line in fold(plain(model.model), width)]
    totals = (
        f"input {shape_text(model.input)}",
        f"{quantity(model.totals.parameters)} parameters",
        f"{quantity(model.totals.macs, digits=4)} multiply-adds",
        f"{megabytes(model.totals.activation_bytes)} MB of activations",
    )
    lines = [*title, *wrap(" · ".join(totals), width)]
    if model.classes:
        scores = ", ".join(f"{plain(each.label)} {100 * each.probability:.1f} %" for each in model.classes)
        lines += wrap(f"top classes: {scores}", width)
    for note in [*model.notes, *change_lines(model)]:
        lines += wrap(plain(note), width)
    return lines


def _layer_lines(
    model: ModelRecord, width: int, depth: int | None, pattern: str | None, sort: str | None, style: Style
) -> list[str]:
    shown = visible_layers(model, depth, pattern, sort)
    if not shown.layers:
        return [f"no layer is named like {plain(pattern)!r}" if pattern else "no layer was called"]
    legend = Legend()
    with_full = any(not same_field(layer.field, layer.local_field) for layer in shown.layers)
    rows = [_cells(layer, model, legend, with_full) for layer in shown.layers]
    facts = [
        Column("local @ stride" if with_full else "field @ stride"),
        Column("start"),
        *([Column("full")] if with_full else []),
        Column("params"),
        Column("multiply-adds"),
        Column("MB"),
        *([Column("", "left")] if any(row[-1] for row in rows) else []),
    ]
    rows = [row[: 3 + len(facts)] for row in rows]
    columns = [LAYER, OPERATOR, OUTPUT, *facts]
    widths = fitted_widths(columns, rows, width)
    if widths is not None:
        lines = _one_line_each(columns, rows, widths, style)
    else:
        lines = _two_lines_each(columns, rows, 3, width, style)
    if shown.message:
        lines += wrap(shown.message, width)
    return lines + _legend_lines(legend, model, with_full, width, style)


def _cells(layer: LayerRecord, model: ModelRecord, legend: Legend, with_full: bool) -> list[str]:
    """The cells of one layer: name, operator, output, field, start, (full field,) costs, marks."""
    bound = "≤" if layer.upper_bound else ""
    local = layer.local_field
    cells = [plain(layer.name) or "(model)", plain(layer.op), output_text(layer, model)]
    cells += ["?", "?"] if local is None else [bound + size_at_stride(local), start_text(local)]
    if with_full:
        cells.append(_full_cell(layer, legend, bound))
    macs = f"{quantity(layer.macs)} {share(layer.macs, model.totals.macs):>7}" if layer.macs else ""
    cells += [
        quantity(layer.parameters) if layer.parameters else "",
        macs,
        megabytes(layer.activation_bytes) if layer.activation_bytes else "",
    ]
    marks = ""
    if layer.unproductive:
        marks += "†"
    if layer.misaligned is not None:
        marks += "‡"
        legend.misaligned.append(f"{plain(layer.name)} {misaligned_text(layer.misaligned)}")
    if local is not None and not local.uniform:
        marks += "~"
    legend.marks.update(marks, bound, "?" if local is None or layer.field is None else "")
    return [*cells, marks]


def _full_cell(layer: LayerRecord, legend: Legend, bound: str) -> str:
    if layer.field is None:
        return "?"
    if layer.field.whole_image and layer.global_by is not None:
        return f"image {legend.source(layer.global_by)}"
    return "same" if same_field(layer.field, layer.local_field) else bound + size_text(layer.field)


def _one_line_each(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], style: Style
) -> list[str]:
    heading = table_row([column.heading for column in columns], columns, widths)
    rule = "─" * table_width(widths)
    lines = [*(f"{style.bold}{line}{style.end}" for line in heading), f"{style.dim}{rule}{style.end}"]
    for row in rows:
        lines += table_row(row, columns, widths)
    return lines


def _two_lines_each(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], names: int, width: int, style: Style
) -> list[str]:
    """The first `names` cells on one line, the numbers indented below; numbers fold to more lines if they must."""
    top, facts = columns[:names], columns[names:]
    top_widths = fitted_widths(top, [row[:names] for row in rows], width)
    if top_widths is None:
        top_widths = [width // names - 2] * names
    # The name takes what is left, so that outputs end where the table ends.
    top_widths[0] += width - table_width(top_widths)
    fact_rows = [list(row[names:]) for row in rows]
    lines = []
    fact_widths = fitted_widths(facts, fact_rows, width - 4)
    heading = table_row([column.heading for column in top], top, top_widths)
    if fact_widths is not None:
        # Numbers stand against the right edge, below the output shapes.
        indent = " " * (width - table_width(fact_widths))
        heading += [indent + line for line in table_row([column.heading for column in facts], facts, fact_widths)]
    lines += [f"{style.bold}{line}{style.end}" for line in heading] + [f"{style.dim}{'─' * width}{style.end}"]
    for row, fact_row in zip(rows, fact_rows, strict=True):
        lines += table_row(row[:names], top, top_widths)
        if fact_widths is not None:
            numbers = [indent + line for line in table_row(fact_row, facts, fact_widths)]
        else:
            told = [f"{column.heading} {cell}".strip() for column, cell in zip(facts, fact_row, strict=True) if cell]
            numbers = ["    " + line for line in wrap(", ".join(" ".join(each.split()) for each in told), width - 4)]
        lines += [f"{style.dim}{line}{style.end}" for line in numbers]
    return lines


def _legend_lines(legend: Legend, model: ModelRecord, with_full: bool, width: int, style: Style) -> list[str]:
    entries = []
    if with_full:
        entries.append(("local", explanations.LOCAL_FIELD))
        entries.append(("full", explanations.FULL_FIELD))
    entries += [(f"[{index}]", f"global by {plain(name)}") for index, name in enumerate(legend.global_by, start=1)]
    if "†" in legend.marks:
        entries.append(("†", explanations.UNPRODUCTIVE))
    if "≤" in legend.marks:
        entries.append(("≤", explanations.UPPER_BOUND))
    if "‡" in legend.marks:
        entries.append(("‡", f"{explanations.MISALIGNED}, by this many pixels: {', '.join(legend.misaligned)}"))
    if "~" in legend.marks:
        entries.append(("~", explanations.NOT_UNIFORM))
    if "?" in legend.marks:
        entries.append(("?", explanations.UNKNOWN))
        entries += [("", plain(message)) for message in explanations.unknown_messages(model)]
    if not entries:
        return []
    indent = max(len(mark) for mark, _ in entries) + 1
    lines = [""]
    for mark, sentence in entries:
        first, *others = wrap(sentence, width - indent)
        lines += [pad(mark, indent, "left") + first, *(" " * indent + line for line in others)]
    return [f"{style.dim}{line}{style.end}" if line else line for line in lines]


def _stage_cells(stage: Stage | None) -> list[str]:
    if stage is None:
        return ["-", "", "", ""]
    return [
        "" if stage.field is None else size_text(stage.field),
        quantity(stage.parameters),
        quantity(stage.macs),
        megabytes(stage.activation_bytes),
    ]


def _stage_lines(model: ModelRecord, width: int, style: Style) -> list[str]:
    """The cost of each stage and its share; left out where there is but one."""
    groups = stages(model)
    if len(groups) < 2:
        return []
    columns = [
        Column("stride", "left", narrowest=8),
        Column("layers"),
        Column("field"),
        *(Column(heading) for each in ("params", "multiply-adds", "MB") for heading in (each, "")),
    ]
    rows = []
    for stage in groups:
        size, parameters, macs, activations = _stage_cells(stage)
        rows.append(
            [
                stage.label,
                str(stage.count),
                size,
                parameters,
                share(stage.parameters, model.totals.parameters),
                macs,
                share(stage.macs, model.totals.macs),
                activations,
                share(stage.activation_bytes, model.totals.activation_bytes),
            ]
        )
    widths = fitted_widths(columns, rows, width)
    if widths is None:
        return _two_lines_each(columns, rows, 1, width, style)
    return _one_line_each(columns, rows, widths, style)


def _comparison_lines(compared: Comparison, width: int, style: Style) -> list[str]:
    """Stages side by side where there is room for a block of columns per model, else one line per model and stage."""
    totals = []
    for total in compared.totals:
        first = compared.totals[0]
        pairs = ((total.parameters, first.parameters), (total.macs, first.macs))
        ratios = [f" {ratio(value, base)}" if total is not first else "" for value, base in pairs]
        activations = megabytes(total.activation_bytes)
        if total is not first:
            activations += f" {ratio(total.activation_bytes, first.activation_bytes)}"
        totals.append(
            ["", quantity(total.parameters) + ratios[0], quantity(total.macs, digits=4) + ratios[1], activations]
        )
    rows = [(row[0] or next(each for each in row if each)).label for row in compared.rows]
    cells = [[_stage_cells(stage) for stage in row] for row in compared.rows] + [totals]
    labels = [*rows, "total"]
    wide_columns = [Column("stride", "left"), *(column for _ in compared.models for column in STAGE_FACTS)]
    wide_rows = [
        [label, *(cell for per_model in row for cell in per_model)] for label, row in zip(labels, cells, strict=True)
    ]
    widths = fitted_widths(wide_columns, wide_rows, width)
    if widths is not None:
        block = [table_width(widths[start : start + 4]) for start in range(1, len(widths), 4)]
        titles = [Column("", "left"), *(Column("", "right") for _ in compared.models)]
        heading = table_row(["", *(plain(name) for name in compared.models)], titles, [widths[0], *block])
        return [*(f"{style.bold}{line}{style.end}" for line in heading)] + _one_line_each(
            wide_columns, wide_rows, widths, style
        )
    columns = [Column("stride", "left", narrowest=6), Column("model", "left", narrowest=10), *STAGE_FACTS]
    long_rows = [
        [label if index == 0 else "", plain(name), *row[index]]
        for label, row in zip(labels, cells, strict=True)
        for index, name in enumerate(compared.models)
    ]
    widths = fitted_widths(columns, long_rows, width)
    if widths is None:
        return _two_lines_each(columns, long_rows, 2, width, style)
    return _one_line_each(columns, long_rows, widths, style)
