"""Inception blocks of three generations: branches side by side, joined along the channels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from perimetry.errors import InputError, UnknownNameError


def _convolution(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, normalized: bool, stride: int = 1
) -> nn.Sequential:
    """A convolution with centred windows, then batch norm if it is normalised (no bias then), then ReLU."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (rows // 2, columns // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, (rows, columns), stride, padding, bias=not normalized)
    ]
    if normalized:
        layers.append(nn.BatchNorm2d(out_channels, eps=1e-3))
    return nn.Sequential(*layers, nn.ReLU())


def _chain(
    in_channels: int, *steps: tuple[int, int | tuple[int, int]], normalized: bool, stride: int = 1
) -> nn.Sequential:
    """Convolutions one after the other, each told as (channels, kernel); stride: of the last one."""
    channels = [in_channels, *(out_channels for out_channels, _ in steps)]
    strides = [1] * (len(steps) - 1) + [stride]
    return nn.Sequential(
        *(
            _convolution(before, *step, normalized=normalized, stride=each)
            for before, step, each in zip(channels[:-1], steps, strides, strict=True)
        )
    )


class _Branches(nn.Module):
    """Branches by their names, each a chain of layers from the same input; their results are joined by channel."""

    def __init__(self, **branches: nn.Sequential) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, the sum of the branches' channels, H, W)."""
        return torch.cat([branch(features) for branch in self.children()], 1)


class InceptionNaive(_Branches):
    """The block without reductions: 1x1, 3x3, 5x5 and a max pooling of all channels (Szegedy et al. 2015, fig. 2a).

    in_channels: C; ones, threes, fives: channels of each convolution. Takes (N, C, H, W), returns
    (N, ones + threes + fives + C, H, W): blocks on blocks grow, which is why there are reductions.

    >>> InceptionNaive(192, ones=64, threes=128, fives=32)(torch.rand(1, 192, 7, 7)).shape
    torch.Size([1, 416, 7, 7])
    """

    def __init__(self, in_channels: int, *, ones: int, threes: int, fives: int) -> None:
        super().__init__(
            one=_convolution(in_channels, ones, 1, normalized=False),
            three=_convolution(in_channels, threes, 3, normalized=False),
            five=_convolution(in_channels, fives, 5, normalized=False),
            pool=nn.Sequential(nn.MaxPool2d(3, 1, padding=1)),
        )


class InceptionV1(_Branches):
    """GoogLeNet's block: 1x1; 3x3 and 5x5 behind 1x1 reductions; max pooling, projected (Szegedy et al. 2015, fig. 2b).

    in_channels: C; ones: channels of the 1x1; threes, fives: (reduced, result); pooled: channels of the projection.
    With biases and without batch norm, as published. Takes (N, C, H, W), returns (N, ones + threes[1] + fives[1] +
    pooled, H, W).

    >>> block = InceptionV1(192, ones=64, threes=(96, 128), fives=(16, 32), pooled=32)  # inception_3a
    >>> sum(parameter.numel() for parameter in block.parameters())
    163696
    """

    def __init__(
        self, in_channels: int, *, ones: int, threes: tuple[int, int], fives: tuple[int, int], pooled: int
    ) -> None:
        super().__init__(
            one=_convolution(in_channels, ones, 1, normalized=False),
            three=_chain(in_channels, (threes[0], 1), (threes[1], 3), normalized=False),
            five=_chain(in_channels, (fives[0], 1), (fives[1], 5), normalized=False),
            pool=nn.Sequential(nn.MaxPool2d(3, 1, padding=1), _convolution(in_channels, pooled, 1, normalized=False)),
        )


