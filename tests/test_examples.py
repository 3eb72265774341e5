"""The examples run, and say what they claim."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.vgg import VGG

import perimetry
from perimetry.cli.main import main

ROOT = Path(__file__).parents[1]
NARROW = (2, 3, 4, 5, 6)


@pytest.fixture
def example(monkeypatch):
    """Imported as the command finds it: from the working directory."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("examples.vgg16_fcn")


def test_fc7_sees_404_pixels_in_the_full_network(example):
    with torch.device("meta"):
        model = example.build()
    fields = perimetry.fields(perimetry.trace(model, torch.empty(1, 3, 500, 500, device="meta")))
    # Liu et al. 2015: the theoretical receptive field of fc7 in VGG is 404x404; Long et al.: stride 32.
    assert (fields["fc7"].full.size, fields["fc7"].full.stride) == ((404, 404), (32, 32))
    # A published table: pool5 sees 212 pixels, conv5_3 196.
    assert (fields["pool5"].full.size, fields["conv5_3"].full.size) == ((212, 212), (196, 196))


def test_converted_weights_give_the_classifier_s_numbers(example):
    layers: list[nn.Module] = []
    inputs = 3
    for count, outputs in zip(example.STAGES, NARROW, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vgg = VGG(nn.Sequential(*layers), num_classes=5, init_weights=True)
        vgg.classifier = nn.Sequential(
            *(nn.Linear(6 * 49, 8), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 5)),
        )
        vgg.eval()
    image = torch.rand((1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vgg.classifier[:5](vgg.avgpool(vgg.features(image)).flatten(1))
        found = example.converted(vgg)(image)
    assert expected.any()
    torch.testing.assert_close(found[:, :, 0, 0], expected)


def test_the_experiment_in_one_command(example, monkeypatch, capsys, tmp_path):
    """With a narrow network in place of the full one, which takes minutes."""
    monkeypatch.setattr(example, "fcn", lambda: example.build(NARROW, 8))
    words = ["--unit", "fc7", "--method", "occlusion", "--size", "480", "--json", "-"]
    words += ["--patch", "60", "--stride", "60", "--share", "0.2"]
    photo = str(ROOT / "src/perimetry/assets/chelsea.jpg")
    assert main(["map", "examples.vgg16_fcn:fcn", *words, "--image", photo, photo]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["field"]["size"], told["images"], told["measured"]["threshold"]) == ([404, 404], 2, 0.2)
    assert told["measured"]["of_field"] > 0
    assert 0 < told["measured"]["of_image"] <= 1
