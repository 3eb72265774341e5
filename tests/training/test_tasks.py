"""Losses against plain formulas; parts of a batch add up to the whole; what cannot be trained is refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from perimetry.errors import InputError, ShapeError, UnknownNameError, WeightsError
from perimetry.networks import classification_losses, segmentation_losses
from perimetry.training import freeze
from perimetry.training.classification import Classification
from perimetry.training.detection import Detection
from perimetry.training.segmentation import Segmentation
from perimetry.training.step import NotFiniteError, train_step
from perimetry.training.tasks import Batch, named_outputs
from perimetry.training.transfer import freeze_norms, transfer


class Known(nn.Module):
    """A network that says what it was told to say, with a parameter to train."""

    def __init__(self, outputs) -> None:
        super().__init__()
        self.outputs, self.factor = outputs, nn.Parameter(torch.ones(()))

    def forward(self, images, *_):
        if isinstance(self.outputs, dict):
            return {name: value[: len(images)] * self.factor for name, value in self.outputs.items()}
        return self.outputs[: len(images)] * self.factor


class Pixels(nn.Module):
    """A segmenter or, by `pool`, a classifier, without anything that couples images."""

    def __init__(self, *, pool: bool) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = pool

    def forward(self, images):
        scores = self.score(images)
        return scores.mean((2, 3)) if self.pool else {"out": scores}


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 5, 7, generator=torch.Generator().manual_seed(0))


def masks(count: int = 6) -> torch.Tensor:
    drawn = torch.randint(0, 5, (count, 5, 7), generator=torch.Generator().manual_seed(1))
    return torch.where(drawn == 4, 255, drawn)


def test_classification_is_cross_entropy_with_auxiliary_heads():
    scores = {"logits": torch.randn(6, 4), "aux1": torch.randn(6, 4)}
    labels = torch.arange(6) % 4
    task = Classification(4, class_weights=(1, 2, 3, 4), label_smoothing=0.1, auxiliary_weight=0.3)
    found = task.losses(Known(scores), Batch(images(), labels))
    for name, factor in (("logits", 1), ("aux1", 0.3)):
        expected = functional.cross_entropy(
            scores[name], labels, weight=torch.tensor([1.0, 2, 3, 4]), label_smoothing=0.1
        )
        torch.testing.assert_close(found[f"loss_{name}"], expected * factor)


def test_focal_loss_weighs_down_what_is_told_already():
    labels = torch.tensor([0, 1])
    easy, hard = torch.tensor([[8.0, -8], [-8, 8]]), torch.zeros(2, 2)
    focal, plain = Classification(2, loss="focal"), Classification(2)
    ratios = [
        (
            focal.losses(Known(scores), Batch(images(2), labels))["loss_logits"]
            / plain.losses(Known(scores), Batch(images(2), labels))["loss_logits"]
        ).item()
        for scores in (easy, hard)
    ]
    assert ratios[0] < 0.01 * ratios[1]


def test_segmentation_is_the_mean_over_pixels_that_count():
    scores, truth = torch.randn(6, 4, 5, 7), masks()
    found = Segmentation(4).losses(Known({"out": scores}), Batch(images(), truth))["loss_out"]
    torch.testing.assert_close(found, functional.cross_entropy(scores, truth, ignore_index=255))
    weighted = Segmentation(4, class_weights=(1, 2, 3, 4)).losses(Known({"out": scores}), Batch(images(), truth))
    expected = functional.cross_entropy(scores, truth, weight=torch.tensor([1.0, 2, 3, 4]), ignore_index=255)
    torch.testing.assert_close(weighted["loss_out"], expected)


@pytest.mark.parametrize("task", [Segmentation(4), Segmentation(4, class_weights=(1, 1, 1, 1))])
def test_masks_without_truth_cost_nothing(task):
    network = Known({"out": torch.randn(2, 4, 5, 7)})
    ignored = torch.full((2, 5, 7), 255)
    assert task.losses(network, Batch(images(2), ignored))["loss_out"].item() == 0
    told = train_step(network, Batch(images(2), ignored), torch.optim.SGD(network.parameters(), lr=1.0), task=task)
    assert told == {"loss_out": 0.0}
    assert network.factor.item() == 1.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("task", "pool"),
    [
        (Classification(4, class_weights=(1, 0, 1, 1)), True),
        (Classification(4, class_weights=(1, 0, 1, 1), loss="focal"), True),
        (Segmentation(4, class_weights=(1, 0, 1, 1)), False),
    ],
)
def test_a_batch_of_a_class_that_does_not_count_moves_nothing(task, pool, smoothing):
    task, network = replace(task, label_smoothing=smoothing), Pixels(pool=pool)
    before = [parameter.clone() for parameter in network.parameters()]
    truth = torch.ones(6 if pool else (6, 5, 7), dtype=torch.long)
    found = train_step(network, Batch(images(), truth), torch.optim.SGD(network.parameters(), lr=0.1), task=task)
    assert set(found.values()) == {0.0}
    assert all(map(torch.equal, before, network.parameters()))


def test_hard_pixels_are_those_that_a_slow_loop_finds():
    scores, truth = torch.randn(2, 4, 5, 7), masks(2)
    each = [
        (
            functional.cross_entropy(scores[n, :, y, x], truth[n, y, x]).item(),
            scores[n, :, y, x].softmax(0)[truth[n, y, x]],
        )
        for n in range(2)
        for y in range(5)
        for x in range(7)
        if truth[n, y, x] != 255
    ]
    count = int(len(each) * 0.25)
    top = sorted((loss for loss, _ in each), reverse=True)[:count]
    found = Segmentation(4, hard="top_k", hard_share=0.25).losses(Known({"out": scores}), Batch(images(2), truth))
    assert found["loss_out"].item() == pytest.approx(sum(top) / count, rel=1e-5)
    below = [loss for loss, probability in each if probability < 0.3]
    found = Segmentation(4, hard="threshold", hard_share=0.3).losses(Known({"out": scores}), Batch(images(2), truth))
    assert found["loss_out"].item() == pytest.approx(sum(below) / len(below), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "pool", "truth"),
    [
        (Classification(4, class_weights=(1, 2, 3, 4)), True, torch.arange(6) % 4),
        (Classification(4), True, torch.arange(6) % 4),
        (Segmentation(4), False, masks()),
        (Segmentation(4, class_weights=(1, 2, 3, 4)), False, masks()),
    ],
)
@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_parts_of_a_batch_step_as_the_whole(task, pool, truth, accumulate):
    weights, told = [], []
    for parts in (1, accumulate):
        torch.manual_seed(0)
        network = Pixels(pool=pool)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        told.append(train_step(network, Batch(images(), truth), optimizer, task=task, accumulate=parts))
        weights.append(network.score.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    assert told[0] == pytest.approx(told[1], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_before_anything_moves():
    network = Pixels(pool=True)
    before = network.score.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    bad = images(2)
    bad[1, 0, 0, 0] = torch.nan
    batch = Batch(bad, torch.tensor([0, 1]), ("a.jpg", "b.jpg"))
    with pytest.raises(NotFiniteError, match=r"the loss is not finite \(loss_logits nan\) on the images a.jpg, b.jpg"):
        train_step(network, batch, optimizer, task=Classification(4))
    assert torch.equal(network.score.weight, before)


def test_clipping_bounds_the_step():
    network = Pixels(pool=True)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    train_step(network, Batch(images(2), torch.tensor([0, 1])), optimizer, task=Classification(4), clip=1e-3)
    moved = sum((old - new).square().sum() for old, new in zip(before, network.parameters(), strict=True)).sqrt()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)


def test_scores_are_those_of_the_metrics():
    scorer = Segmentation(4).scorer()
    truth = masks(2)
    right = functional.one_hot(torch.where(truth == 255, 0, truth), 4).permute(0, 3, 1, 2).float()
    scorer.update(Batch(images(2), truth), right)
    assert scorer.compute()["miou"] == 1.0
    scorer = Classification(2).scorer()
    scorer.update(Batch(images(2), torch.tensor([0, 1])), torch.tensor([[1.0, 0], [1, 0]]))
    assert scorer.compute() == {"top1": 0.5, "recall": [1.0, 0.0]}


def test_detections_are_scored_by_name_and_class():
    scorers = [Detection(("cat", "dog")).scorer() for _ in range(2)]
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    for number, scorer in enumerate(scorers):
        truth = [{"boxes": boxes, "labels": torch.tensor([1])}]
        told = [{"boxes": boxes + 20 * number, "labels": torch.tensor([1]), "scores": torch.tensor([0.9 - number / 2])}]
        scorer.update(Batch(images(1), truth, (f"{number}.jpg",)), told)
    scorers[0].merge(scorers[1])
    assert scorers[0].compute() == {"ap50": 0.5, "voc07_map": pytest.approx(6 / 11), "ap50_by_class": [0.5, None]}


@pytest.mark.parametrize(
    ("task", "outputs", "truth", "error", "message"),
    [
        (Classification(3), torch.zeros(2, 4), torch.tensor([0, 1]), ShapeError, "tells 4 classes, the data has 3"),
        (
            Segmentation(4),
            {"out": torch.zeros(2, 4, 5, 7)},
            torch.full((2, 5, 7), 9),
            InputError,
            "image 0 has the label 9; expected 0 ... 3, or 255",
        ),
        (
            Segmentation(4),
            {"out": torch.zeros(2, 4, 5, 7)},
            torch.zeros(5, 7).long(),
            ShapeError,
            r"expected masks \(N",
        ),
        (
            Classification(3),
            {},
            torch.tensor([0, 1]),
            InputError,
            "expected the network to return 'logits', got nothing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(task, outputs, truth, error, message):
    with pytest.raises(error, match=message):
        task.losses(Known(outputs), Batch(images(2), truth))


def test_outputs_have_names():
    with pytest.raises(InputError, match="got list"):
        named_outputs([torch.zeros(1)], "out")
    named = named_outputs({"scores": torch.zeros(1), "aux": torch.ones(1)}, "out")
    assert list(named) == ["out", "aux"]


def test_weights_of_another_head_are_told():
    source = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 9, 1))
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    told = transfer(module, source.state_dict(), source="w.pt")
    assert (told.used, told.new) == (("0.weight", "0.bias"), ("1.weight", "1.bias"))
    assert "2 tensors used, 2 skipped, 2 new" in str(told)
    assert torch.equal(module[0].weight, source[0].weight)
    with pytest.raises(WeightsError, match=r"no tensor of w\.pt fits"):
        transfer(module, {"x": torch.ones(1)}, source="w.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model."])
def test_weights_of_a_wrapped_network_are_taken(prefix):
    made, module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))
    tensors = {f"{prefix}{name}": value for name, value in made.state_dict().items()}
    assert transfer(module, tensors, source="w.pt").used == ("0.weight", "0.bias")
    torch.testing.assert_close(module[0].weight, made[0].weight)


def test_weights_of_other_kinds_of_numbers_are_told():
    tensors = {"weight": torch.ones(3, 2, dtype=torch.int8), "bias": torch.full((3,), 0.5, dtype=torch.float16)}
    module = nn.Linear(2, 3)
    found = transfer(module, tensors, source="w.pt")
    assert found.skipped == {"weight": "int8 in the file, float32 here"}
    assert module.bias.tolist() == [0.5] * 3


def test_freezing_by_pattern_and_norms():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert freeze(module, "0.*") == ("0.weight", "0.bias")
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, False, True, True]
    module.train()
    assert freeze_norms(module) == 1
    assert not module[1].training
    with pytest.raises(UnknownNameError, match=r"unknown parameter or pattern 'conv\.\*'"):
        freeze(module, "conv.*")


def test_a_loss_on_every_eighth_pixel_is_that_of_shrunk_labels():
    scores, truth = torch.randn(2, 4, 17, 24), torch.randint(0, 4, (2, 17, 24))
    truth[0, 8, 16] = 255
    found = Segmentation(4, every=8).losses(Known({"out": scores}), Batch(torch.rand(2, 3, 17, 24), truth))
    shrunk = functional.cross_entropy(scores[..., ::8, ::8], truth[:, ::8, ::8], ignore_index=255)
    torch.testing.assert_close(found["loss_out"], shrunk)
    assert Segmentation(4, every=8).weight(Batch(torch.rand(2, 3, 17, 24), truth)) == 2 * 3 * 3 - 1


def test_an_ignored_class_does_not_count_and_neither_does_what_transforms_add():
    scores, truth = torch.randn(6, 4, 5, 7), masks()
    task = Segmentation(4, ignore=0)
    found = task.losses(Known({"out": scores}), Batch(images(), truth))["loss_out"]
    counted = (truth != 0) & (truth != 255)
    expected = functional.cross_entropy(scores.permute(0, 2, 3, 1)[counted], truth[counted])
    torch.testing.assert_close(found, expected)
    assert task.weight(Batch(images(), truth)) == counted.sum()
    scorer = task.scorer()
    scorer.update(Batch(images(), truth), scores)
    right = (scores.argmax(1) == truth)[counted]
    assert scorer.compute()["pixel_accuracy"] == pytest.approx(right.float().mean().item())


def test_the_loss_of_classifiers_is_that_of_perimetrys_own():
    scores, labels = {"logits": torch.randn(6, 4), "aux1": torch.randn(6, 4)}, torch.arange(6) % 4
    found = Classification(4, auxiliary_weight=0.3).losses(Known(scores), Batch(images(), labels))
    expected = classification_losses(scores, labels, auxiliary_weight=0.3)
    torch.testing.assert_close(found, {f"loss_{name}": value for name, value in expected.items()})


@pytest.mark.parametrize("every", [1, 2])
def test_the_loss_of_segmenters_is_that_of_perimetrys_own(every):
    scores, truth = torch.randn(6, 4, 5, 7), masks()
    found = Segmentation(4, every=every).losses(Known({"out": scores}), Batch(images(), truth))
    torch.testing.assert_close(found["loss_out"], segmentation_losses({"out": scores}, truth, every=every)["out"])


@pytest.mark.parametrize(("height", "found"), [(4.9, 0.0), (5.1, 1.0)])
def test_overlaps_are_those_of_continuous_boxes(height, found):
    scorer = Detection(("cat",)).scorer()
    truth = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}]
    told = [{"boxes": torch.tensor([[0.0, 0, 10, height]]), "labels": torch.tensor([1]), "scores": torch.ones(1)}]
    scorer.update(Batch(images(1), truth, ("a.jpg",)), told)
    assert scorer.compute()["ap50"] == found


def test_boxes_thinner_than_a_pixel_are_scored_too():
    scorer = Detection(("cat",)).scorer()
    truth = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}]
    told = [{"boxes": torch.tensor([[3.0, 3, 3.5, 3.2]]), "labels": torch.tensor([1]), "scores": torch.ones(1)}]
    scorer.update(Batch(images(1), truth, ("a.jpg",)), told)
    assert scorer.compute()["ap50"] == 0


def test_what_a_network_does_not_take_is_no_bug_of_ours():
    alone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())
    with pytest.raises(InputError, match=r"fails on 1 image of 4×5 with ValueError: Expected more than 1 value per .*"):
        Classification(3).losses(alone, Batch(torch.rand(1, 3, 4, 5), torch.tensor([0])))
    with pytest.raises(
        InputError, match=r"2 images of 4×5 with RuntimeError: .* Kernel size .*; give images of another"
    ):
        Segmentation(4).predict(nn.Conv2d(3, 4, 7), Batch(torch.rand(2, 3, 4, 5), None))


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee documentation"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 20.00 GiB."),
]


class _Full(torch.autograd.Function):
    @staticmethod
    def forward(context, values, error):
        context.error = error
        return values.clone()

    @staticmethod
    def backward(context, _gradient):
        raise context.error


@pytest.mark.parametrize("error", MEMORY_ERRORS)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_too_little_memory_asks_for_fewer_images_not_for_more(way, error):
    def full(network, images):
        if way == "forward":
            raise error
        return _Full.apply(images[0].mean((2, 3)) * network.factor, error)

    network = Known(torch.zeros(2, 3))
    network.register_forward_pre_hook(lambda module, images: None if way == "backward" else full(module, images))
    network.register_forward_hook(lambda module, images, _: full(module, images))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    batch = Batch(torch.ones(2, 3, 4, 5), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"2 images of 4×5 .* 20\.00 GiB\); give smaller images, or fewer"):
        train_step(network, batch, optimizer, task=Classification(3))
    assert float(network.factor.detach()) == 1
