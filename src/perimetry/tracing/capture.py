"""trace(): run a model once and keep what happened as a `Network`."""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch

from perimetry.errors import InputError, ShapeError, TraceError
from perimetry.records import ModuleCall, Network
from perimetry.rules import reads_nothing
from perimetry.tracing.arguments import storage_of
from perimetry.tracing.calls import references
from perimetry.tracing.exported import run_exported
from perimetry.tracing.failure import explain
from perimetry.tracing.left_as_found import left_as_found
from perimetry.tracing.module_calls import CallLog, followed
from perimetry.tracing.naming import name_layers
from perimetry.tracing.recorder import How, Recorder
from perimetry.tracing.structure import map_tensors, tensors_in

_ORDER: tuple[How, ...] = ("meta", "fake", "real")


def trace(
    model: torch.nn.Module | Callable[..., Any],
    example: Any,
    *,
    image_axes: Sequence[int] | None = None,
    name: str = "",
) -> Network:
    """Run a model once and record every operator, its inputs, its shapes and the module it ran in.

    model: any module or function; it is left exactly as found, also when it raises.
    example: what to call it with: a tensor, a tuple of arguments, a dict of keywords, or a list as one argument (as
    detectors take). The image is the first floating tensor in it: (N, C, H, W), (N, C, L), (N, C, D, H, W), or
    (C, H, W) inside a list; other inputs of the same form count as the same image. Only shapes matter unless the
    model's control flow looks at the data; tensors on the meta device will do.
    image_axes: which axes of the image are spatial, where that guess is wrong.

    Raises `ShapeError` where the example holds no image, `TraceError` where the model does not run on it.

    >>> network = trace(torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 32, 32))
    >>> network.image_shape, network.layers[-1].name
    ((32, 32), 'output')
    """
    model, inputs = ready(model), Inputs(example, image_axes)
    failure: Exception | None = None
    for how in _ORDER[:1] if on_meta(model) else _ORDER:
        try:
            network = record(model, inputs, how, name)
            if network is not None:
                return network
        except Exception as error:  # noqa: BLE001 - the user's model may raise anything; the last one is told
            failure = error
    raise TraceError(explain(failure, inputs.image, on_meta=on_meta(model))) from failure


def ready(model: Any) -> Any:
    """The model to run: of what `torch.compile` returned the module inside, whose operators and names are wanted.

    Raises `InputError` for lazy layers, which would take the sizes of the example for good.
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.nn.Module) and any(map(torch.nn.parameter.is_lazy, model.parameters())):
        raise InputError("the model has lazy layers without sizes yet; run it once on an image, then trace it")
    return model


def on_meta(model: Any) -> bool:
    """True for a model that has tensors on the meta device, so that nothing can be computed with it."""
    if not isinstance(model, torch.nn.Module):
        return False
    return any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers()))


class Inputs:
    """An example in one form: positional and keyword arguments, and which of their tensors are the image."""

    def __init__(self, example: Any, image_axes: Sequence[int] | None = None) -> None:
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        if isinstance(example, Mapping):
            self.kwargs = dict(example)
        elif isinstance(example, tuple) and not hasattr(example, "_fields"):
            self.args = example
        else:
            self.args = (example,)
        candidates = [
            (key, tensor)
            for key, tensor in tensors_in((self.args, self.kwargs))
            if tensor.ndim >= 3 and (tensor.is_floating_point() or tensor.dtype == torch.uint8)
        ]
        if not candidates:
            given = [f"{tuple(t.shape)} {t.dtype}" for _, t in tensors_in((self.args, self.kwargs))]
            raise ShapeError(
                f"expected an image batch (N, C, H, W) among the inputs, got {', '.join(given) or 'no tensor'}"
            )
        key, self.image = candidates[0]
        # "[0][0]" is a positional argument itself; a deeper key is an item of a list, which has no batch axis.
        nested = key.count("[") > 2
        first = 1 if nested and self.image.ndim == 3 else 2
        self.axes = tuple(image_axes) if image_axes is not None else tuple(range(first, self.image.ndim))
        self.extents = tuple(self.image.shape[axis] for axis in self.axes)
        if 0 in self.image.shape:
            raise ShapeError(f"expected an image with pixels, got shape {tuple(self.image.shape)}")

    def is_image(self, tensor: torch.Tensor) -> bool:
        """True for the image, and for other inputs of the same form (they share its coordinates)."""
        return (
            tensor.ndim == self.image.ndim
            and tensor.is_floating_point() == self.image.is_floating_point()
            and tuple(tensor.shape[axis] for axis in self.axes) == self.extents
        )

    def prepared(self, recorder: Recorder) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call the model with under this recorder."""

        def register(tensor: torch.Tensor) -> torch.Tensor:
            if recorder.how == "real" and tensor.device.type == "meta":
                generator = torch.Generator().manual_seed(0)
                tensor = torch.rand(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.dtype)
            return recorder.add_input(tensor, "image" if self.is_image(tensor) else "input", "")

        args = tuple(map_tensors(argument, register) for argument in self.args)
        return args, {key: map_tensors(value, register) for key, value in self.kwargs.items()}


