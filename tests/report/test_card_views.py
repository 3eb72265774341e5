"""Cards as data, as text, and as the page of the documentation, which is written from them."""

import json
from pathlib import Path

import pytest

from perimetry.networks import CARDS
from perimetry.report.card_views import card_data, card_text, cards_markdown
from perimetry.report.columns import display_width

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_the_page_of_networks_is_what_the_cards_say(request):
    introduction, _, _ = PAGE.read_text(encoding="utf-8").partition("| network |")
    page = introduction + cards_markdown(CARDS.values())
    if request.config.getoption("--update-golden", default=False):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "write it anew: pytest tests/report --update-golden"


@pytest.mark.parametrize("name", CARDS)
def test_a_card_fits_the_terminal_and_loses_no_number(name):
    card = CARDS[name]
    for width in (60, 80, 120):
        text = card_text(card, width=width)
        assert max(map(display_width, text.splitlines())) <= width
    flat = " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())
    for quantity in card.quantities:
        assert quantity.of in flat
        assert (
            not isinstance(quantity.value, int) or f"{quantity.value:,}" in flat or f"{quantity.value}".lower() in flat
        )
    assert all(difference.why.split()[0] in flat for difference in card.differences)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_data(name):
    data = json.loads(json.dumps(card_data(CARDS[name])))
    assert len(data["quantities"]) == len(CARDS[name].quantities)
    assert data["build"].startswith(f"perimetry.networks.{CARDS[name].build.__name__}(")
