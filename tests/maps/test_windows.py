"""Windows: each operator that runs on them against full runs, and their arithmetic against slow loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import perimetry
from perimetry.maps import winograd
from perimetry.maps.batching import batches, kept_bytes
from perimetry.maps.covers import Cover
from perimetry.maps.incremental import Runner
from perimetry.maps.plan import make_plan
from perimetry.maps.tiles import Frame, Windows
from perimetry.tracing import trace


class Plain(nn.Module):
    """A convolution, something, a convolution."""

    def __init__(self, middle, channels: int = 8, after: int | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = middle if isinstance(middle, nn.Module) else None
        self.function = None if isinstance(middle, nn.Module) else middle
        self.last = nn.Conv2d(after or channels, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(self.middle(x) if self.middle is not None else self.function(x))


class ConvNeXtBlock(nn.Module):
    """Channels last in the middle: permute, layer norm, linear layers, permute back."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.Sequential(nn.Linear(channels, 24), nn.GELU(), nn.Linear(24, channels))
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(self.norm(self.mix(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return x + self.scale * y


F = nn.functional
MIDDLES = {
    "3x3": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "3x3 filtered": lambda: nn.Sequential(nn.Conv2d(8, 32, 1), nn.Conv2d(32, 40, 3, padding=1), nn.Conv2d(40, 8, 1)),
    "3x3 filtered, dilated": lambda: nn.Sequential(
        nn.Conv2d(8, 32, 1), nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.Conv2d(32, 8, 1)
    ),
    "3x3 filtered, one unit of padding less": lambda: nn.Sequential(
        nn.Conv2d(8, 32, 1), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 8, 1)
    ),
    "3x3 stride 2": lambda: nn.Conv2d(8, 8, 3, 2, padding=1),
    "1x1 stride 2": lambda: nn.Conv2d(8, 8, 1, 2),
    "1x7": lambda: nn.Conv2d(8, 8, (1, 7), padding=(0, 3)),
    "4x2 stride 3, dilated": lambda: nn.Conv2d(8, 8, (4, 2), (3, 2), padding=(2, 0), dilation=(1, 3)),
    "grouped": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=4),
    "depthwise stride 2": lambda: nn.Conv2d(8, 16, 5, 2, padding=2, groups=8),
    "no bias, batch norm": lambda: nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8)),
    "transposed 2x2": lambda: nn.ConvTranspose2d(8, 8, 2, 2),
    "transposed 3x3": lambda: nn.ConvTranspose2d(8, 8, 3, 2, padding=1, output_padding=1),
    "transposed, kernel below stride": lambda: nn.ConvTranspose2d(8, 8, 1, 3),
    "max pool": lambda: nn.MaxPool2d(3, 2, padding=1),
    "max pool, ceil, dilated": lambda: nn.MaxPool2d(2, 3, ceil_mode=True, dilation=2),
    "average pool": lambda: nn.AvgPool2d(2),
    "average pool, padding not counted": lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "average pool, ceil": lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    "average pool, divisor": lambda: nn.AvgPool2d((3, 2), 2, divisor_override=5),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d((5, 7)),
    "adaptive average, larger": lambda: nn.AdaptiveAvgPool2d((30, 31)),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear, corners": lambda: nn.Upsample(size=(37, 50), mode="bilinear", align_corners=True),
    "bilinear, smaller": lambda: nn.Upsample(size=(13, 11), mode="bilinear"),
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "nearest, odd": lambda: nn.Upsample(size=(31, 45)),
    "reflected": lambda: nn.ReflectionPad2d(3),
    "repeated": lambda: nn.ReplicationPad2d((1, 2, 3, 4)),
    "padded": lambda: nn.ConstantPad2d((2, 0, 1, 3), 0.7),
    "cropped": lambda: lambda x: x[:, :, 2:-3, 1:],
    "channels taken": lambda: lambda x: torch.cat((x[:, 4:], x[:, :4]), 1),
    "shuffled": lambda: lambda x: x.view(1, 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape),
    "ConvNeXt": ConvNeXtBlock,
    "residual": lambda: lambda x: x + F.max_pool2d(F.relu(-x), 3, 1, 1),
    "twice the same": lambda: lambda x: x + x,
    "multiplied": lambda: lambda x: x * torch.sigmoid(F.avg_pool2d(x, 3, 1, 1)),
    "in place": lambda: lambda x: F.relu_(x - 0.5).add_(1).mul_(2),
    "softmax": lambda: nn.Softmax(1),
}


