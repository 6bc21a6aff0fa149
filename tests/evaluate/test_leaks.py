"""Leaks through time, on clips small enough to count by hand."""

import math

import pytest
import torch

from unseen.contract import Clip, Mask, Units
from unseen.evaluate import leaks
from unseen.geometry.motion import rotation_vector
from unseen.geometry.places import FAR_M, Shots, clip_places, ground_below, unit_places
from unseen.masks import EgoTube, Random, Tube

NAN = math.nan


def row_of(*marks: str) -> Mask:
    """One letter a unit, one word a slot: v visible, t target, g guard."""
    letters = "".join(marks)
    return Mask(*(torch.tensor([[letter == mark for letter in letters]]) for mark in "vt"))


def units_of(slots: int, columns: int, place=None) -> Units:
    n = slots * columns
    known = torch.zeros(1, n, 2, 3) if place is None else place
    return Units(
        torch.zeros(1, n, 3), torch.ones(1, n, dtype=torch.bool), torch.ones(1, n), (slots, 1, columns), None, known
    )


def sliding(columns: int = 4):
    """Two slots of one row of units with two samples each; the world slides half a unit to the left."""
    seen = torch.full((1, 2 * columns, 2, 2), -1)
    for slot in range(2):
        for column in range(columns):
            for half in range(2):
                seen[0, slot * columns + column, half, slot] = slot * columns + column
                there = column + (half - 1 if slot == 0 else half)  # half a unit to the left, or to the right
                if 0 <= there < columns:
                    seen[0, slot * columns + column, half, 1 - slot] = (1 - slot) * columns + there
    return seen


def test_random_masks_leak_in_the_image_as_often_as_chance_has_it_and_tubes_never():
    units = units_of(3, 36)
    units = units._replace(valid=units.valid.expand(200, -1))
    random = Random(ratio=0.5)(units, torch.arange(200), {})
    assert leaks.image_leak(random, 3) == pytest.approx(1 - 0.5**2, abs=0.02)
    assert leaks.image_leak(Tube(ratio=0.5)(units, torch.arange(200), {}), 3) == 0


def test_leak_counts_halves_of_targets_that_another_slot_shows():
    units, seen = units_of(2, 4), sliding()
    # slot 0: targets 1 and 2; their halves are seen in slot 1 by units 0, 1 and 1, 2: one half is visible there
    assert leaks.leak_share(row_of("gttg", "vggg"), units, seen).tolist() == [0.25]
    assert leaks.leak_share(row_of("gttg", "gvgg"), units, seen).tolist() == [0.5]
    assert leaks.leak_share(row_of("vttv", "gggg"), units, seen).tolist() == [0.0]  # visible in its own slot is no leak
    assert leaks.again_share(row_of("gttg", "vttg"), units, seen).tolist() == [6 / 8]
    assert leaks.leak_share(row_of("vvvv", "vvvv"), units, seen).isnan().all()


def test_places_that_nobody_knows_do_not_count():
    place = torch.zeros(1, 8, 2, 3)
    place[0, 1] = NAN
    place[0, 2, 0] = NAN
    units = units_of(2, 4, place)
    assert leaks.unknown_share(units).tolist() == [1 / 8]
    assert leaks.leak_share(row_of("gttg", "ggvg"), units, sliding()).tolist() == [1.0]
    assert leaks.unknown_share(units._replace(place=None)).tolist() == [1.0]


def test_in_view_is_of_other_frames():
    assert leaks.in_view_share(units_of(2, 4), sliding()).tolist() == [14 / 16]


def test_counts_and_overlap():
    mask = row_of("vttg", "vvtg")
    assert leaks.slot_counts(mask, units_of(2, 4)).tolist() == [[[1, 2], [2, 1]]]
    assert leaks.overlap(mask.target, row_of("vtgg", "vvtt").target).tolist() == [0.5]


def test_visible_area_by_range():
    place = torch.tensor([2.0, 7.0, 30.0, FAR_M])[:, None, None] * torch.tensor([1.0, 0, 0]).expand(1, 4, 2, 3)
    share = leaks.visible_by_range(row_of("vtvt"), units_of(1, 4, place), torch.zeros(1, 1, 3))
    torch.testing.assert_close(share, torch.tensor([[1, 0, NAN, 1, NAN, NAN, 0]]).double(), equal_nan=True)


