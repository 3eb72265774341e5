"""Optimiser steps against closed forms; groups; schedules."""

import math
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from perimetry.errors import InputError, UnknownNameError
from perimetry.nn import L2Normalize
from perimetry.training.optimizers import CaffeSGD, clip_gradients, make_optimizer, parameter_groups
from perimetry.training.schedules import rate_factor


def walk(name: str, rates, gradients, *, momentum: float, decay: float = 0.0, start: float = 1.0) -> float:
    """Where one weight ends."""
    weight = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = make_optimizer(
        [{"params": [weight], "lr": 1.0, "weight_decay": decay}], name=name, rate=1.0, momentum=momentum
    )
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight.item()


def test_both_conventions_after_the_rate_falls():
    rates = [0.1] * 10 + [0.01] * 10
    caffe, torchs = (walk(name, rates, [1.0] * 20, momentum=0.9, start=0.0) for name in ("caffe_sgd", "sgd"))
    assert (round(caffe, 2), round(torchs, 2)) == (-8.37, -4.93)


@settings(max_examples=50, deadline=None)
@given(some.lists(some.floats(-3, 3), min_size=1, max_size=8), some.floats(0, 0.99), some.floats(0, 0.5))
def test_at_a_constant_rate_both_conventions_are_one(gradients, momentum, decay):
    rates = [0.05] * len(gradients)
    ours = walk("caffe_sgd", rates, gradients, momentum=momentum, decay=decay)
    assert ours == pytest.approx(walk("sgd", rates, gradients, momentum=momentum, decay=decay), rel=1e-12, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    some.lists(some.tuples(some.floats(0.001, 2), some.floats(-3, 3)), min_size=1, max_size=8),
    some.floats(0, 0.99),
    some.floats(0, 0.5),
)
def test_caffes_momentum_is_its_formula(steps, momentum, decay):
    weight, velocity = 1.0, 0.0
    for rate, gradient in steps:
        velocity = momentum * velocity + rate * (gradient + decay * weight)
        weight -= velocity
    rates, gradients = zip(*steps, strict=True)
    assert walk("caffe_sgd", rates, gradients, momentum=momentum, decay=decay) == pytest.approx(weight, rel=1e-9)


def test_nesterov_looks_ahead():
    # v = m v + g, step by g + m v: after two steps with gradient 1, rate 0.1 and m = 0.5.
    assert walk("nesterov", [0.1, 0.1], [1, 1], momentum=0.5, start=0.0) == pytest.approx(-0.1 * (1.5 + 1.75))


def test_adamw_decays_apart_from_the_gradient():
    # The first step of Adam is the sign of the gradient, decay multiplies the weight by 1 - rate * decay before it.
    assert walk("adamw", [0.1], [4.0], momentum=0.9, decay=0.5, start=2.0) == pytest.approx(2 * 0.95 - 0.1)


def test_caffe_state_is_kept_and_taken_up():
    weights = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))]
    optimizers = [CaffeSGD([weight], lr=0.1) for weight in weights]
    for number in range(4):
        if number == 2:
            optimizers[1].load_state_dict(deepcopy(optimizers[0].state_dict()))
            weights[1].data.copy_(weights[0].data)
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = torch.full((3,), float(number))
            optimizer.step()
    assert torch.equal(*weights)


def test_caffe_leaves_what_has_no_gradient_and_takes_no_closure():
    weight, still = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = CaffeSGD([weight, still], lr=0.5, weight_decay=0.1)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert (weight.item(), still.item()) == (pytest.approx(1 - 0.5 * 1.1), 1.0)
    with pytest.raises(InputError, match="takes no closure"):
        optimizer.step(lambda: 0.0)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.l2 = L2Normalize(4)
        self.score = nn.Conv2d(4, 2, 1)


def settings_of(groups):
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_groups_hold_each_parameter_once_with_its_rate_and_decay():
    head = Head()
    groups = parameter_groups(
        head, rate=1.0, decay=0.1, exempt=("biases", "scales"), multipliers={"score*": 10, "*.bias": 2}
    )
    assert settings_of(groups) == {
        "conv.weight": (1, 0.1),
        "conv.bias": (2, 0),
        "bn.weight": (1, 0.1),
        "bn.bias": (2, 0.1),
        "l2.scale": (1, 0),
        "score.weight": (10, 0.1),
        "score.bias": (20, 0),
    }
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(map(id, head.parameters()))
    head.conv.requires_grad_(False)
    assert "conv.weight" not in settings_of(parameter_groups(head, rate=1.0, decay=0.1))


def test_wrong_groups_are_refused():
    head = Head()
    with pytest.raises(UnknownNameError, match=r"unknown parameter or pattern 'scores.weight'; did you mean 'score.w"):
        parameter_groups(head, rate=1, decay=0, multipliers={"scores.weight": 10})
    with pytest.raises(UnknownNameError, match="unknown kind of parameter 'bias'; did you mean 'biases'"):
        parameter_groups(head, rate=1, decay=0, exempt=("bias",))
    with pytest.raises(InputError, match="no parameter of the model learns"):
        parameter_groups(head.requires_grad_(False), rate=1, decay=0)
    with pytest.raises(UnknownNameError, match="unknown optimizer 'adam'; did you mean 'adamw'"):
        make_optimizer([], name="adam", rate=1)


def test_clipping_keeps_the_direction():
    head = Head()
    for parameter in head.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(parameter.numel() for parameter in head.parameters())
    assert clip_gradients(head, norm=1.0).item() == pytest.approx(math.sqrt(count))
    assert head.conv.weight.grad.flatten()[0].item() == pytest.approx(1 / math.sqrt(count), rel=1e-4)


def test_warm_up_multiplies_the_schedule():
    told = [rate_factor(step, steps=8, schedule="poly", power=1, warmup=4, warmup_factor=0) for step in range(8)]
    assert told == pytest.approx([0, 0.25 * 7 / 8, 0.5 * 6 / 8, 0.75 * 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_milestones_are_shares_or_steps():
    for milestones in ((0.7, 0.9), (7, 9)):
        told = [rate_factor(step, steps=10, schedule="step", milestones=milestones) for step in range(10)]
        assert told == pytest.approx([1] * 7 + [0.1] * 2 + [0.01])


def test_wrong_schedules_are_refused():
    with pytest.raises(UnknownNameError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        rate_factor(0, steps=1, schedule="cosin")
    with pytest.raises(InputError, match="step 3 is none of the 3 steps"):
        rate_factor(3, steps=3)
    with pytest.raises(InputError, match="milestones are shares"):
        rate_factor(0, steps=3, schedule="step", milestones=(0,))
