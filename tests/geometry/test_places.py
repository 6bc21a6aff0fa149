"""Places of units: lifted and projected back, by hand where that is possible."""

import pytest
import torch
from torch import Tensor

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.geometry.motion import rotation
from unseen.geometry.places import (
    FAR_M,
    Shots,
    clip_places,
    ground_below,
    is_direction,
    patch_depth,
    seen_at,
    unit_places,
)

SIZE, GRID, HEIGHT_M = (64, 96), (4, 4, 6), 1.6
K = torch.tensor([[80.0, 0, 47.5], [0, 80.0, 31.5], [0, 0, 1]]).double()
AHEAD = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]).double()  # world axes from optical axes
TIMES = torch.arange(4).double()[None] * 0.1


def drive(speed_mps: float, yaw_rate: float = 0.0) -> Tensor:
    """World from a camera that looks along the motion, level, over the plane z = 0."""
    poses = torch.eye(4).double().repeat(4, 1, 1)
    for pose, time in zip(poses, TIMES[0], strict=True):
        pose[:3, :3] = rotation(torch.tensor([0.0, 0.0, 1.0]).double() * yaw_rate * time) @ AHEAD
        pose[:3, 3] = torch.stack([speed_mps * time, time * 0, time * 0 + HEIGHT_M])
    return poses[None]


def intrinsics() -> Tensor:
    return K.expand(1, 4, 3, 3)


def places(poses: Tensor, depth=None, **settings) -> Tensor:
    return unit_places(GRID, intrinsics(), poses, SIZE, 1, depth, ground_below(poses, HEIGHT_M), **settings)


def test_below_the_horizon_is_the_ground_and_above_it_are_directions():
    place = places(drive(7.0)).unflatten(1, GRID)
    near = place[:, :, 3]
    assert (near[..., 2] + HEIGHT_M).abs().max() < 1e-12 and not is_direction(near).any()
    sky = place[:, :, :2]
    assert is_direction(sky).all() and (sky[..., 2] > 0).all()
    # the lowest row of the left column, in the first frame: v = 63, u = 0
    torch.testing.assert_close(place[0, 0, 3, 0, 20], torch.tensor([80.0, 47.5, -31.5]).double() * (HEIGHT_M / 31.5))


@pytest.mark.parametrize("row_time_s", [0.0, 0.03 / 64])
def test_places_project_to_the_pixels_that_show_them(row_time_s):
    poses = drive(14.0, 0.3)
    place = places(poses, frame_time_s=TIMES, row_time_s=row_time_s)
    shots = Shots.of(intrinsics(), poses, SIZE[0], TIMES, row_time_s)
    pixel = shots.project(place.flatten(1, 2)).unflatten(2, place.shape[1:3]).unflatten(2, GRID)
    v, u = torch.linspace(0, 15, 5).double(), torch.linspace(0, 15, 5).double()
    for frame in range(4):
        own = pixel[0, frame, frame].unflatten(-2, (5, 5))
        rows, columns = torch.arange(4)[:, None, None, None] * 16, torch.arange(6)[None, :, None, None] * 16
        off = torch.stack([own[..., 0] - (columns + u), own[..., 1] - (rows + v[:, None])])
        assert off.abs().max() < (1e-3 if not row_time_s else 0.06)
    if row_time_s:  # two rounds of iteration matter: to look once at the pose of the frame is far off
        once = Shots.of(intrinsics(), poses, SIZE[0]).project(place.flatten(1, 2))
        assert (once[0, 0, : 24 * 25, 1] - pixel[0, 0, 0].flatten(0, 2)[:, 1]).abs().max() > 1


def test_measured_depth_goes_before_the_ground_and_sky_is_known_by_infinity():
    depth = torch.full((1, 4, *SIZE), 10.0)
    depth[:, :, :16] = torch.inf
    place = places(drive(0.0), depth).unflatten(1, GRID)
    assert is_direction(place[:, :, 0]).all()
    torch.testing.assert_close(place[:, :, 1:, :, :, 0], torch.full((1, 4, 3, 6, 25), 10.0).double())
    assert place[0, 0, 3, 0, 20, 2] < -10 * 31 / 80  # under the ground, but measured


def test_what_nothing_is_known_of_has_no_place():
    depth = torch.full((1, 4, *SIZE), torch.nan)
    poses = drive(1.0)
    assert unit_places(GRID, intrinsics(), poses, SIZE, 1, depth).isnan().all()
    assert unit_places(GRID, intrinsics(), poses, SIZE, 1).isnan().all()
    depth[:, :, 20, 20:23] = 8.0  # three measurements in one unit: it and its eight neighbours
    known = ~unit_places(GRID, intrinsics(), poses, SIZE, 1, depth).isnan().any(-1).all(-1)
    assert known.unflatten(1, GRID)[0, 0].nonzero().tolist() == [[r, c] for r in range(3) for c in range(3)]


def test_a_patch_that_measured_the_ground_is_ground_and_one_that_stands_is_upright():
    poses = drive(0.0)
    depth = torch.full((1, 4, *SIZE), torch.nan)
    v = 56
    depth[:, :, v, 0:9:4] = 80 * HEIGHT_M / (v - 31.5)  # lies on the ground
    depth[:, :, v, 80:89:4] = 1.5  # stands in front of it
    place = unit_places(GRID, intrinsics(), poses, SIZE, 1, depth, ground_below(poses, HEIGHT_M)).unflatten(1, GRID)
    assert (place[0, 0, 3, 0, :, 2] + HEIGHT_M).abs().max() < 1e-6
    torch.testing.assert_close(place[0, 0, 3, 5, :, 0], torch.full((25,), 1.5).double())


