"""What a recipe builds: heads for the classes, sizes that reach detectors, weights that it starts from."""

from pathlib import Path

import pytest
import torch
from torch import nn

from perimetry.errors import FileError, InputError, UnknownNameError, WeightsError
from perimetry.models import default_model
from perimetry.networks import ONLINE_HARD_EXAMPLES
from perimetry.training import Recipe, RunDirectory
from perimetry.training.checkpoints import Checkpoint, save_checkpoint
from perimetry.training.networks import Built, build_network
from perimetry.training.preparing import testing_transform as for_testing  # a name with test_ would be collected
from perimetry.training.preparing import training_transform

SMALL = {"model": "perimetry:faster_rcnn", "backbone": "timm:test_resnet"}


def recipe(task: str, **keys) -> Recipe:
    return Recipe(task=task, data="d", steps=1, **keys)


@pytest.mark.parametrize(
    ("task", "model", "output"),
    [
        ("classification", "timm:test_efficientnet", (2, 5)),
        ("classification", "torchvision:squeezenet1_1", (2, 5)),
        ("classification", "perimetry:all_cnn_c", (2, 5)),
        ("segmentation", "torchvision:lraspp_mobilenet_v3_large", (2, 5, 64, 64)),
        ("segmentation", "parsenet", (2, 5, 64, 64)),
    ],
)
def test_heads_are_made_for_the_classes(task, model, output):
    backbone = "timm:test_resnet" if model == "parsenet" else ""
    built = build_network(recipe(task, model=model, backbone=backbone), classes=5)
    assert built.network.training
    found = built.network.eval()(torch.rand(2, 3, *(built.size if task == "classification" else (64, 64))))
    found = found if isinstance(found, torch.Tensor) else next(iter(found.values()))
    assert tuple(found.shape) == output


def test_parsenet_scores_the_maps_that_the_recipe_names():
    asked = recipe("segmentation", model="parsenet", backbone="timm:test_resnet", fuse="layer2,fc7,pool6")
    network = build_network(asked, classes=2).network
    assert list(network.fused) == ["layer2", "fc7", "pool6"]
    with pytest.raises(InputError, match="fcn8s takes no fuse"):
        build_network(recipe("segmentation", model="fcn8s", backbone="timm:test_resnet", fuse="layer2"), classes=2)


def test_torchvisions_detectors_have_a_place_for_the_background_and_the_recipes_size():
    asked = recipe("detection", model="torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", size=(240, 320))
    built = build_network(asked, classes=2)
    assert built.network.roi_heads.box_predictor.cls_score.out_features == 3
    assert (built.network.transform.min_size, built.network.transform.max_size) == ((240,), 320)
    assert built.resizes
    assert (built.mean, built.std) == ((0, 0, 0), (1, 1, 1))
    assert "Resize" not in str(training_transform(asked, built))
    with pytest.raises(InputError, match="takes images of one size, its own"):
        build_network(recipe("detection", model="torchvision:ssd300_vgg16", size=(240, 320)), classes=2)


@pytest.mark.parametrize(
    ("keys", "sides", "longest"),
    [({}, (), 1000), ({"size": (240, 320)}, (240,), 320), ({"scales": (120, 240)}, (120, 240), 400)],
)
def test_perimetrys_detectors_enlarge_only_when_asked(keys, sides, longest):
    built = build_network(recipe("detection", **SMALL, **keys), classes=2)
    assert (built.network.preparation.short_sides, built.network.preparation.long_side) == (sides, longest)
    batch = built.network.preparation([torch.rand(3, 240, 320)])
    assert batch.sizes[0] in ((240, 320), (120, 160))
    assert "Resize" not in str(for_testing(recipe("detection", **SMALL, **keys), built))


def test_images_of_ones_own_detectors_are_resized_before():
    asked = recipe("detection", model="small_networks:given_detector", scales=(24, 48))
    built = build_network(asked, classes=2)
    assert "ResizeShort(sizes=(24, 48), longest=80)" in str(training_transform(asked, built))
    assert "ResizeShort(sizes=(48,), longest=80)" in str(for_testing(asked, built))


@pytest.mark.parametrize(("short_side", "resized"), [(0, 37), (32, 32), (40, 40)])
def test_a_classifiers_images_are_resized_before_the_crop(short_side, resized):
    asked = recipe("classification", size=(32, 32), short_side=short_side)
    built = Built(nn.Identity(), (0.5,) * 3, (0.5,) * 3)
    for transform in (training_transform(asked, built), for_testing(asked, built)):
        assert f"ResizeShort(sizes=({resized},), longest=None)" in str(transform)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    seen, _ = for_testing(asked, built)(image, 0)
    assert seen.shape == (3, 32, 32)
    assert torch.allclose(seen, image / 127.5 - 1, atol=1e-5) == (resized == 32)


def test_a_detector_normalises_as_its_backbone_was_trained():
    asked = recipe("detection", model="perimetry:faster_rcnn", backbone="timm:tf_efficientnet_lite0", weights="default")
    built = build_network(asked, classes=2)
    assert built.network.preparation.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    ours, theirs = built.network.state_dict(), default_model().module.state_dict()
    name = next(name for name in ours if name.endswith("conv_stem.weight"))
    assert torch.equal(ours[name], theirs["conv_stem.weight"])


