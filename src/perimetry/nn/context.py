"""Global context, and heads that fuse several maps: early (join, then score) and late (score, then add)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perimetry import ops
from perimetry.errors import InputError, ShapeError
from perimetry.nn.normalization import L2Normalize


class GlobalContext(nn.Module):
    """Features and their mean over the image, both L2 normalised, side by side (ParseNet, section 3.1 and 3.2).

    channels: C; scale: where both learned scales start. Takes (N, C, H, W), returns (N, 2 * C, H, W).

    >>> GlobalContext(8)(torch.rand(1, 8, 5, 6)).shape
    torch.Size([1, 16, 5, 6])
    """

    def __init__(self, channels: int, *, scale: float = 10.0, eps: float = 1e-10) -> None:
        super().__init__()
        self.local = L2Normalize(channels, scale=scale, eps=eps)
        self.context = L2Normalize(channels, scale=scale, eps=eps)

    def forward(self, features: Tensor) -> Tensor:
        """Put the context behind the features."""
        return ops.global_context(
            features, local_scale=self.local.scale, context_scale=self.context.scale, eps=self.local.eps
        )


class _Fusion(nn.Module):
    """What both heads share: one L2 normalisation for each map, and one size for all."""

    def __init__(self, channels: Sequence[int], *, scale: float) -> None:
        super().__init__()
        if not channels:
            raise InputError("expected the channels of at least one map, such as (512, 1024); got none")
        self.channels = tuple(channels)
        self.normalize = nn.ModuleList(L2Normalize(count, scale=scale) for count in self.channels)

    def _normalized(self, maps: Sequence[Tensor]) -> list[Tensor]:
        if len(maps) != len(self.channels):
            raise InputError(f"expected {len(self.channels)} maps, got {len(maps)}")
        for features, channels in zip(maps, self.channels, strict=True):
            if features.ndim != 4 or features.shape[1] != channels:
                raise ShapeError(f"expected a map (N, {channels}, H, W), got {tuple(features.shape)}")
        return [normalize(features) for normalize, features in zip(self.normalize, maps, strict=True)]


def _spread(maps: Sequence[Tensor]) -> list[Tensor]:
    """All maps at one size: those of one cell are unpooled; any other difference raises."""
    height, width = max((tuple(each.shape[2:]) for each in maps), key=lambda size: size[0] * size[1])
    for each in maps:
        if tuple(each.shape[2:]) not in ((1, 1), (height, width)):
            raise ShapeError(
                f"expected maps of {height} x {width} or of one cell, got {each.shape[2]} x {each.shape[3]}; "
                "resize them before they are fused"
            )
    return [ops.unpool(each, height=height, width=width) if each.shape[2:] == (1, 1) else each for each in maps]


class EarlyFusion(_Fusion):
    """Normalise maps, unpool those of one cell, join their channels, score with one 1x1 convolution.

    channels: of each map. Takes maps (N, C_i, H, W) or (N, C_i, 1, 1), returns scores (N, classes, H, W). With a linear
    score this is the same function as `LateFusion` with the same weights.

    >>> maps = [torch.rand(1, 4, 5, 6), torch.rand(1, 8, 1, 1)]
    >>> EarlyFusion((4, 8), classes=3)(maps).shape
    torch.Size([1, 3, 5, 6])
    """

    def __init__(self, channels: Sequence[int], *, classes: int, scale: float = 10.0) -> None:
        super().__init__(channels, scale=scale)
        self.score = nn.Conv2d(sum(self.channels), classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores (N, classes, H, W) of the maps."""
        scores: Tensor = self.score(torch.cat(_spread(self._normalized(maps)), 1))
        return scores


class LateFusion(_Fusion):
    """Normalise maps, score each with its own 1x1 convolution, unpool, add: the form of ParseNet's release.

    Takes and returns what `EarlyFusion` does.
    """

    def __init__(self, channels: Sequence[int], *, classes: int, scale: float = 10.0) -> None:
        super().__init__(channels, scale=scale)
        self.scores = nn.ModuleList(nn.Conv2d(count, classes, 1) for count in self.channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores (N, classes, H, W) of the maps."""
        scores = [score(each) for score, each in zip(self.scores, self._normalized(maps), strict=True)]
        return torch.stack(_spread(scores)).sum(0)