class InceptionV2(_Branches):
    """The block with batch norm and two 3x3 in the place of the 5x5 (Ioffe and Szegedy 2015).

    in_channels: C; ones: channels of the 1x1; threes, doubles: (reduced, result); pooled: channels of the projection
    behind the pooling, "mean", or "max" as in the network's last block. Takes (N, C, H, W), returns (N, ones +
    threes[1] + doubles[1] + pooled, H, W).

    >>> InceptionV2(192, ones=64, threes=(64, 64), doubles=(64, 96), pooled=32)(torch.rand(1, 192, 8, 8)).shape
    torch.Size([1, 256, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        ones: int,
        threes: tuple[int, int],
        doubles: tuple[int, int],
        pooled: int,
        pooling: Literal["mean", "max"] = "mean",
    ) -> None:
        if pooling not in ("mean", "max"):
            raise UnknownNameError("pooling", pooling, known=("mean", "max"), advice='"mean" or "max"')
        pool = nn.AvgPool2d(3, 1, padding=1) if pooling == "mean" else nn.MaxPool2d(3, 1, padding=1)
        super().__init__(
            one=_convolution(in_channels, ones, 1, normalized=True),
            three=_chain(in_channels, (threes[0], 1), (threes[1], 3), normalized=True),
            twice=_chain(in_channels, (doubles[0], 1), (doubles[1], 3), (doubles[1], 3), normalized=True),
            pool=nn.Sequential(pool, _convolution(in_channels, pooled, 1, normalized=True)),
        )


class InceptionV2Reduction(_Branches):
    """The block that halves a map (Ioffe and Szegedy 2015): no 1x1 branch, and a pooling of all channels.

    in_channels: C; threes, doubles: (reduced, result), the last convolution of each with stride 2. The pooling passes
    its input through without a projection. Takes (N, C, H, W), returns (N, threes[1] + doubles[1] + C, ceil(H / 2),
    ceil(W / 2)).

    >>> InceptionV2Reduction(320, threes=(128, 160), doubles=(64, 96))(torch.rand(1, 320, 8, 9)).shape
    torch.Size([1, 576, 4, 5])
    """

    def __init__(self, in_channels: int, *, threes: tuple[int, int], doubles: tuple[int, int]) -> None:
        super().__init__(
            three=_chain(in_channels, (threes[0], 1), (threes[1], 3), normalized=True, stride=2),
            twice=_chain(in_channels, (doubles[0], 1), (doubles[1], 3), (doubles[1], 3), normalized=True, stride=2),
            pool=nn.Sequential(nn.MaxPool2d(3, 2, padding=1)),
        )


class InceptionV3(_Branches):
    """The block with n x n as 1 x n and n x 1 (Szegedy et al. 2016, fig. 6): once, and twice in the deeper branch.

    in_channels: C; ones: channels of the 1x1; factored: (reduced, result) of the branch with one pair; doubled: of the
    one with two; pooled: of the projection; n: odd. Takes (N, C, H, W), returns (N, ones + factored[1] + doubled[1] +
    pooled, H, W). torchvision's `InceptionC` is this with n = 7.

    >>> InceptionV3(768, ones=192, factored=(128, 192), doubled=(128, 192), pooled=192)(torch.rand(1, 768, 9, 9)).shape
    torch.Size([1, 768, 9, 9])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        ones: int,
        factored: tuple[int, int],
        doubled: tuple[int, int],
        pooled: int,
        n: int = 7,
    ) -> None:
        if n < 1 or n % 2 == 0:
            raise InputError(f"n is the odd side of a kernel that keeps the size, got {n}")
        super().__init__(
            one=_convolution(in_channels, ones, 1, normalized=True),
            factored=_chain(
                in_channels, (factored[0], 1), (factored[0], (1, n)), (factored[1], (n, 1)), normalized=True
            ),
            doubled=_chain(
                in_channels,
                (doubled[0], 1),
                (doubled[0], (n, 1)),
                (doubled[0], (1, n)),
                (doubled[0], (n, 1)),
                (doubled[1], (1, n)),
                normalized=True,
            ),
            pool=nn.Sequential(nn.AvgPool2d(3, 1, padding=1), _convolution(in_channels, pooled, 1, normalized=True)),
        )
