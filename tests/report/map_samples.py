"""Maps made by hand: a unit at row 12, column 22 of an image of 32 x 40 pixels."""

from fractions import Fraction

import numpy as np

from perimetry import Photo, UnitMap
from perimetry.geometry import AxisField, Box, Field, Span
from perimetry.maps.measurement import measure
from perimetry.maps.targets import Target
from perimetry.report.map_image import pixel_values

FIELD = Field((AxisField(21, Fraction(1), -10, True, [(-10 + i, 10 + i, 0, 10 + i) for i in range(32)]),) * 2)
BOX = Box((Span(2, 22), Span(12, 32)))


def unit_map(values, *, patch=None, shape=(32, 40), box=BOX, method="effective", threshold=0.5, **changed):
    """A map of a unit that stands at row 12, column 22."""
    values = np.asarray(values, dtype=np.float32)
    step = 1 if patch is None else patch[0] // 2
    clipped = None if box is None else box.clip(shape)
    told = {
        "model": "net",
        "unit": "conv@12,22",
        "method": method,
        "convention": "luo2016" if method == "effective" else "signed",
        "map": values,
        "tops": tuple(step * row for row in range(values.shape[0])),
        "lefts": tuple(step * column for column in range(values.shape[1])),
        "patch": patch,
        "image_shape": shape,
        "target": Target("conv@12,22", "conv", 0, None, (12, 22), (0,), FIELD, box, clipped),
        "measured": None,
        "images": 1,
        "facts": {},
    } | changed
    bare = UnitMap(**told)
    if not values.any():
        return bare
    found = measure(
        np.nan_to_num(pixel_values(bare, of="magnitudes")), centre=(12, 22), threshold=threshold, field_box=clipped
    )
    return UnitMap(**told | {"measured": found})


def blob(top=8, bottom=16, left=18, right=26, shape=(32, 40)):
    values = np.zeros(shape)
    values[top : bottom + 1, left : right + 1] = 1
    return values


def photo(shape=(32, 40), value=200):
    return Photo("cat.jpg", *shape, bytes([value]) * (shape[0] * shape[1] * 3))


def fields_of(found):
    return {name: getattr(found, name) for name in UnitMap.__dataclass_fields__}


def layer_map(unit, *, order, half=4, size=21, **changed):
    """A map of another layer's unit: a square of that half width, a field of that size, a place in the network."""
    field = Field(tuple(AxisField(size, Fraction(2), -5, True, []) for _ in range(2)))
    box = None if size is None else Box((Span(12 - size // 2, 12 + size // 2), Span(22 - size // 2, 22 + size // 2)))
    target = Target(unit, unit, order, None, (12, 22), (0,), field, box, None if box is None else box.clip((32, 40)))
    values = blob(max(0, 12 - half), 12 + half, 22 - half, 22 + half) * np.linspace(1, 2, 40)
    return unit_map(values, unit=unit, target=target, **changed)


def covered(unit="conv@12,22", *, patch=(8, 8), **changed):
    """An occlusion map of 7 x 9 patches with values of both signs, one of them missing."""
    values = np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)
    facts = {
        "fill": "noise",
        "seed": 3,
        "positions": 63,
        "positions_run": 20,
        "saving_limit": 12.34,
        "run_seconds": 1.5,
    }
    return unit_map(values, patch=patch, method="occlusion", unit=unit, **{"facts": facts} | changed)
