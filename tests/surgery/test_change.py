"""Changes: what must stay the same does, what is new is counted, and what cannot be made is refused."""

import copy
import re

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

import perimetry
from perimetry.errors import InputError
from perimetry.networks import alexnet, googlenet, vgg16
from perimetry.nn import GlobalContext, InceptionV1
from surgery.networks import small

EVERY = (
    "pool:mean", "pool:lp:3", "pool:conv", "pool:blur", "pool:maxblur:5", "pool:stochastic", "activation:prelu",
    "activation:gelu", "conv5x5:3x3", "factorize:1xn", "reduce:add:2", "lrn:add:caffe", "batchnorm:add",
    "l2norm:add:20@2", "context:add@5", "head:gap",
)  # fmt: skip


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("what", EVERY)
def test_the_original_is_untouched_and_what_is_kept_is_bit_for_bit(what, image):
    model = small().train()
    before, settings, state = model.eval()(image), repr(model.train()), copy.deepcopy(model.state_dict())
    changed = perimetry.change(model, what, example=32)
    assert repr(model) == settings and model.training and changed.module.training
    assert all(part.training for part in changed.module.modules())
    assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert_close(model.eval()(image), before, rtol=0, atol=0)
    told = changed.last
    parameters = list(changed.module.parameters())
    assert told.kept + told.new == sum(each.numel() for each in parameters) == told.after.parameters
    assert told.before.parameters == sum(each.numel() for each in model.parameters())
    # At least as much as is told to be kept is found again, in whole or as the first part of a wider weight.
    old = list(model.parameters())
    found = sum(max((_common(each, one) for one in old), default=0) for each in parameters)
    assert found >= told.kept > 0
    assert not {each.data_ptr() for each in parameters} & {each.data_ptr() for each in old}
    assert changed.module.eval()(image).shape == before.shape
    assert changed.model.name == f"Sequential [{what}]"


def _common(new, old):
    if new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
        return 0
    part = new[tuple(slice(extent) for extent in old.shape)]
    return old.numel() if torch.equal(part, old) else 0


def test_new_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (perimetry.change(small(), "pool:conv", example=32, seed=seed).module for seed in (0, 0, 1))
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model[2].convolution.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_global_generator_stands_where_it_stood():
    model = small()
    state = torch.get_rng_state()
    perimetry.change(model, "factorize:1xn", example=32)
    assert torch.equal(torch.get_rng_state(), state)


def test_mean_pooling_is_torchs_average_pooling_in_the_same_places(image):
    model = small()
    by_hand = copy.deepcopy(model)
    by_hand[2] = nn.AvgPool2d(2)
    assert_close(perimetry.change(model, "pool:mean", example=32).module(image), by_hand(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d((2, 3), (2, 1)), nn.MaxPool2d(2)],
    ids=repr,
)
def test_mean_and_back_is_what_it_was(pool, image):
    there = perimetry.change(nn.Sequential(nn.Conv2d(3, 4, 1), pool).eval(), "pool:mean", example=32)
    back = perimetry.change(there, "pool:max")
    assert [each.change for each in back.changes] == ["pool:mean", "pool:max"]
    assert back.changes[0].after == back.changes[1].before
    assert repr(back.module[1]) == repr(pool)
    assert there.module(image).shape == back.module(image).shape


def test_pooling_of_a_dilated_network_keeps_its_windows(image):
    # Stride after pooling, and pooling after stride, are the same network.
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2)).eval()
    first = perimetry.change(perimetry.change(model, "pool:mean", example=32), "stride:2")
    second = perimetry.change(perimetry.change(model, "stride:2", example=32), "pool:mean")
    assert_close(first.module(image), second.module(image), rtol=0, atol=0)
    with pytest.raises(InputError, match="only max and mean have a form with dilation"):
        perimetry.change(perimetry.change(model, "stride:2", example=32), "pool:lp")


