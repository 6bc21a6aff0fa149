"""What the policies for clips, blocks and sparse structure promise beyond the laws of all."""

import math

import pytest
import torch

from unseen.contract import Units
from unseen.errors import UnseenError
from unseen.masks import Future, MultiBlock, Random, RunningCell, Tube, Weighted
from unseen.masks.choose import choose_tubes
from unseen.masks.weighted import inclusion_probability


def clip_units(batch: int, slots: int, rows: int, columns: int, slot_s: float = 0.2) -> Units:
    sides = torch.arange(slots) * slot_s, torch.arange(rows) + 0.5, torch.arange(columns) + 0.5
    centre = torch.cartesian_prod(*sides)[None]
    valid = torch.ones(batch, centre.shape[1], dtype=torch.bool)
    return Units(centre, valid, torch.ones(1, centre.shape[1]), (slots, rows, columns))


def on_grid(mask: torch.Tensor, units: Units) -> torch.Tensor:
    return mask.unflatten(1, units.grid)


def test_a_tube_hides_the_published_number_of_places_in_every_slot():
    """VideoMAE: int(0.9 * 196) = 176 of 196 places, in 8 slots."""
    units = clip_units(5, 8, 14, 14)
    hidden = on_grid(Tube()(units, torch.arange(5), {}).target, units)
    assert (hidden.sum(dim=(2, 3)) == 176).all() and torch.equal(hidden.all(dim=1), hidden.any(dim=1))


def test_random_on_a_clip_is_space_time_random():
    units = clip_units(200, 4, 6, 7)
    hidden = on_grid(Random(ratio=0.5)(units, torch.arange(200), {}).target, units).double()
    same_place = (hidden[:, 0] * hidden[:, 1]).mean()
    assert abs(float(same_place) - 0.25) < 0.02, "slots are not independent"


@pytest.mark.parametrize("policy", [Random(ratio=0.5, cell=2), Tube(ratio=0.5, cell=2)])
def test_cells_of_a_clip_lie_in_one_slot_or_in_all(policy):
    units = clip_units(50, 3, 8, 12)
    hidden = on_grid(policy(units, torch.arange(50), {}).target, units).double()
    share = hidden.view(50, 3, 4, 2, 6, 2).mean(dim=(3, 5)).flatten(1)
    split = ((share > 0) & (share < 1)).sum(dim=1)
    assert (split <= (3 if isinstance(policy, Tube) else 1)).all(), "more than one cell is split"
    alike = (hidden[:, 0] == hidden[:, 1]).double().mean()
    assert (alike == 1) if isinstance(policy, Tube) else (alike < 0.7)


def test_the_running_cell_is_the_published_pattern():
    """VideoMAE V2: [1, 1, 0, 0] in raster order of a 2 x 2 cell, rolled by one a slot, from one of four phases."""
    units = clip_units(40, 5, 6, 8)
    hidden = on_grid(RunningCell()(units, torch.arange(40), {}).target, units)
    seen, cell = set(), torch.arange(4).view(2, 2)
    for sample in hidden:
        assert torch.equal(sample[:, :4, :6], sample[:, 2:, 2:]), "cells differ"
        orders = [cell.roll((down, across), (0, 1)).flatten().argsort() for down in (0, 1) for across in (0, 1)]
        raster = [sample[:, :2, :2].reshape(5, 4)[:, order] for order in orders]  # wherever cells begin
        rolls = [order for order in raster if torch.equal(order[1:], order[:-1].roll(1, dims=1))]
        assert rolls, "the pattern does not roll"
        seen.add(tuple(rolls[0][0].int().tolist()))
    assert seen == {(1, 1, 0, 0), (0, 1, 1, 0), (0, 0, 1, 1), (1, 0, 0, 1)}


