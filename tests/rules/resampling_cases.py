"""Resampling and pads: every mode of `interpolate`, both conventions, up, down and by fractions."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rules.cases import Case, case

SMALL = (1, 2, 5, 7)
LINE = (1, 2, 9)
VIDEO = (1, 2, 3, 4, 5)


def _resize(name: str, *, shape: tuple[int, ...] = SMALL, **options: Any) -> Case:
    return case(name, lambda x: F.interpolate(x, **options), shape=shape, nested=len(shape) == 4)


def _resize_to_the_image(x):
    """A decoder's last step: whatever the map is, back to the size of the image."""
    return F.interpolate(F.avg_pool2d(x, 3, 2), size=x.shape[-2:], mode="bilinear", align_corners=False)


def _affine(x):
    theta = torch.tensor([[[0.9, 0.1, 0.05], [-0.1, 1.1, 0.1]]], dtype=x.dtype, device=x.device)
    return F.grid_sample(
        x, F.affine_grid(theta.expand(len(x), -1, -1), list(x.shape), align_corners=False), align_corners=False
    )


def _warp_by_itself(x):
    """The sampling positions come from the image too: anything can reach anything."""
    offsets = torch.tanh(x.permute(0, 2, 3, 1))
    return F.grid_sample(x, offsets, align_corners=True)


MODES = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
ALIGNED = ("bilinear", "bicubic")

CASES = [
    *(_resize(f"{mode}-x2", mode=mode, scale_factor=2) for mode in MODES),
    *(_resize(f"{mode}-x3", mode=mode, scale_factor=3) for mode in MODES),
    *(_resize(f"{mode}-half", mode=mode, scale_factor=0.5, shape=(1, 2, 11, 14)) for mode in MODES),
    *(_resize(f"{mode}-to-8x10", mode=mode, size=(8, 10)) for mode in MODES),
    *(_resize(f"{mode}-to-4x5", mode=mode, size=(4, 5), shape=(1, 2, 11, 13)) for mode in MODES),
    *(_resize(f"{mode}-to-1x1", mode=mode, size=(1, 1)) for mode in MODES),
    *(_resize(f"{mode}-same-size", mode=mode, size=(5, 7)) for mode in MODES),
    *(_resize(f"{mode}-x1.7", mode=mode, scale_factor=1.7) for mode in MODES),
    *(_resize(f"{mode}-x0.6", mode=mode, scale_factor=0.6, shape=(1, 2, 11, 13)) for mode in MODES),
    *(
        _resize(f"{mode}-x1.7-recomputed", mode=mode, scale_factor=1.7, recompute_scale_factor=True)
        for mode in ("nearest", "bilinear")
    ),
    *(_resize(f"{mode}-aligned-x2", mode=mode, scale_factor=2, align_corners=True) for mode in ALIGNED),
    *(_resize(f"{mode}-aligned-to-9x13", mode=mode, size=(9, 13), align_corners=True) for mode in ALIGNED),
    *(
        _resize(f"{mode}-aligned-to-4x5", mode=mode, size=(4, 5), align_corners=True, shape=(1, 2, 11, 13))
        for mode in ALIGNED
    ),
    *(_resize(f"{mode}-aligned-to-1x6", mode=mode, size=(1, 6), align_corners=True) for mode in ALIGNED),
    *(
        _resize(f"{mode}-antialias-to-4x5", mode=mode, size=(4, 5), antialias=True, shape=(1, 2, 11, 13))
        for mode in ALIGNED
    ),
    _resize("linear1d-x2", mode="linear", scale_factor=2, shape=LINE),
    _resize("linear1d-aligned", mode="linear", size=14, align_corners=True, shape=LINE),
    _resize("nearest1d-to-13", mode="nearest", size=13, shape=LINE),
    _resize("nearest3d-x2", mode="nearest", scale_factor=2, shape=VIDEO),
    _resize("trilinear-x2", mode="trilinear", scale_factor=2, shape=VIDEO),
    Case("upsample-module", lambda: nn.UpsamplingBilinear2d(scale_factor=2), shape=SMALL),
    case("resize-to-the-image", _resize_to_the_image),
    case("grid-sample-affine", _affine, exact=False),
    case("grid-sample-data-dependent", _warp_by_itself, exact=False),
    case("pad-constant", lambda x: F.pad(x, (1, 2, 3, 0))),
    case("pad-negative", lambda x: F.pad(x, (-1, 2, -2, -3))),
    case("pad-channels", lambda x: F.pad(x, (0, 0, 1, 1, 1, 0))),
    case("pad-reflect", lambda x: F.pad(x, (3, 2, 1, 4), mode="reflect"), endless=False),
    case("pad-replicate", lambda x: F.pad(x, (3, 2, 1, 4), mode="replicate"), endless=False),
    case("pad-circular", lambda x: F.pad(x, (3, 2, 1, 4), mode="circular"), endless=False),
    case("pad-zero-module", nn.ZeroPad2d((1, 0, 2, 1))),
    case("pad-reflect1d", lambda x: F.pad(x, (3, 2), mode="reflect"), shape=LINE, nested=False, endless=False),
    case("pad-replicate1d", lambda x: F.pad(x, (3, 2), mode="replicate"), shape=LINE, nested=False, endless=False),
    case(
        "pad-replicate3d",
        lambda x: F.pad(x, (1, 2, 1, 0, 2, 1), mode="replicate"),
        shape=VIDEO,
        nested=False,
        endless=False,
    ),
]
