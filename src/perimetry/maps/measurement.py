"""UnitMap and Measurement: what a unit's measured map is, how large it is, and its files. Plain numpy."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perimetry.errors import FileError, InputError, ShapeError
from perimetry.files import write_whole
from perimetry.geometry import AxisField, Box, Field, Span
from perimetry.maps.grid import spread
from perimetry.maps.shape import Shape, shape_of
from perimetry.maps.targets import Target

SHARES = {"r20": 0.20, "r30": 0.30, "r50": 0.50, "r99": 0.99}
RADII = {"d50": 0.50, "d95": 0.95, "d99": 0.99}
LUO_THRESHOLD = 1 - 0.9545  # of the maximum: what lies beyond two standard deviations of a Gaussian

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """How large a map is: sizes in pixels of the map, and shares of the image.

    area: pixels above the threshold; extent: rows and columns of their bounding box; size: the square root of `area`
    (Luo et al. 2016). threshold: as a share of the map's maximum.
    shares: "r20" ... "r99", the area (as a share of the image's) of the smallest centred odd square that holds more
    than that share of the mass (Ding et al. 2022). radii: "d50", "d95", "d99", the distance from the centre in pixels
    within which that share of the mass lies.
    of_field: `area` as a fraction of the theoretical field's inside the image, None where there is none; of_image: as
    a fraction of the image's. shape: how round, full and peaked it is, None for a map of zeros.
    """

    area: int
    extent: tuple[int, int]
    size: float
    threshold: float
    shares: Mapping[str, float]
    radii: Mapping[str, float]
    of_field: float | None
    of_image: float
    shape: Shape | None = None


def measure(
    map: Array,  # noqa: A002 - it is what the thing is called
    *,
    centre: tuple[float, float],
    threshold: float = LUO_THRESHOLD,
    field_box: Box | None = None,
) -> Measurement:
    """Measure the magnitudes of a map (H, W) around a unit's centre.

    centre: (row, column) of the field's centre in pixels, pixel (0, 0) having its centre at (0, 0); the middle of an
    even field lies between two pixels. threshold: a share of the largest magnitude, 0 <= threshold < 1.
    field_box: the unit's theoretical field inside the image.

    Squares are centred on the pixel at (floor(row), floor(column)) and cut off at the image's border; their area is
    what remains, so that a share never exceeds 1, and for a centre unit it is side^2 / (H * W) as published. Radii
    count from the centre itself to the pixels' centres. A map of zeros has area, shares and radii 0.

    Raises `ShapeError` for a map that is not (H, W), `InputError` for values or a threshold that mean nothing.

    >>> ring = np.array([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]])
    >>> found = measure(ring, centre=(1, 1), threshold=0.5)
    >>> found.area, found.extent, found.shares["r20"], found.radii["d95"]
    (1, (1, 1), 0.1111111111111111, 1.0)
    """
    values = np.asarray(map)
    if values.ndim != 2 or 0 in values.shape:
        raise ShapeError(f"expected a map (H, W), got shape {values.shape}")
    check_threshold(threshold)
    if not np.isfinite(values).all():
        raise InputError("the map holds NaN or infinite values; it cannot be measured")
    mass = np.abs(values.astype(np.float64))
    above = mass > threshold * mass.max()
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    area = int(above.sum())
    extent = (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)) if area else (0, 0)
    field_area = 0 if field_box is None else int(np.prod(field_box.size))
    return Measurement(
        area=area,
        extent=extent,
        size=float(np.sqrt(area)),
        threshold=threshold,
        shares=_shares(mass, centre),
        radii=_radii(mass, centre),
        of_field=area / field_area if field_area else None,
        of_image=area / mass.size,
        shape=shape_of(mass, above),
    )


def check_threshold(threshold: float) -> None:
    """Raise `InputError` for what is no share of a maximum."""
    if not 0 <= threshold < 1:
        raise InputError(f"expected a threshold from 0 to below 1 (a share of the maximum), got {threshold}")


def unit_centre(target: Target, image_shape: tuple[int, int]) -> tuple[float, float]:
    """(row, column) of the centre of a unit's field; the image's where the field is the whole image, or unknown."""
    if target.box is not None and not target.box.empty and None not in target.field.size:
        rows, columns = target.box.spans
        return (rows.low + rows.high) / 2, (columns.low + columns.high) / 2
    return (image_shape[0] - 1) / 2, (image_shape[1] - 1) / 2


def _shares(mass: Array, centre: tuple[float, float]) -> dict[str, float]:
    """Area of the smallest centred odd square, cut off at the border, that holds more than each share."""
    total = mass.sum()
    if total == 0:
        return dict.fromkeys(SHARES, 0.0)
    height, width = mass.shape
    row, column = int(np.floor(centre[0])), int(np.floor(centre[1]))
    # The square that reaches a pixel is that of its larger distance along an axis.
    distance = np.maximum(np.abs(np.arange(height) - row)[:, None], np.abs(np.arange(width) - column)[None])
    held = np.cumsum(np.bincount(distance.ravel(), weights=mass.ravel()))
    area = np.cumsum(np.bincount(distance.ravel()))
    held = held / held[-1]
    return {key: float(area[np.argmax(held > share)]) / mass.size for key, share in SHARES.items()}


def _radii(mass: Array, centre: tuple[float, float]) -> dict[str, float]:
    """Distance from the centre within which at least each share lies."""
    if mass.sum() == 0:
        return dict.fromkeys(RADII, 0.0)
    height, width = mass.shape
    distance = np.hypot((np.arange(height) - centre[0])[:, None], (np.arange(width) - centre[1])[None]).ravel()
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(mass.ravel()[order])
    # Rounding may leave the sum a little short of a share that the pixels hold exactly.
    found = np.searchsorted(held, [share * held[-1] * (1 - 1e-12) for share in RADII.values()])
    return {key: float(distance[order[place]]) for key, place in zip(RADII, found, strict=True)}


@dataclass(frozen=True, slots=True)
class UnitMap:
    """What one unit really sees: a map, where it stands on the image, and what was measured.

    map: float32, (H, W) pixels for "effective", (rows, columns) of the grid of patches for "occlusion"; tops, lefts:
    the first pixel of each of its rows and columns; patch: pixels (rows, columns) of a patch, None for pixels.
    convention: the definition by name; measured: None where the map holds nothing to measure (see `notes`).
    magnitude: like `map`, the mean magnitude over images that was measured, where it is not the map's own.
    facts: numbers and texts of the run; those named "...seconds" tell of the machine and are not stored in files.
    """

    model: str
    unit: str
    method: Literal["effective", "occlusion"]
    convention: str
    map: npt.NDArray[np.float32]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    patch: tuple[int, int] | None
    image_shape: tuple[int, int]
    target: Target
    measured: Measurement | None
    images: int
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    magnitude: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.map.shape != (len(self.tops), len(self.lefts)):
            raise ShapeError(
                f"a map of {len(self.tops)} rows and {len(self.lefts)} columns was told, its shape is {self.map.shape}"
            )

    def with_share(self, share: float) -> UnitMap:
        """The same map, measured where its magnitude exceeds another share of the maximum; raises `InputError`."""
        if self.measured is None:
            return self
        mass = np.abs(self.map) if self.magnitude is None else self.magnitude
        if self.patch is not None:
            mass = spread(mass, self.tops, self.lefts, self.patch, self.image_shape)
        clipped = self.target.clipped
        return replace(
            self,
            measured=measure(
                mass,
                centre=unit_centre(self.target, self.image_shape),
                threshold=share,
                field_box=None if clipped is None or clipped.empty else clipped,
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, in the stable form of `perimetry map --json` ("schema": 1), without the array."""
        return {"schema": 1, **self._told(), "facts": _plain(self.facts)}

    def to_json(self, *, indent: int | None = 1) -> str:
        """The result as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def _told(self) -> dict[str, Any]:
        target = self.target
        told: dict[str, Any] = {
            "model": self.model,
            "unit": self.unit,
            "method": self.method,
            "convention": self.convention,
            "field": _field_data(target.field),
            "measured": None if self.measured is None else _measured_data(self.measured),
            "images": self.images,
            "image_shape": list(self.image_shape),
            "layer": target.layer,
            "channel": target.channel,
            "position": None if target.unit is None else list(target.unit),
            "box": _box_data(target.box),
            "clipped": _box_data(target.clipped),
            "map_shape": list(self.map.shape),
            "patch": None if self.patch is None else list(self.patch),
            "notes": list(self.notes),
        }
        if self.measured is None:
            told["reason"] = "the map is zero everywhere; see the notes"
        return told

    def save_npz(self, path: str | Path) -> None:
        """Write the map and all facts to an NPZ file, in one step: it holds the old content or all of the new.

        Arrays "map", "tops", "lefts", "elements", "field_bounds_0", ...; "meta" is a JSON text. The same result gives
        the same bytes. Raises `InputError` where the file cannot be written.
        """
        meta = self._told() | {"facts": {k: v for k, v in _plain(self.facts).items() if not k.endswith("seconds")}}
        meta |= {"target": self.target.name, "value": self.target.value, "strides": _strides(self.target.field)}
        arrays: dict[str, Array] = {
            "map": np.ascontiguousarray(self.map, dtype=np.float32),
            "tops": np.asarray(self.tops, dtype=np.int64),
            "lefts": np.asarray(self.lefts, dtype=np.int64),
            "elements": np.asarray(self.target.elements, dtype=np.int64),
            "meta": np.asarray(json.dumps(meta, allow_nan=False)),
        }
        if self.magnitude is not None:
            arrays["magnitude"] = np.ascontiguousarray(self.magnitude, dtype=np.float32)
        for place, axis in enumerate(self.target.field.axes):
            arrays[f"field_bounds_{place}"] = np.asarray(axis.bounds, dtype=np.int64).reshape(-1, 4)
        write_whole(path, _npz(arrays))


def load_npz(path: str | Path) -> UnitMap:
    """Read what `UnitMap.save_npz` wrote; raises `FileError` for anything else. Nothing in the file is executed."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays["meta"]))
        bounds = [arrays[f"field_bounds_{place}"] for place in range(len(meta["strides"]))]
        told, measured = meta["field"], meta["measured"]
        axes = tuple(
            AxisField(size, Fraction(stride), start, told["uniform"], rows)
            for size, stride, start, rows in zip(told["size"], meta["strides"], told["start"], bounds, strict=True)
        )
        position = meta["position"]
        return UnitMap(
            model=meta["model"],
            unit=meta["unit"],
            method=meta["method"],
            convention=meta["convention"],
            map=arrays["map"],
            tops=tuple(arrays["tops"].tolist()),
            lefts=tuple(arrays["lefts"].tolist()),
            patch=None if meta["patch"] is None else (meta["patch"][0], meta["patch"][1]),
            image_shape=(meta["image_shape"][0], meta["image_shape"][1]),
            target=Target(
                name=meta["target"],
                layer=meta["layer"],
                value=meta["value"],
                channel=meta["channel"],
                unit=None if position is None else tuple(position),
                elements=tuple(arrays["elements"].tolist()),
                field=Field(axes),
                box=_box(meta["box"]),
                clipped=_box(meta["clipped"]),
            ),
            measured=None if measured is None else _measurement(measured),
            images=meta["images"],
            facts=meta["facts"],
            notes=tuple(meta["notes"]),
            magnitude=arrays.get("magnitude"),
        )
    except FileNotFoundError:
        raise FileError(f"no such file: {path}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} is not a map that perimetry saved: {error}") from error


