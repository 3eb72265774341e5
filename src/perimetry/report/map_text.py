"""A unit's measured map in words: what was asked, the field in theory, what was measured, and notes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perimetry.report.columns import wrap
from perimetry.report.numbers import per_axis, plain, size_text

if TYPE_CHECKING:
    from perimetry import UnitMap

_NARROWEST = 40
_TIED = "\N{NO-BREAK SPACE}"
_INDENT = 19
_METHODS = {"effective": "gradient", "occlusion": "occlusion"}
_CHANGES = {
    "signed": "change of the unit",
    "absolute": "change of the unit, without its sign",
    "relative": "change of the unit, relative to its value",
    "l2": "length (L2) of the unit's change",
    "argmax": "whether the largest element is another one",
}


def map_text(unit_map: UnitMap, *, width: int, photo: str | None = None, color: bool = False) -> str:
    """The result as lines of at most `width` columns (no less than 40), without a newline at the end.

    photo: the name of the photo, where there is one. color: bold, for terminals.
    """
    width = max(width, _NARROWEST)
    bold, end = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    lines = [f"{bold}{line}{end}" for line in wrap(title(unit_map), width)]
    lines += [*wrap(conditions(unit_map, photo), width), ""]
    for heading, text in _rows(unit_map):
        first, *more = wrap(text, width - _INDENT)
        lines += [f"{heading:{_INDENT}}{first}", *(" " * _INDENT + line for line in more)]
    if unit_map.notes:
        lines.append("")
    for note in unit_map.notes:
        lines += wrap(f"note: {plain(note)}", width)
    return "\n".join(line.rstrip() for line in lines).replace(_TIED, " ")


def title(unit_map: UnitMap) -> str:
    """The model and the unit, with its position where that was left to us."""
    position = unit_map.target.unit
    at = "" if position is None or "@" in unit_map.unit else f", unit {','.join(map(str, position))}"
    return f"{plain(unit_map.model)} · {plain(unit_map.unit)}{at}"


def conditions(unit_map: UnitMap, photo: str | None = None) -> str:
    """How it was measured, on one line: the method with its settings, and the images."""
    parts = [_METHODS[unit_map.method], plain(unit_map.convention)]
    if unit_map.patch is not None:
        fill = unit_map.facts.get("fill", "unknown")
        steps = [lines[1] - lines[0] for lines in (unit_map.tops, unit_map.lefts) if len(lines) > 1]
        parts.append(f"patch {crossed(unit_map.patch)}")
        parts += [f"stride {per_axis([str(step) for step in steps])}"] if steps else []
        parts.append(f"fill {plain(str(fill))}" + (f", seed {unit_map.facts.get('seed')}" if fill == "noise" else ""))
    shown = plain(photo or "1 image") if unit_map.images == 1 else f"{unit_map.images} images"
    return " · ".join([*parts, f"{shown} at {crossed(unit_map.image_shape)} px"])


def theory_text(unit_map: UnitMap) -> str:
    """The unit's theoretical field: its size, and the part inside the image where that is smaller."""
    target = unit_map.target
    size = "the whole image" if target.field.whole_image else f"{size_text(target.field)} px"
    if target.clipped is None or target.box is None or target.field.whole_image or target.clipped == target.box:
        return size
    return f"{size}, of which {crossed(target.clipped.size)} px lie inside the image"


def colors_text(unit_map: UnitMap) -> str:
    """What the values of the map are, for the caption of its picture."""
    if unit_map.method == "occlusion":
        change = _CHANGES.get(unit_map.convention, plain(unit_map.convention))
        return f"colours: {change}, mean over the patches on a pixel"
    source = plain(str(unit_map.facts.get("definition", unit_map.convention)))
    return f"colours: gradient ({source})" + (", square-root scale" if by_root(unit_map) else "")


def by_root(unit_map: UnitMap) -> bool:
    """True where colours go with the square root of the value: gradients, where no logarithm was taken already."""
    return unit_map.method == "effective" and unit_map.convention != "replknet2022"


def extent_text(unit_map: UnitMap) -> str:
    """How far the measured field extends, and above which threshold it was counted."""
    measured = unit_map.measured
    if measured is None:
        return "nothing: the map is zero everywhere"
    return f"{crossed(measured.extent)} px above {percent(measured.threshold)} of the largest value"


def _rows(unit_map: UnitMap) -> list[tuple[str, str]]:
    measured, clipped = unit_map.measured, unit_map.target.clipped
    rows = [("theoretical field", theory_text(unit_map)), ("measured extent", extent_text(unit_map))]
    if measured is None:
        return [*rows, *_run_rows(unit_map.facts)]
    wholes = {"theoretical field": clipped.size if clipped is not None else None, "image": unit_map.image_shape}
    of = [
        per_axis([percent(part / all_) for part, all_ in zip(measured.extent, sizes, strict=True)]) + f" of the {whole}"
        for whole, sizes in wholes.items()
        if sizes is not None and all(sizes)
    ]
    area = [
        f"{percent(share)} of the {whole}"
        for whole, share in zip(wholes, (measured.of_field, measured.of_image), strict=True)
        if share is not None
    ]
    squares = [f"{key[1:]} % in {percent(share)}" for key, share in measured.shares.items()]
    circles = [f"{key[1:]} % within {radius:.3g} px" for key, radius in measured.radii.items()]
    return [
        *rows,
        ("", _listed(of)),
        ("measured area", _listed([f"{measured.area} px", *area, f"square root {measured.size:.1f} px"])),
        ("mass in squares", _listed([f"{squares[0]} of the image", *squares[1:]])),
        ("mass in circles", _listed([f"{circles[0]} of the centre", *circles[1:]])),
        *_run_rows(unit_map.facts),
    ]


def _run_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an occlusion map took, and how exact it is."""
    rows = []
    if "positions" in facts:
        reach = facts.get("positions_run", facts["positions"])
        rows.append(("positions", f"{facts['positions']}, of which {reach} can reach the unit"))
    saving = facts.get("saving_limit")
    if saving is not None and math.isfinite(saving):
        rows.append(("multiply-adds", f"{_factor(saving)} times fewer than with a full pass for each position"))
    if facts.get("largest_change"):
        error = f"{facts.get('largest_error', 0.0):.2g} against full passes"
        rows.append(("largest change", f"{facts['largest_change']:.3g}, with an error of {error}"))
    return rows


def _listed(entries: Sequence[str]) -> str:
    """Joined by commas; lines break between entries only, as far as there is room."""
    return ", ".join(entry.replace(" ", _TIED) for entry in entries)


def percent(share: float) -> str:
    """A share of one as a percentage.

    >>> percent(0.2543), percent(0.0004), percent(0), percent(0.0455)
    ('25.4 %', '<0.1 %', '0 %', '4.55 %')
    """
    if share == 0:
        return "0 %"
    return "<0.1 %" if share < 0.001 else f"{100 * share:.3g} %"


def crossed(sizes: Sequence[float]) -> str:
    """Sizes along the axes, all of them told.

    >>> crossed((16, 16))
    '16×16'
    """
    return "×".join(f"{size:g}" for size in sizes)


def _factor(value: float) -> str:
    """Three digits, and all before the point.

    >>> _factor(2.8041), _factor(1283.4)
    ('2.8', '1283')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
