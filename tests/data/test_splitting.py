"""Splits by seed: every sample in one part, the same whatever the order, every class parted alike."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimetry.data import Dataset, Sample, split
from perimetry.errors import InputError


def dataset(labels):
    samples = tuple(Sample(f"{i:03}", Path(f"{i:03}.jpg"), label=label) for i, label in enumerate(labels))
    return Dataset("classification", "made", ("a", "b", "c", "d"), samples)


FRACTIONS = st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5), (0.6, 0.3, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=30, max_size=120), FRACTIONS, st.integers(0, 5), st.randoms())
def test_parts_are_disjoint_whole_stratified_and_depend_on_names_only(labels, fractions, seed, random):
    whole = dataset(labels)
    parts = split(whole, fractions, seed=seed)
    names = [[sample.name for sample in part.samples] for part in parts]
    assert sorted(name for each in names for name in each) == [sample.name for sample in whole.samples]
    assert [part.split for part in parts] == ["train", "val", "test"][: len(fractions)]
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * len(whole)) <= 1
        counts = Counter(sample.label for sample in part.samples)
        for label, count in Counter(labels).items():
            assert abs(counts[label] - fraction * count) < 2
    shuffled = list(whole.samples)
    random.shuffle(shuffled)
    again = split(Dataset("classification", "made", whole.classes, tuple(shuffled)), fractions, seed=seed)
    assert [{sample.name for sample in part.samples} for part in again] == [set(each) for each in names]


def test_another_seed_is_another_split():
    whole = dataset([0] * 60)
    first, second = (split(whole, (0.5, 0.5), seed=seed)[0].splits["train"] for seed in (0, 1))
    assert first != second


def test_many_small_classes_still_fill_the_small_parts():
    samples = tuple(Sample(f"{i}", Path(f"{i}.jpg"), label=i // 3) for i in range(300))
    parts = split(Dataset("classification", "made", tuple(map(str, range(100))), samples))
    assert [len(part) for part in parts] == [240, 30, 30]


@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 0.4), (0.5, 0.5, 0.0), (0.4, 0.2, 0.2, 0.2), (1.2, -0.2)])
def test_fractions_that_are_none(fractions):
    with pytest.raises(InputError, match="two or three fractions above 0 that add up to 1"):
        split(dataset([0] * 50), fractions)


def test_too_few_samples():
    with pytest.raises(InputError, match=r"4 samples are too few .* test would be empty"):
        split(dataset([0] * 4))