def _measured_data(measured: Measurement) -> dict[str, Any]:
    told = asdict(measured)
    shares, radii = told.pop("shares"), told.pop("radii")
    return {"area": told.pop("area"), "extent": list(told.pop("extent")), **shares, **radii, **told}


def _measurement(told: Mapping[str, Any]) -> Measurement:
    return Measurement(
        area=told["area"],
        extent=(told["extent"][0], told["extent"][1]),
        size=told["size"],
        threshold=told["threshold"],
        shares={key: told[key] for key in SHARES},
        radii={key: told[key] for key in RADII},
        of_field=told["of_field"],
        of_image=told["of_image"],
        shape=None if told.get("shape") is None else _shape(told["shape"]),
    )


def _shape(told: Mapping[str, Any]) -> Shape:
    return Shape(
        deviations=(told["deviations"][0], told["deviations"][1]),
        eccentricity=told["eccentricity"],
        kurtosis=told["kurtosis"],
        fill=told["fill"],
    )


def _field_data(field: Field) -> dict[str, Any]:
    strides = [int(stride) if stride.denominator == 1 else float(stride) for stride in field.stride]
    size = [None if extent is None else int(extent) for extent in field.size]
    return {
        "size": size,
        "stride": strides,
        "start": [int(start) for start in field.start],
        "uniform": bool(field.uniform),
    }


def _strides(field: Field) -> list[str]:
    return [str(stride) for stride in field.stride]


def _box_data(box: Box | None) -> list[list[int]] | None:
    """[[first row, last row], [first column, last column]]."""
    return None if box is None else [[int(span.low), int(span.high)] for span in box.spans]


def _box(told: list[list[int]] | None) -> Box | None:
    return None if told is None else Box(tuple(Span(low, high) for low, high in told))


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as JSON has them: numpy's numbers and tuples turned into plain ones, what is not finite into null."""

    def told(fact: Any) -> Any:
        if isinstance(fact, Mapping):
            return {str(key): told(item) for key, item in fact.items()}
        if isinstance(fact, list | tuple | np.ndarray):
            return [told(item) for item in fact]
        if isinstance(fact, np.generic):
            fact = fact.item()
        return None if isinstance(fact, float) and not np.isfinite(fact) else fact

    return {str(key): told(fact) for key, fact in facts.items()}


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as an NPZ file without times, so that the same arrays are the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            inner = io.BytesIO()
            np.lib.format.write_array(inner, array, allow_pickle=False)
            file.writestr(entry, inner.getvalue())
    return buffer.getvalue()
