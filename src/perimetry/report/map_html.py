"""Measured maps as one HTML page: point into them, switch between units and methods, compare layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perimetry.errors import InputError
from perimetry.records import Photo
from perimetry.report.map_colors import Scale, bar, blend
from perimetry.report.map_image import gray_photo, pixel_values
from perimetry.report.map_page_data import map_page_data
from perimetry.report.map_text import by_root
from perimetry.report.map_views import COLUMNS, MapView, map_views
from perimetry.report.numbers import plain
from perimetry.report.page_data import json_for_script, photo_uri
from perimetry.report.pages import page_parts, template

if TYPE_CHECKING:
    from perimetry import UnitMap

_STOPS = 33  # of the colour bar: what lies between is mixed


def maps_html(maps: Sequence[UnitMap], photo: Photo | None = None) -> str:
    """The maps as one HTML file: it asks the network for nothing, and opens from disk.

    maps: at least one, of any models, units and methods, of two image axes; the first is shown first.
    photo: as the models saw it, of the maps' `image_shape`; without one the maps stand on plain gray.
    Scripts and styles are allowed by their hashes only (Content-Security-Policy), names from the models are escaped.
    Times are left out: the same maps and photo give the same page.

    Raises `InputError` without maps or for maps of other axes, `ShapeError` where the photo has another size.

    >>> import torch, perimetry
    >>> found = perimetry.effective_fields(torch.nn.Conv2d(3, 4, 3).eval(), torch.rand(1, 3, 16, 16))
    >>> maps_html(list(found.values())).startswith("<!doctype html>")
    True
    """
    if not maps:
        raise InputError("expected at least one map, got none; pass the results of effective_field or occlude")
    for each in maps:
        if len(each.image_shape) != 2:
            raise InputError(f"only maps of two axes can be drawn, {each.unit!r} has {len(each.image_shape)}")
        gray_photo(each, photo)  # raises where the photo has another size
    views = map_views(maps, None if photo is None else photo.name)
    units = _units(maps, views)
    data = map_page_data(maps, views)
    page: str = template("maps.html.j2").render(
        views=views,
        first=data["maps"][0],
        units=units,
        ways=list(dict.fromkeys(view.way for view in views)),
        plotted=any(len(names) > 1 for names in units.values()),
        halves=any(each["values"]["bits"] == 16 for each in data["maps"]),
        columns=COLUMNS,
        picture=photo_uri(_picture(maps[0], photo)),
        photo=None if photo is None else photo_uri(photo),
        photo_name="" if photo is None else plain(photo.name),
        bars={name: _stops(signed=name == "signed") for name in ("plain", "signed")},
        data=json_for_script(data),
        **page_parts(["report.css", "maps.css"], ["theme.js", "map_plot.js", "maps.js"]),
    )
    return page


def _units(maps: Sequence[UnitMap], views: Sequence[MapView]) -> dict[str, list[tuple[int, str]]]:
    """The units of each model in the order of its network: the place of the first map of each, and its name."""
    found: dict[str, dict[str, int]] = {}
    for view in views:
        found.setdefault(view.model, {}).setdefault(view.unit, view.index)
    return {
        model: sorted(((index, unit) for unit, index in firsts.items()), key=lambda each: maps[each[0]].target.value)
        for model, firsts in found.items()
    }


def _picture(unit_map: UnitMap, photo: Photo | None) -> Photo:
    """The map over the gray photo, for browsers without scripts."""
    values = pixel_values(unit_map)
    colors = blend(values, gray_photo(unit_map, photo), Scale.of(values, root=by_root(unit_map)))
    height, width = values.shape
    return Photo(unit_map.unit, height, width, colors.tobytes())


def _stops(*, signed: bool) -> list[tuple[str, str]]:
    """The colour bar from top to bottom: places in percent, and colours."""
    scale = Scale(-1.0, 1.0, signed=True) if signed else Scale(0.0, 1.0)
    colors = bar(_STOPS, 1, scale)[:, 0].tolist()
    return [
        (f"{100 * place / (_STOPS - 1):g}%", "#{:02x}{:02x}{:02x}".format(*color)) for place, color in enumerate(colors)
    ]
