"""RoIAlign in compiled loops, beside torchvision's operator."""

import pytest
import torch
import torchvision

from perimetry import ops
from perimetry.kernels.roi_align_numba import aligned_means


def boxes_of(count: int, *, images: int, height: float, width: float, generator: torch.Generator) -> torch.Tensor:
    """Boxes within and a little beyond the image, some thinner than a cell."""
    size = torch.tensor([width, height, width, height])
    corners = torch.rand(count, 4, generator=generator) * (size + 20) - 10
    low, high = corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])
    high[::5] = low[::5] + 0.5
    image = torch.randint(images, (count, 1), generator=generator)
    return torch.cat([image.float(), low, high], 1)


@pytest.mark.parametrize("shape", [(2, 40, 9, 13), (1, 3, 1, 1), (3, 32, 2, 5), (1, 70, 16, 8)])
@pytest.mark.parametrize(("size", "samples"), [(7, 2), (1, 1), (3, 4)])
def test_equals_torchvision(shape, size, samples):
    generator = torch.Generator().manual_seed(len(shape) + size)
    boxes = boxes_of(30, images=shape[0], height=shape[2] * 8, width=shape[3] * 8, generator=generator)
    given = torch.randn(30, shape[1], size, size, generator=generator)
    features = torch.randn(shape, generator=generator)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = features.clone(memory_format=layout).requires_grad_()
        pooled = aligned_means(maps, boxes, size=size, scale=1 / 8, samples=samples)
        found.append((pooled.detach(), *torch.autograd.grad(pooled, maps, given)))
    maps = features.clone().requires_grad_()
    pooled = torchvision.ops.roi_align(maps, boxes, size, 1 / 8, samples)
    wanted = (pooled.detach(), *torch.autograd.grad(pooled, maps, given))
    for each in found:
        torch.testing.assert_close(each, wanted, rtol=1e-4, atol=1e-4)  # positions in single precision, added in turn


def test_gradients_in_double_precision():
    generator = torch.Generator().manual_seed(0)
    boxes = boxes_of(5, images=2, height=40, width=56, generator=generator).double()
    features = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda maps: aligned_means(maps, boxes, size=2, scale=1 / 8, samples=2), (features,), fast_mode=True
    )


def test_boxes_stay_in_place_in_half_precision():
    """A box that ends at 319.4 may not become one that ends at 320, as in bfloat16."""
    ramp = torch.arange(320.0).expand(1, 64, 320, 320).to(torch.bfloat16)
    boxes = torch.tensor([[0.0, 201.2, 201.2, 203.2, 203.2]]).repeat(40, 1)
    pooled = ops.roi_align(ramp, boxes, size=7, scale=1.0)
    assert pooled.dtype == torch.bfloat16
    wanted = torchvision.ops.roi_align(ramp.float(), boxes, 7, 1.0, 2)
    torch.testing.assert_close(pooled, wanted.to(torch.bfloat16), rtol=0, atol=0)


def test_no_boxes():
    assert ops.roi_align(torch.zeros(1, 4, 8, 8), torch.zeros(0, 5), size=7, scale=1.0).shape == (0, 4, 7, 7)
