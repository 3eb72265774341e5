"""ParseNet: the mean of the image beside each position, both L2 normalised (Liu, Rabinovich, Berg 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from perimetry import ops
from perimetry.errors import InputError, UnknownNameError
from perimetry.networks.backbones import Backbone
from perimetry.networks.cards import Card, Difference, Quantity, Result, quantities
from perimetry.networks.deeplab import large_field_head
from perimetry.networks.segmenter import Segmenter, crop, resize, segmenter_backbone
from perimetry.networks.vgg_trunk import classifier_head, max_pool, score_layer, start_for_relu, vgg_layers
from perimetry.nn import BilinearDeconvolution, L2Normalize

Fusion = Literal["late", "early"]
Normalization = Literal["l2", "none"]
CONTEXT = "pool6"  # the mean of fc7 over the image


class ParseNet(Segmenter):
    """Maps and the context that are fused, each normalised on its own, scored, and upsampled to the image.

    Takes images (N, 3, H, W), returns {"out": (N, classes, H, W)}. In the late form each map has its own scores, which
    are added; in the early form the maps are joined and scored once.
    """

    def __init__(
        self,
        trunk: Mapping[str, nn.Module] | Backbone,
        *,
        classes: int,
        head: Mapping[str, nn.Module],
        fuse: Mapping[str, tuple[str, int]],
        fusion: Fusion,
        normalization: Normalization,
    ) -> None:
        super().__init__(trunk)
        # What is fused, and the layer whose output that is; the context comes from the head.
        self.fused = {name: source for name, (source, _) in fuse.items()}
        self.deepest = tuple(trunk.channels if isinstance(trunk, Backbone) else trunk)[-1]
        self.head, self.fusion, self.normalization = tuple(head), fusion, normalization
        self.add_layers(head)
        for name, (_, channels) in fuse.items():
            if normalization == "l2":
                self.add_module(_part(name, "norm"), L2Normalize(channels, scale=10.0))
            if name == CONTEXT:
                self.pool6 = nn.AdaptiveAvgPool2d(1)
                self.pool6_drop = nn.Dropout(0.3)
            if fusion == "late":
                self.add_module(_part(name, "score"), score_layer(channels, classes, std=0.01))
        if fusion == "early":
            self.score = score_layer(sum(channels for _, channels in fuse.values()), classes, std=0.01)
        if not isinstance(trunk, Backbone):
            self.upscore = BilinearDeconvolution(kernel=16, stride=8, padding=4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the pixels."""
        height, width = images.shape[2:]
        own = {source for name, source in self.fused.items() if name not in ("fc7", CONTEXT)}
        maps = self.maps(images, {self.deepest, *own})
        fc7 = self.through(self.head, maps[self.deepest])
        parts = []
        for name, source in self.fused.items():
            features = fc7 if name == "fc7" else self.pool6(fc7) if name == CONTEXT else maps[source]
            parts.append(self._spread(self._part_of(name, features), fc7))
        scores = self.score(torch.cat(parts, 1)) if self.fusion == "early" else torch.stack(parts).sum(0)
        if self._chain:
            return {"out": crop(self.upscore(scores), 0, height=height, width=width)}
        return {"out": resize(scores, height=height, width=width)}

    def _part_of(self, name: str, features: Tensor) -> Tensor:
        """The map normalised, and scored in the late form."""
        parts = ["norm"] if self.normalization == "l2" else []
        parts += ["drop"] if name == CONTEXT else []
        parts += ["score"] if self.fusion == "late" else []
        return self.through((_part(name, part) for part in parts), features)

    @staticmethod
    def _spread(part: Tensor, like: Tensor) -> Tensor:
        """At the size of fc7: one cell is unpooled, another size resized."""
        height, width = like.shape[2:]
        if tuple(part.shape[2:]) == (1, 1):
            return ops.unpool(part, height=height, width=width)
        return resize(part, height=height, width=width)


def parsenet(
    *,
    classes: int = 21,
    fuse: Sequence[str] = ("fc7", "pool6"),
    fusion: Fusion = "late",
    normalization: Normalization = "l2",
    backbone: str | nn.Module | None = None,
    output_stride: int = 8,
) -> Segmenter:
    """ParseNet: fc7 and its mean over the image, each L2 normalised with scales that start at 10, scored, and added.

    fuse: which maps are scored: "fc7", "pool6" for the mean, and layers of the trunk such as "conv4_3" (behind its
    ReLU), which are resized to fc7. fusion: "late" as released, or "early" (join, then score: the same function).
    normalization: "l2" or "none". backbone: VGG-16 as published where it is None; else a name or module for
    `perimetry.networks.backbone` at `output_stride`. Returns a network from (N, 3, H, W) to {"out": (N, classes, H,
    W)}.

    >>> network = parsenet(fuse=("conv4_3", "conv5_3", "fc7", "pool6"), classes=5)
    >>> network(torch.rand(1, 3, 30, 43))["out"].shape
    torch.Size([1, 5, 30, 43])
    """
    for kind, value, allowed in (
        ("fusion", fusion, ("late", "early")),
        ("normalization", normalization, ("l2", "none")),
    ):
        if value not in allowed:
            raise UnknownNameError(kind, value, known=allowed, advice=" or ".join(allowed))
    if not fuse or len(set(fuse)) < len(fuse):
        raise InputError(f"expected the names of different maps to fuse, such as ('fc7', 'pool6'); got {tuple(fuse)}")
    trunk: Mapping[str, nn.Module] | Backbone
    if backbone is not None:
        trunk = segmenter_backbone(backbone, output_stride=output_stride)
        head = large_field_head(trunk)
        known = {name: (name, channels) for name, channels in trunk.channels.items()}
    else:
        if output_stride != 8:
            raise InputError(f"VGG-16 has an output stride of 8 here, not {output_stride}; name a backbone for another")
        pools: dict[str, nn.Module] = {name: max_pool(3, 1, 1) for name in ("pool4", "pool5")}
        layers = vgg_layers(pools=pools, last_dilation=2)
        trunk, head = layers, classifier_head(512, 1024, window=3, dilation=12, padding=12)
        start_for_relu(layers | head)
        known = {
            name: (name.replace("conv", "relu"), layer.out_channels)
            for name, layer in layers.items()
            if isinstance(layer, nn.Conv2d)
        }
    known |= {"fc7": (tuple(head)[-1], 1024), CONTEXT: (CONTEXT, 1024)}
    for name in fuse:
        if name not in known:
            raise UnknownNameError("map to fuse", name, known=known, advice=f"one of {', '.join(known)}")
    return ParseNet(
        trunk,
        classes=classes,
        head=head,
        fuse={name: known[name] for name in fuse},
        fusion=fusion,
        normalization=normalization,
    )


