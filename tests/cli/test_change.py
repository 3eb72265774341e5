"""`perimetry inspect --change`: both models in the table, the JSON and the HTML, and the record of what changed."""

import json

import pytest

from perimetry.cli.main import main


@pytest.mark.parametrize("name", ["torchvision:vgg16", "torchvision:resnet18", "timm:test_resnet"])
def test_both_are_shown_with_the_record(name, capsys, tmp_path):
    files = {kind: tmp_path / f"result.{kind}" for kind in ("json", "csv", "html")}
    words = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    assert main(["inspect", name, "--size", "64", "--change", "pool:mean", *words]) == 0
    out, _ = capsys.readouterr()
    changed = f"{name} [pool:mean]"
    data = json.loads(files["json"].read_text())
    assert [model["model"] for model in data["models"]] == [name, changed]
    assert data["models"][0]["changes"] == []
    (record,) = data["models"][1]["changes"]
    assert record["change"] == "pool:mean"
    assert record["before"] == record["after"]
    assert record["parameters_kept"] == data["models"][0]["totals"]["parameters"] and record["parameters_new"] == 0
    assert {each["before"].partition("(")[0] for each in record["layers"]} == {"MaxPool2d"}
    assert {each["after"].partition("(")[0] for each in record["layers"]} == {"AvgPool2d"}
    operators = {row["op"] for row in data["models"][1]["layers"]}
    assert "AvgPool2d" in operators and "MaxPool2d" not in operators
    for text in (out, files["html"].read_text(), files["csv"].read_text()):
        assert changed in text
    assert "kept, 0 new)" in out and "kept, 0 new)" in files["html"].read_text()


def test_changes_follow_one_another_on_the_layers_that_are_named(capsys):
    words = ["inspect", "torchvision:vgg16", "--size", "64", "--json", "-"]
    words += ["--change", "pool:mean@features.4", "--change", "head:gap", "--change", "stride:16"]
    assert main(words) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [each["model"] for each in models] == [
        "torchvision:vgg16",
        "torchvision:vgg16 [pool:mean@features.4, head:gap, stride:16]",
    ]
    first, second, third = models[1]["changes"]
    assert [each["name"] for each in first["layers"]] == ["features.4"]
    assert (first["after"], second["after"]) == (second["before"], third["before"])
    assert models[1]["totals"]["parameters"] == third["after"]["parameters"] == 14_714_688 + 513_000
    assert models[1]["totals"]["macs"] == third["after"]["macs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pool:maen", "unknown change 'pool:maen'; did you mean 'pool:mean'"),
        ("pool:mean@featurs.4", "unknown layer or pattern 'featurs.4'; did you mean 'features.4'"),
        ("stride:12", "an output stride is one of 1, 2, 4, 8, 16, 32, got 12"),
        ("conv5x5:3x3", "the model holds no 5x5 convolution"),
    ],
)
def test_wrong_changes_are_one_message(change, message, capsys):
    assert main(["inspect", "torchvision:vgg16", "--change", "pool:max", "--size", "64", "--change", change]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and "Traceback" not in err


def test_a_change_that_is_not_known_is_told_before_the_work(capsys):
    assert main(["inspect", "torchvision:vgg16", "--change", "nothing"]) == 2
    assert "[1/1]" not in capsys.readouterr().err