def test_regions_of_the_largest_losses_are_chosen_when_asked():
    built = build_network(recipe("detection", hard="ohem", **SMALL), classes=2)
    assert built.network.rule.sampling == ONLINE_HARD_EXAMPLES
    built = build_network(recipe("detection", hard="ohem", model="r_fcn", backbone="timm:test_resnet"), classes=2)
    assert (built.network.rule.sampling.count, built.network.rule.sampling.overlap) == (128, None)


def test_a_run_hands_on_its_weights(tmp_path):
    first = recipe("classification", model="small_networks:classifier")
    run = RunDirectory(tmp_path / "run")
    run.begin(first, {})
    built = build_network(first, classes=3)
    save_checkpoint(run.checkpoints, "best", Checkpoint(1, built.network.state_dict(), {}, {}))
    again = recipe("classification", model="small_networks:classifier", weights=str(run.path))
    taken = build_network(again, classes=4)
    assert taken.transfer.new == ("8.weight", "8.bias")
    assert torch.equal(taken.network[0].weight, built.network[0].weight)
    assert build_network(first, classes=3).transfer is None
    with pytest.raises(InputError, match="is a run; name the model that it trained, with weights="):
        build_network(recipe("classification", model=str(run.path)), classes=3)
    for file in run.checkpoints.glob("best*"):
        file.unlink()
    with pytest.raises(FileError, match="train first, or name another run"):
        build_network(again, classes=4)
    save_checkpoint(run.checkpoints, "last", Checkpoint(1, built.network.state_dict(), {}, {}))
    assert torch.equal(build_network(again, classes=4).network[0].weight, built.network[0].weight)


def test_a_classifier_that_was_trained_becomes_a_backbone(tmp_path):
    first = recipe("classification", model="timm:test_resnet")
    run = RunDirectory(tmp_path / "run")
    run.begin(first, {})
    weights = build_network(first, classes=3).network.state_dict()
    weights["conv1.0.weight" if "conv1.0.weight" in weights else "conv1.weight"] += 1
    save_checkpoint(run.checkpoints, "best", Checkpoint(1, weights, {}, {}))
    for source in (run.path, next(run.checkpoints.glob("*.safetensors"))):
        again = recipe("segmentation", model="fcn32s", backbone="timm:test_resnet", weights=str(source))
        built = build_network(again, classes=4)
        assert set(built.transfer.skipped) == {"fc.weight", "fc.bias"}  # three classes here, a thousand there
        taken = {name.removeprefix("backbone.body."): value for name, value in built.network.state_dict().items()}
        assert all(torch.equal(taken[name], weights[name]) for name in built.transfer.used if name in taken)
        assert sum(name in taken for name in built.transfer.used) > len(weights) // 2
    whole = RunDirectory(tmp_path / "whole")
    whole.checkpoints.mkdir(parents=True)
    save_checkpoint(whole.checkpoints, "best", Checkpoint(1, built.network.state_dict(), {}, {}))
    for source in (whole.path, next(whole.checkpoints.glob("*.safetensors"))):
        asked = recipe("segmentation", model="fcn32s", backbone="timm:test_resnet", weights=str(source))
        assert build_network(asked, classes=4).transfer.new == ()


def test_weights_of_a_file_fit_a_published_network_with_another_head(tmp_path):
    source = build_network(recipe("classification", model="perimetry:all_cnn_c"), classes=10).network
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    asked = recipe("classification", model="perimetry:all_cnn_c", weights=str(tmp_path / "weights.pt"))
    built = build_network(asked, classes=3)
    assert all("[10" in why for why in built.transfer.skipped.values())
    assert len(built.transfer.new) == 2


@pytest.mark.parametrize(
    ("task", "keys", "error", "message"),
    [
        ("classification", {"model": "perimetry:alexnett"}, UnknownNameError, "did you mean 'perimetry:alexnet'"),
        ("classification", {"model": "parsenett"}, UnknownNameError, "unknown model 'parsenett'"),
        ("segmentation", {"model": "perimetry:alexnet"}, InputError, "alexnet is for classification"),
        (
            "classification",
            {"model": "perimetry:alexnet", "backbone": "timm:resnet18"},
            InputError,
            "takes no backbone",
        ),
        ("classification", {"model": "perimetry:alexnet", "weights": "default"}, InputError, "no pretrained weights"),
        ("classification", {"model": "all_cnn_c", "weights": "none.pt"}, UnknownNameError, "none, default, a file"),
        (
            "segmentation",
            {"model": "resnet18"},
            InputError,
            "resnet18 is for classification, the recipe is for segmentation; .* with backbone=torchvision:resnet18",
        ),
        ("detection", {"model": "timm:test_vit"}, InputError, "with backbone=timm:test_vit"),
        ("classification", {"model": "torchvision:lraspp_mobilenet_v3_large"}, InputError, "is for segmentation"),
        ("segmentation", {"model": "torchvision:ssd300_vgg16"}, InputError, "is for detection"),
        ("classification", {"model": "torchvision:raft_small"}, InputError, "is for optical flow"),
        ("classification", {"model": "builtins:len"}, InputError, "failed with TypeError"),
        ("detection", {"model": "small_networks:nothing"}, InputError, "expected a torch.nn.Module"),
        (
            "detection",
            {"hard": "bootstrap", "model": "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"},
            InputError,
            "takes no hard negatives",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(task, keys, error, message):
    with pytest.raises(error, match=message):
        build_network(recipe(task, **keys), classes=3)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    asked = recipe("classification", model="small_networks:classifier", weights=str(tmp_path / "other.pt"))
    with pytest.raises(WeightsError, match=r"no tensor of .* fits"):
        build_network(asked, classes=3)
