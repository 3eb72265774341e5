"""The stream of images: complete, the same from any step on, and shared without loss."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perimetry.errors import InputError
from perimetry.training.batches import Batches, steps_of

numbers = some.integers(1, 13)


@given(numbers, numbers, numbers, some.integers(0, 3))
def test_every_image_is_seen_once_a_pass(images, batch, epochs, seed):
    steps = steps_of(images=images, batch=batch, epochs=epochs)
    draws = [draw for step in Batches(images, batch=batch, steps=steps, seed=seed) for draw in step]
    assert len(draws) == steps * batch
    for epoch in range(epochs):
        assert sorted(draw.index for draw in draws if draw.epoch == epoch) == list(range(images))


@given(numbers, numbers, numbers, some.data())
def test_a_run_that_starts_late_sees_what_it_would_have_seen(images, batch, steps, data):
    start = data.draw(some.integers(0, steps))
    whole = list(Batches(images, batch=batch, steps=steps, seed=1))
    late = Batches(images, batch=batch, steps=steps, seed=1, start=start)
    assert list(late) == whole[start:]
    assert len(late) == steps - start


@given(numbers, numbers, some.integers(1, 4))
def test_processes_share_a_step(images, share, processes):
    batch = share * processes
    whole = Batches(images, batch=batch, steps=3, seed=2)
    parts = [Batches(images, batch=batch, steps=3, seed=2, process=p, processes=processes) for p in range(processes)]
    for step, *shares in zip(whole, *parts, strict=True):
        assert {len(each) for each in shares} == {share}
        assert Counter(step) == sum(map(Counter, shares), Counter())


def test_seeds_and_passes_differ():
    streams = {tuple(tuple(step) for step in Batches(50, batch=50, steps=2, seed=seed)) for seed in range(5)}
    assert len(streams) == 5
    first, second = Batches(50, batch=50, steps=2, seed=0)
    assert [draw.index for draw in first] != [draw.index for draw in second]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="there is no image to train on"):
        Batches(0, batch=1, steps=1, seed=0)
    with pytest.raises(InputError, match="a batch of 3 cannot be shared by 2 processes"):
        Batches(5, batch=3, steps=1, seed=0, processes=2)
