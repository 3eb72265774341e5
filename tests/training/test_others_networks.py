"""fit() trains networks of torchvision, timm and perimetry as it does small ones."""

import pytest

from perimetry.data.scenes import scenes
from perimetry.training import Recipe, Sets, fit


@pytest.mark.parametrize(
    ("task", "precision", "keys"),
    [
        ("classification", "bfloat16", {"model": "timm:test_efficientnet", "freeze_norms": True, "optimizer": "adamw"}),
        ("classification", "float32", {"model": "torchvision:squeezenet1_1", "size": (64, 64)}),
        (
            "segmentation",
            "bfloat16",
            {"model": "torchvision:lraspp_mobilenet_v3_large", "size": (64, 64), "accumulate": 2},
        ),
        pytest.param(
            "detection",
            "float32",
            {"model": "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", "scales": (48, 64)},
            marks=pytest.mark.slow,
        ),
        *(
            (
                "detection",
                precision,
                {"model": "perimetry:faster_rcnn", "backbone": "timm:test_resnet", "hard": "ohem"},
            )
            for precision in ("float32", "bfloat16")
        ),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else value,
)
def test_networks_of_others_are_trained(tmp_path, task, precision, keys):
    images = scenes(task, count=4, size=(64, 64), seed=0)
    asked = Recipe(task=task, data="scenes", steps=2, batch=2, rate=1e-3, clip=1.0, precision=precision, **keys)
    fitted = fit(asked, out=tmp_path / "run", sets=Sets(images, None, images.classes))
    assert all(bool(value.isfinite().all()) for value in fitted.network.state_dict().values())
    assert (fitted.directory / "checkpoints" / "best.json").exists()
