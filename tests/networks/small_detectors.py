"""What tests of detectors share: a backbone small enough to be trained here, scenes of rectangles, and their score."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from perimetry.metrics import BoxPrediction, BoxTruth, voc_scores
from perimetry.networks import AnchorGrid, ProposalRule, fast_rcnn, faster_rcnn


class SmallBackbone(nn.Module):
    """Four convolutions of stride 2: a map `c4` of stride 16."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, width, 2 * width, 2 * width)
        pairs = pairwise(widths)
        self.layers = nn.Sequential(*(part for a, b in pairs for part in (nn.Conv2d(a, b, 5, 2, 2), nn.ReLU())))
        self.channels, self.strides = {"c4": 2 * width}, {"c4": 16}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"c4": self.layers(images)}


def scene(seed: int, *, size: tuple[int, int] = (96, 128), objects: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """An image with one rectangle for each class, red for 1 and blue for 2, apart from each other; and its target."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    image = 0.4 + 0.1 * torch.rand(3, height, width, generator=generator)
    boxes = []
    for number in range(objects):
        left = number * width // objects + int(torch.randint(2, 12, (), generator=generator))
        top = int(torch.randint(4, height // 3, (), generator=generator))
        wide = int(torch.randint(28, 44, (), generator=generator))
        high = int(torch.randint(32, 50, (), generator=generator))
        image[:, top : top + high, left : left + wide] = torch.tensor([1.0, 0, 0] if number == 0 else [0, 0, 1.0])[
            :, None, None
        ]
        boxes.append([left, top, left + wide, top + high])
    return image, {"boxes": torch.tensor(boxes, dtype=torch.float), "labels": torch.arange(1, objects + 1)}


def ap50(found: list[dict[str, Tensor]], targets: list[dict[str, Tensor]]) -> float:
    """Mean average precision at an overlap of 0.5, as VOC 2012 counts it."""
    truth = {str(i): BoxTruth(t["boxes"].numpy(), t["labels"].tolist()) for i, t in enumerate(targets)}
    told = {
        str(i): BoxPrediction(f["boxes"].numpy(), f["scores"].numpy(), f["labels"].tolist())
        for i, f in enumerate(found)
    }
    return float(voc_scores(truth, told).voc_map)


GRID = AnchorGrid.published(16, scales=(2, 3))
SCENES = [scene(seed, size=(96, 128 - 16 * seed)) for seed in range(2)]
IMAGES, TARGETS = [image for image, _ in SCENES], [target for _, target in SCENES]
PROPOSALS = [torch.tensor([[0.0, 0, 40, 50], [5, 5, 60, 70], [30, 20, 90, 90]]) for _ in SCENES]


def small_faster(**options):
    torch.manual_seed(0)
    rule = ProposalRule(before=200, count=20, min_size=4)
    options = {"proposals": rule, "training_proposals": rule, "grid": GRID} | options
    return faster_rcnn(backbone=SmallBackbone(8), classes=2, short_side=None, **options)


def small_fast(**options):
    torch.manual_seed(0)
    return fast_rcnn(backbone=SmallBackbone(8), classes=2, short_side=None, **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


class SmallPyramidBackbone(nn.Module):
    """Five convolutions of stride 2: maps of strides 4, 8, 16 and 32."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, width, 2 * width, 2 * width, 2 * width)
        self.layers = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), nn.ReLU()) for a, b in pairwise(widths))
        self.channels = {f"c{level}": widths[level] for level in (2, 3, 4, 5)}
        self.strides = {f"c{level}": 2**level for level in (2, 3, 4, 5)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        for level, layer in enumerate(self.layers, start=1):
            images = layer(images)
            maps[f"c{level}"] = images
        return {name: maps[name] for name in self.strides}
