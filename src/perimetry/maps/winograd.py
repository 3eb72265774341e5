"""Winograd's minimal filtering, F(4x4, 3x3): a 3x3 convolution with a quarter of the multiplications.

Each tile of 4x4 outputs is computed from 6x6 inputs by 36 products per pair of channels instead of 144 (Winograd 1980;
Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4). It is used on *changes*, which are
zero around a window, so that its rounding errors are small against the change and not only against the map.
"""

from __future__ import annotations

import torch

TILE = 4  # outputs along an axis
PATCH = TILE + 2  # inputs along an axis

# Lavin and Gray 2016, section 4.2: B^T, G and A^T for the points 0, 1, -1, 2, -2 and infinity.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # divided by 24
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def prepared_kernel(weight: torch.Tensor) -> torch.Tensor:
    """A kernel (outputs, inputs, 3, 3) in the transformed domain: (36, inputs, outputs)."""
    one = torch.tensor(_KERNEL, dtype=torch.float64, device=weight.device) / 24
    made = torch.einsum("ay,bx,oiyx->abio", one, one, weight.double())
    return made.flatten(0, 1).to(weight.dtype).contiguous()


def convolved(tiles: torch.Tensor, kernel: torch.Tensor, scratch: torch.Tensor, out: torch.Tensor) -> None:
    """Convolve tiles with a prepared kernel, without padding.

    tiles: (36, T, inputs), the 6x6 inputs of each tile in row-major order. out: (16, T, outputs), written: its 4x4
    outputs. scratch: 36 T (inputs + outputs) numbers of room.

    >>> weight, image = torch.ones(1, 1, 3, 3), torch.arange(36.0)
    >>> out = torch.empty(16, 1, 1)
    >>> convolved(image.reshape(36, 1, 1), prepared_kernel(weight), torch.empty(72), out)
    >>> torch.allclose(out.reshape(4, 4), torch.conv2d(image.reshape(1, 1, 6, 6), weight)[0, 0], rtol=1e-4)
    True
    """
    count, inputs, outputs = tiles.shape[1], tiles.shape[2], kernel.shape[2]
    before, after = _both_axes(_INPUT, tiles), _both_axes(_OUTPUT, tiles)
    room = scratch[: PATCH * PATCH * count * (inputs + outputs)]
    moved = room[: PATCH * PATCH * count * inputs].view(PATCH * PATCH, count * inputs)
    products = room[moved.numel() :].view(PATCH * PATCH, count, outputs)
    torch.mm(before, tiles.reshape(PATCH * PATCH, -1), out=moved)
    torch.bmm(moved.view(PATCH * PATCH, count, inputs), kernel, out=products)
    torch.mm(after, products.view(PATCH * PATCH, -1), out=out.view(TILE * TILE, -1))


def _both_axes(one: tuple[tuple[int, ...], ...], like: torch.Tensor) -> torch.Tensor:
    matrix = torch.tensor(one, dtype=like.dtype, device=like.device)
    return torch.kron(matrix, matrix)
