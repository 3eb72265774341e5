"""Names: who answers, what comes back, and what near misses say."""

import pytest
import torch
import torchvision

from perimetry import FileError, InputError, UnknownNameError, WeightsError, list_models, load_model
from perimetry.images import sample_photo


def test_a_bare_name_is_looked_up_in_torchvision_first_then_timm():
    assert load_model("resnet18").resolved == "torchvision:resnet18"
    assert load_model("resnet18").name == "resnet18"
    assert load_model("timm:resnet18").resolved == "timm:resnet18"
    assert load_model("test_vit").resolved == "timm:test_vit"


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:test_resnet", "torchvision:googlenet"])
def test_named_models_are_in_eval_mode_and_the_same_each_time(name):
    before = torch.random.get_rng_state()
    first, second, other = load_model(name), load_model(name), load_model(name, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(part.training for part in first.module.modules())
    assert not first.trained
    one, same, another = (model.module.state_dict() for model in (first, second, other))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], another[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision:inception_v3", (299, 299)),
        ("torchvision:vit_b_16", (224, 224)),
        ("torchvision:swin_v2_t", (256, 256)),
        ("torchvision:fcn_resnet50", (520, 520)),
        ("torchvision:ssdlite320_mobilenet_v3_large", (320, 320)),
        ("torchvision:fasterrcnn_mobilenet_v3_large_fpn", (800, 800)),
        ("timm:test_vit2", (160, 160)),
        ("timm:swinv2_tiny_window8_256", (256, 256)),
    ],
)
def test_models_come_with_the_size_they_are_made_for(name, size):
    loaded = load_model(name)
    assert loaded.input_size == size
    assert loaded.takes == ("list" if "rcnn" in name or "ssd" in name else "batch")


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "swin_v2_t"])
def test_photos_are_prepared_as_torchvision_does(name):
    from PIL import Image

    loaded = load_model("torchvision:" + name)
    theirs = torchvision.models.get_model_weights(name).DEFAULT.transforms()(Image.open(sample_photo()))
    ours, _ = loaded.photo(sample_photo())
    # torchvision resizes tensors or photos by the same rule; only the normalisation's float rounding differs.
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "tf_efficientnet_lite0"])
def test_the_packaged_weights_are_the_default_ones_of_their_architecture(name):
    named, packaged = load_model(name, weights="default"), load_model()
    assert (named.name, named.trained, named.mean) == (name, True, packaged.mean)
    assert torch.equal(named.module.conv_stem.weight, packaged.module.conv_stem.weight)


def test_the_default_model_is_trained_and_knows_the_cat():
    loaded = load_model()
    image, photo = loaded.photo(sample_photo())
    with torch.no_grad():
        probabilities = loaded.module(image).softmax(1)[0]
    top = {loaded.class_names[int(index)]: float(probabilities[index]) for index in probabilities.topk(3).indices}
    # Measured on the photo as shipped; 0.01 leaves room for other processors' rounding.
    assert list(top) == ["Egyptian cat", "tiger cat", "tabby"]
    assert list(top.values()) == pytest.approx([0.376, 0.368, 0.173], abs=0.01)
    assert loaded.trained
    assert photo.name == "chelsea.jpg"
    assert not load_model(weights="none").trained


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnet5O", "'resnet50'"),
        ("ResNet50", "'resnet50'"),
        ("torchvision:alexnett", "'torchvision:alexnet'"),
        ("timm:convnext_tini", "'timm:convnext_tiny'"),
        ("torchvison:resnet50", "'torchvision:resnet50'"),
    ],
)
def test_near_misses_get_suggestions(name, suggestion):
    with pytest.raises(UnknownNameError, match=f"unknown model {name!r}; did you mean .*{suggestion}"):
        load_model(name)


@pytest.mark.parametrize(
    "name", ["", ":", "torchvision:", "timm:hf-hub:someone/model", "a:b:c", "\x1b[31m", "resnet50\0"]
)
def test_hostile_names_are_only_unknown(name):
    with pytest.raises(UnknownNameError, match="unknown model"):
        load_model(name)


def test_endless_names_are_refused():
    with pytest.raises(InputError, match="at most 500 characters, got 1000000"):
        load_model("r" * 1_000_000)


def test_listing_and_patterns():
    names = list_models()
    assert "torchvision:deeplabv3_resnet50" in names
    assert "timm:convnext_tiny" in names
    assert list_models("torchvision:vgg1?") == [
        "torchvision:vgg11",
        "torchvision:vgg13",
        "torchvision:vgg16",
        "torchvision:vgg19",
    ]
    assert set(list_models("ALEXNET")) == {"torchvision:alexnet", "perimetry:alexnet", "perimetry:fcn_alexnet"}
    assert list_models("no such thing") == []


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "timm:mobilenetv3_small_050"])
def test_weights_that_cannot_be_fetched_say_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"{name} could not be downloaded \(.*--weights FILE.*--weights none"):
        load_model(name, weights="default")


def test_timm_models_without_pretrained_weights():
    with pytest.raises(WeightsError, match="timm has no pretrained weights for 'botnet50ts_256'; take random weights"):
        load_model("timm:botnet50ts_256", weights="default")


def test_nothing_is_fetched_unless_asked_for(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    for name in ("fcn_resnet50", "ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"):
        load_model("torchvision:" + name)


@pytest.fixture
def user_code(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        """
import torch

GRAY = torch.nn.Conv2d(1, 2, 3)
NUMBER = 3

def small():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

def needs(width):
    return small()

def nothing():
    return {}

class Deep:
    net = staticmethod(small)
""",
        encoding="utf-8",
    )
    (tmp_path / "broken_nets.py").write_text("import not_there_at_all\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("user_code")
def test_functions_of_ones_own():
    loaded = load_model("my_nets:small")
    assert not loaded.module.training
    assert torch.equal(loaded.module[0].weight, load_model("my_nets:small").module[0].weight)
    assert load_model("my_nets:GRAY").channels == 1
    assert len(load_model("my_nets:GRAY").mean) == 1
    assert load_model("my_nets:Deep.net").input_size == (224, 224)


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_nets:smal", "unknown function in my_nets 'smal'; did you mean 'small'?"),
        ("my_nets:needs", r"my_nets:needs\(\), called without arguments, failed with TypeError: .*'width'"),
        ("my_nets:nothing", r"my_nets:nothing\(\) returned a dict; expected a torch.nn.Module"),
        ("my_nets:NUMBER", "my_nets:NUMBER is no function but of type int"),
        ("my_nets.deep:net", "no module 'my_nets.deep'"),
        ("broken_nets:net", "importing broken_nets failed: No module named 'not_there_at_all'"),
        ("no_such_package:net", r"unknown model 'no_such_package:net' \(there is no module 'no_such_package' either"),
    ],
)
def test_functions_that_do_not_work(name, message):
    with pytest.raises(InputError, match=message):
        load_model(name)


@pytest.mark.usefixtures("user_code")
def test_functions_have_no_pretrained_weights():
    with pytest.raises(InputError, match="my_nets:small has no pretrained weights to fetch"):
        load_model("my_nets:small", weights="default")


def test_a_missing_file_is_a_file_error():
    with pytest.raises(FileError, match=r"no such file: nets/none\.pt2"):
        load_model("nets/none.pt2")
