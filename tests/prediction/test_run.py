"""A run is rebuilt with its own weights, and is a model name."""

import pytest
import torch

import perimetry
from perimetry.errors import FileError, InputError, UnknownNameError, WeightsError
from perimetry.training.recipe import Recipe
from perimetry.training.run import load_run
from perimetry.training.run_directory import RunDirectory
from prediction import made_runs
from prediction.made_runs import keep, make_run

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("task", made_runs.BUILDERS)
def test_the_network_is_rebuilt_bit_for_bit(tmp_path, task):
    path = make_run(tmp_path / "run", task, tmp_path, CLASSES)
    for name, seed in (("best", 1), ("last", 2)):
        torch.manual_seed(seed)
        expected = getattr(made_runs, made_runs.BUILDERS[task])(3).state_dict()
        run = load_run(path, checkpoint=name)
        found = run.network.state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        assert (run.step, run.classes, run.network.training) == (10 * seed, CLASSES, False)


def test_loading_draws_no_random_numbers(tmp_path):
    path = make_run(tmp_path / "run", "segmentation", tmp_path, CLASSES)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_run(path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("model", ["torchvision:squeezenet1_1", "timm:mobilenetv3_small_050"])
def test_networks_of_others_are_rebuilt_without_fetching(tmp_path, model):
    from perimetry.training.checkpoints import Checkpoint, save_checkpoint
    from perimetry.training.networks import build_network

    keys = {"task": "classification", "data": "d", "model": model, "epochs": 1, "size": (32, 32)}
    network = build_network(Recipe(**keys), classes=3).network
    run = RunDirectory(tmp_path / "run")
    # As it is stored by a run that began with pretrained weights: the test has no network to fetch them again.
    stored = Recipe(**keys, weights="default")
    run.begin(stored, {"classes": list(CLASSES), "mean": [0.5] * 3, "std": [0.5] * 3})
    save_checkpoint(run.checkpoints, "last", Checkpoint(3, network.state_dict(), {}, {}))
    found = load_run(run.path)
    image = torch.rand(1, 3, 32, 32)
    assert found.checkpoint == "last"
    assert torch.equal(found.network(image), network.eval()(image))


def test_the_last_is_taken_where_there_is_no_best(tmp_path):
    path = make_run(tmp_path / "run", "segmentation", tmp_path, CLASSES, names=("last",))
    assert load_run(path).checkpoint == "last"
    with pytest.raises(FileError, match="has no checkpoint 'best'; there is last"):
        load_run(path, checkpoint="best")
    with pytest.raises(UnknownNameError, match="unknown checkpoint 'bets'; did you mean 'best'"):
        load_run(path, checkpoint="bets")


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(FileError, match="there is no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(FileError, match="is no directory of a run"):
        load_run(tmp_path)
    path = make_run(tmp_path / "run", "segmentation", tmp_path, CLASSES, names=())
    with pytest.raises(FileError, match="has no checkpoint; there is none yet; train first"):
        load_run(path)
    keep(path, "segmentation", 5)
    with pytest.raises(WeightsError, match="does not fit the network that the run's recipe builds"):
        load_run(path)
    file = next((path / "checkpoints").glob("best-*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(FileError, match="not a readable safetensors file"):
        load_run(path)


def test_a_run_is_a_model_name(tmp_path):
    path = make_run(tmp_path / "run", "classification", tmp_path, CLASSES)
    loaded = perimetry.load_model(str(path))
    assert (loaded.input_size, loaded.class_names, loaded.trained) == ((24, 24), CLASSES, True)
    assert loaded.mean == (0.5, 0.5, 0.5) and loaded.resize is not None
    image, _ = loaded.photo(perimetry.images.sample_photo())
    run = load_run(path)
    assert torch.equal(loaded.module(image), run.network(image))
    assert perimetry.inspect(str(path)).layer("0").field.size == (3, 3)
    with pytest.raises(InputError, match="is a run, which has weights of its own"):
        perimetry.load_model(str(path), weights="none")


def test_known_names_come_before_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "alexnet", "segmentation", tmp_path, CLASSES)
    assert perimetry.load_model("./alexnet").resolved == "run:alexnet@best"
    assert perimetry.load_model("alexnet").resolved == "torchvision:alexnet"


def test_a_detector_takes_a_list_of_images(tmp_path):
    path = make_run(tmp_path / "run", "detection", tmp_path, CLASSES)
    loaded = perimetry.load_model(str(path))
    assert loaded.takes == "list" and loaded.class_names == ("_background_", *CLASSES)
    assert set(loaded.module([torch.rand(3, 20, 30)])[0]) == {"boxes", "labels", "scores"}
