"""The feature pyramid network's neck: coarse, meaningful maps brought down to fine ones (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from perimetry.errors import InputError
from perimetry.networks.detector_backbones import detector_backbone
from perimetry.networks.residual_trunks import RESIDUAL_TRUNKS, residual_trunk

LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}  # the maps that regions are pooled from, and their strides
CHANNELS = 256


class FeaturePyramid(nn.Module):
    """A backbone and its pyramid: images (N, 3, H, W) to {"p2": (N, 256, H / 4, W / 4), ... "p5"}, and "p6".

    body: returns named maps, with `channels` and `strides` by name, among them the strides 4, 8, 16 and 32 of which the
    deepest map each is taken. Each gets a 1x1 convolution, the coarser sum enlarged to the nearest cell is added, and a
    3x3 convolution follows (torchvision's FeaturePyramidNetwork); p6 is every second cell of p5. Raises `InputError`.
    """

    def __init__(self, body: nn.Module, *, channels: int = CHANNELS) -> None:
        super().__init__()
        widths = cast("Mapping[str, int]", getattr(body, "channels", {}))
        strides = cast("Mapping[str, int]", getattr(body, "strides", {}))
        deepest = {stride: name for name, stride in strides.items()}
        if not set(LEVELS.values()) <= set(deepest):
            raise InputError(
                f"a pyramid stands on maps of strides {', '.join(map(str, LEVELS.values()))}, named in the backbone's "
                f"`strides`; {type(body).__name__} has {', '.join(map(str, strides.values())) or 'none'}"
            )
        self.body = body
        self.sources = {level: deepest[stride] for level, stride in LEVELS.items()}
        self.fpn = FeaturePyramidNetwork([widths[name] for name in self.sources.values()], channels)
        self.p6 = nn.MaxPool2d(1, stride=2)  # one cell of each window: a plain subsampling
        self.channels = dict.fromkeys((*LEVELS, "p6"), channels)
        self.strides = {**LEVELS, "p6": 64}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps of the images, the finest first."""
        maps = self.body(images)
        levels: dict[str, Tensor] = self.fpn({level: maps[name] for level, name in self.sources.items()})
        return {**levels, "p6": self.p6(levels["p5"])}


def feature_pyramid(backbone: str | nn.Module, *, channels: int = CHANNELS) -> FeaturePyramid:
    """A pyramid on a backbone.

    backbone: "torchvision:resnet50" or any other model of torchvision or timm with maps of strides 4 to 32; "resnet50"
    or "resnet101" for v1 as released, Detectron's; or a module as `FeaturePyramid` takes. channels: of every level.

    >>> import torch
    >>> pyramid = feature_pyramid("torchvision:resnet18")
    >>> {name: tuple(each.shape[1:]) for name, each in pyramid(torch.ones(1, 3, 64, 64)).items()}
    {'p2': (256, 16, 16), 'p3': (256, 8, 8), 'p4': (256, 4, 4), 'p5': (256, 2, 2), 'p6': (256, 1, 1)}
    """
    trunks = {name: partial(residual_trunk, name) for name in RESIDUAL_TRUNKS}
    return FeaturePyramid(detector_backbone(backbone, published=trunks, output_stride=None), channels=channels)
