"""activation:relu|leaky_relu|prelu|...: another non-linearity in the same places."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from perimetry.surgery.edit import Edit

# Classes that libraries use between layers; sigmoids stand in gates, which are no activations of this kind.
SOURCES = frozenset(
    {
        "CELU", "ELU", "GELU", "GELUTanh", "HardSwish", "Hardswish", "HardSwishMe", "LeakyReLU", "Mish", "PReLU",
        "QuickGELU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Softplus", "Swish", "Tanh",
    }
)  # fmt: skip
# The usual arguments are torch's.
_MAKERS: dict[str, Callable[[float], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "relu6": lambda _: nn.ReLU6(),
    "leaky_relu": lambda slope: nn.LeakyReLU(slope),
    "prelu": lambda slope: nn.PReLU(init=slope),
    "rrelu": lambda _: nn.RReLU(),
    "elu": lambda alpha: nn.ELU(alpha),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(),
    "mish": lambda _: nn.Mish(),
    "hardswish": lambda _: nn.Hardswish(),
    "softplus": lambda _: nn.Softplus(),
    "tanh": lambda _: nn.Tanh(),
    "none": lambda _: nn.Identity(),
}
_USUAL = {"leaky_relu": 0.01, "prelu": 0.25, "elu": 1.0}


def is_activation(part: nn.Module) -> bool:
    """True for the non-linearities between layers that are known by their class."""
    return type(part).__name__ in SOURCES


def activation(edit: Edit) -> None:
    """Replace activations; one that works in place still does where the new one can."""
    value = edit.request.value
    argument = edit.request.number(_USUAL.get(value, 0.0))
    for path, layer in edit.matching(is_activation, "activation"):
        new = _MAKERS[value](argument)
        if hasattr(new, "inplace"):
            setattr(new, "inplace", bool(getattr(layer, "inplace", False)))  # noqa: B010 - torch types it as a Module
        edit.replace(path, edit.fitted(new))
    for part in edit.module.modules():
        if isinstance(part, nn.TransformerEncoderLayer) and isinstance(part.activation, nn.Module):
            # torch's layer takes its fused form, which has these two alone, by a note that it made when it was built.
            fused = {nn.ReLU: 1, nn.GELU: 2}
            part.activation_relu_or_gelu = fused.get(type(part.activation), 0)
    if value == "prelu":
        edit.notes.append("one slope for all channels, and one layer for all places that shared an activation")
