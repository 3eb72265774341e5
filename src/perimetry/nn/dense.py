"""Windows over denser maps: what a convolution or a pooling becomes where a stride turned into dilation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from perimetry.errors import ShapeError

Border = Literal["floor", "ceil", "same"]


@dataclass(frozen=True, slots=True)
class DenseWindows:
    """One axis of windows that read a map `density` times denser than the one they were made for.

    kernel, stride, padding, dilation: of the layer as it was; border: how it rounds the number of windows, or "same"
    for TensorFlow's padding, which is found from the map's size. step: the stride that is left.

    The cells of the original map are every `density`-th one of the dense map, and the original results are every
    (density * stride / step)-th one of the dense results. A layer that divides the map's size by its stride gives
    dense maps that are divided by `step`, so that branches fit one another.
    """

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1
    border: Border = "floor"
    density: int = 1
    step: int = 1

    @property
    def reach(self) -> int:
        """The distance from a window's first cell to its last, in cells of the dense map."""
        return (self.kernel - 1) * self.dilation * self.density

    def frame(self, extent: int) -> tuple[int, int]:
        """Cells to add before and after an axis of the dense map; a negative number leaves cells out.

        >>> DenseWindows(kernel=2, stride=2, step=1).frame(8)  # eight results, as eight is what 2 / 2 asks for
        (0, 1)
        """
        span = (self.kernel - 1) * self.dilation
        original = -(-extent // self.density)
        before, windows = self._original(original, span)
        if windows == -(-original // self.stride):
            results = -(-extent // self.step)
        else:
            # The floor's windows end where the original ones do; a window more of the ceiling's needs cells more.
            last = original - 1 + 2 * before - span
            beyond = max((windows - 1) * self.stride - last, 0)
            results = (extent - 1 + (2 * before - span + beyond) * self.density) // self.step + 1
        after = (results - 1) * self.step + self.reach + 1 - extent - before * self.density
        return before * self.density, after

    def results(self, extent: int) -> int:
        """How many results an axis of the dense map gives."""
        return (sum(self.frame(extent)) + extent - self.reach - 1) // self.step + 1

    def _original(self, extent: int, span: int) -> tuple[int, int]:
        """Cells added before, and how many windows the layer as it was has over that many cells."""
        if self.border == "same":
            windows = -(-extent // self.stride)
            return max((windows - 1) * self.stride + span + 1 - extent, 0) // 2, windows
        last = extent + 2 * self.padding - span - 1
        if last < 0:
            raise ShapeError(f"a window of {span + 1} does not fit {extent} cells with {self.padding} padded")
        if self.border == "floor":
            return self.padding, last // self.stride + 1
        windows = -(-last // self.stride) + 1
        return self.padding, windows - ((windows - 1) * self.stride >= extent + self.padding)


def _told(rows: DenseWindows, columns: DenseWindows) -> str:
    """Both axes in a line, in the words of torch's layers."""
    pairs = {
        "kernel_size": (rows.kernel, columns.kernel),
        "stride": (rows.step, columns.step),
        "dilation": (rows.dilation * rows.density, columns.dilation * columns.density),
    }
    return ", ".join(f"{name}={pair}" for name, pair in pairs.items())


def _framed(features: Tensor, rows: DenseWindows, columns: DenseWindows, *, value: float = 0.0) -> Tensor:
    frame = (*columns.frame(features.shape[3]), *rows.frame(features.shape[2]))
    return functional.pad(features, frame, value=value) if any(frame) else features


class DenseConvolution(nn.Conv2d):
    """A convolution over a denser map, with the weights under the names that they had."""

    rows: DenseWindows
    columns: DenseWindows

    @classmethod
    def of(cls, layer: nn.Conv2d, rows: DenseWindows, columns: DenseWindows) -> Self:
        """The same weights (the tensors themselves) over windows of these two axes."""
        new = cls(
            layer.in_channels,
            layer.out_channels,
            (rows.kernel, columns.kernel),
            stride=(rows.step, columns.step),
            dilation=(rows.dilation * rows.density, columns.dilation * columns.density),
            groups=layer.groups,
            bias=layer.bias is not None,
            device="meta",
        )
        new.weight, new.bias = layer.weight, layer.bias
        new.rows, new.columns = rows, columns
        return new.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        """Convolve (N, C, H, W)."""
        framed = _framed(input, self.rows, self.columns)
        return functional.conv2d(
            framed, self.weight, self.bias, self.stride, dilation=self.dilation, groups=self.groups
        )


class DenseMaxPool(nn.Module):
    """Max pooling over a denser map.

    >>> windows = DenseWindows(kernel=2, stride=2, density=2)
    >>> DenseMaxPool(windows, windows)(torch.arange(6.0).expand(1, 1, 6, 6))[0, 0, 0]
    tensor([2., 3., 4., 5.])
    """

    def __init__(self, rows: DenseWindows, columns: DenseWindows) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W)."""
        rows, columns = self.rows, self.columns
        return functional.max_pool2d(
            _framed(features, rows, columns, value=-torch.inf),
            (rows.kernel, columns.kernel),
            (rows.step, columns.step),
            dilation=(rows.dilation * rows.density, columns.dilation * columns.density),
        )

    def extra_repr(self) -> str:
        """The windows over the dense map."""
        return _told(self.rows, self.columns)


class DenseMeanPool(nn.Module):
    """Mean pooling over a denser map, which torch has not: its average pooling knows no dilation.

    divisor: "padded" counts the zeros of the padding, "cells" only the map's cells (torch's `count_include_pad`), a
    number divides every sum (its `divisor_override`).

    >>> windows = DenseWindows(kernel=2, stride=2, density=2)
    >>> DenseMeanPool(windows, windows)(torch.arange(6.0).expand(1, 1, 6, 6))[0, 0, 0, :4]
    tensor([1., 2., 3., 4.])
    """

    def __init__(
        self,
        rows: DenseWindows,
        columns: DenseWindows,
        *,
        divisor: Literal["padded", "cells"] | int = "padded",
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.divisor = rows, columns, divisor

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W)."""
        sums = features
        for axis, windows in ((2, self.rows), (3, self.columns)):
            sums = self._sums(sums, axis, windows)
        if isinstance(self.divisor, int):
            return sums / self.divisor
        rows, columns = (
            self._counts(windows, features.shape[axis], sums.shape[axis], sums.device)
            for axis, windows in ((2, self.rows), (3, self.columns))
        )
        return sums / (rows[:, None] * columns).to(sums)

    def _sums(self, features: Tensor, axis: int, windows: DenseWindows) -> Tensor:
        """The sum over each window of one axis: a shifted map for each of its cells."""
        before, after = windows.frame(features.shape[axis])
        framed = functional.pad(features, (before, after) if axis == 3 else (0, 0, before, after))
        last = framed.shape[axis] - windows.reach
        starts = range(0, windows.reach + 1, windows.dilation * windows.density)
        shifted = [framed[(slice(None),) * axis + (slice(at, at + last, windows.step),)] for at in starts]
        return torch.stack(shifted).sum(0) if len(shifted) > 1 else shifted[0]

    def _counts(self, windows: DenseWindows, extent: int, results: int, device: torch.device) -> Tensor:
        """How many cells divide the sum of each window of one axis; at least 1."""
        before, _ = windows.frame(extent)
        low, high = 0, extent
        if self.divisor == "padded" and windows.border == "same":
            return torch.full((results,), windows.kernel, device=device)
        if self.divisor == "padded":
            # Where the padding ends behind the map that this one holds the cells of.
            low, high = -before, (-(-extent // windows.density) + windows.padding) * windows.density
        cells = torch.arange(windows.kernel, device=device) * windows.dilation * windows.density
        positions = torch.arange(results, device=device)[:, None] * windows.step - before + cells
        return ((positions >= low) & (positions < high)).sum(1).clamp(min=1)

    def extra_repr(self) -> str:
        """The windows over the dense map, and what divides."""
        return f"{_told(self.rows, self.columns)}, divisor={self.divisor!r}"


class DensePhases(nn.Module):
    """Any layer of windows over a denser map: it is run on every phase of the map, and the results are interleaved.

    layer: with the stride that is left; rows, columns: the windows of the layer as it was. ending: "zeros" behind the
    map give it as many results as a dense layer has, for layers without padding that zeros do not change.
    """

    def __init__(
        self, layer: nn.Module, rows: DenseWindows, columns: DenseWindows, *, ending: Literal["zeros", "none"] = "none"
    ) -> None:
        super().__init__()
        self.layer, self.rows, self.columns, self.ending = layer, rows, columns, ending

    def forward(self, features: Tensor) -> Tensor:
        """Run the layer on (N, C, H, W)."""
        rows, columns = self.rows.density, self.columns.density
        padded = _framed(features, self.rows, self.columns) if self.ending == "zeros" else features
        padded = functional.pad(padded, (0, -padded.shape[3] % columns, 0, -padded.shape[2] % rows))
        # (N, C, H, W) -> (N, rows, columns, C, H / rows, W / columns), the phases as images of a batch
        (count, channels), (height, width) = features.shape[:2], padded.shape[2:]
        phases = padded.reshape(count, channels, height // rows, rows, width // columns, columns)
        results = self.layer(phases.permute(0, 3, 5, 1, 2, 4).flatten(0, 2))
        results = results.reshape(count, rows, columns, *results.shape[1:]).permute(0, 3, 4, 1, 5, 2)
        whole: Tensor = results.flatten(4).flatten(2, 3)
        return whole[:, :, : self.rows.results(features.shape[2]), : self.columns.results(features.shape[3])]
