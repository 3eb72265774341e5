"""inspect(): costs against PyTorch's own counter and closed forms, marks, and the form of the result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import perimetry


class Transposing(nn.Module):
    """An encoder and a decoder with transposed, grouped and dilated convolutions, in two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.group = nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 4, stride=2, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.group(self.down(x)))


class Products(nn.Module):
    """Every product by another operator: mm, addmm, bmm, baddbmm, einsum, matmul with broadcasting."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.plain = nn.Linear(24, 10), nn.Linear(24, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(2)
        gram = torch.bmm(x[0], x[0].transpose(1, 2))
        mixed = torch.einsum("nchw,cd->ndhw", x, torch.ones(3, 5, device=x.device))
        return (
            self.linear(rows).sum()
            + self.plain(x).sum()
            + gram.sum()
            + mixed.sum()
            + torch.baddbmm(gram, gram, gram).sum()
        )


class Attending(nn.Module):
    """`nn.MultiheadAttention` and `scaled_dot_product_attention` over the patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        heads = tokens.unflatten(2, (2, 8)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)


def torchvision_model(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "transposed": (Transposing, (2, 3, 32, 28)),
    "products": (Products, (1, 3, 20, 24)),
    "attention": (Attending, (2, 3, 32, 24)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ConvTranspose3d(4, 2, 2, 2)), (1, 2, 6, 8, 10)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 4, 5, groups=2), nn.Flatten(), nn.Linear(112, 3)), (1, 2, 32)),
    "resnet18": (torchvision_model("resnet18"), (1, 3, 64, 96)),
    "mobilenet_v3_small": (torchvision_model("mobilenet_v3_small"), (1, 3, 64, 64)),
    "shufflenet_v2_x0_5": (torchvision_model("shufflenet_v2_x0_5"), (1, 3, 64, 64)),
    "squeezenet1_1": (torchvision_model("squeezenet1_1"), (3, 3, 64, 64)),
    "convnext_tiny": (torchvision_model("convnext_tiny"), (1, 3, 64, 64)),
    "swin_t": (torchvision_model("swin_t"), (1, 3, 64, 64)),
}


def counted(model: nn.Module, image: Tensor) -> int:
    """Multiply-adds by PyTorch's counter, on meta copies; under gradients, so that attention is not one opaque call."""
    counter = FlopCounterMode(display=False)
    with counter:
        model(image)
    total = counter.get_total_flops()
    assert total % 2 == 0
    return total // 2


