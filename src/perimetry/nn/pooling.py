"""Pyramid and RoI pooling, and bilinear deconvolution, as layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from perimetry import ops
from perimetry.ops.pyramid import Reduction, WindowRule, check_levels


class SpatialPyramidPooling(nn.Module):
    """A vector of fixed length from a map of any size: see `perimetry.ops.pyramid_pool`.

    >>> import torch
    >>> [tuple(SpatialPyramidPooling((6, 3, 2, 1))(torch.rand(1, 8, *size)).shape) for size in ((13, 13), (7, 22))]
    [(1, 400), (1, 400)]
    """

    def __init__(
        self, levels: Sequence[int] = (4, 2, 1), *, reduction: Reduction = "max", windows: WindowRule = "adaptive"
    ) -> None:
        super().__init__()
        self.levels, self.reduction, self.windows = check_levels(levels), reduction, windows

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C * bins)."""
        return ops.pyramid_pool(features, levels=self.levels, reduction=self.reduction, windows=self.windows)

    def extra_repr(self) -> str:
        """The levels and the rules."""
        return f"levels={self.levels}, reduction={self.reduction!r}, windows={self.windows!r}"


class PositionSensitiveRoIPool(nn.Module):
    """R-FCN's pooling: see `perimetry.ops.position_sensitive_roi_pool`."""

    def __init__(self, *, size: int, scale: float) -> None:
        super().__init__()
        self.size, self.scale = size, scale

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Pool (N, C * size * size, H, W) over boxes (K, 5) to (K, C, size, size)."""
        return ops.position_sensitive_roi_pool(features, boxes, size=self.size, scale=self.scale)

    def extra_repr(self) -> str:
        """Bins and scale."""
        return f"size={self.size}, scale={self.scale}"


class RoIMaxPool(nn.Module):
    """Fast R-CNN's pooling: see `perimetry.ops.roi_max_pool`."""

    def __init__(self, *, size: int | tuple[int, int], scale: float) -> None:
        super().__init__()
        self.size, self.scale = size, scale

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Pool (N, C, H, W) over boxes (K, 5) to (K, C, rows, columns)."""
        return ops.roi_max_pool(features, boxes, size=self.size, scale=self.scale)

    def extra_repr(self) -> str:
        """Bins and scale."""
        return f"size={self.size}, scale={self.scale}"


class BilinearDeconvolution(nn.Module):
    """FCN's upsampling with fixed weights, which are no parameters: see `perimetry.ops.bilinear_deconvolution`."""

    def __init__(self, *, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, features: Tensor) -> Tensor:
        """Upsample (N, C, H, W), each channel on its own."""
        return ops.bilinear_deconvolution(features, kernel=self.kernel, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Kernel, stride and padding."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
