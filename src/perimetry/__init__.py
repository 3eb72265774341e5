"""perimetry: receptive fields, measured and proven, for PyTorch vision models.

Everything public is named here and loaded on first use, so that `import perimetry` stays instant and loads no torch.

>>> import perimetry
>>> perimetry.Span(0, 2).size
3
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perimetry.errors import (
        FileError,
        InputError,
        MissingExtraError,
        PerimetryError,
        ShapeError,
        TraceError,
        TrainingModeError,
        UnknownNameError,
        WeightsError,
    )
    from perimetry.geometry import AxisField, Box, Field, Span
    from perimetry.images import load_photo
    from perimetry.inspection import Inspection, inspect
    from perimetry.maps import fields, support
    from perimetry.maps.effective import effective_field, effective_fields
    from perimetry.maps.measurement import UnitMap
    from perimetry.maps.occlusion import occlude
    from perimetry.models import LoadedModel, list_models, load_model
    from perimetry.records import LayerRecord, ModelRecord, Network, Photo
    from perimetry.rules import cost, rule
    from perimetry.scoring.boundaries import score_boundaries
    from perimetry.scoring.boxes import score_boxes
    from perimetry.scoring.labels import score_labels
    from perimetry.scoring.masks import score_masks
    from perimetry.scoring.results import Scored
    from perimetry.surgery import Changed, change
    from perimetry.tracing import endpoints, trace

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "FileError",
        "InputError",
        "MissingExtraError",
        "PerimetryError",
        "ShapeError",
        "TraceError",
        "TrainingModeError",
        "UnknownNameError",
        "WeightsError",
    ),
    "geometry": ("AxisField", "Box", "Field", "Span"),
    "images": ("load_photo",),
    "inspection": ("Inspection", "inspect"),
    "maps": ("fields", "support"),
    "maps.effective": ("effective_field", "effective_fields"),
    "maps.measurement": ("UnitMap",),
    "maps.occlusion": ("occlude",),
    "models": ("LoadedModel", "list_models", "load_model"),
    "records": ("LayerRecord", "ModelRecord", "Network", "Photo"),
    "rules": ("cost", "rule"),
    "scoring.boundaries": ("score_boundaries",),
    "scoring.boxes": ("score_boxes",),
    "scoring.labels": ("score_labels",),
    "scoring.masks": ("score_masks",),
    "scoring.results": ("Scored",),
    "surgery": ("Changed", "change"),
    "tracing": ("endpoints", "trace"),
}
_HOME_OF = {name: f"perimetry.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "AxisField",
    "Box",
    "Changed",
    "Field",
    "FileError",
    "InputError",
    "Inspection",
    "LayerRecord",
    "LoadedModel",
    "MissingExtraError",
    "ModelRecord",
    "Network",
    "PerimetryError",
    "Photo",
    "Scored",
    "ShapeError",
    "Span",
    "TraceError",
    "TrainingModeError",
    "UnitMap",
    "UnknownNameError",
    "WeightsError",
    "__version__",
    "change",
    "cost",
    "effective_field",
    "effective_fields",
    "endpoints",
    "fields",
    "inspect",
    "list_models",
    "load_model",
    "load_photo",
    "occlude",
    "rule",
    "score_boundaries",
    "score_boxes",
    "score_labels",
    "score_masks",
    "support",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'perimetry' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