def test_a_pooling_on_the_phases_of_a_dilated_map_is_not_exchanged():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)).eval()
    dilated = perimetry.change(perimetry.change(model, "pool:lp", example=64), "stride:1")
    with pytest.raises(InputError, match=r"pool:max at 1\.layer: it runs on the phases .* first, then the stride"):
        perimetry.change(dilated, "pool:max")


def test_a_pooling_that_is_not_called_stays_without_a_convolution():
    with torch.device("meta"):
        told = perimetry.change(googlenet(), "pool:conv", example=224).last
    assert len(told.layers) == 13
    assert [note.split(":")[0] for note in told.notes] == ["loss1.ave_pool stays", "loss2.ave_pool stays"]


def test_what_is_so_already_stays_and_is_told(image):
    model = small()
    same = perimetry.change(model, "pool:max", example=32)
    assert (same.last.layers, same.last.notes) == ((), ("nothing was changed: it is so already",))
    assert repr(same.module) == repr(model)


def test_a_pool_whose_indices_are_read_is_refused():
    class Unpooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

        def forward(self, x):
            return self.unpool(*self.pool(x))

    with pytest.raises(InputError, match="pool:mean at pool: it returns the indices"):
        perimetry.change(Unpooling().eval(), "pool:mean", example=32)


def test_activations_are_the_ones_that_torch_has(image):
    model = small()
    leaky = perimetry.change(model, "activation:leaky_relu:0.25", example=32)
    learned = perimetry.change(model, "activation:prelu", example=32)
    assert_close(learned.module(image), leaky.module(image), rtol=0, atol=0)
    assert learned.last.new == 3 and leaky.last.new == 0
    assert leaky.module[1].inplace and not leaky.module[5].inplace
    # The slope of RReLU in evaluation is the mean of 1/8 and 1/3.
    randomized = perimetry.change(model, "activation:rrelu", example=32).module
    assert_close(
        randomized(image), perimetry.change(model, f"activation:leaky_relu:{11 / 48}", example=32).module(image)
    )
    assert_close(perimetry.change(leaky, "activation:relu").module(image), model(image), rtol=0, atol=0)


def test_a_shared_activation_stays_shared():
    changed = perimetry.change(torchvision.models.resnet18(weights=None).eval(), "activation:prelu@layer4", example=64)
    assert [each.name for each in changed.last.layers] == ["layer4.0.relu", "layer4.1.relu"]
    assert changed.last.new == 2

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.ReLU()

        def forward(self, x):
            return self.second(self.first(x))

    changed = perimetry.change(Twice().eval(), "activation:prelu@second", example=32)
    assert changed.module.first is changed.module.second and isinstance(changed.module.first, nn.PReLU)
    assert changed.last.notes[0] == "first is one layer with second, which changed with it"