def image_of(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def compared(model: nn.Module, image: Tensor, unit: str, patch: int = 5, stride: int = 7) -> None:
    """Every position against a full run of the model itself."""
    found = perimetry.occlude(model, image, unit, patch=patch, stride=stride, fill="constant:0.5", value="l2")
    base = perimetry.endpoints(model, image, found.target.layer)[found.target.layer]
    for (i, top), (j, left) in itertools.product(enumerate(found.tops), enumerate(found.lefts)):
        covered = image.clone()
        covered[:, :, top : top + patch, left : left + patch] = 0.5
        full = perimetry.endpoints(model, covered, found.target.layer)[found.target.layer]
        change = (found.target.of(full) - found.target.of(base)).norm()
        tolerance = 1e-5 * float(base.abs().max()) * len(found.target.elements) ** 0.5
        assert abs(float(change) - float(found.map[i, j])) <= tolerance, (i, j)


@pytest.mark.parametrize("name", MIDDLES)
def test_runs_on_windows_and_equals_full_runs(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = MIDDLES[name]()
        model = Plain(middle, after=16 if name == "depthwise stride 2" else 8).eval()
    image = image_of(1, 3, 22, 27)
    network = trace(model, image)
    plan = make_plan(network, network.layer("last").value, None, [0], [0], (4, 4))
    assert plan.first_full_operator() is None
    compared(model, image, "last@2,3")
    compared(model, image, "last")


def _heads(x: Tensor) -> Tensor:
    """Attention whose heads stand on the first axis with the images, as in PyTorch's."""
    tokens = x.flatten(2).transpose(1, 2)
    heads = tokens.view(len(x), -1, 2, 4).permute(0, 2, 1, 3).reshape(2 * len(x), -1, 4)
    seen = (heads @ heads.transpose(1, 2)).softmax(-1) @ heads
    return seen.view(len(x), 2, -1, 4).permute(0, 1, 3, 2).reshape(len(x), 8, *x.shape[2:])


def _tokens_first(x: Tensor) -> Tensor:
    """A softmax over positions that stand before the images, as in DETR's encoder."""
    tokens = x.flatten(2).permute(2, 0, 1) * 2
    return (tokens.softmax(0) * tokens).permute(1, 2, 0).reshape(x.shape)


def _tilt(*shape: int) -> Tensor:
    return torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


class RowNorm(nn.Module):
    """A batch norm whose channels are the rows of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(22)
        self.norm.running_mean.copy_(_tilt(22))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)


class TokenNorm(nn.Module):
    """A batch norm whose channels are the positions of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(22 * 27)
        self.norm.running_mean.copy_(_tilt(22 * 27))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class PairsOfTokens(nn.Module):
    """A 1x1 convolution on (positions, pairs): no map of rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        pairs = self.mix(x.reshape(len(x), 4, 2, -1).transpose(2, 3))
        return pairs.transpose(2, 3).reshape(x.shape)


REFUSED_ON_WINDOWS = {
    "coordinates beside the map": lambda: (
        lambda x: torch.cat((x[:, :7], _tilt(1, 1, *x.shape[2:]).expand(len(x), -1, -1, -1)), 1)
    ),
    "coordinates, for one image only": lambda: lambda x: torch.cat((x[:, :7], _tilt(1, 1, *x.shape[2:])), 1),
    "the first image of a batch": lambda: lambda x: x[:1].softmax(2),
    "a number for each column": lambda: lambda x: x * _tilt(27),
    "channels and rows padded": lambda: lambda x: F.pad(x, (0, 0, 1, 2, 1, 1))[:, :8],
    "channels and rows rolled": lambda: lambda x: torch.roll(x, (1, 2), (1, 2)),
    "instance norm": lambda: nn.InstanceNorm2d(8),
    "local response norm": lambda: lambda x: F.local_response_norm(x, 3),
    "heads among the images": lambda: _heads,
    "positions before the images": lambda: _tokens_first,
    "a reshape that copies for several images": lambda: (
        lambda x: (
            (x.permute(0, 2, 3, 1).reshape(-1, 8) * 2).view(len(x), -1, 8).softmax(1).transpose(1, 2).reshape(x.shape)
        )
    ),
    "rows as channels": RowNorm,
    "positions as channels": TokenNorm,
    "pairs of tokens": PairsOfTokens,
    "added to a product's rows": lambda: (
        lambda x: (
            torch.addmm(_tilt(22 * 27, 8), x.flatten(2).transpose(1, 2).reshape(-1, 8), torch.eye(8))
            .t()
            .reshape(x.shape)
        )
    ),
}


@pytest.mark.parametrize("name", REFUSED_ON_WINDOWS)
def test_what_does_not_run_on_windows_runs_on_full_maps(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Plain(REFUSED_ON_WINDOWS[name]()).eval()
    compared(model, image_of(1, 3, 22, 27), "last@2,3")
    compared(model, image_of(1, 3, 22, 27), "last")


@pytest.mark.parametrize("move", [lambda x: F.pad(x, (0, 0, 0, 0, 2, 2))[:, :8], lambda x: torch.roll(x, 3, 1)])
def test_padded_and_rolled_channels_run_on_windows(move):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Plain(move).eval()
    image = image_of(1, 3, 22, 27)
    network = trace(model, image)
    plan = make_plan(network, network.layer("last").value, None, [0], [0], (4, 4))
    assert plan.first_full_operator() is None
    compared(model, image, "last")


def test_a_whole_network_of_many_sizes():
    """A U-Net: pooled, upsampled in both ways, and joined again."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
            self.up, self.out = nn.ConvTranspose2d(8, 6, 2, 2), nn.Conv2d(20, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            a = torch.relu(self.a(x))
            b = torch.relu(self.b(F.max_pool2d(a, 2)))
            c = F.interpolate(self.c(b), size=a.shape[2:], mode="bilinear")
            return self.out(torch.cat((a, self.up(b), c), 1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        compared(Net().eval(), image_of(1, 3, 24, 32), "out:1@20,3")


CROPPED = {
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, padding=1)),
    "ceil": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 1, 1), nn.Conv2d(6, 6, 3, padding=1)
    ),
    "up again": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, padding=1), nn.Conv2d(6, 6, 3, 2), nn.ConvTranspose2d(6, 6, 2, 2), nn.Conv2d(6, 6, 3)
    ),
    "padded": lambda: nn.Sequential(nn.ConstantPad2d(3, 0.5), nn.Conv2d(3, 6, 5, 3), nn.GELU(), nn.Conv2d(6, 6, 3)),
}


