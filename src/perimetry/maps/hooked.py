"""Gradients of units by hooks on the model itself: the plain definition, one backward pass a unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import torch

from perimetry.errors import InputError
from perimetry.models import LoadedModel
from perimetry.records import Network
from perimetry.tracing.left_as_found import left_as_found
from perimetry.tracing.structure import tensors_in


def hooked_gradients(
    subject: LoadedModel,
    network: Network,
    image: torch.Tensor,
    units: Sequence[tuple[str, tuple[int, ...]]],
    differentiated: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The gradient of each unit with respect to an image (1, C, H, W): (units, C, H, W).

    units: a layer's name and flat indices into its output; `differentiated` makes a number of those elements. Only
    layers that are a module's output can be asked for; raises `InputError` for others, or one that did not run.
    """
    pixels = image.detach().clone().requires_grad_()
    kept: dict[str, torch.Tensor] = {}
    with torch.enable_grad(), _hooks(subject, network, [name for name, _ in units], kept):
        copied = pixels * 1  # a model that writes into its input must not meet a leaf
        subject.module(list(copied) if subject.takes == "list" else copied)
        gradients = []
        for name, elements in units:
            if name not in kept:
                raise InputError(f"layer {name!r} did not run on this image")
            output = kept[name]
            if max(elements) >= output.numel():
                raise InputError(
                    f"layer {name!r} has shape {tuple(output.shape)} on this image, too small for the unit"
                )
            chosen = differentiated(output.reshape(-1)[list(elements)])
            gradient = None
            if chosen.requires_grad:
                (gradient,) = torch.autograd.grad(chosen, pixels, retain_graph=True, allow_unused=True)
            gradients.append(torch.zeros_like(pixels)[0] if gradient is None else gradient[0])
    return torch.stack(gradients)


class _EnoughError(Exception):
    """Ends a forward pass once the layer that was asked for has run."""


def hooked_output(subject: LoadedModel, network: Network, image: torch.Tensor, name: str) -> torch.Tensor | None:
    """What the model itself makes at a layer that is a module's output; None where it does not run on this image."""
    kept: dict[str, torch.Tensor] = {}

    def stop() -> None:
        raise _EnoughError

    with torch.no_grad(), suppress(_EnoughError), _hooks(subject, network, [name], kept, stop):
        # Convolutions run faster so; the layout changes no value but by rounding.
        form = torch.channels_last if image.ndim == 4 else torch.contiguous_format
        copied = image.clone(memory_format=form)
        subject.module(list(copied) if subject.takes == "list" else copied)
    return kept.get(name)


@contextmanager
def _hooks(
    subject: LoadedModel,
    network: Network,
    names: Sequence[str],
    kept: dict[str, torch.Tensor],
    then: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Keep the outputs of those layers while the model runs, and do something after each; it is left as found."""
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        stack.enter_context(left_as_found(subject.module))
        wanted: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for name in dict.fromkeys(names):
            layer = network.layer(name)
            if not layer.module:
                raise InputError(
                    f"this model's program cannot be repeated, and layer {name!r} is no module's output; "
                    "ask for a module's"
                )
            call = network.calls[layer.call]
            earlier = sum(other.path == call.path for other in network.calls[: layer.call])
            place = next((i for i, (_, value) in enumerate(call.outputs) if value == layer.value), 0)
            wanted.setdefault((call.path, earlier), []).append((name, place))

        def hook(path: str) -> Callable[..., None]:
            def after(_module: torch.nn.Module, _inputs: object, output: object) -> None:
                number = counts.get(path, 0)
                counts[path] = number + 1
                for name, place in wanted.get((path, number), ()):
                    kept[name] = list(tensors_in(output))[place][1] * 1  # later writes in place must not reach it
                    then()

            return after

        for path in dict.fromkeys(path for path, _ in wanted):
            handle = subject.module.get_submodule(path).register_forward_hook(hook(path))
            stack.callback(handle.remove)
        yield
