"""Reductions, running reductions, matrix products and norms."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case

FOUR = (1, 4, 5, 7)
LINE = (1, 2, 13)


class ChannelsLastNorm(nn.Module):
    """Layer norm over the channels of each position: it stays local."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(2)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormByHand(nn.Module):
    """ConvNeXt's and SAM's LayerNorm2d, written with means."""

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


class MlpOverColumns(nn.Module):
    """A linear layer along the columns of each row, MLP-Mixer's token mixing on one axis."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(13, 5)

    def forward(self, x):
        return self.linear(x)


class BilinearForm(nn.Module):
    """A bilinear form of the channels at each position."""

    def __init__(self):
        super().__init__()
        self.bilinear = nn.Bilinear(2, 2, 2)

    def forward(self, x):
        last = x.permute(0, 2, 3, 1).contiguous()
        return self.bilinear(last, last).permute(0, 3, 1, 2)


CASES = [
    case("mean-space", lambda x: x.mean((2, 3))),
    case("mean-space-kept", lambda x: x.mean((2, 3), keepdim=True)),
    case("mean-rows", lambda x: x.mean(2)),
    case("mean-columns-kept", lambda x: x.mean(3, keepdim=True)),
    case("mean-channels", lambda x: x.mean(1, keepdim=True)),
    case("mean-all", lambda x: x.mean()),
    case("sum-columns", lambda x: x.sum(3)),
    case("sum-negative-dim", lambda x: x.sum(-2, keepdim=True)),
    case("amax-rows", lambda x: x.amax(2)),
    case("amin-space", lambda x: x.amin((2, 3), keepdim=True)),
    case("max-dim", lambda x: x.max(3).values, exact=False),
    case("min-dim", lambda x: x.min(2, keepdim=True)[0], exact=False),
    case("median", lambda x: x.median(2).values, exact=False),
    case("argmax-rows", lambda x: x.argmax(2).float(), exact=False),
    case("prod", lambda x: x.prod(2)),
    case("logsumexp", lambda x: x.logsumexp(3)),
    case("var", lambda x: x.var(2)),
    case("std-space", lambda x: x.std((2, 3), keepdim=True)),
    case("var-mean", lambda x: torch.var_mean(x, 3)[0]),
    case("norm", lambda x: x.norm(dim=3)),
    case("norm-p3", lambda x: x.norm(p=3, dim=2)),
    case("vector-norm", lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
    case("normalize-channels", lambda x: F.normalize(x, dim=1)),
    case("normalize-rows", lambda x: F.normalize(x, dim=2)),
    case("cosine-similarity", lambda x: F.cosine_similarity(x[:, :1], x + 1, dim=3)),
    case("cumsum-rows", lambda x: x.cumsum(2)),
    case("cumsum-columns", lambda x: x.cumsum(3)),
    case("cumprod", lambda x: x.cumprod(3)),
    case("integral-image", lambda x: x.cumsum(2).cumsum(3)),
    case("cummax", lambda x: x.cummax(3).values, exact=False),
    case("logcumsumexp", lambda x: x.logcumsumexp(2)),
    case("diff", lambda x: x.diff(dim=3)),
    case("all-any", lambda x: x * (x > 0).any(3, keepdim=True), exact=False),
    case("softmax-channels", lambda x: x.softmax(1)),
    case("softmax-columns", lambda x: x.softmax(3)),
    case("softmax-space", lambda x: x.flatten(2).softmax(2).reshape(x.shape)),
    case("log-softmax", lambda x: x.log_softmax(2)),
    case("matmul-constant", lambda x: x @ torch.ones(13, 4, dtype=x.dtype)),
    case("matmul-constant-left", lambda x: torch.ones(3, 11, dtype=x.dtype) @ x),
    case("matmul-itself", lambda x: x @ x.transpose(2, 3), separable=False),
    case("matmul-vector", lambda x: x @ torch.ones(13, dtype=x.dtype)),
    case("bmm", lambda x: torch.bmm(x[0], x[0].transpose(1, 2))),
    case("gram", lambda x: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2))),
    case("einsum-channels", lambda x: torch.einsum("nchw,cd->ndhw", x, torch.ones(2, 3, dtype=x.dtype))),
    case("einsum-space", lambda x: torch.einsum("nchw,ncvw->nhv", x, x)),
    case("einsum-diagonal", lambda x: torch.einsum("nchw,nchw->nch", x, x + 1)),
    case("baddbmm", lambda x: torch.baddbmm(x[0], x[0], torch.ones(2, 13, 13, dtype=x.dtype))),
    case("addmm", lambda x: torch.addmm(x[0, 0], x[0, 0], torch.ones(13, 13, dtype=x.dtype))),
    case("tensordot", lambda x: torch.tensordot(x, torch.ones(2, 3, dtype=x.dtype), dims=([1], [0]))),
    Case("linear-columns", MlpOverColumns),
    Case("linear-channels", lambda: nn.Sequential(nn.Flatten(2), nn.Linear(35, 4)), shape=(1, 2, 5, 7)),
    Case("linear-classifier", lambda: nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 7, 3)), shape=(1, 2, 5, 7)),
    Case("bilinear", BilinearForm),
    Case("batch-norm", lambda: nn.BatchNorm2d(2)),
    Case("batch-norm-plain", lambda: nn.BatchNorm2d(2, affine=False)),
    Case("batch-norm-1d", lambda: nn.BatchNorm1d(2), shape=LINE, nested=False),
    Case("batch-norm-without-statistics", lambda: nn.BatchNorm2d(2, track_running_stats=False)),
    Case("group-norm", lambda: nn.GroupNorm(2, 4), shape=FOUR),
    Case("instance-norm", lambda: nn.InstanceNorm2d(2, affine=True)),
    Case("instance-norm-tracked", lambda: nn.InstanceNorm2d(2, track_running_stats=True)),
    Case("layer-norm-channels-last", ChannelsLastNorm),
    Case("layer-norm-by-hand", NormByHand),
    Case("layer-norm-spatial", lambda: nn.LayerNorm((2, 11, 13))),
    Case("layer-norm-columns", lambda: nn.LayerNorm(13)),
    Case("rms-norm-columns", lambda: nn.RMSNorm(13)),
    Case("local-response-norm", lambda: nn.LocalResponseNorm(3), shape=FOUR),
    Case("weight-norm", lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))),
]