def clip_of(speed_mps: float, frames: int = 4) -> Clip:
    """A camera that looks ahead, 1.5 m above the plane z = 0."""
    k = torch.tensor([[60.0, 0, 39.5], [0, 60.0, 15.5], [0, 0, 1]]).expand(1, frames, 3, 3)
    poses = torch.eye(4).repeat(1, frames, 1, 1)
    poses[0, :, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    times = 0.1 * torch.arange(frames)[None]
    poses[0, :, 0, 3], poses[0, :, 2, 3] = speed_mps * times[0], 1.5
    return Clip(video=torch.zeros(1, frames, 1, 48, 80), intrinsics=k, world_from_camera=poses, frame_time_s=times)


def test_the_audit_of_a_clip_tells_following_from_static():
    clip, grid = clip_of(7.0), (2, 12, 20)
    n = torch.Size(grid).numel()
    units = Units(torch.zeros(1, n, 3), torch.ones(1, n, dtype=torch.bool), torch.ones(1, n), grid)
    placed = units._replace(place=clip_places(clip, grid, 2))
    key = torch.tensor([3])
    follows = leaks.audit_places(EgoTube(), placed, clip, key)
    static = leaks.audit_places(Tube(ratio=0.75), units, clip, key)
    assert 4 * follows.leak < static.leak
    assert follows.counts == [(60, 120)] * 2 and static.counts == [(60, 180)] * 2
    assert follows.stay == static.stay < 0.6 and follows.in_view == static.in_view > 0.8
    assert (follows.unknown, static.unknown) == (0.0, 1.0)
    assert 0.8 < follows.steady < 1 and math.isnan(static.steady)
    assert len(follows.visible_by_range) == 7 and all(0 <= share <= 1 for share in follows.visible_by_range)
    still = leaks.audit_places(EgoTube(), placed._replace(place=clip_places(clip_of(0), grid, 2)), clip_of(0), key)
    assert (still.leak, still.stay, still.in_view) == (0, 1, 1)
    assert leaks.audit_places(Tube(), units, Clip(video=clip["video"]), key) is None


@pytest.mark.parametrize(
    ("speed", "frames", "expected"), [(1.4, 2, 0.53), (7.0, 2, 0.098), (1.4, 8, 0.064), (14.0, 8, 0)]
)
def test_the_road_leaves_static_tubes_as_computed_elsewhere(speed, frames, expected):
    """1600 x 900, focal length 1266 px, patches of 16 px, camera 1.5 m above the ground, frames 0.1 s apart."""
    k = torch.tensor([[1266.0, 0, 799.5], [0, 1266.0, 449.5], [0, 0, 1]], dtype=torch.float64).expand(1, frames, 3, 3)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, frames, 1, 1)
    poses[0, :, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses[0, :, 0, 3] = speed * 0.1 * torch.arange(frames)
    size, grid = (896, 1600), (frames, 56, 100)
    place = unit_places(grid, k, poses, size, 1, None, ground_below(poses, 1.5), samples=1)
    place[place[..., :2].norm(dim=-1) > 60] = NAN
    assert abs(float(leaks.stay_share(place, Shots.of(k, poses, size[0]), size, grid)) - expected) < 0.006


def test_shaken_poses_are_off_as_said():
    poses = torch.eye(4, dtype=torch.float64).repeat(200, 8, 1, 1)
    poses[:, :, 0, 3] = 10 * torch.arange(8) * 0.1
    noisy = leaks.shaken(poses, torch.arange(8)[None].expand(200, -1) * 0.1, torch.arange(200))
    off = (noisy[..., :3, 3] - poses[..., :3, 3]).std(dim=(0, 1))
    torch.testing.assert_close(off, torch.tensor([math.hypot(0.05, 0.1), 0.05, 0.05]).double(), rtol=0.1, atol=0)
    turn = torch.rad2deg(rotation_vector(noisy[..., :3, :3])).std(dim=(0, 1))
    torch.testing.assert_close(turn, torch.full((3,), 0.1).double(), rtol=0.1, atol=0)
