"""Changes that cannot be made, and how that is told; and changes on models of other libraries."""

import pytest
import torch
from torch import nn

import perimetry
from perimetry.errors import InputError, UnknownNameError
from perimetry.surgery import Request, parse
from surgery.networks import small


def test_a_layer_that_is_read_by_its_parts_is_refused_and_not_broken():
    class Peeking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 5, padding=2)

        def forward(self, x):
            return self.conv(x) * self.conv.weight.mean()

    with pytest.raises(
        InputError, match=r"after conv5x5:3x3 the model does not run any more.*has no attribute 'weight'"
    ):
        perimetry.change(Peeking().eval(), "conv5x5:3x3", example=32)


@pytest.mark.parametrize(
    ("what", "layers", "message"),
    [
        ("pool:maen", "*", r"unknown change 'pool:maen'; did you mean 'pool:mean'"),
        ("poool:mean", "*", r"did you mean 'pool:mean'"),
        ("pool", "*", r"unknown change 'pool'.*pool: takes max, mean, lp"),
        ("pool:mean", "fc", r"unknown layer or pattern 'fc'"),
        ("pool:mean@22", "*", r"unknown layer or pattern '22'; did you mean '2'"),
        ("pool:mean", "0", r"what '0' names holds no pooling layer as a module; the model has some at 2"),
        ("lrn:remove", "*", r"the model holds no LRN as a module"),
        ("pool:mean:2", "*", r"pool:mean takes no further argument, got '2'"),
        ("pool:lp:x", "*", r"takes a number of at least 1 as its power, got 'x'"),
        ("pool:lp:0.5", "*", r"takes a number of at least 1 as its power"),
        ("pool:maxblur:2", "*", r"taps is the odd side"),
        ("reduce:add:1.5", "*", r"takes a whole number as its channels"),
        ("activation:elu:nan", "*", r"takes a number as its alpha"),
        ("activation:prelu:1e39", "*", r"takes a number as its slope, got '1e39'"),
        ("l2norm:add:-1e300@2", "*", r"takes a number as its scale, got '-1e300'"),
        ("lrn:add:cafe", "*", r"unknown convention 'cafe'; did you mean 'caffe'"),
        ("stride:x", "*", r"as a whole number, such as stride:16, got 'x'"),
        ("stride:3", "*", r"one of 1, 2, 4, got 3"),
        ("stride:2", "0", r"a stride is of the whole network"),
        ("pool:mean@", "*", r"ends without the layers"),
        ("pool:mean@2", "2", r"the layers are named twice"),
    ],
)
def test_wrong_input_is_told(what, layers, message):
    model = small()[:6]
    with pytest.raises(InputError, match=message) as told:
        perimetry.change(model, what, layers=layers, example=32)
    if "unknown" in message:
        assert isinstance(told.value, UnknownNameError)


def test_what_is_no_module_is_refused():
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        perimetry.change(3, "pool:mean")
    exported = torch.export.export(small(), (torch.zeros(1, 3, 32, 32),)).module()
    with pytest.raises(InputError, match="exported or scripted program"):
        perimetry.change(exported, "pool:mean")


def test_a_model_that_cannot_be_copied_is_told():
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.MaxPool2d(2))
    with pytest.raises(InputError, match="Sequential cannot be copied, and only a copy would be changed"):
        perimetry.change(model, "pool:mean", example=32)


def test_text_and_request_are_the_same():
    assert str(parse("pool:lp:3@layer?.*")) == "pool:lp:3@layer?.*"
    assert parse("stride:016") == Request("stride", "16")


@pytest.mark.parametrize(
    "name", ["torchvision:mobilenet_v2", "torchvision:squeezenet1_1", "timm:resnet26d", "timm:convnext_atto"]
)
@pytest.mark.parametrize("what", ["activation:elu", "stride:8", "factorize:1xn", "batchnorm:add", "pool:mean"])
def test_on_any_model_a_change_runs_or_finds_nothing_to_change(name, what):
    model = perimetry.load_model(name)
    nothing = {
        ("timm:convnext_atto", "pool:mean"),
        ("timm:resnet26d", "batchnorm:add"),
        ("torchvision:mobilenet_v2", "batchnorm:add"),
        ("torchvision:mobilenet_v2", "pool:mean"),
    }
    if (name, what) in nothing:
        with pytest.raises(InputError, match=rf"^{what}: the model holds no "):
            perimetry.change(model, what, example=64)
        return
    changed = perimetry.change(model, what, example=64)
    assert changed.last.layers
    with torch.no_grad():
        assert changed.module(torch.rand(1, 3, 64, 64)).shape == (1, 1000)
