"""Attention: global, in windows with and without shift, along one axis, linear, and with class tokens."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case

EVEN = (1, 2, 8, 12)
SMALL = (1, 2, 5, 6)


def _scaled_dot_product(x):
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def _heads(x):
    """(N, heads, tokens, channels): the four-dimensional form that reaches the fused kernels."""
    tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
    out = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return out.squeeze(1).transpose(1, 2).reshape(x.shape)


def _masked(x):
    tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
    count = tokens.shape[2]
    mask = torch.ones(count, count, dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask).squeeze(1)


def _by_hand(x):
    tokens = x.flatten(2).transpose(1, 2)
    weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    return (weights @ tokens).transpose(1, 2).reshape(x.shape)


def _along_columns(x):
    """Axial attention: each row attends within itself."""
    rows = x.permute(0, 2, 3, 1)
    return F.scaled_dot_product_attention(rows, rows, rows).permute(0, 3, 1, 2)


def _to_constant_keys(x):
    """Queries from the image, keys and values from the code: local."""
    tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
    keys = torch.linspace(0.5, 1.5, 6, dtype=x.dtype).reshape(1, 1, 3, 2)
    return F.scaled_dot_product_attention(tokens, keys, keys).squeeze(1).transpose(1, 2).reshape(x.shape)


def _linear_attention(x):
    """Softmax on keys over space and on queries over channels, as in EfficientViT and CoaT."""
    tokens = x.flatten(2).transpose(1, 2)
    context = tokens.softmax(1).transpose(1, 2) @ tokens
    return (tokens.softmax(2) @ context).transpose(1, 2).reshape(x.shape)


def _channel_attention(x):
    """XCiT: channels attend to channels, so that every position takes part."""
    tokens = F.normalize(x.flatten(2), dim=-1)
    weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    return (weights @ x.flatten(2)).reshape(x.shape)


class MultiHead(nn.Module):
    """`nn.MultiheadAttention` over the tokens of the map."""

    def __init__(self, *, need_weights: bool):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        out, _ = self.attention(tokens, tokens, tokens, need_weights=self.need_weights)
        return out.transpose(1, 2).reshape(x.shape)


class Encoder(nn.Module):
    """A transformer encoder layer with a class token, read off at the token."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 2))
        self.layer = nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, dropout=0.0)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.layer(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))[:, 0]


class Window(nn.Module):
    """Swin's window attention, with the shift and its mask."""

    def __init__(self, *, size: int = 4, shift: int = 0):
        super().__init__()
        self.qkv, self.project = nn.Linear(2, 6), nn.Linear(2, 2)
        self.bias = nn.Parameter(torch.zeros(1, size * size, size * size))
        self.size, self.shift = size, shift

    def partition(self, x):
        n, h, w, c = x.shape
        blocks = x.view(n, h // self.size, self.size, w // self.size, self.size, c)
        return blocks.transpose(2, 3).reshape(-1, self.size * self.size, c)

    def mask(self, h, w, dtype):
        marks = torch.zeros(1, h, w, 1, dtype=dtype)
        count = 0
        for rows in (slice(0, -self.size), slice(-self.size, -self.shift), slice(-self.shift, None)):
            for columns in (slice(0, -self.size), slice(-self.size, -self.shift), slice(-self.shift, None)):
                marks[:, rows, columns] = count
                count += 1
        marks = self.partition(marks).squeeze(2)
        differ = marks[:, None] - marks[:, :, None]
        return differ.masked_fill(differ != 0, -100.0)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        q, k, v = self.qkv(self.partition(x)).chunk(3, -1)
        logits = q @ k.transpose(1, 2) + self.bias
        if self.shift:
            logits = logits + self.mask(h, w, logits.dtype)
        blocks = self.project(logits.softmax(-1) @ v)
        blocks = blocks.view(n, h // self.size, w // self.size, self.size, self.size, c)
        x = blocks.transpose(2, 3).reshape(n, h, w, c)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x.permute(0, 3, 1, 2)


class Pooled(nn.Module):
    """PVT's spatial reduction: keys and values come from a strided convolution of the map."""

    def __init__(self):
        super().__init__()
        self.reduce = nn.Conv2d(2, 2, 2, 2)

    def forward(self, x):
        keys = self.reduce(x).flatten(2).transpose(1, 2).unsqueeze(1)
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
        return F.scaled_dot_product_attention(tokens, keys, keys).squeeze(1).transpose(1, 2).reshape(x.shape)


CASES = [
    case("sdpa", _scaled_dot_product, shape=SMALL),
    case("sdpa-heads", _heads, shape=SMALL),
    case("sdpa-masked", _masked, shape=SMALL, exact=False),
    case("attention-by-hand", _by_hand, shape=SMALL),
    case("axial", _along_columns, shape=SMALL),
    case("constant-keys", _to_constant_keys, shape=SMALL),
    case("linear-attention", _linear_attention, shape=SMALL),
    case("channel-attention", _channel_attention, shape=SMALL),
    Case("multi-head", lambda: MultiHead(need_weights=False), shape=SMALL),
    Case("multi-head-weights", lambda: MultiHead(need_weights=True), shape=SMALL),
    Case("encoder-layer", Encoder, shape=SMALL),
    Case("window-attention", Window, shape=EVEN),
    # the mask adds -100 across the seam, which a gradient sees as zero and a span cannot know: contained, not equal
    Case("window-attention-shifted", lambda: Window(shift=2), shape=EVEN, exact=False, endless=False),
    Case("spatial-reduction", Pooled, shape=(1, 2, 4, 6)),
]
