"""The slow definition of what a unit sees: the image pixels that its gradient reaches.

A gradient is an honest witness only where nothing hides it, so the oracle takes four things out of the way:

- *cancellation*: `positive` makes every weight positive, images are positive, and each channel of the unit is weighed
  by its own random number (the plain sum over channels of a softmax has no gradient at all);
- *dead zones*: activations with flat parts (ReLU, hard swish, clamp) are swapped for softplus, which is pointwise too;
- *selection*: the gradient of a maximum reaches only the arg max, so `Smoothed` swaps max pooling for the sum over the
  same window, with windows written out from the definition (one 0/1 matrix per axis), and `amax` for a mean.
  `test_oracles.py` checks the swap against the union of true max-pooling gradients over many images;
- *rounding*: everything runs in float64, over several random images, and what is smaller than 1e-13 of the largest
  gradient counts as zero (interpolation weights that are zero on paper come out as 1e-17).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

NEGLIGIBLE = 1e-13

Read = Callable[..., Tensor]


def positive(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give the model positive weights whose outputs stay near one, sane batch norm statistics, and eval mode.

    Weights are uniform in [0.5, 1.5] over their fan-in, so that softmax does not saturate and nothing underflows.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = max(1, parameter.numel() // parameter.shape[0]) if parameter.dim() >= 2 else 1
            parameter.copy_((torch.rand(parameter.shape, generator=generator) + 0.5) / fan_in)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


def window_matrix(extent: int, *, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> Tensor:
    """(outputs, extent) of 0 and 1: which inputs stand in each pooling window, from the documented definition."""
    reach = dilation * (kernel - 1) + 1
    span = extent + 2 * padding - reach
    outputs = (math.ceil(span / stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (outputs - 1) * stride >= extent + padding:
        outputs -= 1  # the last window would start in the right padding
    matrix = torch.zeros(outputs, extent, dtype=torch.float64)
    for output in range(outputs):
        for tap in range(kernel):
            position = output * stride - padding + tap * dilation
            if 0 <= position < extent:
                matrix[output, position] = 1
    return matrix


def adaptive_matrix(extent: int, outputs: int) -> Tensor:
    """(outputs, extent) of 0 and 1: bin i holds the inputs from floor(i e / o) to ceil((i + 1) e / o)."""
    matrix = torch.zeros(outputs, extent, dtype=torch.float64)
    for output in range(outputs):
        matrix[output, output * extent // outputs : -(-(output + 1) * extent // outputs)] = 1
    return matrix


def _sum_windows(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    for axis, matrix in zip(range(x.dim() - len(matrices), x.dim()), matrices, strict=True):
        x = (x.movedim(axis, -1) @ (matrix / matrix.sum(1, keepdim=True).clamp_min(1)).T).movedim(-1, axis)
    return x


def _per_axis(value: Any, axes: int) -> list[int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return values * axes if len(values) == 1 else values


def _sum_pool(axes: int) -> Callable[..., Tensor]:
    def pool(
        x: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        kernel = _per_axis(kernel_size, axes)
        steps = kernel if stride is None or stride == [] else _per_axis(stride, axes)
        pads, holes = _per_axis(padding, axes), _per_axis(dilation, axes)
        return _sum_windows(
            x,
            [
                window_matrix(
                    x.shape[x.dim() - axes + axis],
                    kernel=kernel[axis],
                    stride=steps[axis],
                    padding=pads[axis],
                    dilation=holes[axis],
                    ceil_mode=ceil_mode,
                )
                for axis in range(axes)
            ],
        )

    return pool


def _adaptive_sum_pool(axes: int, *, indices: bool) -> Callable[..., Tensor]:
    def pool(x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        extents = x.shape[x.dim() - axes :]
        sizes = zip(_per_axis(output_size, axes), extents, strict=True)
        wanted = [extent if size is None else size for size, extent in sizes]
        pooled = _sum_windows(x, list(map(adaptive_matrix, extents, wanted)))
        return (pooled, torch.zeros_like(pooled, dtype=torch.int64)) if indices else pooled

    return pool


def _mean_over(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return x.mean(dim=list(range(x.dim())) if dim == () else dim, keepdim=keepdim)


def _softplus(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return F.softplus(x)


SMOOTH: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("relu", "relu_", "relu6", "hardtanh", "hardswish", "hardsigmoid", "threshold"), _softplus),
    **dict.fromkeys(("clamp", "clamp_", "clamp_min", "clip", "hardshrink", "softshrink", "rrelu"), _softplus),
    **{f"max_pool{axes}d": _sum_pool(axes) for axes in (1, 2, 3)},
    **{f"adaptive_max_pool{axes}d_with_indices": _adaptive_sum_pool(axes, indices=True) for axes in (1, 2, 3)},
    **{f"adaptive_max_pool{axes}d": _adaptive_sum_pool(axes, indices=False) for axes in (1, 2, 3)},
    "amax": _mean_over,
    "amin": _mean_over,
}


class Smoothed(TorchFunctionMode):
    """Inside, operators that select or go flat are replaced by smooth ones that depend on the same inputs."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        smooth = SMOOTH.get(getattr(func, "__name__", ""))
        return (smooth or func)(*args, **(kwargs or {}))


