"""The facts that tracing and inspection produce: frozen records, and nothing that computes.

A traced model is a `Network`: `Value`s (tensors that appeared) joined by `Node`s (operator calls that made them), and
the `ModuleCall`s during which they ran. What is told to people is a `LayerRecord` per layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from perimetry.geometry import Field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    import torch


@dataclass(frozen=True, slots=True)
class ValueRef:
    """Stands for a tensor inside the recorded arguments of a node: the value with this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor as it was at one moment of the run: its form, never its contents.

    kind: "image" is an input whose pixels fields are counted in; "input" is any other input; "parameter" and
    "buffer" belong to the model; "constant" was found in the code; "result" was made by the node `producer`.
    tensor: the model's own tensor for parameters, buffers and constants (a reference, not a copy).
    """

    index: int
    kind: Literal["image", "input", "parameter", "buffer", "constant", "result"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    name: str = ""
    producer: int | None = None
    tensor: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        """Bytes of the tensor when stored densely."""
        count = self.dtype.itemsize
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True, slots=True)
class Node:
    """One operator call: what ran, on what, during which module call.

    op: the operator without its overload and without the mark of an in-place call, like "aten.add".
    func: the operator overload itself, so that the node can be run again.
    args, kwargs: as recorded, with a `ValueRef` for each tensor.
    outputs: value indices (None for outputs that are not tensors), in order.
    call: index of the module call it ran in.
    view: True where the outputs share memory with an input and nothing was written; in_place: True where the call
    wrote into one of its inputs.
    """

    index: int
    op: str
    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int | None, ...]
    call: int
    view: bool
    in_place: bool


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of one module: its path, its class, and the nodes that ran inside.

    path: the module's own name ("layer1.0.conv2"; "" for the model itself); nodes: [first, last) node indices;
    parent: index of the enclosing call (None for the model itself); leaf: no other module was called inside.
    outputs: (key, value index) for each tensor that came back; the key is "" for a lone tensor, else "[out]", "[0]".
    """

    index: int
    path: str
    module_type: str
    parent: int | None
    nodes: tuple[int, int]
    leaf: bool
    outputs: tuple[tuple[str, int], ...]
    training: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """A name that people can use, and the value it names.

    name: "layer4.2.conv3", "layer1.0/add" for an operator outside any leaf module, "name:2" for a second call.
    op: the module's class or the operator. call: index of the module call that the layer is or stands in.
    nodes: [first, last) node indices that ran inside. container: other layers ran inside.
    """

    name: str
    op: str
    value: int
    call: int
    nodes: tuple[int, int]
    container: bool
    module: bool


@dataclass(frozen=True, slots=True)
class Network:
    """A model as one run of it was recorded.

    image_shape: extents of the image axes, (H, W) for photos; image_axes: which axes of the image input they are.
    captured: how the run was made: "meta" and "fake" hold no activations, "real" computed everything.
    depends: for each value, whether the image has any influence on it.
    module_parameters: parameters inside each module path, shared ones once; "" is the whole model.
    """

    name: str
    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    calls: tuple[ModuleCall, ...]
    layers: tuple[Layer, ...]
    inputs: tuple[int, ...]
    outputs: tuple[tuple[str, int], ...]
    image_shape: tuple[int, ...]
    image_axes: tuple[int, ...]
    captured: Literal["meta", "fake", "real"]
    depends: tuple[bool, ...]
    module_parameters: Mapping[str, int]

    def layer(self, name: str) -> Layer:
        """The layer of that name; raises `UnknownNameError` with suggestions."""
        from perimetry.errors import UnknownNameError

        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnknownNameError("layer", name, known=[layer.name for layer in self.layers])


@dataclass(frozen=True, slots=True)
class UnknownOperator:
    """An operator without a rule, met while following the image: where, and on what shapes."""

    op: str
    layer: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]

    @property
    def message(self) -> str:
        """One sentence for people: what is unknown, where, and how to add a rule."""
        shapes = ", ".join(str(list(shape)) for shape in self.inputs)
        results = ", ".join(str(list(shape)) for shape in self.outputs)
        return (
            f"no rule for operator {self.op} at {self.layer!r} ({shapes} -> {results}); "
            f"what depends on it is unknown; add one with @perimetry.rule({self.op!r}), see docs/how-to/add-a-rule.md"
        )


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What one layer sees and what it costs: a row of `perimetry inspect`.

    name, op: the layer's name, and its module class or operator ("Conv2d", "aten.add").
    container: True for a module with other layers inside; its costs are the sum of theirs.
    shape: of its output. depth: how many names deep it stands ("conv1" is 1, "layer4.2.conv3" is 3).
    field: everything that can reach a unit; local_field: global gates set aside. None where unknown, with `reason`.
    global_by: the layer that made the field the whole image, if one did.
    upper_bound: True where a rule could not be exact, so that the field may be too large (never too small).
    parameters, macs (multiply-adds), activation_bytes (of new tensors that something reads later).
    unproductive: the local field on entry already exceeds the image on every axis, so the layer cannot see new
    context (Richter et al. 2021, "Should You Go Deeper? Optimizing Convolutional Neural Network Architectures
    without Training").
    misaligned: pixels (per axis) between the centres of the branches that it joins, None where they agree.
    """

    name: str
    op: str
    container: bool
    depth: int
    shape: tuple[int, ...]
    field: Field | None
    local_field: Field | None
    global_by: str | None
    upper_bound: bool
    reason: str | None
    parameters: int
    macs: int
    activation_bytes: int
    unproductive: bool
    misaligned: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The cost of a whole model: parameters, multiply-adds, activation bytes."""

    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class that a classifier answered: its label, or its number where no names are known, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class LayerChange:
    """One layer that was changed: its name, and what stands there before and after, each in a line."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a change can move: the costs of a model, and what its last layer with positions sees.

    layer: that layer's name, its local field's size (None where it is the whole image) and stride; all None where no
    layer has positions.
    """

    parameters: int
    macs: int
    layer: str | None = None
    size: tuple[int | None, ...] | None = None
    stride: tuple[Fraction, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change made to a model: as it was asked for, what it touched, and what came of it.

    kept: how many of the parameters are those of the model before, bit for bit; new: how many were drawn anew.
    notes: repairs that the change made necessary elsewhere.
    """

    change: str
    layers: tuple[LayerChange, ...]
    before: Figures
    after: Figures
    kept: int
    new: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Everything `perimetry inspect` says of one model on one image size.

    model: the name it was asked for by. input: the shape of the image batch, (N, C, H, W).
    image_shape: extents of the image axes (H, W). layers: in the order in which their outputs appeared, a container
    after its parts. unknown: operators without a rule. classes: top classes on the photo, when a classifier saw one.
    notes: sentences about the whole model. changes: what was changed in it, one after the other.
    """

    model: str
    input: tuple[int, ...]
    image_shape: tuple[int, ...]
    layers: tuple[LayerRecord, ...]
    totals: Totals
    unknown: tuple[UnknownOperator, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[ChangeRecord, ...] = ()

    def layer(self, name: str) -> LayerRecord:
        """The row of that layer; raises `UnknownNameError` with suggestions."""
        from perimetry.errors import UnknownNameError

        for row in self.layers:
            if row.name == name:
                return row
        raise UnknownNameError("layer", name, known=[row.name for row in self.layers])


@dataclass(frozen=True, slots=True)
class Photo:
    """The photo that models were shown: where it came from, and its pixels as the first model saw them.

    pixels: (H, W, 3) bytes, row after row, already resized and cropped to `height` x `width`.
    """

    name: str
    height: int
    width: int
    pixels: bytes = field(repr=False)
