"""Occlusion maps against another library, and on a U-Net, against one full run for each position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from perimetry.maps.occlusion import occlude


def test_captum_finds_the_same_map() -> None:
    """On a grid that fits the image: captum shifts what would stand out, and averages where patches overlap."""
    attr = pytest.importorskip("captum.attr")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.alexnet(weights=None).eval()
    image = torch.rand((1, 3, 96, 96), generator=torch.Generator().manual_seed(2)) - 0.5
    found = occlude(model, image, "output:7", patch=16, stride=16, fill="constant:0.25")
    theirs = attr.Occlusion(model).attribute(
        image, sliding_window_shapes=(3, 16, 16), strides=(3, 16, 16), baselines=0.25, target=7
    )
    # Theirs is uncovered minus covered, spread over the pixels.
    expected = -theirs[0, 0, ::16, ::16].numpy()
    assert found.map.shape == expected.shape == (6, 6)
    np.testing.assert_allclose(found.map, expected, atol=2e-6 * float(model(image).abs().max().detach()) + 1e-8)


class UNet(nn.Module):
    """Two levels down and up again, joined by concatenation, as Ronneberger et al. 2015 do, padded."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.down = nn.MaxPool2d(2)
        self.up_2, self.up_1 = nn.ConvTranspose2d(8, 8, 2, stride=2), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.third = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(self.down(first))
        up = self.third(torch.cat((second, self.up_2(self.bottom(self.down(second)))), 1))
        return self.last(torch.cat((first, self.up_1(up)), 1))


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return UNet().eval()


@pytest.mark.parametrize("size", [(32, 44), (44, 32)])
@pytest.mark.parametrize(
    ("patch", "stride"),
    [((4, 4), (4, 4)), ((5, 3), (3, 4)), ((1, 1), (7, 5)), ((8, 7), (6, 9)), ((31, 30), (1, 1)), ((32, 32), (2, 3))],
)
@pytest.mark.parametrize("unit", ["output:1@20,17", "output@31,0", "second@7,3"])
def test_a_unet_at_odd_and_even_sizes(unet, size, patch, stride, unit) -> None:
    """The last two patches are larger than the field of `second`, whose units see 10x10 pixels."""
    image = torch.rand((2, 1, *size), generator=torch.Generator().manual_seed(1))
    found = occlude(unet, image, unit, patch=patch, stride=stride, fill="constant:-1", value="l2")
    row, column = found.target.unit
    channels = slice(None) if found.target.channel is None else slice(1, 2)

    def watched(x: Tensor) -> Tensor:
        whole = unet(x) if unit.startswith("output") else unet.second(unet.down(unet.first(x)))
        return whole[:, channels, row, column].double()

    expected = np.zeros(found.map.shape)
    with torch.no_grad():
        for i, top in enumerate(range(0, size[0] - patch[0] + 1, stride[0])):
            for j, left in enumerate(range(0, size[1] - patch[1] + 1, stride[1])):
                covered = image.clone()
                covered[:, :, top : top + patch[0], left : left + patch[1]] = -1
                expected[i, j] = (watched(covered) - watched(image)).norm(dim=1).mean()
    assert expected.any()
    np.testing.assert_allclose(found.map, expected, atol=1e-5 * expected.max() + 1e-7)
