"""Every number on every card, counted anew on the network that is built."""

import pytest

from perimetry.errors import InputError, UnknownNameError
from perimetry.networks import CARDS, Quantity
from perimetry.verification import recount

QUANTITIES = [
    pytest.param(card, quantity, id=f"{card.name}-{number}-{quantity.kind}-{quantity.of}")
    for card in CARDS.values()
    for number, quantity in enumerate(card.quantities)
]


@pytest.mark.parametrize(("card", "quantity"), QUANTITIES)
def test_the_network_has_what_its_card_says(card, quantity):
    expected = pytest.approx(quantity.value, rel=1e-6) if isinstance(quantity.value, float) else quantity.value
    assert recount(card, quantity) == expected


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_says_where_its_facts_come_from(card):
    assert card.paper
    assert card.definition
    assert all(quantity.source for quantity in card.quantities)
    assert all(result.source for result in card.results)
    assert any(quantity.kind == "parameters" for quantity in card.quantities)


def test_a_quantity_of_no_layer_is_refused():
    with pytest.raises(InputError, match="of kind 'field' is of a layer or parameter; name it in `of`"):
        Quantity("field", 3, "nowhere")


def test_a_wrong_layer_or_parameter_is_named():
    card = CARDS["alexnet"]
    with pytest.raises(UnknownNameError, match="did you mean 'conv1'"):
        recount(card, Quantity("field", 3, "nowhere", of="conv_1"))
    with pytest.raises(UnknownNameError, match="unknown parameter 'conv9"):
        recount(card, Quantity("parameters", 3, "nowhere", of="conv9.*"))
    with pytest.raises(InputError, match="which is not one number"):
        recount(card, Quantity("initial", 0.1, "nowhere", of="conv1.weight"))
