"""Indexing, masks, writes into views, sorting, embeddings and RoI operators."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import ops

from rules.cases import Case, case

SMALL = (1, 2, 5, 7)
CLIP = (6, 4, 5, 6)


def _temporal_shift(x, frames=3):
    """TSM: parts of the channels move one frame on or back (frames lie in the batch)."""
    clip = x.view(-1, frames, *x.shape[1:])
    out = torch.zeros_like(clip)
    out[:, :-1, :1] = clip[:, 1:, :1]
    out[:, 1:, 1:2] = clip[:, :-1, 1:2]
    out[:, :, 2:] = clip[:, :, 2:]
    return out.view_as(x)


def _write_rows(x):
    y = x.clone()
    y[:, :, 1:] = x[:, :, :-1]
    return y


def _overwrite_with_constant(x):
    y = x.clone()
    y[:, :, 3:6, 2:4] = 0.5
    return y


def _add_to_view(x):
    y = x.clone()
    y[:, :1, ::2].add_(x[:, 1:, ::2].mean(3, keepdim=True))
    return y


def _write_through_reshape(x):
    y = x.clone()
    y.view(x.shape[0], x.shape[1], -1)[:, :, ::3].mul_(2)
    return y + x.roll(1, 3)


def _copy_then_read_old_view(x):
    """A view taken before the write must see the write."""
    y = x.clone()
    crop = y[:, :, 2:5]
    y.add_(x.flip(3))
    return crop * 2


def _spatial_shift(x):
    """S2-MLP: a quarter of the channels goes one pixel in each direction, by writes into views of itself."""
    y = x.permute(0, 2, 3, 1).clone()
    y[:, 1:, :, :1] = y[:, :-1, :, :1].clone()
    y[:, :, :-1, 1:] = y[:, :, 1:, 1:].clone()
    return y.permute(0, 3, 1, 2)


def _in_place_activation(x):
    return F.leaky_relu(x.add(0.5).mul_(2), 0.1, inplace=True)


def _boolean_mask(x):
    keep = torch.tensor([True, False, True, True, False])
    return x[:, :, keep]


def _boolean_mask_2d(x):
    keep = torch.zeros(5, 7, dtype=torch.bool)
    keep[1:3, 2:6] = True
    return x[:, :, keep]


def _positions(x):
    rows, columns = torch.tensor([4, 0, 2]), torch.tensor([1, 6, 3])
    return x[:, :, rows, columns]


def _grid_of_positions(x):
    rows, columns = torch.tensor([4, 0, 2]), torch.tensor([1, 6])
    return x[:, :, rows[:, None], columns]


def _relative_position_bias(x):
    table = torch.arange(1.0, 10.0, dtype=x.dtype)
    index = (torch.arange(5)[:, None] - torch.arange(7)[None]).remainder(9)
    return x + table[index]


def _scatter_rows(x):
    index = torch.tensor([3, 1, 4, 0, 2]).view(1, 1, 5, 1).expand(x.shape)
    return torch.zeros_like(x).scatter_add(2, index, x)


def _data_gather(x):
    order = x.mean(1, keepdim=True).argsort(3).expand_as(x)
    return x.gather(3, order)


def _top_pixels(x):
    return x.flatten(2).topk(4, dim=2).values


def _data_index(x):
    best = x.flatten(2).mean(1).argmax(1)
    return x.flatten(2)[:, :, best]


def _where_image(x):
    return torch.where(x > 1, x, x.roll(1, 2) * 0.5)


def _where_constant(x):
    chess = (torch.arange(5)[:, None] + torch.arange(7)) % 2 == 0
    return torch.where(chess, x, x.flip(3))


class Embedded(nn.Module):
    """A position embedding looked up in code and added to the map."""

    def __init__(self):
        super().__init__()
        self.rows, self.columns = nn.Embedding(5, 2), nn.Embedding(7, 2)

    def forward(self, x):
        rows, columns = self.rows(torch.arange(5)), self.columns(torch.arange(7))
        return x + (rows[:, None] + columns[None]).permute(2, 0, 1)


class Quantised(nn.Module):
    """The embedding of an index that was computed from the image (VQ-VAE)."""

    def __init__(self):
        super().__init__()
        self.code = nn.Embedding(4, 2)

    def forward(self, x):
        return self.code((x.mean(1) * 2).long().remainder(4)).permute(0, 3, 1, 2) + 0 * x


class Deformable(nn.Module):
    """Deformable convolution with offsets from the image."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(2, 18, 3, padding=1)
        self.conv = ops.DeformConv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x, self.offset(x))


def _boxes(x):
    return torch.tensor([[0.0, 0.0, 0.0, 5.0, 3.0], [0.0, 1.0, 1.0, 4.0, 4.0]], dtype=x.dtype)


