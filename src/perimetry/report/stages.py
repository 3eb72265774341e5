"""Layers grouped by effective stride: what each stage costs, and how stages of several models compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from perimetry.geometry import Field
from perimetry.records import LayerRecord, ModelRecord, Totals
from perimetry.report.numbers import fraction, per_axis

# "global": all units see the same pixels (poolings over the image, what follows them, and gates); "rest": parameters
# that no layer of the run used. Stages come in this order, strides ascending.
Kind = Literal["stride", "global", "unknown", "rest"]
KINDS: tuple[Kind, ...] = ("stride", "global", "unknown", "rest")
LABELS = {"global": "global", "unknown": "unknown", "rest": "not in this run"}


@dataclass(frozen=True, slots=True)
class Stage:
    """The layers whose local fields step by the same stride, and the sum of their costs.

    stride: per axis; None for the other kinds.
    count: layers, containers not counted. field: the local field of the last layer that has one.
    """

    kind: Kind
    stride: tuple[Fraction, ...] | None
    count: int
    parameters: int
    macs: int
    activation_bytes: int
    field: Field | None

    @property
    def key(self) -> tuple[Kind, tuple[Fraction, ...] | None]:
        """What stages of different models are aligned by."""
        return self.kind, self.stride

    @property
    def label(self) -> str:
        """Words for people: "32", "1/2", "global"."""
        return LABELS[self.kind] if self.stride is None else per_axis([fraction(each) for each in self.stride])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Stages of several models, aligned by stride.

    rows: one per stride that any model has; each holds one `Stage` per model, None where a model has no such stage.
    """

    models: tuple[str, ...]
    rows: tuple[tuple[Stage | None, ...], ...]
    totals: tuple[Totals, ...]


def stage_key(layer: LayerRecord) -> tuple[Kind, tuple[Fraction, ...] | None]:
    """Which stage a layer belongs to: decided by the stride of its local field."""
    field = layer.local_field
    if field is None:
        return "unknown", None
    if field.whole_image or all(stride == 0 for stride in field.stride):
        return "global", None
    return "stride", tuple(Fraction(stride) for stride in field.stride)


def _order(key: tuple[Kind, tuple[Fraction, ...] | None]) -> tuple[int, Fraction, tuple[Fraction, ...]]:
    kind, stride = key
    return KINDS.index(kind), math.prod(stride or (), start=Fraction(1)), stride or ()


def stages(model: ModelRecord) -> tuple[Stage, ...]:
    """The model's layers grouped by stride, strides ascending; costs add up to the model's totals."""
    groups: dict[tuple[Kind, tuple[Fraction, ...] | None], list[LayerRecord]] = {}
    for layer in model.layers:
        if not layer.container:
            groups.setdefault(stage_key(layer), []).append(layer)
    result = []
    for key in sorted(groups, key=_order):
        members = groups[key]
        result.append(
            Stage(
                kind=key[0],
                stride=key[1],
                count=len(members),
                parameters=sum(layer.parameters for layer in members),
                macs=sum(layer.macs for layer in members),
                activation_bytes=sum(layer.activation_bytes for layer in members),
                field=members[-1].local_field,
            )
        )
    unused = model.totals.parameters - sum(stage.parameters for stage in result)
    if unused > 0:
        result.append(Stage("rest", None, 0, unused, 0, 0, None))
    return tuple(result)


def comparison(models: Sequence[ModelRecord]) -> Comparison:
    """The stages of several models side by side, aligned by stride."""
    tables = [{stage.key: stage for stage in stages(model)} for model in models]
    keys = sorted({key for table in tables for key in table}, key=_order)
    return Comparison(
        models=tuple(model.model for model in models),
        rows=tuple(tuple(table.get(key) for table in tables) for key in keys),
        totals=tuple(model.totals for model in models),
    )