def record(model: Any, inputs: Inputs, how: How, name: str) -> Network | None:
    """Record one run as a `Network`; None where this way of running loses what the rules have to know."""
    recorder, log, outputs = run(model, inputs, how)
    if recorder.lost_contents:
        return None
    depends = _dependence(recorder)
    calls = tuple(
        ModuleCall(c.index, c.path, c.module_type, c.parent, (c.first_node, c.last_node), c.leaf, c.outputs, c.training)
        for c in log.calls
    )
    parameters: dict[str, int] = {"": 0}
    if isinstance(model, torch.nn.Module):
        parameters = {path: _parameter_count(module) for path, module in model.named_modules()}
    return Network(
        name=name or type(model).__name__,
        values=tuple(recorder.values),
        nodes=tuple(recorder.nodes),
        calls=calls,
        layers=name_layers(recorder.nodes, calls, log.finished, depends),
        inputs=tuple(v.index for v in recorder.values if v.kind in ("image", "input")),
        outputs=outputs,
        image_shape=inputs.extents,
        image_axes=inputs.axes,
        captured=how,
        depends=tuple(depends),
        module_parameters=parameters,
    )


def run(
    model: Any,
    inputs: Inputs,
    how: How,
    *,
    watch: Callable[[int, Any], None] | None = None,
    on_exit: Callable[[int, Any], None] | None = None,
    before_write: Callable[[torch.Tensor], None] | None = None,
) -> tuple[Recorder, CallLog, tuple[tuple[str, int], ...]]:
    """Run a model once under a recorder; everything that was changed to do so is put back."""
    known: dict[int, tuple[str, Literal["parameter", "buffer"]]] = {}
    storages: set[int] = set()
    if isinstance(model, torch.nn.Module):
        storages.update(storage_of(tensor) for tensor in itertools.chain(model.parameters(), model.buffers()))
        known.update({id(tensor): (key, "buffer") for key, tensor in model.named_buffers()})
        known.update({id(tensor): (key, "parameter") for key, tensor in model.named_parameters()})
    recorder = Recorder(how, known, storages, lambda: log.current(), watch=watch, before_write=before_write)
    log = CallLog(lambda: len(recorder.nodes), recorder.value_of, on_exit=on_exit)
    kept = left_as_found(model) if isinstance(model, torch.nn.Module) else contextlib.nullcontext()
    with kept, _quiet(), contextlib.ExitStack() as recording:
        args, kwargs = inputs.prepared(recorder)
        recording.enter_context(recorder)
        if isinstance(model, torch.fx.GraphModule):
            outputs = run_exported(model, args, kwargs, log)
        elif isinstance(model, torch.nn.Module):
            with followed(model, log):
                outputs = model(*args, **kwargs)
        else:
            log.enter("", getattr(model, "__name__", "function"), training=False)
            outputs = model(*args, **kwargs)
            log.exit(outputs)
        results = tuple((key, recorder.value_of(tensor)) for key, tensor in tensors_in(outputs))
    return recorder, log, results


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without gradients, without attention's opaque fast path, and with the global random state put back.

    Inside `torch.inference_mode` the dispatcher would hand over operators before they are taken apart (aten.conv2d).
    Fake tensors log a traceback for every operator that fails, although the failure is raised and told as well. Parts
    that were compiled warn of our global hooks, which do not mind.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with (
            torch.inference_mode(mode=False),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
            yield
    finally:
        logger.disabled = was_disabled
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _dependence(recorder: Recorder) -> list[bool]:
    """For each value, whether the image has any influence on it."""
    depends = [index in recorder.image_indices for index in range(len(recorder.values))]
    for node in recorder.nodes:
        if reads_nothing(node.op):
            continue
        influenced = any(depends[index] for index in references((node.args, tuple(node.kwargs.values()))))
        if influenced:
            for output in node.outputs:
                if output is not None:
                    depends[output] = True
    return depends


def _parameter_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