def _roi_align(x):
    return ops.roi_align(x, _boxes(x), (2, 2), sampling_ratio=2)


def _roi_pool(x):
    return ops.roi_pool(x, _boxes(x), (2, 2))


def _ps_roi_pool(x):
    return ops.ps_roi_pool(x.repeat(1, 4, 1, 1), _boxes(x), (2, 2))


def _roi_from_image(x):
    boxes = torch.cat([torch.zeros(1, 1, dtype=x.dtype), x.mean((2, 3)).repeat(1, 2) * 2], 1)
    return ops.roi_align(x, boxes, (2, 2))


def _suppressed(x):
    """Scores and boxes from the image; which boxes stay depends on all of them."""
    corners = x[0].flatten(1)[:, :6].T
    boxes = torch.cat([corners, corners + 1], 1)
    keep = ops.nms(boxes, corners.sum(1), 0.99)
    return boxes[keep[:2]]


CASES = [
    case("index-constant", lambda x: x[:, :, torch.tensor([3, 0, 0, 4])], shape=SMALL),
    case("index-list", lambda x: x[..., [6, 2, 3]], shape=SMALL),
    case("index-two-axes", _positions, shape=SMALL),
    case("index-grid", _grid_of_positions, shape=SMALL),
    case("index-boolean", _boolean_mask, shape=SMALL),
    case("index-boolean-2d", _boolean_mask_2d, shape=SMALL),
    case("index-select", lambda x: x.index_select(3, torch.tensor([5, 1])), shape=SMALL),
    case("index-channels", lambda x: x[:, torch.tensor([1, 0, 1])], shape=SMALL),
    case(
        "gather-constant", lambda x: x.gather(2, torch.tensor([2, 4]).view(1, 1, 2, 1).expand(1, 2, 2, 7)), shape=SMALL
    ),
    case("take-along", lambda x: x.take_along_dim(torch.tensor([4, 1]).view(1, 1, 2, 1), 2), shape=SMALL),
    case("scatter-add-constant", _scatter_rows, shape=SMALL, exact=False),
    case(
        "index-add",
        lambda x: torch.zeros_like(x).index_add(2, torch.tensor([1, 1, 0, 3, 2]), x),
        shape=SMALL,
        exact=False,
    ),
    case("index-fill", lambda x: x.index_fill(2, torch.tensor([1, 3]), 2.0), shape=SMALL, exact=False),
    case("index-put", lambda x: x.index_put((torch.tensor([0]), torch.tensor([1])), x[0, 0]), shape=SMALL, exact=False),
    case("masked-fill-constant", lambda x: x.masked_fill(torch.arange(7) % 2 == 0, 0.3), shape=SMALL, exact=False),
    case("where-constant", _where_constant, shape=SMALL, exact=False),
    case("where-image", _where_image, shape=SMALL, exact=False, endless=False),
    case("masked-fill-image", lambda x: x.masked_fill(x > 1, 0.3), shape=SMALL, exact=False),
    case("relative-position-bias", _relative_position_bias, shape=SMALL),
    case("topk", _top_pixels, shape=SMALL, exact=False),
    case("sort", lambda x: x.sort(3).values, shape=SMALL, exact=False),
    case("argsort-gather", _data_gather, shape=SMALL, exact=False),
    case("index-from-data", _data_index, shape=SMALL, exact=False),
    case("write-rows", _write_rows),
    case("write-constant", _overwrite_with_constant, separable=False),
    case("write-add-to-view", _add_to_view, separable=False),
    case("write-through-reshape", _write_through_reshape, endless=False),
    case("write-seen-by-older-view", _copy_then_read_old_view),
    case("write-spatial-shift", _spatial_shift, separable=False),
    case("write-temporal-shift", _temporal_shift, shape=CLIP),
    case("in-place-activations", _in_place_activation),
    case("select-scatter", lambda x: x.select_scatter(x[:, :, 0] * 2, 2, 3), shape=SMALL),
    case("slice-scatter", lambda x: x.slice_scatter(x[:, :, :2].flip(2), 2, 2, 4), shape=SMALL),
    Case("embedding-of-positions", Embedded, shape=SMALL),
    Case("embedding-of-data", Quantised, shape=SMALL, exact=False),
    Case("deformable", Deformable, shape=SMALL, exact=False),
    case("roi-align", _roi_align, shape=SMALL, exact=False),
    case("roi-pool", _roi_pool, shape=SMALL, exact=False),
    case("ps-roi-pool", _ps_roi_pool, shape=SMALL, exact=False),
    case("roi-align-boxes-from-image", _roi_from_image, shape=SMALL, exact=False),
    case("nms", _suppressed, shape=SMALL, exact=False, nested=False),
]
