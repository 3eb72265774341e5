import base64
import hashlib
import json
import re
from importlib import resources

import pytest

from perimetry.report.html import inspection_fragment, inspection_page
from perimetry.report.page_data import json_for_script, page_data, runs
from report.elements import Elements
from report.synthetic import HOSTILE_HTML, HOSTILE_SCRIPT, awkward_network, photo, residual_network


def unpack(encoded):
    return [encoded[at] + step * encoded[at + 1] for at in range(0, len(encoded), 3) for step in range(encoded[at + 2])]


@pytest.mark.parametrize("numbers", [[], [5], [1, 1, 1], [-3, -1, 1, 3, 3, 3], [0, 0, 1, 1, 2, 2], [7, 2, 9, 9, -4]])
def test_runs_hold_the_numbers(numbers):
    assert unpack(runs(numbers)) == numbers


def test_page_data_holds_the_bounds_of_every_field():
    model = awkward_network()
    data = page_data([model])
    for row, told in zip(model.layers, data["models"][0]["layers"], strict=True):
        for kind, field in (("local", row.local_field), ("full", row.field)):
            if field is None:
                assert told[kind] is None
                continue
            axes = [data["axes"][index] for index in data["fields"][told[kind]]["axes"]]
            for axis, columns in zip(field.axes, axes, strict=True):
                assert list(zip(*map(unpack, columns), strict=True)) == [tuple(bounds) for bounds in axis.bounds]


def test_page_data_takes_bounds_from_numpy():
    numpy = pytest.importorskip("numpy")
    from dataclasses import replace

    from perimetry.geometry import Field

    model = residual_network()
    field = model.layers[0].field
    arrays = Field(tuple(replace(axis, bounds=numpy.asarray(axis.bounds)) for axis in field.axes))
    changed = replace(model, layers=(replace(model.layers[0], field=arrays, local_field=arrays), *model.layers[1:]))
    assert page_data([changed]) == page_data([model])
    assert inspection_page([changed], None)


def test_equal_fields_and_axes_are_told_once():
    data = page_data([residual_network(image=(64, 64)), residual_network(image=(64, 64))])
    assert len(data["models"][0]["layers"]) == 33
    assert len(data["fields"]) == 14
    assert len(data["axes"]) == 14


def test_json_in_a_script_cannot_end_it():
    hostile = "</script><!--<script>&\u2028\u2029]]>"
    text = json_for_script([hostile])
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == [hostile]


def test_the_page_names_no_other_address_and_allows_only_its_own_script_and_style():
    page = inspection_page([residual_network(), awkward_network()], photo())
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "action", "data-photo", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    policy = next(each["content"] for _, each in elements.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for text in (elements.scripts[-1], elements.styles[0]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not any(name.startswith("on") or name == "style" for _, each in elements.tags for name in each)
    assert "@import" not in page
    assert "url(" not in page


def test_hostile_names_are_text_on_the_page_and_in_the_fragment():
    for page in (inspection_page([awkward_network()], photo()), inspection_fragment([awkward_network()], photo())):
        assert HOSTILE_SCRIPT not in page.replace("<wbr>", "")
        assert HOSTILE_HTML not in page.replace("<wbr>", "")
        assert "alert(1)" in Elements(page).text
        assert HOSTILE_HTML in Elements(page).text
        for letter in ("\x1b", "\x9b", "\x07", "\u202e", "\u2066", "\u200b"):
            assert letter not in page
        assert not any(tag in ("img", "iframe") for tag, _ in Elements(page).tags)


def test_the_fragment_is_static_and_keeps_its_style_to_itself():
    fragment = inspection_fragment([awkward_network(), residual_network()], None)
    elements = Elements(fragment)
    assert not elements.scripts
    assert fragment.startswith('<div class="perimetry-inspection">')
    for rule in elements.styles[0].split("}")[:-1]:
        for selector in rule.split("{")[0].split(","):
            assert selector.strip().startswith(".perimetry-inspection"), selector
    assert fragment.count("<table>") == 3
    assert "{{ 7*7 }}" in fragment


def test_the_table_holds_every_layer_and_its_numbers():
    model = residual_network()
    elements = Elements(inspection_page([model], None))
    rows = [each for tag, each in elements.tags if tag == "tr" and "data-index" in each]
    assert [int(each["data-index"]) for each in rows] == list(range(len(model.layers)))


def test_the_page_of_a_large_network_with_a_noisy_photo_stays_small():
    # About the size of ResNet-50; the noise of the photo leaves nothing to compress.
    from random import Random

    from perimetry.records import Photo

    model = residual_network(image=(224, 224), blocks=(12, 12, 12, 12))
    noise = Photo("noise", 224, 224, Random(0).randbytes(224 * 224 * 3))
    assert len(model.layers) > 190
    assert len(inspection_page([model], noise).encode()) < 500_000


def test_templates_and_assets_are_files_of_the_package():
    folder = resources.files("perimetry.report")
    for name in ("report.html.j2", "fragment.html.j2", "maps.html.j2", "_layers.html.j2"):
        assert folder.joinpath("templates", name).is_file()
    for name in ("report.css", "maps.css", "report.js", "theme.js", "maps.js", "map_plot.js"):
        assert "</s" not in folder.joinpath("assets", name).read_text("utf-8")
