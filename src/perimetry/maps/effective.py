"""effective_field(): what a unit really sees, by the gradient with respect to the image."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.maps.hooked import hooked_gradients, hooked_output
from perimetry.maps.innocent import innocent_causes
from perimetry.maps.measurement import LUO_THRESHOLD, UnitMap, measure
from perimetry.maps.parts import Part, is_map
from perimetry.maps.pullback import Tape, carry_back, fixed_values, forward
from perimetry.maps.receptive import Walk, walk
from perimetry.maps.replay import ancestors
from perimetry.maps.subject import image_stream, loaded
from perimetry.maps.support import unit_mask
from perimetry.maps.targets import Target, find_target
from perimetry.models import LoadedModel
from perimetry.records import Network
from perimetry.tracing import trace
from perimetry.tracing.calls import references

if TYPE_CHECKING:
    from perimetry.maps.subject import Images, Model

Convention = Literal["luo2016", "replknet2022", "replknet2022-linear", "openerf"]
_AT_ONCE = 256 << 20  # bytes that the gradients of the targets carried back together may take on the largest map


@dataclass(frozen=True, slots=True)
class Definition:
    """One way to turn a unit and gradients into a map.

    target: what is differentiated, from the unit's elements y: "sum" over channels, "rectified sum" of max(y, 0), or
    "mean". of_image: from one image's gradient (C, H, W) to (H, W). of_all: from the mean over images to the map.
    """

    target: Literal["sum", "rectified sum", "mean"]
    of_image: Callable[[torch.Tensor], torch.Tensor]
    of_all: Callable[[torch.Tensor], torch.Tensor]
    source: str


def _magnitude(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.abs().sum(0)


def _rectified_then_summed(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.clamp(min=0).sum(0)


def _averaged_then_rectified(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.mean(0).clamp(min=0)


def _as_it_is(total: torch.Tensor) -> torch.Tensor:
    return total


def _by_maximum(total: torch.Tensor) -> torch.Tensor:
    return total / total.max() if total.max() > 0 else total


def _logarithm_by_maximum(total: torch.Tensor) -> torch.Tensor:
    return _by_maximum(torch.log10(total + 1))


def _by_sum(total: torch.Tensor) -> torch.Tensor:
    return total / total.sum() if total.sum() > 0 else total


CONVENTIONS: dict[str, Definition] = {
    "luo2016": Definition("sum", _magnitude, _as_it_is, "Luo, Li, Urtasun and Zemel 2016"),
    "replknet2022": Definition(
        "rectified sum", _rectified_then_summed, _logarithm_by_maximum, "Ding, Zhang, Han and Ding 2022 (RepLKNet)"
    ),
    "replknet2022-linear": Definition(
        "rectified sum", _rectified_then_summed, _by_maximum, "Ding et al. 2022, without the logarithm"
    ),
    "openerf": Definition("mean", _averaged_then_rectified, _by_sum, "the package openerf (Kim et al. 2023)"),
}


def effective_field(
    model: Model,
    images: Images,
    unit: str | None = None,
    *,
    convention: Convention = "luo2016",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> UnitMap:
    """The effective receptive field of one unit: how strongly each pixel moves it, averaged over images.

    model: a module in eval mode, a model's name or a `LoadedModel`. images: a batch (N, C, H, W), a photo, a folder,
    a list of these, or a number of images of Gaussian noise, drawn from `seed`. Any number: one is in memory at a time.
    unit: `layer`, `layer:channel`, `layer@row,column` or `layer:channel@row,column`; the centre where no position is
    given; without a unit, the centre of the last layer that has positions.
    progress: called with the images done and the images in all.

    Conventions, y being the unit's outputs, one per channel (or the one channel that was asked for):

    - "luo2016" (Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks"):
      the gradient of the sum of y; its magnitude, summed over the image's channels, averaged over images.
    - "replknet2022" (Ding et al. 2022, "Scaling Up Your Kernels to 31x31"): the gradient of the sum of max(y, 0);
      rectified per image channel, then summed over channels, averaged over images, then log10(x + 1), divided by its
      maximum. The logarithm makes it depend on the gradient's scale.
    - "replknet2022-linear": the same without the logarithm.
    - "openerf" (the package of that name): the gradient of the mean of y; averaged over the image's channels and
      rectified then (the opposite order), averaged over images, divided by its sum.

    The measurement counts pixels above 4.55 % of the maximum, under every convention. `notes` tells innocent reasons
    for a small field. Raises `UnknownNameError`, `InputError`, `ShapeError`, `TrainingModeError` or `FileError`.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Conv2d(1, 1, 3, padding=1)).eval()
    >>> found = effective_field(model, torch.ones(1, 1, 9, 9), "1")
    >>> found.target.unit, found.map.shape, found.measured.extent
    ((4, 4), (9, 9), (5, 5))
    """
    found = _measured(model, images, None if unit is None else [unit], convention, seed, progress, every=False)
    return next(iter(found.values()))


def effective_fields(
    model: Model,
    images: Images,
    units: str | Sequence[str] | None = None,
    *,
    convention: Convention = "luo2016",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, UnitMap]:
    """The effective fields of several units, or of the centre unit of every layer, from one forward pass per image.

    units: names as `effective_field` takes them, or one glob pattern over layers such as "layer*.conv2"; None asks for
    every layer. Layers without a known field, or of whole numbers, are left out where they were not asked for by name.
    The other arguments, the conventions and the errors are those of `effective_field`. Maps come by name, in the order
    of the layers.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.ReLU(), torch.nn.Conv2d(1, 1, 3)).eval()
    >>> list(effective_fields(model, 2, "[02]", seed=1))
    ['0', '2']
    """
    return _measured(model, images, units, convention, seed, progress, every=units is None)


def _measured(
    model: Model,
    images: Images,
    units: str | Sequence[str] | None,
    convention: str,
    seed: int,
    progress: Callable[[int, int], None] | None,
    *,
    every: bool,
) -> dict[str, UnitMap]:
    if convention not in CONVENTIONS:
        raise UnknownNameError("convention", str(convention), known=CONVENTIONS, advice=", ".join(CONVENTIONS))
    began = time.perf_counter()
    subject = loaded(model)
    count, stream = image_stream(subject, images, seed=seed)
    run: _Run | None = None
    for done, image in enumerate(stream, start=1):
        if run is None:
            run = _Run.begun(subject, image, units, CONVENTIONS[convention], every=every)
        run.add(image)
        if progress is not None:
            progress(done, count)
    assert run is not None, "there is at least one image"
    facts = {"definition": CONVENTIONS[convention].source, "seed": seed, "seconds": time.perf_counter() - began}
    return {name: run.result(name, convention, count, facts) for name in run.targets}


@dataclass(slots=True)
class _Run:
    """One measurement while it runs: what was traced, what is asked, and the sums over images so far.

    asked: the distinct (value, elements) behind the targets; sums: one map for each. silent: how many images moved
    each not at all. by_hooks: why the recorded program could not be used, where it could not.
    """

    subject: LoadedModel
    definition: Definition
    found: Walk
    targets: dict[str, Target]
    asked: list[tuple[int, tuple[int, ...]]]
    nodes: list[Any]
    sums: torch.Tensor
    silent: list[int]
    fixed: dict[int, torch.Tensor] | None = None
    by_hooks: str | None = None
    images: int = 0
    difference: float | None = None
    places: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begun(
        cls,
        subject: LoadedModel,
        image: torch.Tensor,
        units: str | Sequence[str] | None,
        definition: Definition,
        *,
        every: bool,
    ) -> _Run:
        example: Any = torch.empty(image.shape, dtype=image.dtype, device="meta")
        if subject.takes == "list":
            example = ([image[0]],)
        network = trace(subject.module, example, name=subject.name)
        if len(network.image_shape) != 2:
            raise ShapeError(f"expected a model of images (H, W), got image axes {network.image_shape}")
        found = walk(network)
        targets = _targets(found, units, every=every)
        elements = {name: _elements(found, target) for name, target in targets.items()}
        keys = list(dict.fromkeys((targets[name].value, elements[name]) for name in targets))
        keys.sort(key=lambda key: key[0])
        places = {name: keys.index((targets[name].value, elements[name])) for name in targets}
        return cls(
            subject=subject,
            definition=definition,
            found=found,
            targets=targets,
            asked=keys,
            nodes=ancestors(network, {value for value, _ in keys}),
            sums=torch.zeros((len(keys), *network.image_shape), dtype=torch.float64),
            silent=[0] * len(keys),
            places=places,
        )

    def add(self, image: torch.Tensor) -> None:
        """One more image."""
        network = self.found.network
        given = image[0] if self.subject.takes == "list" else image
        tape: Tape | None = None
        if self.by_hooks is None:
            try:
                if self.fixed is None:
                    self.fixed = fixed_values(network, self.nodes, given)
                tape = forward(network, self.nodes, self.fixed, given, frozenset(value for value, _ in self.asked))
                self._check(tape, image)
            except (InputError, RuntimeError) as error:
                # A program that follows the data, or writes where it cannot be followed; the model itself still runs.
                tape, self.by_hooks = None, str(error).splitlines()[0]
        for first in range(0, len(self.asked), self._together()):
            places = range(first, min(first + self._together(), len(self.asked)))
            if tape is not None:
                seeds = [(self.asked[place][0], self._seed(tape, place, place - first)) for place in places]
                gradients = carry_back(tape, seeds, len(places))
            else:
                gradients = hooked_gradients(self.subject, network, image, self._layers(places), self._differentiated)
            for place, gradient in zip(places, gradients, strict=True):
                one = self.definition.of_image(gradient.reshape(-1, *network.image_shape))
                self.silent[place] += int(not bool(one.any()))
                self.sums[place] += one.double().cpu()
        self.images += 1

    def _together(self) -> int:
        """How many targets are carried back at once."""
        largest = max(self.found.network.values[i].bytes for node in self.nodes for i in node.outputs if i is not None)
        return int(max(1, _AT_ONCE // max(1, largest)))

    def _check(self, tape: Tape, image: torch.Tensor) -> None:
        """The recorded program must give what the model gives: on the first image, or on all where it may differ."""
        network = self.found.network
        if self.images and network.captured != "real":
            return
        # The last module that was asked for: what comes before it is right, if it is.
        values = {layer.value: layer.name for layer in network.layers if layer.module and layer.value in tape.values}
        if not values:
            return
        value = max(values)
        made = hooked_output(self.subject, network, image, values[value])
        if made is None or made.shape != tape.values[value].shape:
            raise InputError("the model takes another way on this image than on the one that it was traced on")
        scale = max(float(made.abs().max()), 1e-30)
        self.difference = max(self.difference or 0.0, float((made - tape.values[value]).abs().max()) / scale)
        if not self.difference < 1e-3:
            raise InputError(f"the recorded program differs from the model by {self.difference:.1g} of its output")

    def _seed(self, tape: Tape, place: int, row: int) -> Part:
        """The gradient of a target with respect to its layer's output, as the smallest window that holds it."""
        value, elements = self.asked[place]
        output = tape.values[value]
        index = torch.tensor(elements, device=output.device)
        seed = torch.zeros(output.shape, dtype=output.dtype, device=output.device)
        weight = 1 / len(elements) if self.definition.target == "mean" else 1.0
        seed.view(-1)[index] = weight
        if self.definition.target == "rectified sum":
            seed = seed * (output > 0)
        if not is_map(output.shape):
            return Part((row,), seed[None], None)
        _, _, rows, columns = np.unravel_index(np.asarray(elements), tuple(output.shape))
        top, left = int(rows.min()), int(columns.min())
        return Part((row,), seed[:, :, top : int(rows.max()) + 1, left : int(columns.max()) + 1], (top, left))

    def _layers(self, places: range) -> list[tuple[str, tuple[int, ...]]]:
        """For each place, a layer that is a module's output, and the elements."""
        found = []
        for place in places:
            names = [name for name, own in self.places.items() if own == place]
            found.append((self.targets[names[0]].layer, self.asked[place][1]))
        return found

    def _differentiated(self, chosen: torch.Tensor) -> torch.Tensor:
        if self.definition.target == "mean":
            return chosen.mean()
        return (chosen.clamp(min=0) if self.definition.target == "rectified sum" else chosen).sum()

    def _normalised(self, value: int) -> bool:
        """True for what a layer norm made, seen as it is or in another layout."""
        network = self.found.network
        producer = network.values[value].producer
        while producer is not None and network.nodes[producer].view:
            source = next(references(network.nodes[producer].args))
            producer = network.values[source].producer
        return producer is not None and network.nodes[producer].op in (
            "aten.native_layer_norm",
            "aten.native_group_norm",
        )

    def result(self, name: str, convention: str, count: int, facts: dict[str, Any]) -> UnitMap:
        """The map of one target, measured."""
        target, place = self.targets[name], self.places[name]
        shape = (self.found.network.image_shape[0], self.found.network.image_shape[1])
        total = self.definition.of_all(self.sums[place] / self.images)
        array = total.to(torch.float32).numpy()
        box = target.clipped if target.clipped is not None and not target.clipped.empty else None
        centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
        if target.box is not None and target.field.size[0] is not None and target.field.size[1] is not None:
            centre = tuple((span.low + span.high) / 2 for span in target.box.spans)  # type: ignore[assignment]
        silent = self.silent[place] == self.images
        told = dict(facts) | {"silent_images": self.silent[place], "centre": list(centre)}
        if self.difference is not None:
            told["replay_difference"] = self.difference
        notes = list(innocent_causes(self.subject, silent=silent, unit=name, images=self.images))
        if target.channel is None and self.definition.target != "rectified sum" and self._normalised(target.value):
            notes.append(
                f"the channels of {target.layer} are normalised together, so that their sum moves little or not at all "
                f"(what is left may be rounding): ask for one channel, as {target.layer}:0"
            )
        if self.by_hooks is not None:
            notes.append(f"measured with hooks on the model itself, one backward pass a unit: {self.by_hooks}")
        return UnitMap(
            model=self.subject.name,
            unit=name,
            method="effective",
            convention=convention,
            map=array,
            tops=tuple(range(shape[0])),
            lefts=tuple(range(shape[1])),
            patch=None,
            image_shape=shape,
            target=target,
            measured=None if silent else measure(array, centre=centre, threshold=LUO_THRESHOLD, field_box=box),
            images=count,
            facts=told,
            notes=tuple(notes),
        )


