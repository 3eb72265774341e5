"""Views are scaled, mirrored and brought back: against loops, and detectors' own resizing."""

import json
import math

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.v2 import functional as vision

from perimetry.data.pyramids import Scales, detect_pyramid, merge_boxes, own_size
from perimetry.errors import InputError
from perimetry.networks.image_batch import ImagePreparation
from perimetry.prediction import ToldBoxes, merged, predict, views_of
from perimetry.prediction.views import check_scales
from perimetry.training.checkpoints import Checkpoint, save_checkpoint
from perimetry.training.recipe import Recipe
from perimetry.training.run import load_run
from perimetry.training.run_directory import RunDirectory
from prediction.made_runs import make_run


def image(height=31, width=45, seed=0):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def run_of(tmp_path, task):
    return load_run(make_run(tmp_path / task, task, tmp_path, ("a", "b", "c")))


def test_masks_of_views_against_a_loop(tmp_path):
    run = run_of(tmp_path, "segmentation")
    pixels = (image().float() / 255 - 0.5) / 0.25
    expected = []
    for size in ((31, 45), (16, 22)):
        view = (
            pixels[None]
            if size == (31, 45)
            else functional.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)
        )
        for mirrored in (False, True):
            with torch.no_grad():
                scores = run.network(view.flip(-1) if mirrored else view)
            found = functional.interpolate(scores, size=(31, 45), mode="bilinear").softmax(1)[0]
            expected.append(found.flip(-1) if mirrored else found)
    views = views_of(run, image(), scales=(1.0, 0.5), flip="horizontal")
    assert [(view.scale, view.flipped, view.cost.size) for view in views] == [
        (1.0, False, (31, 45)), (1.0, True, (31, 45)), (0.5, False, (16, 22)), (0.5, True, (16, 22)),
    ]  # fmt: skip
    for view, told in zip(views, expected, strict=True):
        torch.testing.assert_close(view.told, told)
    torch.testing.assert_close(merged(views), torch.stack(expected).mean(0))


def test_labels_of_views_are_averaged(tmp_path):
    run = run_of(tmp_path, "classification")
    views = views_of(run, image(), scales=(1.0, 0.5), flip="horizontal")
    assert [view.cost.size for view in views] == [(24, 24), (24, 24), (12, 12), (12, 12)]
    torch.testing.assert_close(merged(views), sum(view.told for view in views) / 4)
    assert float(merged(views).sum()) == pytest.approx(1)


def test_ten_crops_are_torchvisions(tmp_path):
    run, pixels = run_of(tmp_path, "classification"), image(27, 40)  # 27: the short side before a crop of 24
    prepared = (pixels.float() / 255 - 0.5) / 0.25
    crops = torch.stack(vision.five_crop(prepared, [24, 24]))
    with torch.no_grad():
        expected = run.network(torch.cat((crops, crops.flip(-1)))).softmax(1)
    views = views_of(run, pixels, crops="ten")
    assert [view.flipped for view in views] == [False] * 5 + [True] * 5
    torch.testing.assert_close(torch.stack([view.told for view in views]), expected)
    torch.testing.assert_close(merged(views), expected.mean(0))
    assert len(views_of(run, pixels, crops="ten", scales=(1.0, 0.5))) == 20
    with pytest.raises(InputError, match="mirrored already; leave --flip or --ten-crop out"):
        views_of(run, pixels, crops="ten", flip="horizontal")
    with pytest.raises(InputError, match="ten crops are of classifiers, and the run is for detection"):
        views_of(run_of(tmp_path, "detection"), pixels, crops="ten")


def test_boxes_of_mirrored_images_are_mirrored_back(tmp_path):
    run = run_of(tmp_path, "detection")
    (straight,), (_, mirrored) = views_of(run, image()), views_of(run, image().flip(-1), flip="horizontal")
    boxes = straight.told.boxes_xyxy
    back = torch.stack((45 - boxes[:, 2], boxes[:, 1], 45 - boxes[:, 0], boxes[:, 3]), dim=1)
    torch.testing.assert_close(mirrored.told.boxes_xyxy, back)
    torch.testing.assert_close(mirrored.told.scores, straight.told.scores)


def test_boxes_of_several_views_are_merged_and_a_single_view_is_left_alone(tmp_path):
    run = run_of(tmp_path, "detection")
    views = views_of(run, image(), scales=(1.0, 2.0))
    parts = [[getattr(view.told, name) for view in views] for name in ("boxes_xyxy", "labels", "scores")]
    expected = merge_boxes(*map(torch.cat, parts))
    found = merged(views)
    assert torch.equal(found.boxes_xyxy, expected[0]) and torch.equal(found.scores, expected[2])
    assert merged(views[:1]) is views[0].told and isinstance(found, ToldBoxes)


class Seen(nn.Module):
    """A detector that tells the size of the image that reached it, as one box of the whole image that was given."""

    def __init__(self, preparation):
        super().__init__()
        self.preparation, self.sizes = preparation, []

    def forward(self, images):
        batch = self.preparation(images)
        self.sizes.append(tuple(batch.pixels.shape[2:]))
        whole = torch.tensor([[0.0, 0.0, batch.sizes[0][1], batch.sizes[0][0]]])
        return [{"boxes": batch.leave(0, whole), "labels": torch.ones(1).long(), "scores": torch.ones(1)}]


