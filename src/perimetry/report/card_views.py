"""Fidelity cards as plain data, as text, and as the table of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from perimetry.report.columns import wrap

if TYPE_CHECKING:
    from perimetry.networks import Card, Quantity

    Value = int | float | tuple[int, ...]

_UNITS = {"field": " px", "stride": " px"}
_NO_BREAK = "\N{NO-BREAK SPACE}"
_INDENT = 2
_LABEL = 12


def card_data(card: Card, recounted: Mapping[Quantity, Value] | None = None) -> dict[str, Any]:
    """The card as data for JSON; with `recounted`, each quantity tells the number counted and whether it agrees."""
    return {
        "name": card.name,
        "title": card.title,
        "task": card.task,
        "image": list(card.image),
        "paper": card.paper,
        "definition": card.definition,
        "build": signature(card),
        "quantities": [
            {
                "kind": each.kind,
                "of": each.of,
                "image": list(each.image or card.image),
                "options": {name: _plain(value) for name, value in each.options},
                "value": each.value,
                "source": each.source,
                **_counted(each, recounted),
            }
            for each in card.quantities
        ],
        "differences": [{"what": each.what, "why": each.why} for each in card.differences],
        "results": [{"what": each.what, "value": each.value, "source": each.source} for each in card.results],
        "unverified": list(card.unverified),
    }


def _plain(value: Any) -> Any:
    """An option's value as JSON has it; a record as one writes it in Python."""
    return value if isinstance(value, str | int | float | tuple | list | None) else repr(value)


def _counted(quantity: Quantity, recounted: Mapping[Quantity, Value] | None) -> dict[str, Any]:
    if recounted is None:
        return {}
    return {"recounted": recounted[quantity], "agrees": agrees(quantity, recounted[quantity])}


def agrees(quantity: Quantity, value: Value) -> bool:
    """Whether the number counted is the original's; for fractions, up to single precision."""
    if isinstance(quantity.value, float) and isinstance(value, int | float):
        return abs(value - quantity.value) <= 1e-6 * abs(quantity.value)
    return value == quantity.value


def signature(card: Card) -> str:
    """How the network is built, as one writes it: the function with its options and their defaults."""
    told = [
        name if default.default is default.empty else f"{name}={default.default!r}"
        for name, default in inspect.signature(card.build).parameters.items()
    ]
    return f"perimetry.networks.{card.build.__name__}({', '.join(told)})"


def card_text(card: Card, *, width: int, recounted: Mapping[Quantity, Value] | None = None) -> str:
    """The card for a terminal of that width."""
    height, size_width = card.image
    lines = [*wrap(f"{card.title} (perimetry:{card.name}): {card.task}, {height} × {size_width}", width), ""]
    for label, text in (
        ("paper", card.paper),
        ("definition", card.definition),
        ("build", signature(card)),
        ("try", f"perimetry inspect perimetry:{card.name}"),
    ):
        lines += _entry(label, text, width)
    how = "counted anew just now" if recounted is not None else "a test counts them anew, and so does --recount"
    lines += ["", *wrap(f"Numbers of the original ({how})", width)]
    for source, groups in _by_source(card).items():
        lines += _entry("", source, width)
        for what, group in groups.items():
            lines += _entry(what, ", ".join(_number(each, recounted) for each in group), width, indent=2 * _INDENT)
    for heading, items in _sections(card).items():
        lines += ["", heading, *(line for item in items for line in _entry("", item, width))]
    return "\n".join(lines)


def cards_markdown(cards: Iterable[Card]) -> str:
    """All cards in one table, then each with its numbers, differences and results, for the documentation."""
    cards = list(cards)
    parts = [
        "| network | task | parameters | published in | what differs |",
        "|---|---|---:|---|---|",
        *(_row(card) for card in cards),
    ]
    for card in cards:
        parts += ["", f"## {card.title}", "", f"`perimetry:{card.name}`, `{signature(card)}`", ""]
        parts += [f"{card.paper}. Facts from: {card.definition}.", ""]
        for source, groups in _by_source(card).items():
            told = "; ".join(
                f"{what}: {', '.join(_number(each, None) for each in group)}" for what, group in groups.items()
            )
            parts.append(f"- {source}: {told}")
        for heading, items in _sections(card).items():
            parts += ["", f"{heading}:", "", *(f"- {item}" for item in items)]
    return "\n".join(_escaped(part) for part in parts) + "\n"


def _sections(card: Card) -> dict[str, list[str]]:
    """What a card tells in words, by heading."""
    sections = {
        "What differs, and why": [f"{each.what}: {each.why}." for each in card.differences],
        "Published results, quoted, not reproduced here": [
            f"{each.what}: {each.value} ({each.source})" for each in card.results
        ],
        "Not confirmed by an original": list(card.unverified),
    }
    return {heading: items for heading, items in sections.items() if items}


def _row(card: Card) -> str:
    parameters = next(each.value for each in card.quantities if each.kind == "parameters")
    differences = "; ".join(each.what for each in card.differences) or "nothing known"
    paper = card.paper.rpartition(": ")[2] or card.paper
    return f"| [{card.title}](#{_anchor(card.title)}) | {card.task} | {parameters:,} | {paper} | {differences} |"


def _anchor(title: str) -> str:
    """The fragment that renderers of Markdown give a heading."""
    return "".join(each for each in title.lower().replace(" ", "-") if each.isalnum() or each in "-_")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(_NO_BREAK, " ")


def _by_source(card: Card) -> dict[str, dict[str, list[Quantity]]]:
    """Quantities by the source that has them, then by kind and the conditions that they share."""
    sources: dict[str, dict[str, list[Quantity]]] = {}
    for each in card.quantities:
        conditions = [f"{name}={value!r}" for name, value in each.options]
        if each.image:
            conditions.insert(0, f"{each.image[0]} × {each.image[1]}")
        what = " ".join([each.kind, *([f"({', '.join(conditions)})"] if conditions else [])])
        sources.setdefault(each.source, {}).setdefault(what, []).append(each)
    return sources


def _number(quantity: Quantity, recounted: Mapping[Quantity, Value] | None) -> str:
    """What a number is of and the number, on one line."""
    value = quantity.value
    told = (
        "×".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}" if value == int(value) else f"{value}"
    )
    text = f"{quantity.of} {told}{_UNITS.get(quantity.kind, '')}".strip()
    if recounted is not None:
        counted = recounted[quantity]
        text += " ✓" if agrees(quantity, counted) else f" (here {counted})"
    return text.replace(" ", _NO_BREAK)


def _entry(label: str, text: str, width: int, *, indent: int = _INDENT) -> list[str]:
    """A label and its text, folded beside it; below it where the label is long."""
    left = " " * indent + (f"{label:{_LABEL}}" if label else "- ")
    if len(label) >= _LABEL:
        heading = wrap(label, max(20, width - indent))
        return [*(" " * indent + line for line in heading), *_entry(" ", text, width, indent=indent)]
    folded = wrap(text, max(20, width - len(left)))
    return [left + folded[0], *(" " * len(left) + line for line in folded[1:])]