def _targets(found: Walk, units: str | Sequence[str] | None, *, every: bool) -> dict[str, Target]:
    network = found.network
    if units is None and not every:
        units = [_last_with_positions(found)]
    if isinstance(units, str) and (any(mark in units for mark in "*?[") and units not in _names(network)):
        wanted = [name for name in _names(network) if fnmatch.fnmatchcase(name, units)]
        if not wanted:
            raise UnknownNameError("layer", units, known=_names(network))
    elif units is None:
        wanted = _names(network)
    else:
        targets = {name: find_target(found, name) for name in ([units] if isinstance(units, str) else units)}
        for target in targets.values():
            if not network.values[target.value].dtype.is_floating_point:
                raise InputError(f"layer {target.layer!r} holds whole numbers, which have no gradient")
        if not targets:
            raise InputError("expected at least one unit, got none")
        return targets
    return {name: find_target(found, name) for name in wanted if _measurable(found, name)}


def _names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


def _measurable(found: Walk, name: str) -> bool:
    value = found.network.layer(name).value
    if value in found.unknown or value not in found.views:
        return False
    shape = found.network.values[value].shape
    return found.network.values[value].dtype.is_floating_point and 0 not in shape


def _last_with_positions(found: Walk) -> str:
    """The last layer whose units see different pixels; the output where there is none."""
    for name in reversed(_names(found.network)):
        if _measurable(found, name) and max(find_target(found, name).field.units) > 1:
            return name
    return _names(found.network)[-1]


def _elements(found: Walk, target: Target) -> tuple[int, ...]:
    """Flat indices into the layer's whole output: windows of tokens stand along the first axis, too."""
    value, view = found.network.values[target.value], found.views[target.value]
    if len(value.shape) and value.shape[0] != 1 and target.unit is not None:
        mask = np.broadcast_to(unit_mask(value, view, target.unit, target.layer), value.shape)
        if target.channel is not None:
            mask = mask & (np.arange(value.shape[-1]) == target.channel)
        return tuple(int(index) for index in np.flatnonzero(mask))
    return target.elements