@pytest.mark.parametrize("output_stride", [16, 8])
def test_stride_gives_the_original_map_at_the_original_positions(output_stride, image):
    torch.manual_seed(0)
    model = nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:-2]).eval()
    changed = perimetry.change(model, f"stride:{output_stride}", example=64)
    by = 32 // output_stride
    image = torch.rand(1, 3, 96, 64)
    assert_close(changed.module(image)[:, :, ::by, ::by], model(image), rtol=1e-5, atol=1e-5)
    told = changed.last
    assert told.new == 0 and told.after.size == told.before.size
    assert (told.before.stride, told.after.stride) == ((32, 32), (output_stride, output_stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("what", "kernel"), [("conv5x5:3x3", 5), ("factorize:1xn", 5), ("factorize:1xn", 3)])
@pytest.mark.parametrize("padding", [0, 2, 3])
def test_smaller_convolutions_see_the_same_field_and_give_the_same_size(what, kernel, stride, dilation, padding):
    layer = nn.Conv2d(4, 6, kernel, stride=stride, padding=padding, dilation=dilation, groups=2)
    told = perimetry.change(layer.eval(), what, example=torch.zeros(1, 4, 33, 32)).last
    assert (told.after.size, told.after.stride) == (told.before.size, told.before.stride)
    for height, width in ((33, 32), (30, 47)):
        changed = perimetry.change(layer, what, example=torch.zeros(1, 4, 33, 32)).module
        assert changed(torch.zeros(1, 4, height, width)).shape == layer(torch.zeros(1, 4, height, width)).shape
        assert changed[2].bias.equal(layer.bias)


def test_the_published_arithmetic_of_smaller_convolutions():
    def weights(kernel, what):
        layer = nn.Conv2d(4, 4, kernel, padding=kernel // 2, bias=False).eval()
        return perimetry.change(layer, what, example=torch.zeros(1, 4, 32, 32)).last.after.parameters / 4**2

    # 25 c^2 against 18 c^2, 49 c^2 against 14 c^2.
    assert weights(5, "conv5x5:3x3") == 18
    assert weights(7, "factorize:1xn") == 14


def test_same_padding_splits_to_the_same_size():
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0").eval()
    told = perimetry.change(model, "conv5x5:3x3", example=64).last
    assert "Conv2dSame" in {each.before.partition("(")[0] for each in told.layers}
    assert (told.after.size, told.after.stride) == (told.before.size, told.before.stride)


def test_a_reduction_comes_and_goes():
    layer = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU()).eval()
    there = perimetry.change(layer, "reduce:add", example=torch.zeros(1, 16, 8, 8))
    assert there.last.after.parameters == (16 * 4 + 4) + (4 * 8 * 9 + 8)
    back = perimetry.change(there, "reduce:remove")
    assert back.last.after.parameters == there.last.before.parameters
    assert back.last.notes == ("0.2 reads the 16 channels that 0.0 reduced; its weights are new",)


def test_inception_without_its_reductions():
    block = InceptionV1(192, ones=64, threes=(96, 128), fives=(16, 32), pooled=32).eval()
    told = perimetry.change(block, "reduce:remove", example=torch.zeros(1, 192, 28, 28)).last
    convolutions = [each for each in told.layers if each.after != "nothing"]
    assert [re.match(r"Conv2d\(\d+, \d+", each.after)[0] for each in convolutions] == [
        "Conv2d(192, 128",
        "Conv2d(192, 32",
    ]
    biases = 64 + 128 + 32 + 32
    assert told.after.parameters - biases == 192 * 64 + 192 * 128 * 9 + 192 * 32 * 25 + 192 * 32


def test_a_bottlenecks_normalisation_goes_with_its_reduction():
    model = torchvision.models.resnet50(weights=None).eval()
    told = perimetry.change(model, "reduce:remove@layer4.1", example=64).last
    assert [each.name for each in told.layers] == ["layer4.1.conv1", "layer4.1.bn1", "layer4.1.conv2"]
    assert told.after.size == told.before.size


def test_batch_norm_with_default_statistics_changes_nothing_but_eps(image):
    model = small()
    there = perimetry.change(model, "batchnorm:add", example=32)
    assert [each.name for each in there.last.layers] == ["0", "3", "4"]
    scale = (1 + 1e-5) ** -0.5
    expected = copy.deepcopy(model)
    for place in (0, 3, 4):
        expected[place] = nn.Sequential(expected[place], nn.BatchNorm2d(expected[place].out_channels, eps=0.0)).eval()
        nn.init.constant_(expected[place][1].weight, scale)
    assert_close(there.module(image), expected(image), rtol=1e-5, atol=1e-6)
    back = perimetry.change(there, "batchnorm:remove").module
    assert_close(back(image), model(image), rtol=0, atol=0)
    with pytest.raises(InputError, match="no convolution without a batch norm behind it"):
        perimetry.change(there, "batchnorm:add")


def test_a_norm_that_holds_its_activation_leaves_it_behind(image):
    model = timm.create_model("regnetx_002").eval()
    changed = perimetry.change(model, "batchnorm:remove@stem.bn", example=64).module
    assert isinstance(changed.stem.bn, nn.ReLU)
    assert_close(changed.stem(image), model.stem.conv(image).relu())


@pytest.mark.parametrize(("add", "remove"), [("lrn:add", "lrn:remove"), ("l2norm:add@5", "l2norm:remove")])
def test_normalisation_comes_and_goes(add, remove, image):
    model = small()
    there = perimetry.change(model, add, example=32)
    assert not torch.allclose(there.module(image), model(image))
    assert_close(perimetry.change(there, remove).module(image), model(image), rtol=0, atol=0)


def test_lrn_is_put_behind_activations_of_maps_alone():
    told = perimetry.change(small(), "lrn:add", example=32).last
    assert [each.name for each in told.layers] == ["1", "5"]  # not 9, which is in the head


def test_what_normalises_channels_is_not_put_behind_maps_that_have_them_last():
    model = torchvision.models.convnext_tiny(weights=None).eval()  # linear layers in its blocks
    with pytest.raises(InputError, match=r"holds no activation of a map"):
        perimetry.change(model, "lrn:add", example=64)
    with pytest.raises(InputError, match=r"features\.1\.0\.block\.4 does not return a map \(N, C, H, W\)"):
        perimetry.change(model, "l2norm:add@features.1.0.block.4", example=64)
    assert perimetry.change(model, "l2norm:add@features.1.0.block.0", example=64).last.new == 96


def test_context_widens_what_reads_it_and_keeps_the_weights_for_what_was_there(image):
    model = small()
    changed = perimetry.change(model, "context:add:7@5", example=32)
    assert isinstance(changed.module[5].context, GlobalContext) and changed.module[5].context.local.scale[0] == 7
    head = changed.module[8]
    assert head.in_features == 2 * model[8].in_features
    assert torch.equal(head.weight[:, : 12 * 4], model[8].weight) and torch.equal(head.bias, model[8].bias)
    assert changed.last.notes == ("8 reads 24 channels in place of 12; weights of the new are new",)
    assert changed.module(image).shape == (2, 5)
    # Before a convolution, through a pooling and a normalisation.
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3)).eval()
    nn.init.uniform_(model[2].running_var, 0.5, 2.0)
    module = perimetry.change(model, "context:add@0", example=32).module
    assert module[4].in_channels == 8 and torch.equal(module[4].weight[:, :4], model[4].weight)
    assert torch.equal(module[2].running_var[:4], model[2].running_var)