@pytest.mark.parametrize("name", CROPPED)
@pytest.mark.parametrize("unit", [(0, 0), (5, 7), (-1, -1), (9, 0)])
def test_a_watched_unit_is_run_on_what_it_sees(name, unit, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CROPPED[name]().eval()
    image, layer = image_of(1, 3, 83, 90), str(len(CROPPED[name]()) - 1)
    extents = perimetry.endpoints(model, image, layer)[layer].shape[2:]
    row, column = (place % extent for place, extent in zip(unit, extents, strict=True))
    sizes, run = [], Runner.__init__

    def watched(self, plan, image, *rest):
        sizes.append(image.shape[2:])
        run(self, plan, image, *rest)

    monkeypatch.setattr(Runner, "__init__", watched)
    compared(model, image, f"{layer}:1@{row},{column}", patch=9, stride=11)
    assert all(size.numel() < 0.5 * image.shape[2] * image.shape[3] for size in sizes)


def test_a_crop_that_would_be_another_network_is_not_made():
    class Positioned(nn.Module):
        """Adds something that is as large as the map."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
            self.where = nn.Parameter(torch.rand(1, 4, 40, 44))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x) + self.where))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        resized = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(size=(50, 60), mode="bilinear"), nn.Conv2d(4, 2, 3))
        compared(Positioned().eval(), image_of(1, 3, 40, 44), "last@9,10", patch=6, stride=17)
        compared(resized.eval(), image_of(1, 3, 40, 44), "2@9,10", patch=6, stride=17)


def test_filtering_is_a_convolution():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((5, 7, 3, 3), generator=generator, dtype=torch.float64)
    image = torch.randn((1, 7, 6, 6), generator=generator, dtype=torch.float64)
    tiles = image.permute(2, 3, 0, 1).reshape(36, 1, 7)
    out = torch.empty((16, 1, 5), dtype=torch.float64)
    kernel = winograd.prepared_kernel(weight)
    winograd.convolved(tiles, kernel, torch.empty(36 * 12, dtype=torch.float64), out)
    torch.testing.assert_close(out.view(4, 4, 5).permute(2, 0, 1)[None], torch.conv2d(image, weight))


EXTENTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(EXTENTS, st.integers(0, 4))
def test_windows_find_their_rows(extents, shift):
    heights, widths = (np.array(each, dtype=np.int64) for each in zip(*extents, strict=True))
    tops = np.arange(len(heights)) + shift
    windows = Windows(tops, tops * 2, np.where(widths > 0, heights, 0), np.where(heights > 0, widths, 0))
    expected = [
        (patch, top + y, 2 * top + x)
        for patch, (top, (height, width)) in enumerate(zip(tops, extents, strict=True))
        for y in range(height)
        for x in range(width)
    ]
    assert list(zip(windows.patches, windows.rows, windows.columns, strict=True)) == expected
    place = {key: row for row, key in enumerate(expected)}
    for patch, row, column in itertools.product(range(len(extents)), range(16), range(24)):
        asked = (np.array(each) for each in (patch, row, column))
        assert windows.index(*asked) == place.get((patch, row, column), -1)


@settings(deadline=None, max_examples=60)
@given(EXTENTS, st.integers(1, 5), st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_a_cover_computes_every_position_once(extents, size, step):
    heights, widths = (np.array(each, dtype=np.int64) for each in zip(*extents, strict=True))
    windows = Windows(heights * 0 + 3, widths * 0 + 1, np.where(widths, heights, 0), np.where(heights, widths, 0))
    cover = Cover.of(windows, size, step)
    goals = cover.goals(windows)
    assert sorted(goals[goals < len(windows)]) == list(range(len(windows)))
    for place, tile in itertools.product(range(size * size), range(cover.count)):
        row = goals[place, tile]
        if row < len(windows):
            assert windows.patches[row] == cover.patches[tile]
            assert windows.rows[row] == cover.rows[tile] + step[0] * (place // size)
            assert windows.columns[row] == cover.columns[tile] + step[1] * (place % size)


@pytest.mark.parametrize(
    ("frame", "shape", "new", "dims"),
    [
        (Frame((2, 3), (4, 6)), (1, 8, 4, 6), (1, 8, 24), (2,)),
        (Frame((1, 2), (4, 6)), (1, 4, 6, 8), (24, 8), (0,)),
        (Frame((0,), (4, 6)), (24, 8), (1, 4, 6, 2, 4), (1, 2)),
        (Frame((2, 3), (4, 6)), (1, 8, 4, 6), (1, 2, 4, 4, 6), (3, 4)),
        (Frame((2, 3), (4, 6)), (1, 8, 4, 6), (1, 192), None),
        (Frame((1, 2), (4, 6)), (1, 4, 6, 8), (1, 2, 2, 6, 8), None),
        (Frame((1, 3), (4, 6)), (1, 4, 4, 6), (1, 4, 4, 6), None),  # rows, channels, columns
    ],
)
def test_a_frame_seen_under_another_shape(frame, shape, new, dims):
    found = frame.reshaped(shape, new)
    assert (None if found is None else found.dims) == dims
    if found is not None:
        tensor = torch.arange(float(np.prod(shape))).reshape(shape)
        assert (found.table(tensor.reshape(new)) == frame.table(tensor)).all()
        assert (frame.tensor(frame.table(tensor), shape).reshape(-1).sort()[0] == tensor.reshape(-1)).all()


def test_batches_hold_every_position_once_and_keep_to_memory():
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()).eval()
    network = trace(model, torch.empty(1, 3, 64, 64, device="meta"))
    tops = list(range(0, 49, 4))
    plan = make_plan(network, network.layer("3").value, None, tops, tops, (16, 16))
    positions = [(i, j) for i in range(len(tops)) for j in range(len(tops))]
    sizes = []
    for memory in (1, 32 << 20, 48 << 20, 1 << 30):
        found = batches(plan, positions, memory)
        assert [place for batch in found for place in batch] == list(range(len(positions)))
        sizes.append(max(map(len, found)))
    assert sizes[0] == 1 and sizes == sorted(sizes) and sizes[-1] == len(positions)
    values = 2 * (64 * 62 * 62 + 64 * 60 * 60) * 4
    filters = (64 * 3 + 64 * 64 * 5) * 9 * 4  # those of the second are transformed, too: 36 numbers for 9
    assert kept_bytes(plan) == values + filters
