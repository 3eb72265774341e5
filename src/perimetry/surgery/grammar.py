"""Changes as text: kind:value, for some of them :argument, and @pattern for the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from perimetry.errors import InputError, UnknownNameError

# kind -> value -> what its argument is ("" where it takes none)
VALUES: dict[str, dict[str, str]] = {
    "pool": {
        "max": "",
        "mean": "",
        "lp": "power",
        "conv": "",
        "blur": "",
        "maxblur": "taps",
        "stochastic": "",
    },
    "activation": {
        "relu": "",
        "relu6": "",
        "leaky_relu": "slope",
        "prelu": "slope",
        "rrelu": "",
        "elu": "alpha",
        "gelu": "",
        "silu": "",
        "mish": "",
        "hardswish": "",
        "softplus": "",
        "tanh": "",
        "none": "",
    },
    "stride": {},  # a number
    "conv5x5": {"3x3": ""},
    "factorize": {"1xn": ""},
    "reduce": {"add": "channels", "remove": ""},
    "lrn": {"add": "convention", "remove": ""},
    "batchnorm": {"add": "", "remove": ""},
    "l2norm": {"add": "scale", "remove": ""},
    "context": {"add": "scale"},
    "head": {"gap": ""},
}
_LARGEST = 2.0**127  # about what single precision holds
CONVENTIONS = ("paper", "caffe", "tensorflow")


@dataclass(frozen=True, slots=True)
class Request:
    """One change: its kind, its value, its argument ("" for the usual one), and which layers, by their names."""

    kind: str
    value: str
    argument: str = ""
    layers: str = "*"

    def __str__(self) -> str:
        words = [self.kind, self.value, self.argument] if self.argument else [self.kind, self.value]
        return ":".join(words) + ("" if self.layers == "*" else f"@{self.layers}")

    def number(self, usual: float, *, least: float = -math.inf) -> float:
        """The argument as a number of single precision; raises `InputError`."""
        if not self.argument:
            return usual
        try:
            value = float(self.argument)
        except ValueError:
            value = math.nan
        if not (abs(value) <= _LARGEST and value >= least):
            bound = f" of at least {least:g}" if math.isfinite(least) else ""
            raise InputError(f"{self} takes a number{bound} as its {self.meaning}, got {self.argument!r}")
        return value

    def whole(self, usual: int, *, least: int = 1) -> int:
        """The argument as a whole number; raises `InputError`."""
        value = self.number(usual, least=least)
        if value != int(value):
            raise InputError(f"{self} takes a whole number as its {self.meaning}, got {self.argument!r}")
        return int(value)

    @property
    def meaning(self) -> str:
        """What the argument is."""
        return VALUES[self.kind].get(self.value, "")


def parse(text: str, *, layers: str = "*") -> Request:
    """Read a change: "pool:mean", "pool:lp:3", "stride:16", or "pool:mean@features.4" for some layers only.

    layers: a pattern, where the text has none. Raises `UnknownNameError` with suggestions, `InputError`.

    >>> parse("activation:leaky_relu:0.2@layer4.*")
    Request(kind='activation', value='leaky_relu', argument='0.2', layers='layer4.*')
    """
    words, at, pattern = text.partition("@")
    kind, _, rest = words.partition(":")
    value, _, argument = rest.partition(":")
    request = Request(kind, value, argument, pattern if at else layers)
    if at and layers != "*":
        raise InputError(f"the layers are named twice, in {text!r} and as {layers!r}; name them once")
    if not request.layers:
        raise InputError(f"{text!r} ends without the layers; write a pattern behind @, such as {words}@features.*")
    known = [f"{each}:{value}" for each, values in VALUES.items() for value in values or ("16",)]
    if kind not in VALUES or (kind != "stride" and value not in VALUES[kind]):
        choices = f"{kind}: takes {', '.join(VALUES[kind])}" if kind in VALUES else f"one of {', '.join(VALUES)}"
        raise UnknownNameError("change", words, known=known, advice=f"{choices}, as in pool:mean")
    if argument and not request.meaning:
        raise InputError(f"{kind}:{value} takes no further argument, got {argument!r}")
    if kind == "stride" and not (value.isascii() and value.isdigit() and len(value) < 6):
        raise InputError(f"stride: takes the output stride as a whole number, such as stride:16, got {value!r}")
    if kind == "lrn" and argument and argument not in CONVENTIONS:
        raise UnknownNameError("convention", argument, known=CONVENTIONS, advice=f"one of {', '.join(CONVENTIONS)}")
    return replace(request, value=str(int(value))) if kind == "stride" else request
