"""Convolutions of maps and their transposes, in the form that runs fastest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from perimetry.maps.parts import zeros


def convolved(
    source: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, form: Mapping[str, Any]
) -> torch.Tensor:
    """What `aten.convolution` makes of (N, C, H, W), one position at a time as a product of matrices.

    form: its "stride", "padding", "dilation" and "groups".
    """
    plain = (set(form["stride"]), set(form["padding"]), form["groups"]) == ({1}, {0}, 1)
    if plain and weight.shape[2:] == (1, 1) and source.is_contiguous(memory_format=torch.channels_last):
        return F.linear(source.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    steps = (form["stride"], form["padding"], form["dilation"])
    return torch.convolution(source, weight, bias, *steps, False, [0, 0], form["groups"])


def spreading(
    weight: torch.Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What `conv_transpose2d` without padding does, in the form that runs fastest."""
    kernel = weight.shape[2:]
    prepared: list[torch.Tensor] = []

    def by_matrix(gradient: torch.Tensor) -> torch.Tensor:
        small: torch.Tensor = (gradient.permute(0, 2, 3, 1) @ weight[:, :, 0, 0]).permute(0, 3, 1, 2)
        if tuple(stride) == (1, 1):
            return small
        extents = [(extent - 1) * step + 1 for extent, step in zip(small.shape[2:], stride, strict=True)]
        spread = zeros((*small.shape[:2], *extents), small)
        spread[:, :, :: stride[0], :: stride[1]] = small
        return spread

    def by_phases(gradient: torch.Tensor) -> torch.Tensor:
        """Few input channels: each phase of the stride is a small convolution of its own, and all of them are one."""
        (down, across), (rows, columns) = stride, kernel
        taps = (-(-rows // down), -(-columns // across))
        if not prepared:
            full = F.pad(weight, (0, taps[1] * across - columns, 0, taps[0] * down - rows))
            phases = full.unflatten(3, (taps[1], across)).unflatten(2, (taps[0], down))  # (o, i, tap, y, tap, x)
            phases = phases.permute(1, 3, 5, 0, 2, 4).flatten(0, 2).flip(2, 3)
            prepared.append(phases.contiguous(memory_format=torch.channels_last))
        small = F.conv2d(gradient, prepared[0], None, 1, [tap - 1 for tap in taps])
        spread: torch.Tensor = (
            small.unflatten(1, (-1, down, across)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        )
        extents = [(extent - 1) * s + k for extent, s, k in zip(gradient.shape[2:], stride, kernel, strict=True)]
        return spread.narrow(2, 0, extents[0]).narrow(3, 0, extents[1])

    def transposed(gradient: torch.Tensor) -> torch.Tensor:
        spread: torch.Tensor = F.conv_transpose2d(gradient, weight, None, stride, 0, 0, groups, dilation)
        return spread

    if kernel == (1, 1) and groups == 1:
        return by_matrix
    few = groups == 1 and weight.shape[1] <= 4 and tuple(dilation) == (1, 1) and min(kernel) >= max(stride)
    return by_phases if few else transposed
