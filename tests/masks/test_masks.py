"""What single policies promise beyond the laws of all, and the primitive under them."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unseen.contract import Units
from unseen.errors import UnseenError
from unseen.masks import Block, Grid, MultiBlock, Random
from unseen.masks.choose import choose, counts
from unseen.masks.rectangles import _AT_ONCE, _MOST, _draw, _sizes, covering_order


def grid_units(batch: int, rows: int, columns: int) -> Units:
    n_units = rows * columns
    return Units(
        torch.zeros(1, n_units, 2),
        torch.ones(batch, n_units, dtype=torch.bool),
        torch.ones(1, n_units),
        (rows, columns),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16, torch.int32, torch.int64])
@given(seed=st.integers(0, 10_000), n_units=st.integers(1, 20))
def test_choose_equals_a_slow_loop(dtype, seed, n_units):
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(0, 6, (3, n_units), generator=generator).to(dtype)  # with ties
    if dtype.is_floating_point:
        score = score.masked_fill(score == 0, -torch.inf).masked_fill(score == 5, torch.inf)
    else:
        score += torch.iinfo(dtype).max - 5  # up to the highest there is, past what a float holds
    valid = torch.rand(3, n_units, generator=generator) < 0.7
    n_visible, n_target = (torch.randint(0, n_units + 3, (3,), generator=generator) for _ in range(2))
    mask = choose(score, valid, n_visible, n_target)
    for row in range(3):
        ranked = sorted((i for i in range(n_units) if valid[row, i]), key=lambda i: (score[row, i].item(), i))
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


@pytest.mark.parametrize("grid", [(1, 20_000), (1024, 1024)])
def test_grids_that_are_too_large_for_32_bits_are_refused(grid):
    with pytest.raises(UnseenError, match="grid of"):
        Block()(grid_units(1, *grid), torch.arange(1), {})


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
        lambda: MultiBlock(area=()),
        lambda: told(Block(), area=0.3),
        lambda: told(Block(), area=[0.1, 0.2, 0.3]),
        lambda: told(MultiBlock(), area=(0.15, 0.2)),
        lambda: told(MultiBlock(), area=[["a", "b"]]),
    ],
)
def test_settings_that_mean_nothing_are_refused(policy):
    with pytest.raises(UnseenError):
        policy()


def told(policy, **fields):
    """A policy made as a user makes it, whose arguments nobody checks; the tests' own are."""
    for name, value in fields.items():
        object.__setattr__(policy, name, value)
    policy.__post_init__()
    return policy


def test_shares_given_as_lists_are_those_given_as_tuples():
    listed = [
        told(Block(), area=[0.1, 0.2]),
        told(MultiBlock(), area=[[0.15, 0.2], [0.3, 0.4]], aspect=[0.75, 1.5]),
    ]
    plain = [Block(area=(0.1, 0.2)), MultiBlock(area=((0.15, 0.2), (0.3, 0.4)))]
    assert listed == plain and len({*listed, *plain}) == 2


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


@pytest.mark.parametrize(("grid", "area", "share"), [((6, 9), 0.2, 0.8), ((5, 7), 0.04, 0.9), ((3, 200), 0.1, 0.7)])
def test_rectangles_come_in_order_and_the_last_is_cut_by_a_line(grid, area, share):
    """Against one at a time; few that cover much, many batches of small ones, a side that 8 bits do not hold."""
    n_cells, key = grid[0] * grid[1], torch.arange(20) * 7919
    count, valid = round(n_cells * share), torch.ones(20, n_cells, dtype=torch.bool)
    limits = ((area, area),), (0.5, 2.0)
    score = covering_order(key, grid, valid, torch.full((20,), count), *limits)
    chosen = choose(score, valid, torch.full((20,), n_cells - count), torch.full((20,), count)).target
    assert (chosen.sum(dim=1) == count).all()
    for row in range(20):
        hidden, covered = set(chosen[row].nonzero()[:, 0].tolist()), set()
        for rectangle in rectangles(key[row : row + 1], grid, *limits):
            if len(covered | rectangle) >= count:
                break
            covered |= rectangle
        assert covered <= hidden <= covered | rectangle
        fresh, cut = sorted(rectangle - covered), sorted(hidden - covered)
        assert cut in (fresh[: len(cut)], fresh[len(fresh) - len(cut) :])


def rectangles(key, grid, area, aspect) -> Iterator[set[int]]:
    """The rectangles of one sample as sets of cells, from the same draws."""
    table = _sizes(grid, area, aspect).astype(int)
    for turn in range(_MOST):
        draw = _draw(key ^ turn)[0, : 3 * _AT_ONCE].reshape(3, _AT_ONCE)
        for number in reversed(range(_AT_ONCE)):
            spans = []
            for side, length, place in zip(grid, table[:, draw[0, number] >> 4], draw[1:, number], strict=True):
                last = int(place) * (length + side - 1) >> 16
                spans.append(range(max(last - length + 1, 0), min(last + 1, side)))
                assert len(spans[-1]) > 0, "it does not touch the grid"
            yield {y * grid[1] + x for y in spans[0] for x in spans[1]}


def test_even_coverage_reaches_the_corners():
    """The published block sampler hides corners 4 % of the time and the centre 71 %."""
    often = Block(ratio=0.4)(grid_units(3000, 10, 14), torch.arange(3000), {}).target.double().mean(dim=0).view(10, 14)
    assert abs(float(often[0, 0]) - float(often[5, 7])) < 0.06 and math.isclose(float(often.mean()), 0.4, abs_tol=1e-9)
