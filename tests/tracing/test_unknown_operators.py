"""An operator without a rule: what is before it is answered, what depends on it says why not, and @rule mends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import perimetry

LIBRARY = "perimetry_tests"


@torch.library.custom_op(f"{LIBRARY}::mirror", mutates_args=())
def mirror(x: Tensor) -> Tensor:
    """Columns in reverse order: an operator that nobody has a rule for."""
    return x.flip(-1).clone()


@mirror.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Mirroring(nn.Module):
    """A convolution, the unknown operator, another convolution, and a branch that does not need it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after, self.beside = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.before(x)
        return {"mirrored": self.after(mirror(y)), "plain": self.beside(y)}


@pytest.fixture
def network() -> perimetry.records.Network:
    return perimetry.trace(Mirroring().eval(), torch.rand(1, 3, 16, 20))


def test_partial_result_and_reason(network: perimetry.records.Network) -> None:
    fields = perimetry.fields(network)
    assert fields["before"].full.size == (3, 3)
    assert fields["beside"].full.size == fields["output[plain]"].full.size == (7, 7)
    for name in ("after", "output[mirrored]"):
        assert fields[name].full is None and fields[name].local is None
        assert f"{LIBRARY}.mirror" in fields[name].reason


def test_inspection_names_operator_place_shapes_and_remedy() -> None:
    found = perimetry.inspect(Mirroring().eval(), torch.rand(1, 3, 16, 20))
    (unknown,) = found.models[0].unknown
    assert unknown.op == f"{LIBRARY}.mirror" and unknown.inputs == ((1, 4, 14, 18),)
    assert "mirror" in unknown.layer
    for part in (f"{LIBRARY}.mirror", "[1, 4, 14, 18]", "perimetry.rule"):
        assert part in unknown.message
    assert found.layer("after").field is None and found.layer("after").reason
    assert found.layer("after").parameters == 4 * 4 * 9 + 4


def test_support_of_an_unknown_layer_raises(network: perimetry.records.Network) -> None:
    with pytest.raises(perimetry.PerimetryError, match="mirror"):
        perimetry.support(network, "after", (0, 0))


def test_unknown_operator_on_weights_alone_does_no_harm() -> None:
    """What does not depend on the image needs no rule."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, mirror(self.weight))

    fields = perimetry.fields(perimetry.trace(Model().eval(), torch.rand(1, 3, 9, 9)))
    assert fields["output"].full.size == (3, 3)


def test_support_of_an_unknown_name(network: perimetry.records.Network) -> None:
    with pytest.raises(perimetry.UnknownNameError, match="before"):
        perimetry.support(network, "befor", (0, 0))


@pytest.mark.parametrize("unit", [(99, 0), (0, 0, 0), (0, 99, 0, 0)])
def test_support_of_a_unit_outside_the_map(network: perimetry.records.Network, unit: tuple[int, ...]) -> None:
    with pytest.raises(perimetry.PerimetryError, match="14"):
        perimetry.support(network, "before", unit)


@torch.library.custom_op(f"{LIBRARY}::brighten", mutates_args=())
def brighten(x: Tensor, amount: float) -> Tensor:
    """Pointwise, but only its author knows."""
    return x * amount


@brighten.register_fake
def _(x: Tensor, amount: float) -> Tensor:
    return torch.empty_like(x)


class Brightening(nn.Module):
    """A convolution after the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(brighten(x, 2.0))


@pytest.fixture
def without_rules_afterwards() -> Iterator[None]:
    """Take back the rules that a test files."""
    from perimetry.rules import registry

    rules, costs = dict(registry._RULES), dict(registry._COSTS)
    yield
    for live, kept in ((registry._RULES, rules), (registry._COSTS, costs)):
        live.clear()
        live.update(kept)


@pytest.mark.usefixtures("without_rules_afterwards")
def test_a_rule_mends_it() -> None:
    """The same network answers before and after: unknown first, then with the user's rule and cost."""
    from perimetry.rules import elementwise

    model, image = Brightening().eval(), torch.rand(1, 3, 9, 9)
    network = perimetry.trace(model, image)
    assert "brighten" in perimetry.fields(network)["conv"].reason

    @perimetry.rule(f"{LIBRARY}::brighten")
    def brightened(call):
        assert call["amount"] == 2.0
        return [(call.source, elementwise(call.source.shape, call.shape))]

    @perimetry.cost(f"{LIBRARY}::brighten")
    def brightened_cost(call):
        return 3 * 9 * 9

    found = perimetry.fields(perimetry.trace(model, image))
    assert found["conv"].full.size == (3, 3) and found["conv"].reason is None
    assert perimetry.inspect(model, image).models[0].totals.macs == 3 * 9 * 9 + 4 * 27 * 49


@pytest.mark.usefixtures("without_rules_afterwards")
def test_a_second_rule_is_refused() -> None:
    perimetry.rule(f"{LIBRARY}::twice")(lambda call: [])
    with pytest.raises(ValueError, match="twice"):
        perimetry.rule(f"{LIBRARY}.twice")(lambda call: [])