def test_the_median_of_a_patch_needs_three_measurements():
    depth = torch.full((1, 1, 4, 12), torch.nan)
    depth[0, 0, 0, :3] = torch.tensor([1.0, 2.0, 9.0])
    depth[0, 0, 0, 10:] = 5.0
    assert patch_depth(depth, (4, 4))[0, 0, 0, 0] == 2 and patch_depth(depth, (4, 4))[0, 0, 0, 1] == 2
    assert patch_depth(depth, (4, 4))[0, 0, 0, 2].isnan()


def test_a_unit_is_seen_by_itself_and_by_others_where_they_look():
    poses = drive(7.0, 0.2)
    place = places(poses)
    seen = seen_at(place, GRID, intrinsics(), poses, SIZE, 1)
    n = GRID[1] * GRID[2]
    for frame in range(4):
        own = seen[0, frame * n : (frame + 1) * n, :, frame]
        assert torch.equal(own, torch.arange(frame * n, (frame + 1) * n)[:, None].expand(-1, 25))
    assert (seen[0, 3 * n + 18 :, :, 0] >= 0).float().mean() > 0.8  # what is near at last was in view at first
    assert (seen[0, 18:n, :, 3] < 0).any()  # what was near at first is left behind
    still = seen_at(places(drive(0.0)), GRID, intrinsics(), drive(0.0), SIZE, 1) % n
    assert torch.equal(still, torch.arange(4 * n)[None, :, None, None].expand_as(still) % n)
    assert (seen_at(place * torch.nan, GRID, intrinsics(), poses, SIZE, 1) == -1).all()


def test_what_stands_in_front_hides():
    poses = drive(0.0)
    depth = torch.full((1, 4, *SIZE), 20.0)
    place = places(poses, depth)
    depth[:, 2] = 5.0
    seen = seen_at(place, GRID, intrinsics(), poses, SIZE, 1, depth)
    n = GRID[1] * GRID[2]
    assert (seen[:, :n, :, 2] == -1).all() and (seen[:, :n, :, 1] >= 0).all()


def test_moving_does_not_change_a_direction_and_turning_does_not_either():
    still, moved = places(drive(0.0)), places(drive(14.0))
    far = is_direction(still)
    assert far.any() and (still - moved)[far].norm(dim=-1).max() < 1e-6 * FAR_M
    poses = drive(0.0, 0.5)
    seen = seen_at(places(poses), GRID, intrinsics(), poses, SIZE, 1)
    assert ((seen >= 0).float().mean(dim=(0, 1, 2)) > 0.7).all()


def test_the_viewpoint_is_behind_all_cameras_and_the_map_may_be_far_away():
    """Ahead or backwards, places lie ahead of it; coordinates of a map lose nothing."""
    poses = drive(7.0)
    viewpoint = Shots.of(intrinsics(), poses, SIZE[0]).viewpoint_m
    torch.testing.assert_close(viewpoint, poses[:, 0, :3, 3])
    rear = poses.flip(1)  # drives backwards, or looks back
    torch.testing.assert_close(Shots.of(intrinsics(), rear, SIZE[0]).viewpoint_m, poses[:, 0, :3, 3])
    moved = poses.clone()
    moved[..., :3, 3] += torch.tensor([4.5e5, 5.3e6, 120.0])
    ground = ground_below(moved, HEIGHT_M)
    there = unit_places(GRID, intrinsics(), moved, SIZE, 1, None, ground)
    assert (there - places(poses))[~is_direction(there)].abs().max() < 1e-6


def test_a_clip_without_poses_has_no_place_and_spoils_no_other():
    poses = torch.cat([drive(7.0), drive(7.0) * torch.nan])
    k = intrinsics().repeat(2, 1, 1, 1)
    place = unit_places(GRID, k, poses, SIZE, 1, None, ground_below(poses, HEIGHT_M))
    torch.testing.assert_close(place[:1], places(drive(7.0)))
    assert place[1].isnan().all()
    k[1] = torch.nan
    assert unit_places(GRID, k, poses, SIZE, 1, torch.ones(2, 4, *SIZE))[1].isnan().all()


def test_every_frame_of_a_tube_is_sampled():
    poses = drive(7.0)
    alone = places(poses).unflatten(1, GRID)
    both = unit_places((2, 4, 6), intrinsics(), poses, SIZE, 2, None, ground_below(poses, HEIGHT_M))
    assert both.shape == (1, 48, 50, 3)
    torch.testing.assert_close(both.unflatten(1, (2, 4, 6))[:, 1, ..., 25:, :], alone[:, 3])


def test_a_clip_tells_its_places_or_none():
    poses, depth = drive(7.0), torch.full((1, 4, *SIZE), 12.0)
    known = {"intrinsics": intrinsics().float(), "world_from_camera": poses.float()}
    video = torch.zeros(1, 4, 3, *SIZE)
    torch.testing.assert_close(
        clip_places(Clip(video=video, **known), GRID, 1), places(poses).float(), rtol=1e-4, atol=1e-3
    )
    deep = clip_places(Clip(video=video, **known, depth_m=depth), GRID, 1)
    torch.testing.assert_close(deep, places(poses, depth).float(), rtol=1e-4, atol=1e-3)
    assert clip_places(Clip(video=video, **known), GRID, 1, ground=False).isnan().all()
    assert clip_places(Clip(video=video, intrinsics=intrinsics()), GRID, 1) is None


def test_what_cannot_be_right_is_refused():
    poses = drive(1.0)
    with pytest.raises(UnseenError, match="divide"):
        unit_places((4, 5, 6), intrinsics(), poses, SIZE, 1)
    with pytest.raises(UnseenError, match="times"):
        unit_places(GRID, intrinsics(), poses, SIZE, 1, row_time_s=1e-4)
    with pytest.raises(UnseenError, match="above 0"):
        ground_below(poses, 0.0)
