"""R-FCN, the forms on a pyramid, and SPP-net's detector learn four images; and take a step on real ones."""

from xml.etree import ElementTree as Xml

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from networks.small_detectors import SmallBackbone, SmallPyramidBackbone, ap50, scene
from perimetry.networks import (
    R_FCN_HARD_EXAMPLES,
    AnchorGrid,
    ProposalRule,
    RegionSampling,
    fast_rcnn_fpn,
    faster_rcnn_fpn,
    r_fcn,
    r_fcn_fpn,
    spp_detector,
)

RULE = ProposalRule(before=400, count=100, min_size=0.0)
GRID = AnchorGrid.published(16, scales=(2, 3))
SMALL = {"classes": 2, "short_side": None}
FEW = {"sampling": RegionSampling(count=32, background=(0.0, 0.5))}
OWN = {"training_proposals": RULE, "proposals": RULE}
BUILD = {
    "r_fcn": lambda: r_fcn(backbone=SmallBackbone(), grid=GRID, **SMALL, **OWN),
    "r_fcn, hard examples": lambda: r_fcn(
        backbone=SmallBackbone(), grid=GRID, sampling=R_FCN_HARD_EXAMPLES, **SMALL, **OWN
    ),
    "faster_rcnn_fpn": lambda: faster_rcnn_fpn(backbone=SmallPyramidBackbone(), **SMALL, **OWN, **FEW),
    "r_fcn_fpn": lambda: r_fcn_fpn(backbone=SmallPyramidBackbone(), **SMALL, **OWN, **FEW),
    "fast_rcnn_fpn": lambda: fast_rcnn_fpn(backbone=SmallPyramidBackbone(), **SMALL, **FEW),
    "spp_detector": lambda: spp_detector(
        backbone=SmallBackbone(), classes=2, scales=(96, 192), widths=(256, 256), offset0=1.0, offset=0.0
    ),
}
GIVEN = ("fast_rcnn_fpn", "spp_detector")


def proposals(target, size, *, count=150, seed=0):
    """Boxes around the objects and anywhere, in the place of selective search."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor([size[1], size[0]] * 2)
    near = target["boxes"].repeat(20, 1) + torch.randn(20 * len(target["boxes"]), 4, generator=generator) * 4
    corners = torch.rand(count, 2, generator=generator) * sides[:2] * 0.7
    anywhere = torch.cat([corners, corners + 15 + torch.rand(count, 2, generator=generator) * 40], 1)
    boxes = torch.cat([near, anywhere]).clamp(min=0).minimum(sides)
    return boxes[(boxes[:, 2:] > boxes[:, :2] + 1).all(1)]


def given(name, images, targets):
    if name not in GIVEN:
        return ()
    return ([proposals(target, image.shape[1:]) for image, target in zip(images, targets, strict=True)],)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILD)
def test_four_images_are_learnt_by_heart(name):
    torch.manual_seed(0)
    network = BUILD[name]().train()
    images, targets = zip(*(scene(seed) for seed in range(4)), strict=True)
    more = given(name, images, targets)
    optimizer = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    first = None
    for _ in range(100):
        losses = network(list(images), *more, targets, generator=generator)
        total = sum(losses.values())
        assert total.isfinite()
        first = float(total.detach()) if first is None else first
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
    assert float(total.detach()) < first / 3
    network.eval()
    with torch.no_grad():
        assert ap50(network(list(images), *more), list(targets)) > 0.95


@pytest.mark.parametrize("name", BUILD)
def test_a_step_on_real_images_then_saved_and_loaded_it_predicts_the_same(name, data, tmp_path):
    torch.manual_seed(0)
    folder = data / "bccd320"
    images, targets = [], []
    for each in sorted((folder / "Annotations").glob("*.xml"))[:2]:
        objects = Xml.parse(each).getroot().findall("object")
        corners = [
            [float(one.find("bndbox").findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax")] for one in objects
        ]
        boxes = torch.tensor(corners) - torch.tensor([1.0, 1.0, 0.0, 0.0])  # the file counts from 1, the last inside
        labels = torch.tensor([2 if one.findtext("name") == "WBC" else 1 for one in objects])
        images.append(to_tensor(Image.open(folder / "JPEGImages" / f"{each.stem}.jpg")))
        targets.append({"boxes": boxes, "labels": labels})
    more = given(name, images, targets)
    network = BUILD[name]().train()
    losses = network(images, *more, targets, generator=torch.Generator().manual_seed(0))
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(1)
    again = BUILD[name]()
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    network.eval(), again.eval()
    with torch.no_grad():
        for one, other in zip(network(images, *more), again(images, *more), strict=True):
            assert all(torch.equal(one[key], other[key]) for key in one)
