"""Full and local fields: operands that are the same for every unit are set aside, and named."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import perimetry


class SqueezeExcite(nn.Module):
    """A gate from global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.pool(x)).sigmoid()


class GlobalContext(nn.Module):
    """ParseNet and PSPNet: image-level pooling, resized back, side by side with the map."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.reduce(torch.cat([x, pooled], 1))


class SelfAttention(nn.Module):
    """Queries are a unit's own; keys and values are the same set for every unit."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape)


def three_by_three() -> nn.Module:
    return nn.Conv2d(2, 2, 3, padding=1)


def fields_of(model: nn.Module):
    network = perimetry.trace(model.eval(), torch.rand(1, 2, 12, 16))
    return perimetry.fields(network)


def test_squeeze_and_excitation_is_set_aside() -> None:
    """The field before is 3; after, everything in full and 3 locally; a second convolution makes it 5."""
    fields = fields_of(nn.Sequential(three_by_three(), SqueezeExcite(), three_by_three()))
    assert fields["0"].full.size == (3, 3) and fields["0"].global_by is None
    assert fields["1"].full.whole_image and fields["1"].local.size == (3, 3)
    assert fields["2"].full.whole_image and fields["2"].local.size == (5, 5)
    assert fields["2"].local.stride == (Fraction(1), Fraction(1)) and fields["2"].local.start == (-2, -2)


def test_the_first_global_operator_is_named() -> None:
    fields = fields_of(nn.Sequential(three_by_three(), SqueezeExcite(), three_by_three(), SqueezeExcite()))
    assert {fields[name].global_by for name in ("1", "2", "3")} == {"1.pool"}


def test_image_level_pooling_that_is_resized_back_is_set_aside() -> None:
    fields = fields_of(nn.Sequential(three_by_three(), GlobalContext(), three_by_three()))
    assert fields["1"].full.whole_image and fields["1"].local.size == (3, 3)
    assert fields["2"].local.size == (5, 5)
    assert fields["1"].global_by is not None and fields["1"].global_by.startswith("1/")


def test_keys_and_values_of_global_attention_are_set_aside() -> None:
    fields = fields_of(nn.Sequential(nn.Conv2d(2, 2, 4, 4), SelfAttention()))
    assert fields["0"].full.size == (4, 4)
    assert fields["1"].full.whole_image and fields["1"].local.size == (4, 4)
    assert fields["1"].global_by is not None and fields["1"].global_by.startswith("1")


def test_global_norms_are_set_aside() -> None:
    for norm in (nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), nn.LayerNorm((2, 12, 16))):
        fields = fields_of(nn.Sequential(three_by_three(), norm))
        assert fields["1"].full.whole_image and fields["1"].local.size == (3, 3), norm
        assert fields["1"].global_by == "1", norm


def test_what_is_only_global_has_no_local_part() -> None:
    """After global pooling nothing differs between positions: the local field is not a smaller made-up one."""
    fields = fields_of(nn.Sequential(three_by_three(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)))
    assert fields["3"].full.whole_image and fields["3"].global_by == "1"
    assert fields["3"].local is None or fields["3"].local.whole_image


def test_a_large_kernel_is_not_global() -> None:
    """Seventeen taps on twelve rows see all of a small image, and are still a field of 17 that moves by 1."""
    fields = fields_of(nn.Conv2d(2, 2, 33, padding=16))
    assert fields["output"].full.size == (33, 33) and fields["output"].global_by is None


def test_local_equals_full_where_nothing_is_global() -> None:
    fields = fields_of(nn.Sequential(three_by_three(), nn.ReLU(), nn.MaxPool2d(2)))
    for name in ("0", "1", "2", "output"):
        assert fields[name].local.size == fields[name].full.size
        assert fields[name].local.start == fields[name].full.start
