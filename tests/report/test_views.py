import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest

import perimetry
from perimetry.errors import UnknownNameError
from perimetry.records import Totals
from perimetry.report.views import comparison, flat_rows, inspection_data, stages, visible_layers
from report.synthetic import awkward_network, layer, residual_network

PROMISED = [
    "name",
    "op",
    "shape",
    "field",
    "local_field",
    "global_by",
    "parameters",
    "macs",
    "activation_bytes",
    "unproductive",
]


def test_the_json_form_starts_with_the_promised_keys_in_their_order():
    data = inspection_data([residual_network()])
    assert list(data) == ["schema", "perimetry", "models"]
    assert data["schema"] == 1
    assert data["perimetry"] == perimetry.__version__
    model = data["models"][0]
    assert list(model)[:4] == ["model", "input", "layers", "totals"]
    assert model["input"] == [1, 3, 64, 96]
    assert list(model["totals"]) == ["parameters", "macs", "activation_bytes"]
    for row in model["layers"]:
        assert list(row)[: len(PROMISED)] == PROMISED


def test_a_field_in_json_is_numbers_per_axis():
    rows = {row["name"]: row for row in inspection_data([residual_network()])["models"][0]["layers"]}
    assert rows["stage1.0.conv1"]["field"] == {"size": [11, 11], "stride": [4, 4], "start": [-5, -5], "uniform": True}
    assert rows["head.pool"]["field"]["size"] is None
    assert rows["head.pool"]["global_by"] == "head.pool"


def test_json_says_what_is_awkward_without_nan_and_survives_a_round_trip():
    model = awkward_network()
    data = inspection_data([model])
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text) == data
    rows = {row["name"]: row for row in data["models"][0]["layers"]}
    assert rows["up"]["field"]["stride"] == [0.5, 0.5]
    assert rows["up"]["upper_bound"] is True
    assert rows["join/cat"]["misaligned"] == [0.5, 1.5]
    assert rows["join/cat"]["unproductive"] is True
    assert rows["neck.warp"]["field"] is None
    assert "custom.warp" in rows["neck.warp"]["reason"]
    assert data["models"][0]["unknown"] == [model.unknown[0].message]
    assert data["models"][0]["classes"][0] == {"label": "Egyptian cat", "probability": 0.381}


def test_numbers_from_numpy_become_plain_numbers():
    numpy = pytest.importorskip("numpy")
    model = residual_network()
    rows = tuple(
        replace(row, macs=numpy.int64(row.macs), misaligned=(numpy.float64("nan"), 1.0)) for row in model.layers
    )
    data = inspection_data([replace(model, layers=rows)])
    json.dumps(data, allow_nan=False)
    assert data["models"][0]["layers"][0]["misaligned"] == [None, 1.0]


def test_flat_rows_have_one_row_per_layer_and_all_the_same_columns():
    models = [residual_network(), awkward_network()]
    rows = flat_rows(models)
    assert len(rows) == sum(len(model.layers) for model in models)
    assert len({tuple(row) for row in rows}) == 1
    first = rows[0]
    assert (first["model"], first["name"], first["shape"]) == ("synthetic:residual", "stem.conv", "1x16x32x48")
    assert (first["field_h"], first["field_w"], first["stride_h"], first["start_w"]) == (7, 7, 2, -3)
    by_name = {row["name"]: row for row in rows}
    assert by_name["head.pool"]["whole_image"] is True
    assert by_name["head.pool"]["field_h"] is None
    assert by_name["gate"]["whole_image"] is True
    assert by_name["gate"]["local_field_w"] == 15
    assert by_name["neck.warp"]["whole_image"] is None


def test_flat_rows_name_the_axes_of_signals_and_volumes():
    signal, volume = residual_network(image=(64,)), residual_network(image=(16, 32, 32))
    assert flat_rows([signal])[0]["field_w"] == 7
    assert "field_h" not in flat_rows([signal])[0]
    mixed = flat_rows([signal, volume])
    assert mixed[0]["field_d"] is None
    assert mixed[-1]["stride_d"] == 0


def test_stages_partition_the_totals():
    for model in (residual_network(), awkward_network()):
        groups = stages(model)
        assert sum(stage.parameters for stage in groups) == model.totals.parameters
        assert sum(stage.macs for stage in groups) == model.totals.macs
        assert sum(stage.activation_bytes for stage in groups) == model.totals.activation_bytes


def test_stages_come_by_stride_and_tell_the_last_field():
    groups = stages(residual_network())
    assert [stage.label for stage in groups] == ["2", "4", "8", "16", "global"]
    assert [stage.field.size[0] for stage in groups] == [7, 35, 91, 203, None]
    awkward = [stage.label for stage in stages(awkward_network())]
    assert awkward == ["1/2", "4", "61/3", "unknown", "not in this run"]