def test_the_running_cell_reaches_the_edge_of_an_odd_grid():
    """The published tiling of height // 2 by width // 2 cells is short by a row and a column."""
    units = clip_units(400, 4, 5, 7)
    mask = RunningCell()(units, torch.arange(400), {})
    assert (mask.target.sum(dim=1) == 70).all()
    often = on_grid(mask.target, units).double().mean(dim=(0, 1))
    assert float(often.min()) > 0.4 and float(often.max()) < 0.6


def test_multi_block_shows_one_block_and_hides_blocks():
    units = Units(torch.zeros(1, 256, 2), torch.ones(300, 256, dtype=torch.bool), torch.ones(1, 256), (16, 16))
    mask = MultiBlock()(units, torch.arange(300) * 7919, {})
    assert (mask.target.sum(dim=1) == 128).all() and (mask.visible.sum(dim=1) == 102).all()
    assert not (mask.visible & mask.target).any()
    for chosen in (mask.target, mask.visible | mask.target):
        grid = chosen.view(300, 16, 16)
        border = (grid[:, 1:] ^ grid[:, :-1]).double().mean() + (grid[:, :, 1:] ^ grid[:, :, :-1]).double().mean()
        assert float(border) < 0.4, "not blocks: independent draws have 1.0 and 0.36"


def test_multi_block_on_a_clip_mixes_short_and_long_range_with_the_same_counts():
    """V-JEPA 2: blocks of 0.15 and of 0.7 of a frame, full height in time, no cut to the batch's smallest."""
    units = clip_units(300, 8, 14, 14)
    policy = MultiBlock(ratio=0.8, context=0.2, area=((0.15, 0.15), (0.7, 0.7)))
    mask = policy(units, torch.arange(300) * 7919, {})
    assert set(mask.target.sum(dim=1).tolist()) == {8 * 157} and set(mask.visible.sum(dim=1).tolist()) == {8 * 39}
    slots = on_grid(mask.visible, units).sum(dim=(2, 3))
    assert (slots == 39).all(), "the context drifts in time"

    def borders(area) -> float:
        """How many hidden places have a neighbour below that is not: small blocks have more."""
        target = MultiBlock(ratio=0.8, context=0.2, area=area)(units, torch.arange(300) * 7919, {}).target
        place = on_grid(target, units)[:, 0]
        return float((place[:, 1:] ^ place[:, :-1]).sum(dim=(1, 2)).double().mean())

    assert borders(((0.7, 0.7),)) + 1 < borders(policy.area) < borders(((0.15, 0.15),)) - 1


def test_the_future_lies_behind_the_gap():
    units = clip_units(3, 10, 3, 4)
    mask = Future(observed_s=1.0, gap_s=0.4)(units, torch.arange(3), {})
    slots = on_grid(mask.visible, units).all(dim=(2, 3)), on_grid(mask.target, units).all(dim=(2, 3))
    assert (mask.visible.sum(dim=1) == 5 * 12).all() and (mask.target.sum(dim=1) == 3 * 12).all()
    assert slots[0][0].tolist() == [True] * 5 + [False] * 5 and slots[1][0].tolist() == [False] * 7 + [True] * 3


def test_a_clip_that_is_too_short_for_the_future_is_refused():
    with pytest.raises(UnseenError, match="nothing to predict"):
        Future(observed_s=1.0, gap_s=1.0)(clip_units(2, 10, 3, 4), torch.arange(2), {})
    with pytest.raises(UnseenError, match="3-D grid"):
        Future()(clip_units(2, 1, 3, 4)._replace(grid=(3, 4)), torch.arange(2), {})


def weighted_units(batch: int, importance: torch.Tensor) -> Units:
    n_units = len(importance)
    return Units(torch.zeros(1, n_units, 2), torch.ones(batch, n_units, dtype=torch.bool), importance[None])


