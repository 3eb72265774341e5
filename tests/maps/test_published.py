"""Field sizes, strides and starts of well-known networks: published numbers, and a recursion done by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache

import pytest
import torch
import torchvision
from torch import Tensor, nn

import perimetry
from perimetry.geometry import Field

Window = tuple[int, int, int] | tuple[int, int, int, int]


def by_hand(windows: Iterable[Window]) -> tuple[int, int, int]:
    """(size, stride, start) of a chain of (kernel, stride, padding[, dilation]) windows, first layer first.

    The textbook recursion: each layer adds its reach at the stride so far, and moves the start by its padding.
    """
    size, step, start = 1, 1, 0
    for kernel, stride, padding, *dilation in windows:
        size += (kernel - 1) * (dilation[0] if dilation else 1) * step
        start -= padding * step
        step *= stride
    return size, step, start


def empty(builder: Callable[..., nn.Module], **options: object) -> nn.Module:
    """A model with uninitialised weights, at no cost: fields do not depend on them."""
    with torch.device("meta"):
        model = builder(weights=None, **options)
    return model.to_empty(device="cpu").eval()


@cache
def fields_of(name: str, size: int = 224):
    """All fields of a torchvision model."""
    families = {"deeplabv3_resnet50": "segmentation", "fcn_resnet50": "segmentation"}
    module = getattr(torchvision.models, families[name]) if name in families else torchvision.models
    options: dict[str, object] = {"weights_backbone": None} if name in families else {}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    network = perimetry.trace(empty(getattr(module, name), **options), torch.rand(1, 3, size, size))
    return perimetry.fields(network)


def assert_square(field: Field | None, size: int, stride: int, start: int | None = None) -> None:
    """The field is size x size with that stride (and start) on both axes."""
    assert field is not None
    assert field.size == (size, size)
    assert field.stride == (Fraction(stride), Fraction(stride))
    if start is not None:
        assert field.start == (start, start)


RESNET_DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
STEM = [(7, 2, 3), (3, 2, 1)]


def resnet_chain(depths: tuple[int, ...]) -> list[Window]:
    """The longest way through torchvision's bottlenecks: the 3x3 convolutions, which also hold the strides."""
    return STEM + [
        (3, 2 if stage and not block else 1, 1) for stage, depth in enumerate(depths) for block in range(depth)
    ]


def densenet_chain(depths: tuple[int, ...] = (6, 12, 24, 16)) -> list[Window]:
    chain: list[Window] = list(STEM)
    for stage, depth in enumerate(depths):
        chain += [(2, 2, 0)] * bool(stage) + [(3, 1, 1)] * depth
    return chain


ALEXNET = [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)]
VGG16 = [window for convs in (2, 2, 3, 3, 3) for window in [(3, 1, 1)] * convs + [(2, 2, 0)]]
GOOGLENET = [
    *STEM[:1],
    (3, 2, 0),
    (3, 1, 1),
    (3, 2, 0),
    *[(3, 1, 1)] * 2,
    (3, 2, 0),
    *[(3, 1, 1)] * 5,
    (2, 2, 0),
    *[(3, 1, 1)] * 2,
]

CHAINS = [
    ("alexnet", "features", ALEXNET, 195, 32),
    ("vgg16", "features", VGG16, 212, 32),
    ("googlenet", "inception5b", GOOGLENET, 379, 32),
    ("resnet50", "layer4", resnet_chain(RESNET_DEPTHS["resnet50"]), 427, 32),
    ("resnet101", "layer4", resnet_chain(RESNET_DEPTHS["resnet101"]), 971, 32),
    ("resnet152", "layer4", resnet_chain(RESNET_DEPTHS["resnet152"]), 1451, 32),
    ("densenet121", "features", densenet_chain(), 2071, 32),
]


@pytest.mark.parametrize(("name", "layer", "chain", "size", "stride"), CHAINS, ids=[row[0] for row in CHAINS])
def test_torchvision_backbones(name: str, layer: str, chain: list[Window], size: int, stride: int) -> None:
    """The published size and stride; the recursion by hand agrees and adds the start."""
    by_hand_size, by_hand_stride, start = by_hand(chain)
    assert (by_hand_size, by_hand_stride) == (size, stride)
    fields = fields_of(name)[layer]
    assert_square(fields.full, size, stride, start)
    assert_square(fields.local, size, stride, start)
    assert fields.global_by is None and not fields.upper_bound and fields.reason is None
    assert fields.full is not None and fields.full.uniform


def test_inception_v3() -> None:
    assert_square(fields_of("inception_v3", 299)["Mixed_7c"].local, 1311, 32)


