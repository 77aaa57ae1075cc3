"""Batches of equal tokens: each row once, equal steps for all workers, the same steps for any number of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import ConfigError
from raypipe.train.batching import TokenBatches, equal_parts


def workers(lengths, step_rows, budget, world, seed=3, epochs=2):
    return [
        TokenBatches(np.array(lengths), step_rows, budget, seed, epochs, rank=rank, world=world)
        for rank in range(world)
    ]


def steps_of(batches, epoch):
    """Per step the batches of all workers, as the Trainers take them: lists of row numbers."""
    taken = []
    for worker in batches:
        worker.set_epoch(epoch)
        taken.append(list(worker))
    each = batches[0].accumulation
    return [[b for rows in taken for b in rows[i * each : (i + 1) * each]] for i in range(batches[0].steps)]


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 64), min_size=3, max_size=300),
    step_rows=st.integers(1, 40),
    budget=st.sampled_from([64, 100, 1000]),
    world=st.sampled_from([1, 2, 3]),
)
def test_every_row_once_an_epoch_and_equal_steps_for_all_workers(lengths, step_rows, budget, world):
    try:
        batches = workers(lengths, step_rows, budget, world)
    except ConfigError:  # only where a step cannot have a row for each of its batches
        assert len(lengths) < world * -(-sum(lengths) // budget) * 2
        return
    for epoch in (0, 1):
        steps = steps_of(batches, epoch)
        assert sorted(row for step in steps for batch in step for row in batch) == list(range(len(lengths)))
        assert {len(worker) for worker in batches} == {len(steps) * batches[0].accumulation}
        assert all(0 < len(batch) * max(lengths[row] for row in batch) <= budget for step in steps for batch in step)
        for number, step in enumerate(steps):
            rows = [row for batch in step for row in batch]
            assert batches[0].rows_of_step(epoch * len(steps) + number) == len(rows)
            assert batches[0].tokens_of_step(epoch * len(steps) + number) == sum(lengths[row] for row in rows)
    if step_rows >= 4 * world * batches[0].accumulation:
        assert len(steps) == -(-len(lengths) // step_rows), "as many steps as the recipe's rows make"


@pytest.fixture(scope="module")
def long_mix():
    return np.clip(np.random.default_rng(0).lognormal(4, 1, 4000).astype(int), 4, 512)


def test_the_rows_of_a_step_do_not_depend_on_workers_or_budget(long_mix):
    def sets(world, budget):
        return [
            frozenset(row for batch in step for row in batch)
            for step in steps_of(workers(long_mix, 32, budget, world), 1)
        ]

    alone = sets(1, 16_384)
    assert sets(2, 16_384) == sets(3, 16_384) == sets(2, 4_096) == alone
    rows = [len(step) for step in alone]
    assert np.mean(rows) == 32 and min(rows) >= 8 and max(rows) <= 32 * 5


def test_hardly_any_padding_and_balanced_workers(long_mix):
    steps = steps_of(workers(long_mix, 32, 16_384, 2), 0)
    sizes = np.array([[len(batch) * long_mix[batch].max() for batch in step] for step in steps])
    assert sizes.sum() < 1.02 * long_mix.sum()
    shuffled = np.random.default_rng(1).permutation(len(long_mix)).reshape(-1, 32)
    assert sum(32 * long_mix[batch].max() for batch in shuffled) > 3 * sizes.sum(), "what padding by chance costs"
    assert np.median(sizes.max(axis=1) / sizes.mean(axis=1)) < 1.1
    assert len({tuple(batch) for step in steps for batch in step}) == len(steps) * 2


def test_epochs_and_seeds_differ_and_repeat(long_mix):
    first, again, other = (workers(long_mix, 32, 16_384, 1, seed=seed) for seed in (1, 1, 2))
    assert steps_of(first, 0) == steps_of(again, 0) != steps_of(first, 1)
    assert steps_of(other, 0) != steps_of(first, 0)


def test_the_place_is_that_of_the_trainer_and_of_this_plan_alone(long_mix):
    (batches,) = workers(long_mix, 32, 4096, 1)
    place = batches.place(batches.steps + 3)
    assert (place.epoch, place.step, place.seed) == (1, 3, 3)
    for same in (workers(long_mix, 32, 8192, 1), workers(long_mix, 32, 4096, 2)):
        assert same[0].place(batches.steps + 3) == place, "other workers and budgets go on with the same steps"
    others = [workers(long_mix[::-1], 32, 4096, 1), workers(long_mix, 30, 4096, 1), workers(long_mix, 32, 4096, 9)]
    assert place.plan not in {other[0].place(0).plan for other in others}, "nine rows a step at least, not eight"
    ranged = [TokenBatches(long_mix, 32, 4096, 3, 2, world=world, most=9) for world in (1, 2, 9)]
    assert len({batches.place(5) for batches in ranged}) == 1 and ranged[0].place(5) == others[2][0].place(5)


def test_equal_parts_gives_each_its_least_rows():
    cuts = equal_parts(np.array([500, 3, 2, 2, 1, 1]), 3, 2)
    assert cuts.tolist() == [0, 2, 4, 6]
    assert np.diff(equal_parts(np.array([500, 3, 2, 2, 1, 1]), 2, 1)).tolist() == [1, 5]


@pytest.mark.parametrize(
    ("lengths", "budget", "world", "words"),
    [([5, 90], 64, 1, "--token-budget 64 with a row of 90 tokens"), ([5, 6], 64, 3, "2 training rows for 3 workers")],
)
def test_what_cannot_be_batched_is_refused(lengths, budget, world, words):
    with pytest.raises(ConfigError, match=words):
        workers(lengths, 16, budget, world)