@pytest.mark.parametrize("name", MODELS)
def test_macs_equal_half_of_pytorch_flops(name: str) -> None:
    make, shape = MODELS[name]
    model, image = make().eval(), torch.rand(shape)
    assert perimetry.inspect(model, image).models[0].totals.macs == counted(model, image)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_equal_those_of_the_model(name: str) -> None:
    make, shape = MODELS[name]
    model = make().eval()
    found = perimetry.inspect(model, torch.rand(shape))
    assert found.models[0].totals.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_vit_b_16_closed_form() -> None:
    """17.56 G: patches, then per block the four linear layers and the two products of attention, then the head."""
    tokens, width, hidden, patches = 197, 768, 3072, 196
    block = tokens * (width * 3 * width + width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    expected = patches * 16 * 16 * 3 * width + 12 * block + width * 1000
    assert expected == 17_563_828_224
    with torch.device("meta"):
        model = torchvision.models.vit_b_16(weights=None)
    found = perimetry.inspect(model.to_empty(device="cpu").eval(), 224)
    assert found.models[0].totals.macs == expected
    attention = found.layer("encoder.layers.encoder_layer_0.self_attention")
    assert attention.macs == tokens * 4 * width * width + 2 * tokens * tokens * width
    assert attention.parameters == 4 * width * width + 4 * width


def test_resnet50_published_cost() -> None:
    """4.089 G multiply-adds and 25.557 M parameters at 224."""
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    totals = perimetry.inspect(model.to_empty(device="cpu").eval(), 224).models[0].totals
    assert totals.macs == 4_089_184_256
    assert totals.parameters == 25_557_032


def test_containers_are_the_sum_of_their_parts() -> None:
    """For every container: its costs are those of the layers named below it that are no containers themselves."""
    found = perimetry.inspect(torchvision.models.resnet18(weights=None).eval(), (64, 96))
    rows = {row.name: row for row in found}
    containers = [row for row in found if row.container and row.name not in ("output", "")]
    assert {"layer1", "layer1.0", "layer4.1"} <= {row.name for row in containers}
    for container in containers:
        inside = [
            row
            for name, row in rows.items()
            if not row.container and name.startswith((f"{container.name}.", f"{container.name}/"))
        ]
        for cost in ("parameters", "macs", "activation_bytes"):
            assert getattr(container, cost) == sum(getattr(row, cost) for row in inside), (container.name, cost)
    leaves = [row for row in found if not row.container]
    for cost in ("parameters", "macs", "activation_bytes"):
        assert getattr(found.models[0].totals, cost) == sum(getattr(row, cost) for row in leaves), cost


def test_shared_parameters_count_once_and_calls_cost_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    model = Twice().eval()
    totals = perimetry.inspect(model, torch.rand(1, 3, 8, 10)).models[0].totals
    assert totals.parameters == 3 * 27 + 3
    assert totals.macs == 2 * 3 * 27 * 80


def test_batch_scales_macs_and_activations() -> None:
    model = Transposing().eval()
    one, three = (perimetry.inspect(model, torch.rand(batch, 3, 32, 28)).models[0].totals for batch in (1, 3))
    assert (three.macs, three.activation_bytes) == (3 * one.macs, 3 * one.activation_bytes)
    assert three.parameters == one.parameters


def test_activation_bytes_of_a_chain_equal_a_hook_count() -> None:
    """In a plain chain without in-place layers, every module's output is a new tensor of its own."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), nn.Sigmoid()).eval()
    image, sizes = torch.rand(2, 3, 20, 22), {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda module, args, output, name=name: sizes.update({name: output.nbytes}))
    with torch.no_grad():
        model(image)
    found = perimetry.inspect(model, image)
    for name, size in sizes.items():
        assert found.layer(name).activation_bytes == size, name
    assert found.models[0].totals.activation_bytes == sum(sizes.values())


def test_views_and_in_place_layers_hold_no_new_bytes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()
    found = perimetry.inspect(model, torch.rand(1, 3, 8, 8))
    assert found.layer("0").activation_bytes == 8 * 36 * 4
    assert found.layer("1").activation_bytes == 0
    assert found.models[0].totals.activation_bytes == 8 * 36 * 4 + 2 * 4


def test_layers_that_cannot_see_new_context_are_marked() -> None:
    """ResNet-50 on 32 pixels: once the field exceeds the image on entry, layers are unproductive (Richter et al.)."""
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    model = model.to_empty(device="cpu").eval()
    found = perimetry.inspect(model, 32)
    assert not found.layer("conv1").unproductive
    assert not found.layer("layer1.0.conv2").unproductive
    # layer1 ends at 35 pixels: what comes next enters with more than the image
    assert found.layer("layer1").local_field.size == (35, 35)
    for name in ("layer2.0.conv2", "layer3.0.conv1", "layer4.2.conv3"):
        assert found.layer(name).unproductive, name
    large = perimetry.inspect(model, 512)
    assert not any(row.unproductive for row in large if row.name.startswith("layer"))


class Joined(nn.Module):
    """Two branches of a map that are added; `second` decides whether their centres agree."""

    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), second

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def shifted() -> nn.Module:
    """Pads four columns on the left and none on the right: the branch looks two columns further left."""
    return nn.Sequential(nn.ZeroPad2d((4, 0, 1, 1)), nn.Conv2d(3, 4, (3, 5)))


def test_misaligned_branches_are_flagged() -> None:
    row = perimetry.inspect(Joined(shifted()).eval(), torch.rand(1, 3, 24, 24)).layer("/add")
    assert row.misaligned == pytest.approx((0.0, 2.0))


@pytest.mark.parametrize(
    "second", [nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=3, dilation=3)]
)
def test_aligned_branches_are_not(second: nn.Module) -> None:
    assert perimetry.inspect(Joined(second).eval(), torch.rand(1, 3, 24, 24)).layer("/add").misaligned is None


def test_residuals_of_resnet50_are_aligned_at_stride_one() -> None:
    """Identity shortcuts agree exactly with the branch beside them."""
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    found = perimetry.inspect(model.to_empty(device="cpu").eval(), 224)
    flagged = [row.name for row in found if row.misaligned is not None]
    assert not flagged


def test_rows_iterate_and_are_found_by_name() -> None:
    found = perimetry.inspect(torchvision.models.resnet18(weights=None).eval(), 64)
    assert len(found) == len(list(found)) == len(found.models[0].layers)
    row = found.layer("layer1.0.conv1")
    assert (row.op, row.shape, row.parameters) == ("Conv2d", (1, 64, 16, 16), 64 * 64 * 9)
    assert row.depth == 3 and not row.container
    with pytest.raises(perimetry.UnknownNameError, match=r"layer1\.0\.conv1"):
        found.layer("layer1.0.conv11")


def test_result_is_frozen() -> None:
    found = perimetry.inspect(nn.Conv2d(3, 4, 3).eval(), 16)
    row = next(iter(found))
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.macs = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.models = ()


def test_json_round_trip() -> None:
    """Plain data, numbers as numbers, the stable names; the whole image is null with what made it so."""
    found = perimetry.inspect(torchvision.models.mobilenet_v3_small(weights=None).eval(), 64)
    data = json.loads(found.to_json())
    assert data["schema"] == 1
    (model,) = data["models"]
    assert model["input"] == [1, 3, 64, 64]
    assert set(model["totals"]) >= {"parameters", "macs", "activation_bytes"}
    rows = {row["name"]: row for row in model["layers"]}
    assert list(rows) == [row.name for row in found]
    for row in found:
        told = rows[row.name]
        assert (told["op"], told["shape"]) == (row.op, list(row.shape))
        assert (told["parameters"], told["macs"], told["activation_bytes"]) == (
            row.parameters,
            row.macs,
            row.activation_bytes,
        )
        assert told["field"]["size"] == (None if row.field.whole_image else list(row.field.size))
        assert told["field"]["stride"] == [float(stride) for stride in row.field.stride]
        assert told["local_field"]["start"] == list(row.local_field.start)
        assert told["global_by"] == row.global_by
    assert rows["features.1"]["field"]["size"] is None and rows["features.0"]["field"]["size"] == [3, 3]


def test_unknown_fields_are_null_with_a_reason() -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvalsh(x[..., :8, :8])

    found = perimetry.inspect(Unknown().eval(), torch.rand(1, 3, 8, 8))
    (row,) = [row for row in json.loads(found.to_json())["models"][0]["layers"] if row["name"] == "output"]
    assert row["field"] is None and row["local_field"] is None
    assert "linalg_eigh" in row["reason"]


def test_repr_is_a_table() -> None:
    text = repr(perimetry.inspect(torchvision.models.resnet18(weights=None).eval(), 64))
    assert "layer4" in text and "435" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("size", [32, (32, 48)])
def test_a_size_stands_for_an_image(size: int | tuple[int, int]) -> None:
    found = perimetry.inspect(nn.Conv2d(3, 4, 3).eval(), size)
    assert found.models[0].image_shape == ((32, 32) if isinstance(size, int) else size)
    assert found.models[0].input == (1, 3, *found.models[0].image_shape)


class FirstRows(nn.Module):
    """What a detector does that finds nothing: it keeps the first rows, here none, and tells something of them all."""

    def forward(self, image: Tensor) -> Tensor:
        rows = image.mean(1).flatten(0, 1)
        return rows[:0].sum() + image.mean()


def test_a_sum_over_rows_of_which_none_was_kept_is_inspected():
    seen = perimetry.inspect(FirstRows().eval(), torch.rand(1, 3, 8, 8))
    assert [seen.layer(name).shape for name in ("/sum", "/add")] == [(), ()]
    assert seen.layer("/add").field.size == (None, None)  # the whole image, by its mean
