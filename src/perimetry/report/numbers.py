"""How numbers, shapes, fields and names are written for people; escaping of names lives here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from perimetry.geometry import Field
from perimetry.records import LayerRecord, ModelRecord

PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def plain(text: str) -> str:
    r"""The text with everything that does not print written out, so that a hostile name can do nothing.

    Control characters (terminal escapes among them), marks that turn the direction of writing, and invisible
    characters become their Python escapes.

    >>> plain("conv\x1b[2J\u202e1")
    'conv\\x1b[2J\\u202e1'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def quantity(value: int, *, digits: int = 3) -> str:
    """A count with that many digits and a prefix of the SI.

    >>> quantity(25_557_032), quantity(4_089_184_256, digits=4), quantity(64), quantity(999_999)
    ('25.6 M', '4.089 G', '64', '1.00 M')
    """
    if abs(value) < 1000:
        return str(int(value))
    power = 0
    scaled = float(value)
    # Compare after rounding, so that 999 999 becomes 1.00 M and not 1000 k.
    while abs(float(f"{scaled:.{digits}g}")) >= 1000 and power < len(PREFIXES) - 1:
        scaled /= 1000
        power += 1
    whole_digits = len(str(int(abs(float(f"{scaled:.{digits}g}")))))
    return f"{scaled:.{max(0, digits - whole_digits)}f} {PREFIXES[power]}"


def megabytes(count: int) -> str:
    """Bytes as megabytes (10^6 bytes), three digits, without the unit.

    >>> megabytes(3_211_264), megabytes(0), megabytes(98_765_432), megabytes(40)
    ('3.21', '0', '98.8', '<0.01')
    """
    value = count / 1e6
    if count == 0:
        return "0"
    if value < 0.01:
        return "<0.01"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def share(part: int, total: int) -> str:
    """The part as a percentage of the total; empty where there is no total.

    >>> share(1, 80), share(0, 80), share(1, 80_000), share(80, 80), share(1, 0)
    ('1.2 %', '0 %', '<0.1 %', '100 %', '')
    """
    if total <= 0:
        return ""
    percent = 100 * part / total
    if part == 0:
        return "0 %"
    if percent < 0.1:
        return "<0.1 %"
    return "100 %" if percent >= 99.95 else f"{percent:.1f} %"


def ratio(value: int, first: int) -> str:
    """How many times the first value this is.

    >>> ratio(60, 25), ratio(1, 30), ratio(5, 0)
    ('×2.40', '×0.033', '')
    """
    if first <= 0:
        return ""
    times = value / first
    if times == 0:
        return "×0"
    if times >= 100:
        return f"×{times:.0f}"
    return f"×{times:.2f}" if times >= 0.1 else f"×{times:.2g}"


def fraction(value: Fraction) -> str:
    """A stride as people write it: 1/2, 32; a decimal where the denominator says nothing.

    >>> fraction(Fraction(1, 2)), fraction(Fraction(32)), fraction(Fraction(217, 97))
    ('1/2', '32', '2.237')
    """
    exact = Fraction(value)
    return str(exact) if exact.denominator <= 16 else f"{float(exact):.4g}"


def per_axis(texts: Sequence[str]) -> str:
    """One text where all axes agree, else one per axis joined by a cross.

    >>> per_axis(["7", "7"]), per_axis(["7", "5"])
    ('7', '7×5')
    """
    return texts[0] if texts and len(set(texts)) == 1 else "×".join(texts)


def size_text(field: Field) -> str:
    """The size of a field, "image" along axes where every unit sees everything, "none" where no pixel is seen."""
    if field.axes and all(size == 0 for size in field.size):
        return "none"
    return per_axis(["image" if size is None else str(size) for size in field.size]) or "image"


def stride_text(field: Field) -> str:
    """The effective stride of a field."""
    return per_axis([fraction(stride) for stride in field.stride])


def start_text(field: Field) -> str:
    """The first pixel of the first unit's field; nothing where every unit sees the whole image."""
    starts = [str(start) for start in field.start]
    return "" if field.whole_image else starts[0] if len(set(starts)) == 1 else ", ".join(starts)


def size_at_stride(field: Field) -> str:
    """Size and stride in one cell: "427 @ 32", or "image"."""
    alone = field.whole_image or not any(field.size)
    return size_text(field) if alone else f"{size_text(field)} @ {stride_text(field)}"


def shape_text(shape: Sequence[int]) -> str:
    """A shape with crosses: 64×112×112."""
    return "×".join(str(extent) for extent in shape) or "scalar"


def output_text(layer: LayerRecord, model: ModelRecord) -> str:
    """A layer's output shape without the batch axis, where it has one."""
    batched = len(model.input) == len(model.image_shape) + 2
    if batched and len(layer.shape) > 1 and layer.shape[0] == model.input[0]:
        return shape_text(layer.shape[1:])
    return shape_text(layer.shape)


def misaligned_text(offsets: Sequence[float]) -> str:
    """How far the centres of joined branches lie apart, in pixels per axis."""
    return per_axis([f"{offset:g}" for offset in offsets])


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number: results hold no NaN."""
    return value if math.isfinite(value) else None


def same_field(one: Field | None, other: Field | None) -> bool:
    """True where two fields would be told in the same words (bounds are not compared)."""
    if one is None or other is None:
        return one is other
    return one is other or (one.size, one.stride, one.start) == (other.size, other.stride, other.start)
