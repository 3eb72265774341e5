"""Records made by hand, so that reports are tested without a model: fields are affine and easy to check."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from perimetry.geometry import AxisField, Field
from perimetry.records import ClassScore, LayerRecord, ModelRecord, Photo, Totals, UnknownOperator

HOSTILE_SCRIPT = "</script><script>alert(1)</script>"
HOSTILE_ESCAPE = "conv\x1b[2J\x1b]0;owned\x07\x9b31m"
HOSTILE_MARKS = "rtl\u202egnp.exe\u2066\u200b[bold red]x[/bold red]"
HOSTILE_LONG = "very.long." * 40 + "end"
HOSTILE_HTML = "<img src=x onerror=alert(1)>&amp;{{ 7*7 }}"


def axis(size: int, stride: int | Fraction, start: int, units: int, extent: int) -> AxisField:
    """An affine axis: unit i sees `size` pixels from `start + i * stride`, rounded down."""
    lows = [start + int(Fraction(stride) * unit // 1) for unit in range(units)]
    bounds = [(low, low + size - 1, max(low, 0), min(low + size - 1, extent - 1)) for low in lows]
    return AxisField(size=size, stride=Fraction(stride), start=start, uniform=True, bounds=bounds)


def whole(extent: int, units: int = 1) -> AxisField:
    """An axis along which every unit sees the whole image."""
    bounds = [(0, extent - 1, 0, extent - 1)] * units
    return AxisField(size=None, stride=Fraction(0), start=0, uniform=True, bounds=bounds)


def layer(name: str, op: str = "Conv2d", **facts: object) -> LayerRecord:
    """A row with plain defaults; any field of `LayerRecord` can be given."""
    defaults: dict[str, object] = {
        "container": False,
        "depth": name.count(".") + name.count("/") + 1,
        "shape": (1, 8, 8, 8),
        "field": None,
        "local_field": None,
        "global_by": None,
        "upper_bound": False,
        "reason": None,
        "parameters": 0,
        "macs": 0,
        "activation_bytes": 0,
        "unproductive": False,
        "misaligned": None,
    }
    return LayerRecord(name=name, op=op, **{**defaults, **facts})


@dataclass
class Walk:
    """Follows a chain of convolutions and poolings: the classical recurrence for size, stride and start."""

    image: tuple[int, ...]
    size: int = 1
    stride: int = 1
    start: int = 0

    def step(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Field:
        """The field after one more operator."""
        self.start -= padding * self.stride
        self.size += dilation * (kernel - 1) * self.stride
        self.stride *= stride
        return self.field()

    def field(self) -> Field:
        """The field as it now stands."""
        return Field(
            tuple(axis(self.size, self.stride, self.start, -(-extent // self.stride), extent) for extent in self.image)
        )


def residual_network(
    name: str = "synthetic:residual",
    image: tuple[int, ...] = (64, 96),
    blocks: tuple[int, ...] = (2, 2, 2),
    *,
    width: int = 16,
    extra: tuple[LayerRecord, ...] = (),
) -> ModelRecord:
    """A small residual network: a stem, stages of blocks with containers, a global pooling and a classifier."""
    walk = Walk(image)
    rows: list[LayerRecord] = []

    def add(path: str, op: str, field: Field, channels: int, parameters: int = 0, kernel: int = 0, **facts) -> None:
        units = 1
        for extent in field.units:
            units *= extent
        rows.append(
            layer(
                path,
                op,
                shape=(1, channels, *field.units),
                field=facts.pop("full", field),
                local_field=field,
                parameters=parameters,
                macs=parameters * units if kernel else 0,
                activation_bytes=4 * channels * units,
                **facts,
            )
        )

    def contain(path: str, op: str, since: int) -> None:
        parts, last = rows[since:], rows[-1]
        leaves = [row for row in parts if not row.container]
        rows.append(
            layer(
                path,
                op,
                container=True,
                shape=last.shape,
                field=last.field,
                local_field=last.local_field,
                global_by=last.global_by,
                unproductive=all(row.unproductive for row in leaves),
                parameters=sum(row.parameters for row in leaves),
                macs=sum(row.macs for row in leaves),
                activation_bytes=sum(row.activation_bytes for row in leaves),
            )
        )

    add("stem.conv", "Conv2d", walk.step(7, 2, 3), width, 147 * width, 7)
    add("stem.relu", "ReLU", walk.field(), width)
    contain("stem", "Sequential", 0)
    channels = width
    for stage, count in enumerate(blocks, start=1):
        stage_begin = len(rows)
        for block in range(count):
            begin, path = len(rows), f"stage{stage}.{block}"
            stride, before = (2 if block == 0 else 1), channels
            channels = width * 2**stage
            late = all(walk.size > extent for extent in image)
            add(
                f"{path}.conv1",
                "Conv2d",
                walk.step(3, stride, 1),
                channels,
                9 * before * channels,
                3,
                unproductive=late,
            )
            add(f"{path}.conv2", "Conv2d", walk.step(3, 1, 1), channels, 9 * channels**2, 3, unproductive=late)
            add(f"{path}/add", "aten.add", walk.field(), channels, unproductive=late)
            contain(path, "Block", begin)
        contain(f"stage{stage}", "Sequential", stage_begin)
    everything = Field(tuple(whole(extent) for extent in image))
    begin = len(rows)
    add("head.pool", "AdaptiveAvgPool2d", everything, channels, global_by="head.pool")
    add("head.fc", "Linear", everything, 1000, channels * 1000 + 1000, 1, global_by="head.pool")
    contain("head", "Head", begin)
    rows += extra
    leaves = [row for row in rows if not row.container]
    return ModelRecord(
        model=name,
        input=(1, 3, *image),
        image_shape=image,
        layers=tuple(rows),
        totals=Totals(
            parameters=sum(row.parameters for row in leaves),
            macs=sum(row.macs for row in leaves),
            activation_bytes=sum(row.activation_bytes for row in leaves),
        ),
    )


def awkward_network() -> ModelRecord:
    """One of everything that needs a mark: a gate, halves of a stride, unknown, upper bound, misaligned, hostile."""
    image = (64, 96)
    local = Field((axis(15, 4, -6, 16, 64), axis(15, 4, -6, 24, 96)))
    full = Field((whole(64, 16), whole(96, 24)))
    doubled = Field((axis(19, Fraction(1, 2), -9, 128, 64), axis(21, Fraction(1, 2), -10, 192, 96)))
    uneven = Field(
        tuple(
            AxisField(
                size=30, stride=Fraction(61, 3), start=0, uniform=False, bounds=[(0, 29, 0, 29), (21, 47, 21, 47)]
            )
            for _ in image
        )
    )
    message = UnknownOperator("custom.warp", "neck.warp", ((1, 8, 16, 24),), ((1, 8, 16, 24),))
    rows = (
        layer("gate", "SqueezeExcitation", field=full, local_field=local, global_by="gate.avgpool", macs=1200),
        layer("up", "Upsample", field=doubled, local_field=doubled, upper_bound=True, activation_bytes=98304),
        layer("join/cat", "aten.cat", field=local, local_field=local, misaligned=(0.5, 1.5), unproductive=True),
        layer("bins", "AdaptiveAvgPool2d", field=uneven, local_field=uneven, parameters=40),
        layer("neck.warp", "Warp", reason=message.message, parameters=12, macs=5_000_000),
        layer(HOSTILE_SCRIPT, HOSTILE_HTML, field=local, local_field=local, parameters=7),
        layer(HOSTILE_ESCAPE, "Conv\x1b[31m2d", field=full, local_field=local, global_by=HOSTILE_SCRIPT),
        layer(HOSTILE_MARKS, "ReLU", field=local, local_field=local),
        layer(HOSTILE_LONG, "ReLU", field=local, local_field=local, depth=1),
    )
    return ModelRecord(
        model="synthetic:awkward",
        input=(1, 3, *image),
        image_shape=image,
        layers=rows,
        totals=Totals(
            parameters=sum(row.parameters for row in rows) + 100,
            macs=sum(row.macs for row in rows),
            activation_bytes=sum(row.activation_bytes for row in rows),
        ),
        unknown=(message,),
        classes=(ClassScore("Egyptian cat", 0.381), ClassScore(HOSTILE_HTML, 0.25)),
        notes=("captured on meta tensors",),
    )


def photo(height: int = 64, width: int = 96) -> Photo:
    """A smooth colour gradient with a grid, easy to recognise on a screenshot."""
    pixels = bytearray()
    for row in range(height):
        for column in range(width):
            line = 40 if row % 16 == 0 or column % 16 == 0 else 0
            pixels += bytes((60 + 180 * column // width, 90 + line, 60 + 150 * row // height))
    return Photo(name="gradient", height=height, width=width, pixels=bytes(pixels))
