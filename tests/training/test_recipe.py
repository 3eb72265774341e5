"""Recipes: from files, from settings, and what is refused."""

import os
import subprocess
import sys

import pytest

from perimetry.errors import FileError, InputError, UnknownNameError
from perimetry.training.recipe import Recipe, make_recipe, meanings, read_recipe

PATH = os.pathsep.join(filter(None, sys.path))
FLAT = """
task = "segmentation"
data = "camvid"
model = "parsenet"
backbone = "timm:tf_efficientnet_lite0"
epochs = 5
size = [180, 240]
rate_of = ["score*:10", "*.bias:2"]
"""


def test_a_file_becomes_a_recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text(FLAT)
    recipe = read_recipe(tmp_path / "recipe.toml", ["rate=2e-3", "freeze_norms=true", "scales=160, 180"])
    assert recipe.data == str(tmp_path / "camvid")
    assert (recipe.size, recipe.scales, recipe.rate, recipe.freeze_norms) == ((180, 240), (160, 180), 2e-3, True)
    assert recipe.multipliers == {"score*": 10.0, "*.bias": 2.0}
    assert make_recipe(recipe.to_dict()) == recipe
    assert hash(recipe) == hash(make_recipe(recipe.to_dict()))


@pytest.mark.parametrize("size", ["224,224", "224x224", "224", 224, [224, 224], 224.0])
def test_one_number_stands_for_both_sides(size):
    assert make_recipe({"task": "detection", "data": "d", "steps": 1, "size": size}).size == (224, 224)


def test_reading_a_recipe_loads_no_torch():
    code = "import sys; from perimetry.training.recipe import meanings; meanings(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": PATH}, check=False).returncode == 0


def test_every_key_has_a_meaning():
    assert list(meanings()) == list(Recipe.__dataclass_fields__)
    assert all(len(meaning) > 5 for meaning in meanings().values())


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"epoch": 5}, UnknownNameError, "unknown key of a recipe 'epoch'; did you mean 'epochs'?"),
        ({"epochs": 0}, InputError, "say how long to train, either epochs or steps"),
        ({"steps": 5}, InputError, "say how long to train, either epochs or steps"),
        ({"task": "segment"}, InputError, "task is 'segment'; expected one of classification, segmentation, detection"),
        ({"task": ""}, InputError, "a recipe needs task"),
        ({"batch": "eight"}, InputError, r"batch is 'eight'; expected a whole number \(images of one step"),
        ({"batch": 2.5}, InputError, "batch is 2.5; expected a whole number"),
        ({"batch": True}, InputError, "batch is True; expected a whole number"),
        ({"batch": 0}, InputError, "batch is 0; expected at least 1"),
        ({"accumulate": 3}, InputError, "a batch of 8 cannot be cut into 3 equal parts"),
        ({"rate": "nan"}, InputError, "rate is 'nan'; expected a number"),
        ({"size": [3]}, InputError, "expected two whole numbers, comma between, or one for both"),
        ({"size": "3,4,5"}, InputError, "expected two whole numbers, comma between"),
        ({"size": True}, InputError, "expected two whole numbers, comma between"),
        ({"scales": "480,x"}, InputError, "expected whole numbers, comma between"),
        ({"rate_of": ["score*"]}, InputError, r"rate_of holds 'score\*'; expected pattern:factor"),
        ({"optimizer": "adam"}, InputError, "optimizer is 'adam'; expected one of sgd, nesterov, caffe_sgd, adamw"),
        ({"decay_exempt": ["bias"]}, InputError, "decay_exempt"),
        ({"schedule": "step"}, InputError, "schedule step needs milestones"),
        ({"freeze_norms": "yes"}, InputError, "freeze_norms is 'yes'; expected true or false"),
        ({"hard_share": 2}, InputError, "hard_share is 2.0; expected at most 1"),
        ({"rate": 10**400}, InputError, "rate is 1000.*; expected a number"),
        ({"freeze": {"conv1": True}}, InputError, "freeze is .*; expected texts, comma between"),
        ({"rate_of": ["score*:-1"]}, InputError, "a factor from 0"),
        ({"rate_of": ["a*:2", "b:1", "a*:3"]}, InputError, "rate_of names a pattern twice"),
        ({"class_weights": [1, -1]}, InputError, "class_weights are factors from 0, some above"),
        ({"class_weights": [0, 0]}, InputError, "class_weights are factors from 0, some above"),
        ({"schedule": "step", "milestones": [0]}, InputError, "milestones are above 0"),
        ({"optimizer": "nesterov", "momentum": 0}, InputError, "nesterov needs a momentum above 0"),
        ({"optimizer": "adamw", "momentum": 1}, InputError, "AdamW's first coefficient is below 1"),
        ({"hard": "top_k", "hard_share": 0}, InputError, "hard_share is 0, which leaves no pixel"),
        ({"size": [0, 20]}, InputError, r"sizes and scales are pixels, from 1; got size \(0, 20\)"),
        ({"scales": [0]}, InputError, "sizes and scales are pixels, from 1"),
        ({"hard": "top_k"}, InputError, "hard is 'top_k', which detection does not have; it has none, bootstrap, ohem"),
        ({"hard_rounds": 3}, InputError, "hard_rounds is 3, which nothing would use here: it counts with hard=bootst"),
        ({"gamma": 0.5}, InputError, "gamma is 0.5, which nothing would use here: it counts with schedule=step"),
        ({"short_side": 32}, InputError, "short_side is 32, which nothing would use here: it counts in classification"),
        ({"class_weights": [1, 2]}, InputError, "it counts in classification and segmentation; leave it out"),
        ({"label_smoothing": 0.1}, InputError, "label_smoothing is 0.1, which nothing would use here"),
        (
            {"task": "classification", "hard": "bootstrap"},
            InputError,
            "bootstrapping a classifier needs hard_class: the class whose images are the negatives",
        ),
        ({"task": "classification", "proposals": "p.json"}, InputError, "it counts in detection"),
    ],
)
def test_what_cannot_be_is_refused(keys, error, message):
    with pytest.raises(error, match=message):
        make_recipe({"task": "detection", "data": "bccd", "epochs": 1, **keys})


def test_unreadable_files_are_told(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("task = ")
    with pytest.raises(FileError, match="is not TOML that can be read"):
        read_recipe(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="expected key=value, got 'rate'"):
        Recipe(task="detection", data="d", epochs=1).with_settings(["rate"])
