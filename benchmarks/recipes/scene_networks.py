"""The networks of benchmarks/scenes.py: perimetry's heads on a backbone of a few layers, from random weights."""

from __future__ import annotations

from torch import Tensor, nn

from perimetry.networks import AnchorGrid, ProposalRule, deeplab_largefov, parsenet, r_fcn, r_fcn_fpn

_WIDTHS = {2: 24, 4: 48, 8: 64, 16: 96, 32: 96}  # by stride
_SIDE = 3.0  # of the smallest anchors of a level, in strides


class Backbone(nn.Module):
    """Images to maps "stride2", "stride4" and so on: 3 x 3 convolutions, each with its norm and ReLU.

    last: the stride of the last map; layers: how many convolutions each map but the first takes, of which the first
    strides.
    """

    def __init__(self, *, last: int, layers: int) -> None:
        super().__init__()
        self.channels = {f"stride{stride}": width for stride, width in _WIDTHS.items() if stride <= last}
        self.strides = {f"stride{stride}": stride for stride in _WIDTHS if stride <= last}
        before = 3
        for name, width in self.channels.items():
            parts: list[nn.Module] = []
            for layer in range(layers if before > 3 else 1):
                convolution = nn.Conv2d(before, width, 3, stride=1 if layer else 2, padding=1, bias=False)
                parts += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            self.add_module(name, nn.Sequential(*parts))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps by name, the finest first."""
        maps, x = {}, images
        for name in self.channels:
            x = maps[name] = self.get_submodule(name)(x)
        return maps


def one_map(classes: int = 1) -> nn.Module:
    """R-FCN on a map of stride 16, with anchors of 16, 32 and 48 pixels in three ratios; proposals of any size."""
    return r_fcn(
        backbone=Backbone(last=16, layers=2),
        classes=classes,
        grid=AnchorGrid.published(16, scales=(1.0, 2.0, _SIDE)),
        training_proposals=ProposalRule(before=1000, count=300, min_size=0.0),
        proposals=ProposalRule(before=1000, count=100, min_size=0.0),
        short_side=None,
    )


def feature_pyramid(classes: int = 1) -> nn.Module:
    """R-FCN on a feature pyramid, with anchors of 12 pixels at stride 4, 24 at stride 8 and so on."""
    return r_fcn_fpn(
        backbone=Backbone(last=32, layers=2),
        classes=classes,
        grids={f"p{level}": AnchorGrid.published(2**level, scales=(_SIDE,)) for level in range(2, 7)},
        training_proposals=ProposalRule(before=300, count=300, min_size=0.0),
        proposals=ProposalRule(before=300, count=100, min_size=0.0),
        short_side=None,
    )


def with_context(classes: int = 3) -> nn.Module:
    """ParseNet: fc7, whose taps lie 96 pixels apart, and its mean over the image."""
    return parsenet(classes=classes, backbone=Backbone(last=16, layers=1), output_stride=16)


def without_context(classes: int = 3) -> nn.Module:
    """The same without the mean over the image."""
    return parsenet(classes=classes, fuse=("fc7",), backbone=Backbone(last=16, layers=1), output_stride=16)


def large_field(classes: int = 3) -> nn.Module:
    """DeepLab-LargeFOV: the same layers, with no normalisation of what is scored."""
    return deeplab_largefov(classes=classes, backbone=Backbone(last=16, layers=1), output_stride=16)
