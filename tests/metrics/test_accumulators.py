"""Accumulators agree with their functions, whatever the split and the order of merging, and across processes."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perimetry.errors import InputError
from perimetry.metrics import (
    BinnedSweepAccumulator,
    BoxPrediction,
    BoxTruth,
    CocoAccumulator,
    ConfusionAccumulator,
    LabelAccumulator,
    MaskAccumulator,
    MultilabelAccumulator,
    ProposalAccumulator,
    SweepAccumulator,
    TopKAccumulator,
    VocAccumulator,
    binned_threshold_sweep,
    coco_scores,
    confusion_matrix,
    label_scores,
    mask_scores,
    multilabel_scores,
    threshold_sweep,
    top_k,
    voc_scores,
)

CLASSES = 4


def labels(generator, count):
    return generator.choice([0, 1, 2, 3, 255], count), generator.integers(0, CLASSES, count)


def several(generator, count):
    return generator.integers(-1, 2, (count, 3)), generator.integers(0, 2, (count, 3))


def scored(generator, count):
    scores = np.round(generator.random(count), 2).astype(generator.choice(["float16", "float32", "float64"]))
    return generator.integers(0, 2, count), scores


def ranked(generator, count):
    return generator.integers(0, CLASSES, count), np.round(generator.random((count, CLASSES)), 1)


# How an accumulator is built, the samples it takes, and the function that it agrees with.
KINDS = {
    "confusion": (
        lambda: ConfusionAccumulator(classes=CLASSES, ignore=255),
        labels,
        lambda *given: confusion_matrix(*given, classes=CLASSES, ignore=255),
    ),
    "masks": (
        lambda: MaskAccumulator(classes=CLASSES, ignore=255),
        labels,
        lambda *given: mask_scores(*given, classes=CLASSES, ignore=255),
    ),
    "labels": (
        lambda: LabelAccumulator(classes=CLASSES, ignore=255),
        labels,
        lambda *given: label_scores(*given, classes=CLASSES, ignore=255),
    ),
    "multilabel": (
        lambda: MultilabelAccumulator(labels=3, ignore=-1),
        several,
        lambda *given: multilabel_scores(*given, ignore=-1),
    ),
    "sweep": (SweepAccumulator, scored, threshold_sweep),
    "binned sweep": (
        lambda: BinnedSweepAccumulator(bins=64),
        scored,
        lambda *given: binned_threshold_sweep(*given, bins=64),
    ),
    "top k": (lambda: TopKAccumulator(ks=(1, 3)), ranked, lambda *given: top_k(*given, ks=(1, 3))),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(0, 60), max_size=5), data=st.data())
def test_any_split_and_any_order_of_merging_gives_what_the_function_gives(kind, seed, cuts, data):
    build, samples, function = KINDS[kind]
    truth, told = samples(np.random.default_rng(seed), 60)
    ends = [0, *sorted(cuts), 60]
    parts = []
    for start, end in itertools.pairwise(ends):
        part = build()
        part.update(truth[start:end], told[start:end])
        parts.append(pickle.loads(pickle.dumps(part)))  # as one that comes from another process
    expected = function(truth, told)
    whole = build()
    while len(parts) > 1:  # merged as a random tree
        one, two = data.draw(st.permutations(range(len(parts))))[:2]
        parts[one].merge(parts[two])
        del parts[two]
    whole.merge(parts[0])
    assert whole.compute() == expected
    assert whole.compute() == expected, "computing changes nothing"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_on_a_device_score_as_arrays_do(kind):
    build, samples, function = KINDS[kind]
    truth, told = samples(np.random.default_rng(0), 200_000)
    on_device = build()
    on_device.update(torch.tensor(truth).cuda(), torch.tensor(told).cuda())
    assert on_device.compute() == function(truth, told)


def boxes(generator, count):
    low = generator.integers(0, 50, (count, 2))
    return np.concatenate([low, low + generator.integers(1, 50, (count, 2))], axis=1)


def detections(seed, images=8):
    generator = np.random.default_rng(seed)
    truth, told = {}, {}
    for image in range(images):
        inside, added = generator.integers(0, 4), generator.integers(0, 3)
        names = generator.choice(["cat", "dog"], 10)
        objects = boxes(generator, inside)
        truth[f"{image}"] = BoxTruth(objects, names[:inside], generator.random(inside) < 0.3)
        # Right and wrong boxes of few different scores: their order among equals decides the average precision.
        found = np.concatenate([objects, boxes(generator, added)])
        scores = generator.integers(1, 3, len(found)) / 2
        told[f"{image}"] = BoxPrediction(found, scores, names[: len(found)])
    return truth, told


def merged(build, truth, told, order, cut):
    parts = [build(), build()]
    for at, name in enumerate(order):
        parts[at >= cut].update(name, truth[name], told[name])
    parts[1].merge(parts[0])
    return parts[1].compute()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.permutations([str(at) for at in range(8)]), cut=st.integers(0, 8))
def test_vocs_scores_do_not_depend_on_the_order_of_images(seed, order, cut):
    truth, told = detections(seed)
    expected = voc_scores(truth, told, classes=["cat", "dog"])
    seen = merged(lambda: VocAccumulator(classes=["cat", "dog"]), truth, told, order, cut)
    assert (seen.voc07_ap, seen.voc_ap, seen.images) == (expected.voc07_ap, expected.voc_ap, expected.images)
    for label, curve in seen.curves.items():
        assert np.array_equal(curve.scores, expected.curves[label].scores)
        assert np.array_equal(curve.tp, expected.curves[label].tp)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.permutations([str(at) for at in range(8)]), cut=st.integers(0, 8))
def test_cocos_scores_do_not_depend_on_the_order_of_images(seed, order, cut):
    pytest.importorskip("faster_coco_eval")
    truth, told = detections(seed)
    build = lambda: CocoAccumulator(classes=["cat", "dog"])  # noqa: E731
    assert merged(build, truth, told, order, cut) == coco_scores(truth, told, classes=["cat", "dog"])


def test_proposals_add_up_over_images():
    generator = np.random.default_rng(0)
    images = [(boxes(generator, 3), boxes(generator, 9), generator.random(9)) for _ in range(6)]
    parts = [ProposalAccumulator(counts=(2, 9)) for _ in range(3)]
    for at, image in enumerate(images):
        parts[at % 3].update(*image)
    one_by_one = ProposalAccumulator(counts=(2, 9))
    for image in images:
        one_by_one.update(*image)
    parts[1].merge(parts[2])
    parts[0].merge(parts[1])
    assert parts[0].compute() == one_by_one.compute()
    assert one_by_one.compute().objects == 18


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ConfusionAccumulator(classes=2), ConfusionAccumulator(classes=3)),
        (MaskAccumulator(classes=2), MaskAccumulator(classes=2, ignore=0)),
        (LabelAccumulator(classes=2), LabelAccumulator(classes=3)),
        (MultilabelAccumulator(labels=2), MultilabelAccumulator(labels=3)),
        (MultilabelAccumulator(labels=2), MultilabelAccumulator(labels=2, ignore=-1)),
        (SweepAccumulator(), SweepAccumulator(ignore=-1)),
        (BinnedSweepAccumulator(), BinnedSweepAccumulator(bins=64)),
        (TopKAccumulator(ks=(1,)), TopKAccumulator(ks=(1, 2))),
        (ProposalAccumulator(), ProposalAccumulator(counts=(3,))),
        (VocAccumulator(classes=["cat"]), VocAccumulator(classes=["dog"])),
    ],
    ids=lambda each: type(each).__name__,
)
def test_accumulators_that_differ_do_not_merge(one, other):
    with pytest.raises(InputError, match="expected"):
        one.merge(other)


@pytest.mark.parametrize(
    ("accumulator", "good", "bad"),
    [
        (ConfusionAccumulator(classes=2), ([0, 1], [0, 1]), ([0] * 70_000 + [5], [0] * 70_001)),
        (SweepAccumulator(), ([0, 1], [0.1, 0.2]), ([0] * 70_001, [0.5] * 70_000 + [np.nan])),
        (BinnedSweepAccumulator(), ([0, 1], [0.1, 0.2]), ([0] * 70_001, [0.5] * 70_000 + [2.0])),
        (MultilabelAccumulator(labels=1), ([[0], [1]], [[0], [1]]), ([[0]] * 70_000 + [[3]], [[0]] * 70_001)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_on_an_error_nothing_is_counted(accumulator, good, bad):
    accumulator.update(*good)
    before = accumulator.compute()
    with pytest.raises(InputError):
        accumulator.update(*bad)
    assert accumulator.compute() == before


def test_an_accumulator_can_be_merged_with_itself():
    seen = SweepAccumulator()
    seen.update([0, 1], [0.1, 0.2])
    seen.merge(seen)
    assert seen.compute() == threshold_sweep([0, 1] * 2, [0.1, 0.2] * 2)
