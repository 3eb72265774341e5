import re
import time

import pytest

from perimetry.report.columns import display_width, fold
from perimetry.report.text import inspection_text
from report.synthetic import HOSTILE_LONG, awkward_network, residual_network

ESCAPES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("width", [80, 130])
def test_one_model_reads_as_before(golden, width):
    golden(f"residual-{width}.txt", inspection_text([residual_network()], width=width))


@pytest.mark.parametrize("width", [40, 80, 130])
def test_everything_awkward_reads_as_before(golden, width):
    golden(f"awkward-{width}.txt", inspection_text([awkward_network()], width=width))


@pytest.mark.parametrize("width", [80, 130])
def test_several_models_read_as_before(golden, width):
    deep = residual_network("synthetic:deep", blocks=(3, 4, 6))
    golden(f"several-{width}.txt", inspection_text([residual_network(), deep], width=width, depth=1))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_asked_for(width):
    models = [residual_network(), awkward_network(), residual_network("a-name-" * 20, image=(64,))]
    for line in inspection_text(models, width=width).splitlines():
        assert display_width(line) <= width, line


@pytest.mark.parametrize("width", [40, 80, 130])
def test_nothing_is_cut(width):
    text = inspection_text([awkward_network()], width=width)
    # Long names are folded after their dots, so every word of them is still whole.
    assert text.count("very.") == HOSTILE_LONG.count("very.")
    assert text.count("long.") == HOSTILE_LONG.count("long.")
    assert "…" not in text
    for message in awkward_network().unknown:
        assert "".join(message.message.split()) in "".join(text.split())


@pytest.mark.parametrize("color", [False, True])
def test_hostile_names_bring_no_control_characters(color):
    text = inspection_text([awkward_network()], width=100, color=color)
    own = text.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert not ESCAPES.search(own)
    assert r"\x1b[2J" in own
    assert ("\x1b" in text) is color


def test_colours_change_nothing_but_colour():
    plain = inspection_text([residual_network()], width=80)
    coloured = inspection_text([residual_network()], width=80, color=True)
    assert re.sub("\x1b\\[[0-9]m", "", coloured) == plain


def test_marks_are_explained_only_when_used():
    assert "upper bound" not in inspection_text([residual_network()], width=100)
    text = inspection_text([awkward_network()], width=200)
    for words in (
        "sees no new context",
        "upper bound",
        "centred on different pixels",
        "no rule for operator custom.warp",
    ):
        assert words in text
    assert "[1] " in text
    assert "global by gate.avgpool" in text


def test_a_pattern_without_a_match_says_so():
    assert "no layer is named like 'nothing*'" in inspection_text([residual_network()], width=80, pattern="nothing*")


def test_a_network_of_250_rows_is_told_quickly():
    model = residual_network(blocks=(20, 20, 20))
    inspection_text([model], width=100, depth=9)
    durations = []
    for _ in range(5):
        begun = time.process_time()
        inspection_text([model], width=100, depth=9)
        durations.append(time.process_time() - begun)
    # 5 ms on the machine it was written on; the limit leaves room for slow and busy ones.
    assert min(durations) < 0.05


def test_folding_keeps_every_letter():
    name = "layer4.2.downsample.conv" + "x" * 30
    for width in range(1, 60):
        lines = fold(name, width)
        assert "".join(lines) == name
        assert all(len(line) <= width for line in lines)


def test_wide_letters_take_two_columns():
    assert [display_width(line) for line in fold("層層層層", 4)] == [4, 4]