def test_inclusion_probabilities_match_simulation_and_their_bounds():
    importance = torch.ones(200)
    importance[:8], importance[8:20] = 10.0, 3.0
    mask = Weighted(ratio=0.75)(weighted_units(4000, importance), torch.arange(4000) * 7919, {})
    often = mask.target.double().mean(dim=0)
    assert (mask.target.sum(dim=1) == 150).all() and abs(float(mask.inclusion[0].sum()) - 150) < 1e-3
    for part in (slice(0, 8), slice(8, 20), slice(20, 200)):
        assert abs(float(often[part].mean()) - float(mask.inclusion[0, part].mean())) < 0.004
    assert mask.inclusion.max() <= 0.9 + 1e-6, "a unit that is nearly never context"
    assert float(mask.inclusion[0, 0]) == pytest.approx(0.9) and float(mask.inclusion[0, 100]) < 0.75


def test_without_bounds_the_probabilities_are_those_of_exponential_clocks():
    """Four units of weights 1, 1, 1, 3, two taken: solved by hand, 3 x + y = 2 with x = 1 - e^-t, y = 1 - e^-3t."""
    weights, count = torch.tensor([[1.0, 1.0, 1.0, 3.0]]), torch.tensor([2])
    found = inclusion_probability(weights, torch.ones(1, 4, dtype=torch.bool), count)[0]
    tau = -math.log1p(-float(found[0]))
    assert float(found.sum()) == pytest.approx(2) and float(found[3]) == pytest.approx(1 - math.exp(-3 * tau))


def test_dividing_by_the_inclusion_probability_removes_the_bias():
    """40 rare units of 1024 with five times the loss: the plain mean over hidden units is off, the other is not."""
    importance = torch.ones(1024)
    importance[:40] = 10.0
    loss = torch.ones(1024)
    loss[:40] = 5.0
    mask = Weighted(ratio=0.5, most=0.95)(weighted_units(600, importance), torch.arange(600) * 31, {})
    truth, hidden = float(loss.mean()), mask.target
    plain = float((loss * hidden).sum() / hidden.sum())
    corrected = float(((loss * hidden) / mask.inclusion.clamp(min=1e-6)).sum(dim=1).mean() / 1024)
    assert plain / truth > 1.08 and abs(corrected / truth - 1) < 0.003


def test_units_of_no_importance_are_hidden_last():
    importance = torch.ones(20)
    importance[5:8] = 0
    mask = Weighted(ratio=0.8)(weighted_units(50, importance), torch.arange(50), {})
    assert (
        not mask.target[:, 5:8].any() and (mask.inclusion[:, 5:8] == 0).all() and (mask.target.sum(dim=1) == 16).all()
    )


def test_whole_tubes_and_the_long_way_agree():
    units = clip_units(4, 3, 4, 5)
    score = torch.randint(0, 6, (4, 20), generator=torch.Generator().manual_seed(0))
    whole, counts = choose_tubes(score, units, torch.full((4,), 24), torch.full((4,), 30)), (24, 30)
    ragged = units._replace(valid=units.valid.clone())
    ragged.valid[3, 7] = False
    n_visible, n_target = (torch.tensor([count] * 4) for count in counts)
    long_way = choose_tubes(score, ragged, n_visible, n_target)
    assert torch.equal(whole.visible[:3], long_way.visible[:3]) and torch.equal(whole.target[:3], long_way.target[:3])


@pytest.mark.parametrize(
    "policy",
    [
        lambda: Tube(cell=0),
        lambda: RunningCell(cell=1),
        lambda: MultiBlock(area=()),
        lambda: MultiBlock(area=((0.3, 0.1),)),
        lambda: MultiBlock(ratio=0.7, context=0.4),
        lambda: MultiBlock(aspect=(1.5, 0.75)),
        lambda: Future(observed_s=0.0),
        lambda: Future(gap_s=-1.0),
        lambda: Weighted(ratio=0.95),
        lambda: Weighted(least=0.0),
    ],
)
def test_settings_that_mean_nothing_are_refused(policy):
    with pytest.raises(UnseenError):
        policy()