def _part(name: str, part: str) -> str:
    """The name of a layer that belongs to a map: fc7_norm, pool6_score, blocks_2_norm."""
    return f"{name.replace('.', '_')}_{part}"


_FORK = "debidatta/caffe-parsenet, train.prototxt (a fork of the authors' branch, with 10 outputs)"
_PAPER = "Liu, Rabinovich, Berg: ParseNet: Looking Wider to See Better, 2015"

PARSENET = Card(
    name="parsenet",
    title="ParseNet",
    task="segmentation",
    build=parsenet,
    image=(321, 321),
    paper=_PAPER,
    definition=_FORK,
    quantities=(
        Quantity("parameters", 20_483_904, _FORK, of="conv*|fc?.*"),
        Quantity("parameters", 2_048, _FORK, of="*_norm.scale"),
        Quantity("parameters", 20_529_002, "trunk, scales, and two scores of 21 classes"),
        *quantities("field", _FORK, {"pool3": 44, "pool4": 108, "pool5": 220, "fc6": 412, "fc7": 412}),
        *quantities("stride", _FORK, {"pool1": 2, "pool2": 4, "pool3": 8, "pool4": 8, "pool5": 8, "fc7": 8}),
        *quantities(
            "map",
            "Caffe's arithmetic for 321 x 321",
            {
                "pool3": (256, 41, 41),
                "fc7": (1024, 41, 41),
                "pool6": (1024, 1, 1),
                "fc7_score": (21, 41, 41),
                "pool6_score": (21, 1, 1),
            },
        ),
        *quantities(
            "setting",
            _FORK,
            {
                **{f"pool{stage}.kernel_size": 2 if stage < 4 else 3 for stage in range(1, 6)},
                **{f"pool{stage}.stride": 2 if stage < 4 else 1 for stage in range(1, 6)},
                "conv5_1.dilation": (2, 2),
                "fc6.kernel_size": (3, 3),
                "fc6.dilation": (12, 12),
                "pool6_drop.p": 0.3,
                "upscore.kernel": 16,
                "upscore.stride": 8,
                "upscore.padding": 4,
                "fc7_norm.eps": 1e-10,
            },
        ),
        *quantities(
            "initial",
            _FORK,
            {"fc7_norm.scale": 10.0, "pool6_norm.scale": 10.0, "fc7_score.bias": 0.0, "pool6_score.bias": 0.0},
        ),
    ),
    differences=(
        Difference("The deconvolution is fixed", "the fork's starts bilinear and is learned for each class"),
        Difference("Maps of another size are resized to fc7 before they are fused", "no file at hand fuses conv3"),
        Difference(
            "Scores of the two maps are added", "so says the release; the fork, for another task, joins them instead"
        ),
        Difference(
            "Early fusion is there too, and is the same function with the same weights",
            "both forms normalise each map, and a linear score of joined maps is the sum of their scores",
        ),
        Difference(
            "On another backbone LargeFOV's fc6 and fc7 stand on its deepest map, with taps 96 pixels apart, and "
            "scores are resized to the image",
            "fc6 then adds the same 192 pixels to the field at any output stride",
        ),
        Difference(
            "Images are scaled to 0 ... 1 and normalised, RGB; the trunk starts from Gaussian weights by fan-in",
            "the release takes BGR values of 0 ... 255 less their means, and a classifier's weights",
        ),
    ),
    results=(
        Result("PASCAL VOC 2012 test", "69.8 mean IU", "secondary pages"),
        Result("PASCAL-Context, pool6 + fc7 + conv5 + conv4 + conv3", "40.4 mean IU", "secondary pages"),
        Result("SIFT Flow, pool6 + fc7 + conv5 + conv4", "40.4 mean IU", "secondary pages"),
    ),
    unverified=(
        "the authors' own prototxt, which is not at hand: all structure is the fork's",
        "baseline of 67.3 on PASCAL VOC 2012, and the tables by layer",
        "training: learning rate 1e-9, poly .9, batch of 8",
    ),
)
