"""What every segmenter has to do: any size, export, compilation, fields, learning four images, a step on real ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import perimetry
from perimetry.errors import InputError
from perimetry.metrics import mask_scores
from perimetry.networks import (
    CARDS,
    deeplab_largefov,
    fcn8s,
    fcn16s,
    fcn32s,
    fcn_alexnet,
    parsenet,
    segmentation_losses,
)

NAMES = [name for name, card in CARDS.items() if card.task == "segmentation"]
VGG = {
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "fcn8s-at-once": lambda **options: fcn8s(training="at_once", **options),
    "fcn_alexnet": fcn_alexnet,
    "deeplab_largefov": deeplab_largefov,
    "deeplab-4x4": lambda **options: deeplab_largefov(window="4x4", **options),
    "deeplab-msc": lambda **options: deeplab_largefov(scales="several", **options),
    "parsenet": parsenet,
    "parsenet-early": lambda **options: parsenet(fusion="early", **options),
    "parsenet-five": lambda **options: parsenet(
        fuse=("conv3_3", "conv4_3", "conv5_3", "fc7", "pool6"), normalization="none", **options
    ),
}
ANY = {"fcn32s": fcn32s, "fcn16s": fcn16s, "fcn8s": fcn8s, "deeplab_largefov": deeplab_largefov, "parsenet": parsenet}


@pytest.fixture(scope="module")
def empty():
    """The networks on VGG-16 without contents: shapes alone."""
    with torch.device("meta"):
        return {name: build(classes=4) for name, build in VGG.items()}


@settings(deadline=None, max_examples=6)
@given(st.integers(2, 130), st.integers(2, 130), st.integers(1, 2))
def test_scores_have_the_size_of_the_image(empty, height, width, images):
    for network in empty.values():
        assert network(torch.empty(images, 3, height, width, device="meta"))["out"].shape == (images, 4, height, width)


@pytest.mark.parametrize("builder", ANY.values(), ids=ANY)
@pytest.mark.parametrize("backbone", ["torchvision:mobilenet_v2", "timm:vgg16"])
def test_scores_on_a_backbone_have_the_size_of_the_image(builder, backbone):
    with torch.device("meta"):
        network = builder(classes=4, backbone=backbone).eval()
        for size in ((96, 96), (101, 127)):
            assert network(torch.empty(1, 3, *size))["out"].shape == (1, 4, *size)


@pytest.mark.parametrize("name", ["fcn8s", "deeplab-4x4", "deeplab-msc", "parsenet"])
def test_on_vgg_it_compiles_to_one_graph_and_is_exported(empty, name):
    network = empty[name].eval()
    images = torch.empty(1, 3, 43, 50, device="meta")
    compiled = torch.compile(network, backend="eager", fullgraph=True)(images)
    exported = torch.export.export(network, (images,)).module()(images)
    assert compiled["out"].shape == exported["out"].shape == (1, 4, 43, 50)


@pytest.mark.parametrize("side", [48, 51])
@pytest.mark.parametrize("name", ["fcn8s", "deeplab_largefov", "deeplab-msc", "parsenet"])
def test_on_vgg_it_is_exported_for_images_of_any_size(empty, name, side):
    # Sides that are whole numbers of cells leave nothing to crop, others do: neither may be taken for all. (DeepLab-4x4
    # keeps to the sides of one kind: torch rounds its padded poolings up by a branch on the size.)
    network, any_size = empty[name].eval(), torch.export.Dim.AUTO
    images = torch.empty(2, 3, side, 2 * side, device="meta")
    sizes = dict.fromkeys((0, 2, 3), any_size)
    exported = torch.export.export(network, (images,), dynamic_shapes=(sizes,)).module()
    for height, width in ((64, 64), (43, 50), (80, 57)):
        images = torch.empty(3, 3, height, width, device="meta")
        assert exported(images)["out"].shape == (3, 4, height, width)


@pytest.mark.parametrize("name", ["fcn8s", "deeplab_largefov", "parsenet"])
def test_images_of_bytes_are_told(empty, name):
    with pytest.raises(InputError, match=r"expected images as floats, normalised; got torch\.uint8"):
        empty[name](torch.empty(1, 3, 64, 64, dtype=torch.uint8, device="meta"))


@pytest.mark.parametrize("builder", [fcn8s, parsenet], ids=["fcn8s", "parsenet"])
def test_on_a_backbone_it_compiles_and_is_exported(builder):
    network = builder(classes=4, backbone="torchvision:resnet18").eval()
    images = torch.rand(2, 3, 43, 50)
    with torch.no_grad():
        expected = network(images)["out"]
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(images)["out"]
        exported = torch.export.export(network, (images,)).module()(images)["out"]
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(exported, expected)


@pytest.mark.parametrize("name", ["fcn_alexnet", "deeplab_largefov", "parsenet"])
def test_fields_are_inspected_and_mapped_by_name(name):
    deep = "pool5"
    found = perimetry.inspect(f"perimetry:{name}", (65, 65)).layer(deep).field
    mapped = perimetry.effective_field(f"perimetry:{name}", torch.rand(1, 3, 65, 65), deep)
    assert mapped.target.field.size == found.size
    assert mapped.map.shape == (65, 65)
    assert mapped.map.max() > 0


def scenes(count=4, side=64):
    """Images of squares in three colours on noise, at multiples of 8 pixels, and their masks with an ignored frame."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.rand(count, 3, side, side, generator=generator)
    masks = torch.zeros(count, side, side).long()
    for image, mask in zip(images, masks, strict=True):
        for label in (1, 2, 3):
            top, left = (8 * torch.randint(0, (side - 24) // 8, (2,), generator=generator)).tolist()
            image[:, top : top + 24, left : left + 24] = 0.1
            image[label - 1, top : top + 24, left : left + 24] = 0.9
            mask[top : top + 24, left : left + 24] = label
    masks[:, :2] = masks[:, :, :2] = 255
    return images, masks


def quarters(count=4, side=128):
    """Images of four quarters in four colours: what cells of 32 pixels can tell apart."""
    colours = torch.eye(4)[:, :3]
    orders = [torch.arange(4).roll(turn).view(1, 1, 2, 2) for turn in range(count)]
    masks = torch.cat([torch.nn.functional.interpolate(each.float(), size=(side, side)) for each in orders])[
        :, 0
    ].long()
    return colours[masks].permute(0, 3, 1, 2).contiguous(), masks


def learn(network, images, masks, *, steps, rate, every=1):
    """Train on the pixels that count, and score these."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        segmentation_losses(network(images), masks, every=every)["out"].backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        predicted = network(images)["out"].argmax(1)
    masks, predicted = (each[:, ::every, ::every].numpy() for each in (masks, predicted))
    return mask_scores(masks, predicted, classes=4, ignore=255).miou


@pytest.mark.slow
@pytest.mark.parametrize("builder", ANY.values(), ids=ANY)
def test_it_learns_four_images_by_heart_on_a_backbone(builder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, masks = quarters() if builder in (fcn32s, fcn16s) else scenes()
        network = builder(classes=4, backbone="torchvision:resnet18")
        assert learn(network, images, masks, steps=100, rate=1e-3) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "steps", "every"),
    [(parsenet, 180, 1), (deeplab_largefov, 120, 8)],
    ids=["parsenet", "deeplab_largefov"],
)
def test_it_learns_four_images_by_heart_on_vgg(build, steps, every):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, masks = scenes()
        assert learn(build(classes=4), images, masks, steps=steps, rate=1e-4, every=every) > 0.85


def read(folder, name, size):
    """An image and its mask from a data set in VOC's layout."""
    image = Image.open(folder / "JPEGImages" / f"{name}.jpg").convert("RGB").resize(size)
    mask = Image.open(folder / "SegmentationClass" / f"{name}.png").resize(size, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255, torch.from_numpy(np.array(mask)).long()


@pytest.mark.parametrize(
    "build",
    [
        lambda: parsenet(),
        lambda: fcn8s(backbone="timm:tf_efficientnet_lite0"),
        lambda: parsenet(backbone="timm:tf_efficientnet_lite0", output_stride=16),
        lambda: deeplab_largefov(backbone="timm:tf_efficientnet_lite0", output_stride=16),
    ],
    ids=["parsenet-vgg", "fcn8s", "parsenet", "deeplab_largefov"],
)
@pytest.mark.parametrize("source", ["camvid_half", "voc_sample3"])
def test_a_step_on_real_images_is_saved_and_loaded(build, source, data, tmp_path):
    folder = data / source
    names = sorted(path.stem for path in (folder / "SegmentationClass").glob("*.png"))[:2]
    images, masks = (torch.stack(each) for each in zip(*(read(folder, name, (96, 72)) for name in names), strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, again = build().train(), build().eval()
        before = {name: each.clone() for name, each in network.named_parameters()}
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
        loss = segmentation_losses(network(images), masks)["out"]
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    changed = [name for name, each in network.named_parameters() if not torch.equal(each, before[name])]
    assert any("score" in name or "fc8" in name for name in changed)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        torch.testing.assert_close(again(images), network.eval()(images), rtol=0, atol=0)
