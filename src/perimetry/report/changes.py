"""What was changed in a model, as sentences for people and as plain data."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from perimetry.records import ChangeRecord, Figures, ModelRecord
from perimetry.report.numbers import plain, quantity

_MOST_LINES = 6  # kinds of replacement that are told one by one
_MOST_NAMES = 4  # layers that are named for each


def change_lines(model: ModelRecord) -> list[str]:
    """Every change in a few lines: what it did to the figures, which layers it replaced, what it made necessary."""
    return [line for change in model.changes for line in _lines(change)]


def _lines(change: ChangeRecord) -> list[str]:
    before, after = change.before, change.after
    facts = [
        f"{quantity(before.parameters)} → {quantity(after.parameters)} parameters "
        f"({quantity(change.kept)} kept, {quantity(change.new)} new)",
        f"{quantity(before.macs, digits=4)} → {quantity(after.macs, digits=4)} multiply-adds",
        f"field of the last map {_field(before)} → {_field(after)}",
    ]
    lines = [f"{plain(change.change)}: {'; '.join(facts)}"]
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for layer in change.layers:
        groups[layer.before, layer.after].append(layer.name)
    for (was, now), names in list(groups.items())[:_MOST_LINES]:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(plain(name) or "(model)" for name in names[:_MOST_NAMES])
        lines.append(f"{listed}{more}: {plain(was)} → {plain(now)}")
    left = sum(len(names) for names in list(groups.values())[_MOST_LINES:])
    if left:
        lines.append(f"{left} more layers alike; --json lists all")
    return lines + [plain(note) for note in change.notes[:_MOST_LINES]]


def _field(figures: Figures) -> str:
    if figures.size is None or figures.stride is None:
        return "none"
    size = "×".join("all" if extent is None else str(extent) for extent in figures.size)
    return f"{size} at stride {'×'.join(str(step) for step in dict.fromkeys(figures.stride))}"


def changes_data(model: ModelRecord) -> list[dict[str, Any]]:
    """The changes as dicts, lists, texts and numbers."""
    return [
        {
            "change": change.change,
            "layers": [{"name": each.name, "before": each.before, "after": each.after} for each in change.layers],
            "before": _figures_data(change.before),
            "after": _figures_data(change.after),
            "parameters_kept": change.kept,
            "parameters_new": change.new,
            "notes": list(change.notes),
        }
        for change in model.changes
    ]


def _figures_data(figures: Figures) -> dict[str, Any]:
    stride = figures.stride
    return {
        "parameters": figures.parameters,
        "macs": figures.macs,
        "layer": figures.layer,
        "field": None if figures.size is None else list(figures.size),
        "stride": None if stride is None else [int(s) if s.denominator == 1 else float(s) for s in stride],
    }
