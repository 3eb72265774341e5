"""Layout: views, permutations, crops, flips, patches and windows; nothing is computed, every index must be right."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case

EVEN = (1, 2, 8, 12)
FOUR = (1, 4, 5, 7)


def _windows(x, size=4):
    """(N, C, H, W) to (N windows, size, size, C), Swin's partition."""
    n, c, h, w = x.shape
    blocks = x.permute(0, 2, 3, 1).reshape(n, h // size, size, w // size, size, c)
    return blocks.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, c)


def _merge(blocks, n, h, w, size=4):
    """The inverse of `_windows`."""
    c = blocks.shape[-1]
    x = blocks.reshape(n, h // size, w // size, size, size, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _round_trip(x):
    return _merge(_windows(x), x.shape[0], *x.shape[2:])


def _window_means(x):
    """Each window is replaced by its mean: a unit sees its own window, and nothing else."""
    blocks = _windows(x)
    return _merge(blocks.mean((1, 2), keepdim=True).expand_as(blocks), x.shape[0], *x.shape[2:])


def _shifted_window_means(x):
    return _window_means(x.roll((-2, -2), (2, 3))).roll((2, 2), (2, 3))


def _grid_means(x):
    """MaxViT's grid attention in outline: a unit sees every fourth row and column (holes, on purpose)."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, 4, h // 4, 4, w // 4)
    return blocks.mean((2, 4), keepdim=True).expand_as(blocks).reshape(n, c, h, w)


def _patch_merging(x):
    """Swin's patch merging: four strided slices side by side in the channels."""
    return torch.cat([x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]], 1)


def _fold_round_trip(x):
    """Overlapping patches, added back where they overlap."""
    return F.fold(F.unfold(x, 3, padding=1, stride=2), x.shape[2:], 3, padding=1, stride=2)


def _tokens_and_back(x):
    tokens = x.flatten(2).transpose(1, 2)
    return tokens.transpose(1, 2).reshape(x.shape)


def _class_token(x):
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.ones_like(tokens[:, :1]), tokens], 1)
    return tokens[:, 1:].transpose(1, 2).reshape(x.shape)


def _shuffle_by_hand(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


CASES = [
    case("crop", lambda x: x[:, :, 2:-3, 1:9]),
    case("crop-channels", lambda x: x[:, 1:]),
    case("slice-steps", lambda x: x[:, :, ::2, 1::3]),
    case("narrow", lambda x: x.narrow(2, 3, 4)),
    case("select-row", lambda x: x[:, :, 4]),
    case("select-pixel", lambda x: x[:, :, 4, 5]),
    case("select-channel", lambda x: x[:, 1]),
    case("flip", lambda x: x.flip(3)),
    case("flip-both", lambda x: x.flip((2, 3))),
    case("rot90", lambda x: x.rot90(1, (2, 3))),
    case("roll", lambda x: x.roll((2, -3), (2, 3)), endless=False),
    case("roll-flat", lambda x: x.roll(5), endless=False, separable=False),
    case("transpose-image", lambda x: x.transpose(2, 3)),
    case("channels-last", lambda x: x.permute(0, 2, 3, 1)),
    case("channels-last-and-back", lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
    case("memory-format", lambda x: x.contiguous(memory_format=torch.channels_last) + 1),
    case("movedim", lambda x: x.movedim(1, -1).movedim(-1, 1)),
    case("flatten", lambda x: x.flatten(1)),
    case("flatten-all", lambda x: x.flatten()),
    case("flatten-space", lambda x: x.flatten(2)),
    case("tokens-and-back", _tokens_and_back),
    case("class-token", _class_token),
    case("reshape-rows", lambda x: x.reshape(1, 2, 22, 6), shape=EVEN[:2] + (11, 12)),
    case("reshape-odd", lambda x: x.reshape(1, 2, 6, 16), shape=EVEN),
    case("reshape-channels", lambda x: x.reshape(1, 4, 4, 12), shape=EVEN),
    case("unflatten", lambda x: x.unflatten(3, (3, 4)).flatten(3), shape=EVEN),
    case("unsqueeze", lambda x: x.unsqueeze(2).squeeze(2)),
    case("view-of-batch", lambda x: x.reshape(-1, *x.shape[2:]), shape=(2, 2, 5, 7)),
    case(
        "as-strided",
        lambda x: x.contiguous().as_strided((1, 2, 4, 3), (96, 48, 12, 2)),
        shape=(1, 2, 8, 6),
        exact=False,
    ),
    case("diagonal", lambda x: x.diagonal(0, 2, 3)),
    case("tril", lambda x: x.tril(), exact=False),
    case("unfold", lambda x: F.unfold(x, 3)),
    case("unfold-padded", lambda x: F.unfold(x, (2, 3), padding=1, stride=2, dilation=(2, 1))),
    case("fold", lambda x: F.fold(F.unfold(x, 4, stride=4), x.shape[2:], 4, stride=4), shape=EVEN),
    case("fold-overlapping", _fold_round_trip),
    case("tensor-unfold", lambda x: x.unfold(2, 3, 2).unfold(3, 4, 3).flatten(4).mean(4)),
    case("pixel-shuffle", nn.PixelShuffle(2), shape=FOUR),
    case("pixel-unshuffle", nn.PixelUnshuffle(2), shape=EVEN),
    case("channel-shuffle", nn.ChannelShuffle(2), shape=FOUR),
    case("channel-shuffle-by-hand", _shuffle_by_hand, shape=FOUR),
    case("window-round-trip", _round_trip, shape=EVEN),
    case("window-means", _window_means, shape=EVEN),
    case("window-means-shifted", _shifted_window_means, shape=EVEN, endless=False),
    case("grid-means", _grid_means, shape=EVEN),
    case("patch-merging", _patch_merging, shape=EVEN),
    Case("patch-embedding", lambda: nn.Sequential(nn.Conv2d(2, 3, 4, 4), nn.Flatten(2)), shape=EVEN),
]