class GradientOracle:
    """Which image pixels reach a unit of `read(model, *inputs)`, by gradients over several random images.

    example: the image batch, or a tuple of arguments whose first is the image. Images are drawn in its shape.
    read: gives the layer's output; the model's own output when left out. smooth=False keeps selections and dead zones.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor | tuple[Any, ...],
        read: Read | None = None,
        *,
        draws: int = 2,
        seed: int = 0,
        smooth: bool = True,
    ) -> None:
        image, *others = example if isinstance(example, tuple) else (example,)
        others = [each.double() if torch.is_tensor(each) and each.is_floating_point() else each for each in others]
        precise = copy.deepcopy(model).double()
        self.generator = torch.Generator().manual_seed(seed)
        self.runs: list[tuple[Tensor, Tensor]] = []
        for _ in range(draws):
            pixels = torch.rand(image.shape, generator=self.generator, dtype=torch.float64) + 0.5
            pixels.requires_grad_()
            with torch.enable_grad(), Smoothed() if smooth else torch.enable_grad():
                copied = pixels * 1  # models that write into their input must not meet a leaf
                output = precise(copied, *others) if read is None else read(precise, copied, *others)
            self.runs.append((pixels, output))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the layer's output."""
        return tuple(self.runs[0][1].shape)

    def gradient(self, unit: Sequence[int]) -> Tensor:
        """The largest magnitude over the draws, in the image batch's own shape.

        unit: a full index of the output, or (row, col), which stands for batch entry 0 and all channels.
        """
        strongest = torch.zeros_like(self.runs[0][0])
        for pixels, output in self.runs:
            index = tuple(unit) if len(unit) == output.dim() else (0, slice(None), *unit)
            seeds = torch.zeros_like(output)
            chosen = seeds[index]
            seeds[index] = torch.rand(chosen.shape, generator=self.generator, dtype=torch.float64) + 0.5
            if not output.requires_grad:
                continue
            (gradient,) = torch.autograd.grad(output, pixels, seeds, retain_graph=True, allow_unused=True)
            if gradient is not None:
                strongest = torch.maximum(strongest, gradient.abs())
        return strongest.detach()

    def support(self, unit: Sequence[int], image_axes: Sequence[int] = (2, 3)) -> Tensor:
        """Boolean mask over the image axes: the pixels whose gradient is not zero, in any channel or batch entry."""
        gradient = self.gradient(unit)
        others = [axis for axis in range(gradient.dim()) if axis not in image_axes]
        strength = gradient.sum(others) if others else gradient
        return strength > NEGLIGIBLE * float(strength.max())


def gradient_support(
    model: nn.Module, example: Tensor | tuple[Any, ...], layer_output: Read | None, unit: Sequence[int]
) -> Tensor:
    """The mask (H, W) of image pixels that reach one unit; see `GradientOracle`."""
    return GradientOracle(model, example, layer_output).support(unit)


def hull(mask: Tensor) -> tuple[tuple[int, int], ...] | None:
    """(first, last) index of the true entries on each axis; None for an empty mask.

    >>> hull(torch.tensor([[False, True, False, True]]))
    ((0, 0), (1, 3))
    """
    found = mask.nonzero()
    if not len(found):
        return None
    return tuple(zip(found.amin(0).tolist(), found.amax(0).tolist(), strict=True))


class Function(nn.Module):
    """A module around a plain function of tensors, so that functions can be traced."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        """Call the function."""
        return self.function(*inputs)


def as_module(body: nn.Module | Callable[..., Any]) -> nn.Module:
    """A module as it is, a function wrapped in `Function`."""
    return body if isinstance(body, nn.Module) else Function(body)


def read_module(path: str) -> Read:
    """A `read` for `GradientOracle`: the output of the model's own module of that name, by a forward hook."""

    def read(model: nn.Module, *inputs: Any) -> Tensor:
        seen: list[Tensor] = []
        handle = model.get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(output))
        try:
            model(*inputs)
        finally:
            handle.remove()
        return seen[0] * 1  # an in-place layer may write over it later

    return read


def sample_units(shape: Sequence[int], count: int = 8, *, seed: int = 0) -> list[tuple[int, ...]]:
    """Units spread over a map of that shape: the corners' diagonal, the middle, and random ones; all when few."""
    total = math.prod(shape)
    if not shape:
        return [()]
    if total <= count:
        return [tuple(each) for each in torch.cartesian_prod(*map(torch.arange, shape)).reshape(total, -1).tolist()]
    generator = torch.Generator().manual_seed(seed)
    units = {tuple(0 for _ in shape), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)}
    while len(units) < count:
        units.add(tuple(int(torch.randint(n, (), generator=generator)) for n in shape))
    return sorted(units)