def test_layers_and_what_holds_them_can_be_named_at_once():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 1)).eval()
    changed = perimetry.change(model, "l2norm:add@0*", example=16)
    assert [each.name for each in changed.last.layers] == ["0.0", "0.1", "0"]
    assert changed.last.new == 3 * 4


def test_a_shared_layer_is_replaced_inside_what_was_put_in_a_chain_before(image):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.parts = nn.ModuleDict({"chain": nn.Sequential(self.first, nn.ReLU())})

        def forward(self, x):
            return self.parts["chain"](self.first(x))

    model = Shared().eval()
    module = perimetry.change(model, "l2norm:add", layers="[fp]*[tn]", example=32).module  # first, parts.chain
    inner = module.parts["chain"].layer
    assert [name for name, _ in module.parts["chain"].named_children()] == ["layer", "l2norm"]
    assert inner[0] is module.first and [name for name, _ in inner.named_children()] == ["0", "1"]
    assert module(image).shape == image.shape


def test_a_layer_can_read_one_context_and_have_another_behind_it(image):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()
    module = perimetry.change(model, "context:add@[02]", example=32).module
    assert module[2].layer.in_channels == 8 and module[4].in_channels == 12
    assert torch.equal(module[2].layer.weight[:, :4], model[2].weight) and module(image).shape == (2, 2, 28, 28)


