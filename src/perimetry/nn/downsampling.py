"""Ways of downsampling behind one interface: the same arguments, the same sizes, another reduction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry import ops
from perimetry.errors import InputError, UnknownNameError
from perimetry.ops.downsampling import Rounding

Reduction = Literal["max", "mean", "lp", "stochastic", "convolution", "blur", "max_blur"]


class Downsample(nn.Module):
    """What ways of downsampling share: square windows, a stride, a padding, and how sizes are rounded.

    Each takes (N, C, H, W) and returns (N, C, rows, columns), both as `perimetry.ops.pooled_size` says. `downsample`
    makes one by name.
    """

    def __init__(self, *, kernel: int = 2, stride: int = 2, padding: int = 0, rounding: Rounding = "floor") -> None:
        super().__init__()
        # An extent that surely fits, so that wrong arguments are told now, and not at the first image.
        ops.pooled_size(kernel * max(stride, 1), kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        self.kernel, self.stride, self.padding, self.rounding = kernel, stride, padding, rounding

    def extra_repr(self) -> str:
        """The windows, as the constructor takes them."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}, rounding={self.rounding!r}"


class MaxDownsample(Downsample):
    """The maximum of each window.

    >>> MaxDownsample(kernel=3, rounding="ceil")(torch.ones(1, 2, 54, 54)).shape
    torch.Size([1, 2, 27, 27])
    """

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, rows, columns)."""
        return ops.max_pool(
            features, kernel=self.kernel, stride=self.stride, padding=self.padding, rounding=self.rounding
        )


class MeanDownsample(Downsample):
    """The mean of each window."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, rows, columns)."""
        return ops.mean_pool(
            features, kernel=self.kernel, stride=self.stride, padding=self.padding, rounding=self.rounding
        )


class LPDownsample(Downsample):
    """The LP norm of each window; power: at least 1."""

    def __init__(
        self, *, kernel: int = 2, stride: int = 2, padding: int = 0, rounding: Rounding = "floor", power: float = 2.0
    ) -> None:
        super().__init__(kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        if not 1 <= power < torch.inf:
            raise InputError(f"power is at least 1 and finite, got {power}")
        self.power = power

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, rows, columns)."""
        return ops.lp_pool(
            features,
            power=self.power,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            rounding=self.rounding,
        )

    def extra_repr(self) -> str:
        """The windows and the power."""
        return f"{super().extra_repr()}, power={self.power}"


class StochasticDownsample(Downsample):
    """An activation drawn from each window in training, their mean weighted by probability in evaluation.

    generator: where draws come from, on the features' device; torch's own if there is none.
    """

    def __init__(
        self,
        *,
        kernel: int = 2,
        stride: int = 2,
        padding: int = 0,
        rounding: Rounding = "floor",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        self.generator = generator

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, rows, columns)."""
        if not self.training:
            return ops.stochastic_pool_mean(
                features, kernel=self.kernel, stride=self.stride, padding=self.padding, rounding=self.rounding
            )
        return ops.stochastic_pool(
            features,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            rounding=self.rounding,
            generator=self.generator,
        )


class ConvolutionDownsample(Downsample):
    """A learned strided convolution in the place of a pooling (Springenberg et al. 2015); channels are kept.

    channels: C, of features and result. Follow it by an activation, as there.
    """

    def __init__(
        self, channels: int, *, kernel: int = 2, stride: int = 2, padding: int = 0, rounding: Rounding = "floor"
    ) -> None:
        super().__init__(kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        self.convolution = nn.Conv2d(channels, channels, kernel, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, C, rows, columns)."""
        frame = ops.window_frame(
            features, kernel=self.kernel, stride=self.stride, padding=self.padding, rounding=self.rounding
        )
        return self.convolution(functional.pad(features, frame))  # type: ignore[no-any-return]


class BlurDownsample(Downsample):
    """Binomial weights over each window; kernel: taps a side."""

    def forward(self, features: Tensor) -> Tensor:
        """Blur (N, C, H, W) to (N, C, rows, columns)."""
        return ops.blur_pool(
            features, kernel=self.kernel, stride=self.stride, padding=self.padding, rounding=self.rounding
        )


class MaxBlurDownsample(Downsample):
    """The maximum at every position, blurred before the stride; kernel: of the maximum, taps: of the blur."""

    def __init__(
        self, *, kernel: int = 2, stride: int = 2, padding: int = 0, rounding: Rounding = "floor", taps: int = 3
    ) -> None:
        super().__init__(kernel=kernel, stride=stride, padding=padding, rounding=rounding)
        if taps < 1 or taps % 2 == 0:
            raise InputError(f"taps is the odd side of a centred blur, got {taps}")
        self.taps = taps

    def forward(self, features: Tensor) -> Tensor:
        """Pool and blur (N, C, H, W) to (N, C, rows, columns)."""
        return ops.max_blur_pool(
            features,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            rounding=self.rounding,
            taps=self.taps,
        )

    def extra_repr(self) -> str:
        """The windows and the taps of the blur."""
        return f"{super().extra_repr()}, taps={self.taps}"


_KINDS: dict[str, type[Downsample]] = {
    "max": MaxDownsample,
    "mean": MeanDownsample,
    "lp": LPDownsample,
    "stochastic": StochasticDownsample,
    "blur": BlurDownsample,
    "max_blur": MaxBlurDownsample,
}


def downsample(
    reduction: Reduction,
    channels: int,
    *,
    kernel: int = 2,
    stride: int = 2,
    padding: int = 0,
    rounding: Rounding = "floor",
) -> Downsample:
    """A way of downsampling by its name; all give maps of the same size from the same windows.

    reduction: "max", "mean", "lp" (of power 2), "stochastic", "convolution", "blur" or "max_blur"; channels: of the
    features, which the convolution needs for its weights. What one of them alone can be told is in its class.

    >>> [tuple(downsample(kind, 4)(torch.rand(1, 4, 8, 8)).shape) for kind in ("max", "convolution", "max_blur")]
    [(1, 4, 4, 4), (1, 4, 4, 4), (1, 4, 4, 4)]
    """
    if reduction == "convolution":
        return ConvolutionDownsample(channels, kernel=kernel, stride=stride, padding=padding, rounding=rounding)
    if reduction not in _KINDS:
        known = (*_KINDS, "convolution")
        raise UnknownNameError("way of downsampling", reduction, known=known, advice=f"one of {', '.join(known)}")
    return _KINDS[reduction](kernel=kernel, stride=stride, padding=padding, rounding=rounding)
