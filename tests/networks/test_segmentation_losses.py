"""The loss of segmenters, against a loop over pixels, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perimetry.errors import InputError, ShapeError, UnknownNameError
from perimetry.networks import segmentation_losses


def by_pixel(scores, masks, ignore, every=1, start=0):
    """The loss of each pixel that counts, for each image, by its definition."""
    losses = []
    for image, mask in zip(scores.tolist(), masks.tolist(), strict=True):
        losses.append([])
        for row in range(start, len(mask), every):
            for column in range(start, len(mask[0]), every):
                label = mask[row][column]
                if label != ignore:
                    values = [channel[row][column] for channel in image]
                    losses[-1].append(math.log(sum(math.exp(value) for value in values)) - values[label])
    return losses


@given(
    st.integers(1, 3), st.integers(2, 4), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(0, 1),
    st.sampled_from([255, 0, -1]), st.integers(0, 2**16),
)  # fmt: skip
def test_it_is_the_loop_over_pixels(images, classes, height, width, every, start, ignore, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, classes, height, width, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, classes, (images, height, width), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = ignore
    losses = by_pixel(scores, masks, ignore, every, start)
    every_one = [loss for image in losses for loss in image]
    expected = {
        "sum": sum(every_one),
        "mean": sum(every_one) / max(len(every_one), 1),
        "image": sum(sum(image) for image in losses) / images,
    }
    for normalization, value in expected.items():
        found = segmentation_losses(
            {"out": scores}, masks, ignore=ignore, normalization=normalization, every=every, start=start
        )
        assert found["out"].item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("normalization", ["mean", "sum", "image"])
def test_a_mask_of_ignored_pixels_gives_zero_and_a_gradient_of_zero(normalization):
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = segmentation_losses({"out": scores}, torch.full((2, 4, 4), 255), normalization=normalization)["out"]
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert scores.grad.abs().max() == 0


def test_small_masks_of_bytes_and_several_outputs():
    outputs = {"out": torch.zeros(1, 2, 3, 3), "aux": torch.zeros(1, 4, 3, 3)}
    masks = torch.zeros(1, 3, 3, dtype=torch.uint8)
    masks[0, 0, 0] = 255
    losses = segmentation_losses(outputs, masks)
    assert {name: round(loss.item(), 4) for name, loss in losses.items()} == {"out": 0.6931, "aux": 1.3863}


OUT = {"out": torch.zeros(1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: segmentation_losses(OUT, torch.zeros(1, 4, 3).long()), ShapeError, r"'out' is \(1, 2, 3, 4\).*resize"),
        (lambda: segmentation_losses(OUT, torch.zeros(3, 4).long()), ShapeError, "the masks are"),
        (
            lambda: segmentation_losses(OUT, torch.full((1, 3, 4), 2)),
            InputError,
            "label 2 is none of the 2 classes 0 to 1",
        ),
        (lambda: segmentation_losses(OUT, torch.full((1, 3, 4), -1)), InputError, "label -1"),
        (lambda: segmentation_losses(OUT, torch.full((1, 3, 4), 255), ignore=0), InputError, "label 255"),
        (lambda: segmentation_losses(OUT, torch.zeros(1, 3, 4)), InputError, "whole numbers, got torch.float32"),
        (lambda: segmentation_losses({}, torch.zeros(1, 3, 4).long()), InputError, "got none"),
        (lambda: segmentation_losses(OUT["out"], torch.zeros(1, 3, 4).long()), InputError, "by name, .* got a Tensor"),
        (lambda: segmentation_losses(OUT, torch.zeros(1, 3, 4).long(), every=0), InputError, "every is at least 1"),
        (
            lambda: segmentation_losses(OUT, torch.zeros(1, 3, 4).long(), normalization="means"),
            UnknownNameError,
            "unknown normalization 'means'; did you mean 'mean'",
        ),
    ],
)
def test_bad_input_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