def test_the_activation_of_torchs_encoder_layer_is_changed_in_its_fused_form_too():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 8, 8)
            self.encoder = nn.TransformerEncoderLayer(16, 2, 32, activation=nn.GELU(), batch_first=True)

        def forward(self, x):
            return self.encoder(self.patches(x).flatten(2).transpose(1, 2))

    model = Tokens().eval()
    by_hand = copy.deepcopy(model)
    by_hand.encoder.activation, by_hand.encoder.activation_relu_or_gelu = nn.Tanh(), 0
    module = perimetry.change(model, "activation:tanh", example=32).module
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():  # where the layer takes its fused form
        assert_close(module(image), by_hand(image), rtol=0, atol=0)
        assert not torch.equal(module(image), model(image))


def test_context_on_a_branch_that_is_added_to_another_is_refused():
    model = torchvision.models.resnet18(weights=None).eval()
    with pytest.raises(InputError, match=r"layer4\.1\.bn2 goes into aten\.add at layer4\.1, which ties its channels"):
        perimetry.change(model, "context:add@layer4.1.bn2", example=64)
    told = perimetry.change(model, "context:add@layer4", example=64).last
    assert told.after.parameters - told.before.parameters == 2 * 512 + 512 * 1000


@pytest.mark.parametrize("what", ["l2norm:add", "context:add"])
def test_what_could_go_anywhere_has_to_be_placed(what):
    with pytest.raises(InputError, match=rf"name the layers that it goes behind, such as {what}@layer4$"):
        perimetry.change(torchvision.models.resnet18(weights=None).eval(), what, example=64)


def test_vgg_with_global_pooling_has_its_convolutions_and_one_linear_layer():
    with torch.device("meta"):
        model = torchvision.models.vgg16(weights=None).eval()
    changed = perimetry.change(model, "head:gap")
    assert changed.last.before.parameters == 138_357_544
    assert changed.last.after.parameters == 14_714_688 + 512 * 1000 + 1000
    assert changed.last.kept == 14_714_688 + 1000  # the bias of the classes too
    linear = [part for part in changed.module.modules() if isinstance(part, nn.Linear)]
    assert len(linear) == 1 and not any(isinstance(part, nn.Dropout) for part in changed.module.modules())


@pytest.mark.parametrize(("build", "size", "first", "channels"), [(alexnet, 227, "fc6", 256), (vgg16, 224, "fc6", 512)])
def test_the_fully_connected_heads_of_perimetrys_networks_can_be_pooled(build, size, first, channels):
    with torch.device("meta"):
        model = build()
        changed = perimetry.change(model, "head:gap", example=size)
        assert getattr(changed.module, first).in_features == channels
        fully = sum(each.numel() for name, each in model.named_parameters() if name.startswith("fc"))
        assert changed.last.before.parameters - changed.last.after.parameters == fully - 1000 * (channels + 1)
        assert changed.module(torch.empty(1, 3, size + 64, size))["logits"].shape == (1, 1000)


def test_a_head_without_a_pool_before_it_gets_one(image):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(4 * 15 * 15, 7), nn.ReLU(), nn.Linear(7, 5)
    ).eval()
    module = perimetry.change(model, "head:gap", example=32).module
    expected = nn.functional.linear(model[0](image).mean((2, 3)), module[2].weight, model[4].bias)
    assert_close(module(image), expected)
    assert module(torch.rand(1, 3, 64, 48)).shape == (1, 5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (torchvision.models.resnet18, "fc reads a map of one position; the head pools globally already"),
        (lambda **_: nn.Conv2d(3, 4, 3), "no fully connected layer"),
    ],
)
def test_a_head_that_is_none_is_told(build, message):
    with pytest.raises(InputError, match=message):
        perimetry.change(build(weights=None).eval(), "head:gap", example=64)