def test_vgg16_layer_by_layer() -> None:
    """The list of eighteen: thirteen convolutions and five pools."""
    expected = [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212]
    model = empty(torchvision.models.vgg16)
    windows = [f"features.{i}" for i, each in enumerate(model.features) if isinstance(each, (nn.Conv2d, nn.MaxPool2d))]
    fields = fields_of("vgg16")
    assert [fields[name].full.size[0] for name in windows] == expected
    for depth, name in enumerate(windows, 1):
        size, stride, start = by_hand(VGG16[:depth])
        assert_square(fields[name].full, size, stride, start)


def test_global_average_pooling_makes_the_field_the_image() -> None:
    fields = fields_of("resnet50")
    pooled = fields["avgpool"]
    assert pooled.full is not None and pooled.full.whole_image
    assert fields["layer4"].global_by is None


def test_dilated_backbones() -> None:
    assert_square(fields_of("deeplabv3_resnet50")["backbone.layer4"].full, 427, 8)
    assert_square(fields_of("fcn_resnet50")["classifier"].full, 443, 8)


def test_aspp_image_pooling_is_named() -> None:
    """DeepLab v3's image-level pooling makes the head see everything; the local field is that of the widest rate."""
    head = fields_of("deeplabv3_resnet50")["classifier.0"]
    assert head.full is not None and head.full.whole_image
    assert head.global_by is not None and head.global_by.startswith("classifier.0.convs.4")
    assert_square(head.local, 427 + 2 * 36 * 8, 8)


def test_efficientnet_is_local_only_without_its_gates() -> None:
    fields = fields_of("efficientnet_b0")["features"]
    assert fields.full is not None and fields.full.whole_image
    assert fields.global_by is not None and fields.global_by.startswith("features.1.0.block.1")
    assert_square(fields.local, 851, 32)


class BottleneckV1(nn.Module):
    """The residual block as published: the stride is in the first 1x1."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 1, 1, stride), nn.Conv2d(1, 1, 3, 1, 1), nn.Conv2d(1, 1, 1)
        self.shortcut = nn.Conv2d(1, 1, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)).relu()) + self.shortcut(x)


class InceptionV1(nn.Module):
    """The module as published, with a true 5x5."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.Conv2d(1, 1, 1),
                nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3, padding=1)),
                nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(1, 1, 1)),
            ]
        )
        self.reduce = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(torch.cat([branch(x) for branch in self.branches], 1))


def resnet_v1(depths: tuple[int, ...]) -> nn.Module:
    blocks = [
        BottleneckV1(2 if stage and not block else 1) for stage, depth in enumerate(depths) for block in range(depth)
    ]
    return nn.Sequential(nn.Conv2d(1, 1, 7, 2, 3), nn.MaxPool2d(3, 2, 1), *blocks)


def googlenet_v1() -> nn.Module:
    """BVLC's definition: every pool is 3x3 of stride 2 with ceil mode."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    stem = [nn.Conv2d(1, 1, 7, 2, 3), pool(), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3, 1, 1), pool()]
    stages = [[InceptionV1() for _ in range(count)] for count in (2, 5, 2)]
    return nn.Sequential(*stem, *stages[0], pool(), *stages[1], pool(), *stages[2])


def patchgan() -> nn.Module:
    return nn.Sequential(*[nn.Conv2d(1, 1, 4, 2 if depth < 3 else 1, 1) for depth in range(5)])


def chain(windows: Iterable[Window]) -> nn.Module:
    return nn.Sequential(*[nn.Conv2d(1, 1, kernel, stride, padding) for kernel, stride, padding in windows])


PUBLISHED = [
    ("resnet50-v1", lambda: resnet_v1(RESNET_DEPTHS["resnet50"]), 483, 32),
    ("resnet101-v1", lambda: resnet_v1(RESNET_DEPTHS["resnet101"]), 1027, 32),
    ("resnet152-v1", lambda: resnet_v1(RESNET_DEPTHS["resnet152"]), 1507, 32),
    ("googlenet-v1", googlenet_v1, 715, 32),
    ("patchgan", patchgan, 70, 8),
    ("fcn-alexnet-fc6", lambda: chain([*ALEXNET, (6, 1, 0)]), 355, 32),
    ("vgg16-fc6", lambda: chain([*VGG16, (7, 1, 0)]), 404, 32),
    ("vgg16-fc7", lambda: chain([*VGG16, (7, 1, 3), (1, 1, 0)]), 404, 32),
]


@pytest.mark.parametrize(("make", "size", "stride"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_networks_as_published(make: Callable[[], nn.Module], size: int, stride: int) -> None:
    """On an image that is smaller than most of these fields: the answer is unclipped, never the image's size."""
    network = perimetry.trace(make().eval(), torch.rand(1, 1, 256, 288))
    assert_square(perimetry.fields(network)["output"].full, size, stride)
