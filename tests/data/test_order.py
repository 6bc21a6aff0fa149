"""The order of samples: every one once, mixed, and the same whoever asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unseen.data.order import Shuffle, Weighted, alias_table, feistel, positions
from unseen.errors import UnseenError


@pytest.mark.parametrize("n", [1, 2, 3, 7, 63, 64, 65, 1000, 1025, 65537])
def test_every_epoch_visits_each_sample_once(n):
    order = Shuffle(n, seed=3)
    first, second = order(np.arange(n)), order(np.arange(n, 2 * n))
    assert np.array_equal(np.sort(first), np.arange(n))
    assert np.array_equal(np.sort(second), np.arange(n))
    assert n < 7 or not np.array_equal(first, second)
    assert n < 7 or not np.array_equal(first, Shuffle(n, seed=4)(np.arange(n)))


@given(n=st.integers(1, 300), block=st.integers(1, 9), window=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_any_block_and_window_give_a_permutation(n, block, window, seed):
    assert sorted(Shuffle(n, seed, block, window)(np.arange(n))) == list(range(n))


@pytest.mark.parametrize("n", [1000, 65537])
def test_neighbours_in_the_order_are_not_neighbours_in_the_log(n):
    order = Shuffle(n, seed=0)(np.arange(n)).astype(float)
    assert len(np.unique(np.diff(order))) > n / 20  # an affine map would have two
    within = order[:900] if n == 1000 else order
    blocks = n / 64
    lag_1 = np.corrcoef(within[:-1], within[1:])[0, 1]
    assert abs(lag_1) < (0.1 if n == 1000 else 0.15), (lag_1, blocks)


def test_a_window_reads_few_blocks():
    order = Shuffle(65536, seed=1)(np.arange(1024))
    assert len(np.unique(order // 64)) == 16


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40), st.integers(0, 9))
def test_the_order_does_not_depend_on_who_asks(places, seed):
    order = Shuffle(777, seed)
    assert order(np.array(places)).tolist() == [int(order(np.array([place]))[0]) for place in places]


def test_ranks_share_the_positions_of_a_step():
    whole = positions(5, 12)
    assert whole.tolist() == list(range(60, 72))
    assert np.concatenate([positions(5, 12, rank, 3) for rank in range(3)]).tolist() == whole.tolist()
    with pytest.raises(UnseenError, match="equal share"):
        positions(0, 10, 0, 3)


@pytest.mark.parametrize("n", [1, 2, 5, 64, 1000])
def test_feistel_is_a_bijection_on_any_range(n):
    x = np.arange(n)
    out = feistel(x, np.full(n, n), np.full(n, 99))
    assert sorted(out) == list(range(n))


def test_alias_table_keeps_the_weights():
    weights = np.array([0.0, 1.0, 2.0, 7.0, 1e-9, 30.0])
    share, other = alias_table(weights)
    mass = np.bincount(other, 1 - share, len(weights)) + share
    np.testing.assert_allclose(mass / len(weights), weights / weights.sum(), atol=1e-12)
    for bad in ([], [-1.0, 2.0], [np.nan, 1.0], [0.0, 0.0]):
        with pytest.raises(UnseenError):
            alias_table(np.array(bad))


def test_weighted_draws_follow_the_weights():
    sizes = np.array([400, 25, 1])
    order = Weighted(sizes, np.sqrt(sizes), seed=0)
    drawn = order(np.arange(20_000))
    share = np.bincount(np.digitize(drawn, [400, 425]), minlength=3) / 20_000
    np.testing.assert_allclose(share, np.sqrt(sizes) / np.sqrt(sizes).sum(), atol=0.015)
    assert len(np.unique(drawn[drawn < 400])) == 400
    assert order(np.array([17])) == drawn[17]
