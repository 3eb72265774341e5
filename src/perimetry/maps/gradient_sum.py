"""The gradients of units with respect to the image, summed over images as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from perimetry.errors import InputError, ShapeError, first_line
from perimetry.maps.conventions import Definition
from perimetry.maps.hooked import hooked_gradients, hooked_output
from perimetry.maps.innocent import innocent_causes
from perimetry.maps.measurement import LUO_THRESHOLD, UnitMap, measure
from perimetry.maps.parts import Part, is_map
from perimetry.maps.program import Program
from perimetry.maps.pullback import OneAtATimeError, Tape, carry_back, fixed_values, forward, without_norms
from perimetry.maps.receptive import Walk, walk
from perimetry.maps.replay import ancestors
from perimetry.maps.selection import elements_of, wanted_targets
from perimetry.maps.targets import Target
from perimetry.maps.window_rules import WINDOW_RULES
from perimetry.models import LoadedModel
from perimetry.tracing import trace
from perimetry.tracing.calls import references

# Images run together, and the bytes that they may take on the largest map: a late layer's weights are read once for all
# of them; but every rectifier's output is kept until the way back.
_IMAGES, _MAPS = 4, 16 << 20
_AT_ONCE = 256 << 20  # bytes that the gradients of the targets carried back together may take on the largest map


@dataclass(slots=True)
class GradientSum:
    """One measurement while it runs: what was traced, what is asked, and the sums over images so far.

    asked: the distinct (value, elements) behind the targets; sums: one map for each. silent: how many images moved
    each not at all. together: whether images may be run together. by_hooks: why the recorded program could
    not be used, where it could not.
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
    way: Program | None = None
    together: bool = True
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
    ) -> GradientSum:
        """Trace the model and find the units, before the first image is added."""
        example: Any = torch.empty(image.shape, dtype=image.dtype, device="meta")
        if subject.takes == "list":
            example = ([image[0]],)
        network = trace(subject.module, example, name=subject.name)
        if len(network.image_shape) != 2:
            raise ShapeError(f"expected a model of images (H, W), got image axes {network.image_shape}")
        found = walk(network)
        targets = wanted_targets(found, units, every=every)
        elements = {name: elements_of(found, target) for name, target in targets.items()}
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

    def at_once(self) -> int:
        """How many images to add at a time: several, where one unit is asked for and every operator has a rule."""
        network = self.found.network
        moved = [node for node in self.nodes if any(i is not None and network.depends[i] for i in node.outputs)]
        ruled = self.together and all(node.op in WINDOW_RULES for node in moved)
        if len(self.asked) > 1 or not ruled or self.subject.takes == "list" or network.captured == "real":
            return 1
        return max(1, min(_IMAGES, _MAPS // self._largest()))

    def add(self, images: torch.Tensor) -> None:
        """More images (N, C, H, W): together where that is possible."""
        if len(images) > 1 and self.by_hooks is None:
            try:
                self._add(images)
            except (OneAtATimeError, InputError, RuntimeError):
                self.together = False
            else:
                return
        for image in images.split(1):
            self._add(image)

    def _add(self, images: torch.Tensor) -> None:
        network = self.found.network
        given = images[0] if self.subject.takes == "list" else images
        keep = frozenset(value for value, _ in self.asked)
        tape: Tape | None = None
        if self.by_hooks is None:
            try:
                if self.fixed is None:
                    self.fixed = fixed_values(network, self.nodes, given[:1] if len(images) > 1 else given)
                    self.way = without_norms(network, self.nodes, keep)
                assert self.way is not None
                tape = forward(self.way, self.fixed, given, keep)
                self._check(tape, images[:1])
            except (InputError, RuntimeError) as error:
                if len(images) > 1:
                    raise
                # A program that follows the data, or writes where it cannot be followed; the model itself still runs.
                tape, self.by_hooks = None, first_line(error)
        at_once = max(1, _AT_ONCE // self._largest())
        for first in range(0, len(self.asked), at_once):
            places = range(first, min(first + at_once, len(self.asked)))
            if tape is not None and len(images) > 1:
                assert len(self.asked) == 1, "rows are either targets or images"
                seeds = [(self.asked[0][0], self._seed(tape, 0, row, row)) for row in range(len(images))]
                gradients = carry_back(tape, seeds, len(images))
            elif tape is not None:
                seeds = [(self.asked[place][0], self._seed(tape, place, place - first, 0)) for place in places]
                gradients = carry_back(tape, seeds, len(places))
            else:
                gradients = hooked_gradients(
                    self.subject, network, images, self._layers(places), self.definition.differentiated
                )
            for row, gradient in enumerate(gradients):
                place = 0 if len(images) > 1 else first + row
                one = self.definition.of_image(gradient.reshape(-1, *network.image_shape))
                self.silent[place] += int(not bool(one.any()))
                self.sums[place] += one.double().cpu()
        self.images += len(images)

    def _largest(self) -> int:
        """Bytes of the largest map on the way."""
        sizes = (self.found.network.values[i].bytes for node in self.nodes for i in node.outputs if i is not None)
        return int(max(1, *sizes))

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
        if made is None or made.shape != network.values[value].shape:
            raise InputError("the model takes another way on this image than on the one that it was traced on")
        own = tape.values[value][: len(made)] if made.ndim else tape.values[value]
        scale = max(float(made.abs().max()), 1e-30)
        self.difference = max(self.difference or 0.0, float((made - own).abs().max()) / scale)
        if not self.difference < 1e-3:
            raise InputError(f"the recorded program differs from the model by {self.difference:.1g} of its output")

    def _seed(self, tape: Tape, place: int, row: int, image: int) -> Part:
        """The gradient of a target with respect to its layer's output, as the smallest window that holds it."""
        value, elements = self.asked[place]
        output = tape.values[value]
        if tape.images > 1:
            output = output[image : image + 1]
        places = np.unravel_index(np.asarray(elements), tuple(output.shape))
        corner: tuple[int, int] | None = None
        if is_map(output.shape):
            rows, columns = places[2:]
            corner = (int(rows.min()), int(columns.min()))
            output = output[:, :, corner[0] : int(rows.max()) + 1, corner[1] : int(columns.max()) + 1]
            places = (*places[:2], rows - corner[0], columns - corner[1])
        index = tuple(torch.from_numpy(axis).to(output.device) for axis in places)
        seed = torch.zeros(output.shape, dtype=output.dtype, device=output.device)
        seed[index] = self.definition.slope(output[index])
        return Part((row,), seed[None] if corner is None else seed, corner)

    def _layers(self, places: range) -> list[tuple[str, tuple[int, ...]]]:
        """For each place, a layer that is a module's output, and the elements."""
        found = []
        for place in places:
            names = [name for name, own in self.places.items() if own == place]
            found.append((self.targets[names[0]].layer, self.asked[place][1]))
        return found

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
                f"the channels of {target.layer} are normalised together, so that their {self.definition.target} "
                f"moves little or not at all (what is left may be rounding): ask for one channel, as {target.layer}:0"
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
