"""What single policies promise beyond the laws of all, and the primitive under them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unseen.contract import Units
from unseen.errors import UnseenError
from unseen.masks import Block, Grid, Random
from unseen.masks.choose import choose, counts


def grid_units(batch: int, rows: int, columns: int) -> Units:
    n_units = rows * columns
    return Units(
        torch.zeros(1, n_units, 2),
        torch.ones(batch, n_units, dtype=torch.bool),
        torch.ones(1, n_units),
        (rows, columns),
    )


@given(seed=st.integers(0, 10_000), n_units=st.integers(1, 20))
def test_choose_equals_a_slow_loop(seed, n_units):
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(0, 6, (3, n_units), generator=generator).double()  # with ties
    valid = torch.rand(3, n_units, generator=generator) < 0.7
    n_visible, n_target = (torch.randint(0, n_units + 3, (3,), generator=generator) for _ in range(2))
    mask = choose(score, valid, n_visible, n_target)
    for row in range(3):
        ranked = sorted((i for i in range(n_units) if valid[row, i]), key=lambda i: (float(score[row, i]), i))
        visible = ranked[: int(n_visible[row])]
        target = ranked[len(visible) :][max(0, len(ranked) - len(visible) - int(n_target[row])) :]
        assert mask.visible[row].nonzero()[:, 0].tolist() == sorted(visible)
        assert mask.target[row].nonzero()[:, 0].tolist() == sorted(target)


def test_what_neither_count_asks_for_is_guard():
    score = torch.arange(10.0)[None]
    mask = choose(score, torch.ones(1, 10, dtype=torch.bool), torch.tensor([3]), torch.tensor([2]))
    assert mask.visible[0].nonzero()[:, 0].tolist() == [0, 1, 2] and mask.target[0].nonzero()[:, 0].tolist() == [8, 9]


@given(n_units=st.integers(2, 3000), percent=st.integers(1, 99))
def test_counts_round_once(n_units, percent):
    n_visible, n_target = counts(torch.ones(1, n_units, dtype=torch.bool), percent / 100)
    exact = n_units * percent / 100
    assert int(n_visible) + int(n_target) == n_units
    assert abs(int(n_target) - exact) <= 0.5 + 1e-9 or int(n_target) in {1, n_units - 1}


@pytest.mark.parametrize(
    ("n_units", "ratio", "hidden"),
    [(196, 0.75, 147), (196, 0.9, 176), (256, 0.9, 230), (196, 0.4, 78), (1568, 0.9, 1411)],
)
def test_counts_of_published_settings(n_units, ratio, hidden):
    assert int(counts(torch.ones(1, n_units, dtype=torch.bool), ratio)[1]) == hidden


@pytest.mark.parametrize("policy", [Random(cell=2), Grid(), Block()])
def test_policies_that_need_a_grid_say_so(policy):
    units = grid_units(2, 4, 6)._replace(grid=None)
    with pytest.raises(UnseenError, match="2-D grid"):
        policy(units, torch.arange(2), {})


@pytest.mark.parametrize("ratio", [-0.1, 1.01, 75.0, math.nan])
def test_a_ratio_that_is_no_share_is_refused(ratio):
    with pytest.raises(UnseenError, match="mask ratio"):
        Random(ratio=ratio)(grid_units(2, 4, 6), torch.arange(2), {})


@pytest.mark.parametrize(
    "policy",
    [
        lambda: Random(cell=0),
        lambda: Grid(stride=1),
        lambda: Block(area=(0.0, 0.3)),
        lambda: Block(area=(0.3, 0.1)),
        lambda: Block(aspect=0.5),
    ],
)
def test_settings_that_mean_nothing_are_refused(policy):
    with pytest.raises(UnseenError):
        policy()


def test_cells_are_hidden_together_but_for_one():
    hidden = Random(ratio=0.6, cell=4)(grid_units(50, 16, 24), torch.arange(50), {}).target.view(50, 4, 4, 6, 4)
    share = hidden.double().mean(dim=(2, 4)).flatten(1)
    assert (((share > 0) & (share < 1)).sum(dim=1) <= 1).all(), "more than one cell is split"


def test_simmim_hides_32_px_cells_of_16_px_patches():
    """224 px: ceil(29.4) = 30 cells of 49 in the paper; ours rounds the patch count itself: 118 of 196."""
    hidden = Random(ratio=0.6, cell=2)(grid_units(5, 14, 14), torch.arange(5), {}).target
    assert (hidden.sum(dim=1) == 118).all()


def test_grid_leaves_one_unit_of_each_cell():
    visible = Grid(stride=2)(grid_units(20, 8, 12), torch.arange(20), {}).visible.view(20, 4, 2, 6, 2)
    assert (visible.sum(dim=(2, 4)) == 1).all()
    places = visible.permute(0, 2, 4, 1, 3).flatten(3).all(dim=3).flatten(1)
    assert (places.sum(dim=1) == 1).all(), "the phase differs within a sample"
    assert places.any(dim=0).all(), "a phase never occurs"


def test_blocks_are_blocks():
    """Hidden neighbours are far commoner than under independent draws of the same count."""

    def together(policy) -> float:
        hidden = policy(grid_units(200, 12, 16), torch.arange(200), {}).target.view(200, 12, 16)
        return float(
            (hidden[:, 1:] & hidden[:, :-1]).double().mean() + (hidden[:, :, 1:] & hidden[:, :, :-1]).double().mean()
        )

    assert together(Random(ratio=0.5)) < 0.55 and together(Block(ratio=0.5)) > 0.75


def test_even_coverage_reaches_the_corners():
    """The published block sampler hides corners 4 % of the time and the centre 71 %."""
    often = Block(ratio=0.4)(grid_units(3000, 10, 14), torch.arange(3000), {}).target.double().mean(dim=0).view(10, 14)
    assert abs(float(often[0, 0]) - float(often[5, 7])) < 0.06 and math.isclose(float(often.mean()), 0.4, abs_tol=1e-9)