def test_a_scale_is_not_undone_by_a_detectors_own_resizing():
    model = Seen(ImagePreparation(short_side=60, long_side=1000)).eval()
    assert own_size(model, 30, 40) == (60, 80)
    found = detect_pyramid(model, torch.rand(3, 30, 40), scales=Scales(factors=(0.5, 1.5)))
    assert model.sizes == [(15, 20), (45, 60)]
    torch.testing.assert_close(found.boxes_xyxy[:1], torch.tensor([[0.0, 0, 40, 30]]))
    assert model.preparation.short_sides == (60,)


def test_proposals_go_with_their_view(tmp_path):
    run = given_run(tmp_path)
    boxes = torch.tensor([[2.0, 3, 20, 25], [10, 0, 44, 30]])
    with pytest.raises(InputError, match="is given proposals, and the images have none"):
        views_of(run, image())
    straight, mirrored, larger, _ = views_of(run, image(), scales=(1.0, 2.0), flip="horizontal", proposals=boxes)
    pixels = image().float() / 255
    told = run.network([pixels], [boxes])[0]
    torch.testing.assert_close(straight.told.boxes_xyxy, told["boxes"])
    across = torch.stack((45 - boxes[:, 2], boxes[:, 1], 45 - boxes[:, 0], boxes[:, 3]), dim=1)
    told = run.network([pixels.flip(-1)], [across])[0]["boxes"]
    torch.testing.assert_close(
        mirrored.told.boxes_xyxy, torch.stack((45 - told[:, 2], told[:, 1], 45 - told[:, 0], told[:, 3]), dim=1)
    )
    view = functional.interpolate(pixels[None], size=(62, 90), mode="bilinear", antialias=True)
    torch.testing.assert_close(larger.told.boxes_xyxy, run.network(view, [boxes * 2])[0]["boxes"] / 2)


def given_run(tmp_path):
    import small_networks

    keys = {"task": "detection", "data": "d", "model": "small_networks:given_detector", "epochs": 1}
    run = RunDirectory(tmp_path / "given")
    run.begin(Recipe(**keys), {"classes": ["a", "b"], "mean": [0.0] * 3, "std": [1.0] * 3})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = small_networks.given_detector(2)
    save_checkpoint(run.checkpoints, "last", Checkpoint(1, network.state_dict(), {}, {}))
    return load_run(run.path)


def test_proposals_are_read_for_predictions(tmp_path):
    run = given_run(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image().permute(1, 2, 0).numpy()).save(tmp_path / "photos/a.png")
    (tmp_path / "boxes.json").write_text('{"a": [[2, 3, 20, 25], [10, 0, 44, 30]]}')
    predict(run, tmp_path / "photos", out=tmp_path / "out", proposals=tmp_path / "boxes.json")
    told = merged(views_of(run, image(), proposals=torch.tensor([[2.0, 3, 20, 25], [10, 0, 44, 30]])))
    assert len(json.loads((tmp_path / "out/boxes.json").read_text())) == len(told.scores) > 0
    (tmp_path / "boxes.json").write_text('{"a": [[3, 3, 20, 25]]}')
    assert predict(run, tmp_path / "photos", out=tmp_path / "out", proposals=tmp_path / "boxes.json").done == ("a",)
    assert predict(run, tmp_path / "photos", out=tmp_path / "out", proposals=tmp_path / "boxes.json").kept == ("a",)
    with pytest.raises(InputError, match="is given proposals; name their file with --proposals"):
        predict(run, tmp_path / "photos", out=tmp_path / "out")
    with pytest.raises(InputError, match="takes no proposals; leave --proposals out"):
        predict(run_of(tmp_path, "detection"), tmp_path / "photos", out=tmp_path / "other", proposals="boxes.json")


@pytest.mark.parametrize("size", [(30, 40), (75, 33), (20, 90)])
def test_the_own_size_of_torchvisions_detectors_is_theirs(size):
    model = nn.Module()
    model.transform = GeneralizedRCNNTransform(60, 100, [0.0] * 3, [1.0] * 3, size_divisible=1).eval()
    batch, _ = model.transform([torch.rand(3, *size)])
    assert own_size(model, *size) == batch.image_sizes[0]


def test_sizes_that_a_network_does_not_take_are_told(tmp_path):
    run = run_of(tmp_path, "segmentation")
    run.network.append(nn.Flatten(2)).append(nn.Linear(16 * 23, 4))
    with pytest.raises(InputError, match=r"fails on an image of 16×22 pixels: .*; leave other scales out"):
        views_of(run, image(), scales=(0.5,))


def test_a_network_of_one_size_alone_is_told_too(tmp_path):
    def forward(images):
        raise AssertionError("Input height (16) should be divisible by patch size (14).")

    run = run_of(tmp_path, "segmentation")
    run.network.forward = forward
    with pytest.raises(InputError, match=r"fails on an image of 16×22 pixels: Input height \(16\) should be"):
        views_of(run, image(), scales=(0.5,))


@pytest.mark.parametrize("scales", [(), (0,), (1, 1.0), (17,), (-1,), (math.nan,), (1, math.inf)])
def test_scales_that_are_none_are_refused(scales):
    with pytest.raises(InputError, match="expected scales above 0"):
        check_scales(scales)
