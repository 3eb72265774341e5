"""ResNets as released without their classifier, with a map from each stage: what detectors stand on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from perimetry.networks.dilation import dilate
from perimetry.networks.resnet import block_names, resnet50, resnet101

RESIDUAL_TRUNKS = {"resnet50": (50, resnet50), "resnet101": (101, resnet101)}


class StagedTrunk(nn.Module):
    """Layers one after the other, under the names of the original; returns the maps of those that end a stage.

    channels, strides: of these maps, by name.
    """

    def __init__(
        self, layers: Mapping[str, nn.Module], *, channels: Mapping[str, int], strides: Mapping[str, int]
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels, self.strides = dict(channels), dict(strides)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to {name: (N, C, h, w)}, the finest first."""
        features, maps = images, {}
        for name, layer in self.named_children():
            features = layer(features)
            if name in self.strides:
                maps[name] = features
        return maps


def residual_trunk(name: str, *, output_stride: Literal[16, 32] = 32) -> StagedTrunk:
    """ResNet-50 or ResNet-101, v1, up to res5c.

    name: "resnet50" or "resnet101"; output_stride: 32, or 16 with res5 dilated by 2 instead (R-FCN).

    >>> import torch
    >>> with torch.device("meta"):
    ...     residual_trunk("resnet50", output_stride=16).strides
    {'res2c': 4, 'res3d': 8, 'res4f': 16, 'res5c': 16}
    """
    depth, build = RESIDUAL_TRUNKS[name]
    layers = list(build(classes=1).named_children())
    chain: nn.Module = nn.Sequential(OrderedDict(layers[: [layer for layer, _ in layers].index("pool5")]))
    if output_stride < 32:
        chain = dilate(chain, output_stride=output_stride)
    ends = [block_names(depth, stage)[-1] for stage in (2, 3, 4, 5)]
    return StagedTrunk(
        dict(chain.named_children()),
        channels=dict(zip(ends, (256, 512, 1024, 2048), strict=True)),
        strides=dict(zip(ends, (4, 8, 16, output_stride), strict=True)),
    )
