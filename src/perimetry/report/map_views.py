"""What the page of maps says of each: which one it is, what was measured, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perimetry.report.map_text import colors_text, conditions, crossed, extent_text, percent, theory_text, title
from perimetry.report.numbers import plain, size_text, start_text, stride_text

if TYPE_CHECKING:
    from perimetry import UnitMap

    Pairs = tuple[tuple[str, str], ...]

METHODS = {"effective": "gradient", "occlusion": "occlusion"}
_NONE = "–"

# How facts of a run are told; what is not here is told under its own name.
_FACTS = {
    "definition": "definition",
    "fill": "fill",
    "seed": "seed",
    "silent_images": "images on which nothing moved the unit",
    "centre": "centre (row, column), pixels",
    "positions": "positions of the patch",
    "positions_run": "of them computed, since they can reach the unit",
    "saving_limit": "multiply-adds against a full pass for each",
    "batch": "positions computed together",
    "largest_change": "largest change",
    "largest_error": "largest error against full passes",
    "error_of_largest_change": "that error, of the largest change",
    "replay_difference": "difference of the replayed model's output",
}


@dataclass(frozen=True, slots=True)
class MapView:
    """One map in words.

    unit: its name, with the model's where a page has several; way: how it was measured, as short as tells it from the
    page's other maps of the unit. words: beside the picture; measured, run: (name, value) each; cells: the row of the
    table of all maps, under `COLUMNS`.
    """

    index: int
    model: str
    unit: str
    way: str
    title: str
    conditions: str
    colors: str
    words: Pairs
    measured: Pairs
    run: Pairs
    notes: tuple[str, ...]
    cells: tuple[str, ...]


COLUMNS = (
    ("field", "theoretical field, unclipped, pixels"),
    ("stride", "effective stride, pixels"),
    ("inside", "theoretical field inside the image, pixels"),
    ("area", "pixels above the threshold"),
    ("size", "square root of the area, pixels"),
    ("extent", "rows and columns of the pixels above the threshold"),
    ("of field", "area, of the theoretical field inside the image"),
    ("of image", "area, of the image"),
    *((f"r{mass}", f"smallest centred square with {mass} % of the mass, of the image") for mass in (20, 30, 50, 99)),
    *((f"d{mass}", f"radius of the circle with {mass} % of the mass, pixels") for mass in (50, 95, 99)),
)


def map_views(maps: Sequence[UnitMap], photo: str | None) -> list[MapView]:
    """The words of each map, in the order given; photo: the name of the photo, where there is one."""
    ways = ways_of(maps)
    return [
        MapView(
            index=index,
            model=plain(each.model),
            unit=plain(each.unit),
            way=way,
            title=title(each),
            conditions=conditions(each, photo),
            colors=colors_text(each),
            words=_words(each),
            measured=_measured(each),
            run=_run(each),
            notes=tuple(plain(note) for note in each.notes),
            cells=_cells(each),
        )
        for index, (each, way) in enumerate(zip(maps, ways, strict=True))
    ]


def ways_of(maps: Sequence[UnitMap]) -> list[str]:
    """How each map was measured: method and convention, all its settings where those do not tell two maps apart."""
    short = [f"{METHODS[each.method]}, {plain(each.convention)}" for each in maps]
    long = [conditions(each) for each in maps]
    named: dict[tuple[str, str, str], set[str]] = {}
    for each, brief, full in zip(maps, short, long, strict=True):
        named.setdefault((each.model, each.unit, brief), set()).add(full)
    clashing = {brief for (_, _, brief), full in named.items() if len(full) > 1}
    ways: list[str] = []
    seen: dict[tuple[str, str, str], int] = {}
    for each, brief, full in zip(maps, short, long, strict=True):
        way = full if brief in clashing else brief
        count = seen[each.model, each.unit, way] = seen.get((each.model, each.unit, way), 0) + 1
        ways.append(way if count == 1 else f"{way} ({count})")
    return ways


def side(unit_map: UnitMap) -> float | None:
    """The theoretical field's side, unclipped: the square root of its area, the image's extent along whole axes."""
    sizes = unit_map.target.field.size
    if len(sizes) != len(unit_map.image_shape):
        return None
    extents = zip(sizes, unit_map.image_shape, strict=True)
    return math.sqrt(math.prod(image if size is None else size for size, image in extents))


def _words(unit_map: UnitMap) -> Pairs:
    measured = unit_map.measured
    rows = [("theoretical field", theory_text(unit_map)), ("measured extent", extent_text(unit_map))]
    if measured is not None:
        shares = [f"{percent(measured.of_image)} of the image"]
        if measured.of_field is not None:
            shares.insert(0, f"{percent(measured.of_field)} of the theoretical field")
        rows.append(("measured area", ", ".join([f"{measured.area} px", *shares])))
    return tuple(rows)


def _measured(unit_map: UnitMap) -> Pairs:
    target, measured = unit_map.target, unit_map.measured
    field = target.field
    rows = [("theoretical field, unclipped", _pixels(size_text(field)))]
    if not field.whole_image:
        rows += [("effective stride", _pixels(stride_text(field))), ("start", _pixels(_minus(start_text(field))))]
    if target.clipped is not None:
        spans = [f"{span.low} to {span.high}" if not span.empty else "none" for span in target.clipped.spans]
        rows += [(f"its {axis} in the image", text) for axis, text in zip(("rows", "columns"), spans, strict=True)]
    if measured is None:
        return (*rows, ("measured", "nothing: the map is zero everywhere"))
    rows += [
        ("threshold, of the largest value", percent(measured.threshold)),
        ("area above it", f"{measured.area} px"),
        ("square root of the area", f"{measured.size:.1f} px"),
        ("extent, rows and columns", f"{crossed(measured.extent)} px"),
    ]
    if measured.of_field is not None:
        rows.append(("area, of the theoretical field", percent(measured.of_field)))
    rows.append(("area, of the image", percent(measured.of_image)))
    for key, share in measured.shares.items():
        rows.append((f"{key}: square with {key[1:]} % of the mass, of the image", percent(share)))
    for key, radius in measured.radii.items():
        rows.append((f"{key}: radius with {key[1:]} % of the mass", f"{radius:.3g} px"))
    return tuple(rows)


def _run(unit_map: UnitMap) -> Pairs:
    target = unit_map.target
    rows = [("model", plain(unit_map.model)), ("layer", plain(target.layer))]
    rows.append(("channel", "all" if target.channel is None else str(target.channel)))
    rows += [("position of the unit", ", ".join(map(str, target.unit)))] if target.unit is not None else []
    rows += [("method", METHODS[unit_map.method]), ("convention", plain(unit_map.convention))]
    rows += [("images", str(unit_map.images)), ("size of the image", f"{crossed(unit_map.image_shape)} px")]
    if unit_map.patch is not None:
        steps = [lines[1] - lines[0] if len(lines) > 1 else None for lines in (unit_map.tops, unit_map.lefts)]
        rows.append(("patch", f"{crossed(unit_map.patch)} px"))
        rows.append(("stride of the patch", "×".join("none" if step is None else str(step) for step in steps) + " px"))
        rows.append(("grid of patches", crossed(unit_map.map.shape)))
    return (*rows, *_facts(unit_map.facts))


def _facts(facts: Mapping[str, Any]) -> Pairs:
    """Facts of the run; times are left out, so that the same maps give the same page."""
    rows = []
    for key, fact in facts.items():
        if key.endswith("seconds") or fact is None or (key == "seed" and facts.get("fill", "noise") != "noise"):
            continue
        text = _fact_text(fact)
        if key == "saving_limit" and isinstance(fact, int | float):
            text = f"{text} times fewer" if math.isfinite(fact) else "none: no patch reaches the unit"
        rows.append((_FACTS.get(key, plain(str(key)).replace("_", " ")), text))
    return tuple(rows)


def _fact_text(fact: Any) -> str:
    if isinstance(fact, float):
        return _minus(f"{fact:.3g}")
    if isinstance(fact, Mapping):
        return ", ".join(f"{plain(str(key))} {_fact_text(value)}" for key, value in fact.items())
    if isinstance(fact, list | tuple):
        return ", ".join(map(_fact_text, fact))
    return plain(str(fact))


def _cells(unit_map: UnitMap) -> tuple[str, ...]:
    target, measured = unit_map.target, unit_map.measured
    field = target.field
    cells = [
        size_text(field),
        "" if field.whole_image else stride_text(field),
        _NONE if target.clipped is None else crossed(target.clipped.size),
    ]
    if measured is None:
        return (*cells, *[_NONE] * (len(COLUMNS) - len(cells)))
    return (
        *cells,
        str(measured.area),
        f"{measured.size:.1f}",
        crossed(measured.extent),
        _NONE if measured.of_field is None else percent(measured.of_field),
        percent(measured.of_image),
        *(percent(share) for share in measured.shares.values()),
        *(f"{radius:.3g}" for radius in measured.radii.values()),
    )


def _pixels(text: str) -> str:
    return {"image": "the whole image", "none": "none"}.get(text, f"{text} px")


def _minus(text: str) -> str:
    return text.replace("-", "−")
