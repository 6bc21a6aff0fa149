"""EgoTube: what it promises beyond the laws."""

import pytest
import torch

from unseen.contract import Units
from unseen.errors import UnseenError
from unseen.evaluate.leaks import leak_share, overlap, shaken, slot_counts
from unseen.geometry.places import FAR_M, ground_below, seen_at, unit_places
from unseen.masks import EgoTube
from unseen.randomness import keys, uniform_at

SIZE, FRAMES = (112, 192), 8
GRID = (FRAMES, 14, 24)
TIMES = torch.arange(FRAMES).double()[None] * 0.1


def key_of(batch: int, seed: int = 0):
    return keys(seed, torch.arange(batch), 0, "mask")


def drive(speed_mps: float):
    """A camera 1.6 m above the ground that looks ahead: intrinsics and poses."""
    k = torch.tensor([[150.0, 0, 95.5], [0, 150.0, 50.0], [0, 0, 1]], dtype=torch.float64).expand(1, FRAMES, 3, 3)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, FRAMES, 1, 1)
    poses[0, :, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses[0, :, 0, 3], poses[0, :, 2, 3] = speed_mps * TIMES[0], 1.6
    return k, poses


def units_of(place, grid=GRID, batch: int = 1) -> Units:
    n = torch.Size(grid).numel()
    return Units(torch.zeros(1, n, 3), torch.ones(batch, n, dtype=torch.bool), torch.ones(1, n), grid, None, place)


def on_the_road(speed_mps: float, poses=None):
    k, true = drive(speed_mps)
    poses = true if poses is None else poses
    place = unit_places(GRID, k, poses, SIZE, 1, None, ground_below(poses, 1.6))
    return units_of(place), seen_at(place, GRID, k, poses, SIZE, 1)


def leak(policy, units, seen, draws: int = 6) -> float:
    return float(torch.cat([leak_share(policy(units, key_of(1, n), {}), units, seen) for n in range(draws)]).mean())


def test_a_moving_camera_leaks_through_static_tubes_and_not_through_these():
    units, seen = on_the_road(7.0)
    static = leak(lambda u, key, m: EgoTube(fallback="tube")(u._replace(place=None), key, m), units, seen)
    assert static > 0.1 and leak(EgoTube(), units, seen) < 0.01
    assert leak(EgoTube(visible=0.25, target=0.75, cell=1.0), units, seen) > 0.05  # cells of a unit and no guard


def test_counts_are_exact_in_every_slot():
    units, _ = on_the_road(7.0)
    counted = slot_counts(EgoTube()(units, key_of(1), {}), units)
    assert (counted == torch.tensor([84, 168])).all()


def test_where_units_are_missing_slots_get_their_share():
    units, _ = on_the_road(7.0)
    valid = torch.rand(4, units.valid.shape[1], generator=torch.Generator().manual_seed(1)) < 0.6
    valid[:, : GRID[1] * GRID[2]] = False  # a slot of which nothing exists
    units = units._replace(valid=valid)
    mask = EgoTube()(units, key_of(4), {})
    existing = valid.unflatten(1, (FRAMES, -1)).sum(dim=2, keepdim=True)
    assert (slot_counts(mask, units) - existing * torch.tensor([0.25, 0.5])).abs().max() <= 1.5
    assert (mask.target.sum(dim=1) == (valid.sum(dim=1) / 2 / FRAMES).round() * FRAMES).all()


def test_noise_of_poses_leaves_most_of_a_mask():
    units, _ = on_the_road(7.0)
    noisy, _ = on_the_road(7.0, shaken(drive(7.0)[1], TIMES, key_of(1, 5)))
    same = [overlap(*(EgoTube()(u, key_of(1, n), {}).target for u in (units, noisy))) for n in range(6)]
    assert 0.9 <= float(torch.cat(same).mean()) < 1


def test_standing_still_it_is_a_static_tube():
    units, _ = on_the_road(0.0)
    by_slot = EgoTube()(units, key_of(1), {}).target.unflatten(1, (FRAMES, -1))
    assert torch.equal(by_slot.all(dim=1), by_slot.any(dim=1))


def test_units_are_covered_evenly():
    """Away from the border of the picture; the lattice lies differently in each sample."""
    units, _ = on_the_road(0.0)
    n, slot = 600, GRID[1] * GRID[2]
    one = units_of(units.place[:, :slot].expand(n, -1, -1, -1), (1, *GRID[1:]), n)
    mask = EgoTube()(one, key_of(n), {})
    for chosen, share in ((mask.visible, 0.25), (mask.target, 0.5)):
        often = chosen.double().mean(dim=0).view(GRID[1:])
        assert (often - share).abs().max() < 0.15


def test_importance_draws_units_into_hiding():
    units, _ = on_the_road(0.0)
    heavy = torch.ones(1, units.valid.shape[1])
    heavy[:, 100:120] = 8.0
    hidden = [EgoTube()(units._replace(importance=heavy), key_of(1, n), {}).target[0, 100:120] for n in range(40)]
    assert torch.stack(hidden).double().mean() > 0.75


def test_units_without_a_place_keep_to_their_tube():
    units, _ = on_the_road(7.0)
    place = units.place.clone().unflatten(1, GRID)
    place[:, :, :7] = torch.nan
    mask = EgoTube()(units._replace(place=place.flatten(1, 3)), key_of(1), {})
    alone = EgoTube(fallback="tube")(units._replace(place=None), key_of(1), {})
    assert mask.target.unflatten(1, GRID)[:, :, :7].any() and not torch.equal(mask.target, alone.target)


@pytest.mark.parametrize("place", [None, torch.full((2, 8, 3, 3), torch.nan)])
def test_a_clip_without_places_is_refused_or_gets_static_tubes_if_told_so(place):
    units = units_of(place, (2, 2, 2), 2)
    with pytest.raises(UnseenError, match="2 of 2 clips have no place in the world"):
        EgoTube()(units, key_of(2), {})
    mask = EgoTube(fallback="tube")(units, key_of(2), {})
    assert torch.equal(mask.target[:, :4], mask.target[:, 4:])
    if place is not None:
        place = place.clone()
        place[0] = 5 * torch.rand(8, 3, 3, generator=torch.Generator().manual_seed(0))
        with pytest.raises(UnseenError, match="1 of 2 clips"):
            EgoTube()(units._replace(place=place), key_of(2), {})


def test_on_the_ground_a_direction_is_no_place():
    units = units_of(torch.full((1, 8, 3, 3), FAR_M), (2, 2, 2))
    with pytest.raises(UnseenError, match="no place"):
        EgoTube(by="ground")(units, key_of(1), {})
    EgoTube()(units, key_of(1), {})


def test_nonsense_is_refused():
    for settings in ({"visible": 0.0}, {"target": 0.8}, {"cell": 0.0}):
        with pytest.raises(UnseenError, match="EgoTube"):
            EgoTube(**settings)


def test_cells_have_numbers_of_their_own():
    cell = torch.cartesian_prod(*[torch.arange(-20, 20)] * 2)
    value = uniform_at(key_of(2), cell[None].expand(2, -1, -1))
    assert value.min() >= 0 and value.max() < 1 and len(value.flatten().unique()) == 3200
    assert abs(float(value.mean()) - 0.5) < 0.02 and abs(float(value.std()) - 12**-0.5) < 0.02
    again = uniform_at(key_of(2)[1:], cell[None, 7:9])
    assert torch.equal(again[0], value[1, 7:9])