def test_comparison_aligns_stages_of_different_models():
    compared = comparison([residual_network(), awkward_network()])
    labels = [next(stage for stage in row if stage).label for row in compared.rows]
    assert labels == ["1/2", "2", "4", "8", "16", "61/3", "global", "unknown", "not in this run"]
    assert compared.rows[0][0] is None
    assert all(stage is None or stage.label == "4" for stage in compared.rows[2])


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_visible_rows_tell_every_cost_once_at_any_depth(depth):
    model = residual_network()
    shown = visible_layers(model, depth)
    assert sum(layer.macs for layer in shown.layers) == model.totals.macs
    assert sum(layer.parameters for layer in shown.layers) == model.totals.parameters
    leaves = sum(not layer.container for layer in shown.layers)
    assert leaves + shown.hidden == sum(not layer.container for layer in model.layers)


def test_at_depth_one_containers_stand_for_their_parts():
    shown = visible_layers(residual_network(), 1)
    assert [layer.name for layer in shown.layers] == ["stem", "stage1", "stage2", "stage3", "head"]
    assert shown.message == "22 more inside; --depth 3 shows all"


def test_without_a_depth_at_most_forty_rows_are_shown():
    big = residual_network(blocks=(9, 9, 9))
    shown = visible_layers(big)
    assert len(shown.layers) <= 40
    assert shown.depth == 2
    assert visible_layers(residual_network()).message == ""


def test_a_list_of_modules_that_is_no_row_itself_still_folds():
    # A ModuleList is never called: blocks.0 is a row, blocks is not.
    rows = [layer("stem"), *(layer(f"blocks.{n}.{part}") for n in range(2) for part in ("norm", "attention"))]
    rows.insert(3, layer("blocks.0", "Block", container=True))
    rows.append(layer("blocks.1", "Block", container=True))
    model = replace(residual_network(), layers=tuple(rows), totals=Totals(0, 0, 0))
    assert [row.name for row in visible_layers(model, 1).layers] == ["stem", "blocks.0", "blocks.1"]
    assert len(visible_layers(model, 3).layers) == 5


def test_a_module_called_twice_keeps_its_calls_apart():
    names = ["head.conv", "head", "other", "head.conv:2", "head:2", "output"]
    rows = tuple(layer(name, container=name in ("head", "head:2", "output")) for name in names)
    model = replace(residual_network(), layers=rows)
    assert [row.name for row in visible_layers(model, 1).layers] == ["head", "other", "head:2"]
    assert [row.name for row in visible_layers(model, 2).layers] == ["head.conv", "other", "head.conv:2"]


def test_the_model_itself_stands_for_nothing_but_can_be_asked_for():
    names = ["output.dense", "output", "/add", "output:2[out]", "output:2[aux]"]
    rows = tuple(
        layer(name, "Net" if "[" in name else "Head", container=name.startswith("output") and "." not in name)
        for name in names
    )
    model = replace(residual_network(), layers=rows)
    assert [row.name for row in visible_layers(model, 1).layers] == ["output", "/add"]
    assert [row.name for row in visible_layers(model, 2).layers] == ["output.dense", "/add"]
    assert [row.name for row in visible_layers(model, pattern="output:2*").layers] == names[3:]


def test_a_pattern_picks_rows_of_any_depth_containers_too():
    shown = visible_layers(residual_network(), pattern="stage?")
    assert [layer.name for layer in shown.layers] == ["stage1", "stage2", "stage3"]
    assert visible_layers(residual_network(), 1, "stage*.conv1").layers == ()


@pytest.mark.parametrize("key", ["parameters", "macs", "activation_bytes"])
def test_sorting_by_a_cost_puts_the_largest_first(key):
    values = [getattr(layer, key) for layer in visible_layers(residual_network(), sort=key).layers]
    assert values == sorted(values, reverse=True)


def test_sorting_by_field_puts_the_whole_image_first_and_unknown_last():
    names = [layer.name for layer in visible_layers(awkward_network(), sort="field").layers]
    assert names[-1] == "neck.warp"
    assert visible_layers(residual_network(), sort="field").layers[0].name == "head.pool"
    strides = [layer.local_field.stride[0] for layer in visible_layers(residual_network(), sort="stride").layers]
    assert strides == sorted(strides, reverse=True)
    assert strides[0] == Fraction(16)


def test_an_unknown_sort_key_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'macs'"):
        visible_layers(residual_network(), sort="mac")


def test_no_number_in_the_json_form_is_infinite():
    def walk(value):
        if isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, float):
            assert math.isfinite(value)

    walk(inspection_data([awkward_network(), residual_network(image=(64,))]))
