"""Do masks of a clip hide places? `python -m benchmarks.ego_tubes road bev world` and `kitti LIDAR.npz CAMERA.zip`.

Static tubes beside tubes that follow the world: the share of the target area that another frame shows (leak), of the
target area that is target again where another frame shows it (again), and what the numbers rest on.
"""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor

from unseen.contract import MaskPolicy, Units
from unseen.evaluate import leaks
from unseen.geometry import pose
from unseen.geometry.camera import OPTICAL_AXES, Camera
from unseen.geometry.motion import poses_at
from unseen.geometry.places import Shots, ground_below, seen_at, unit_places
from unseen.masks import EgoTube, Tube
from unseen.randomness import keys
from unseen.world.apron import make_apron
from unseen.world.cast import cast_image
from unseen.world.site import make_site

CAMERA_M = 1.9
DRAWS = 6  # masks of each clip


class Scene(NamedTuple):
    """A clip: cameras, true depth, the plane below."""

    intrinsics: Tensor
    world_from_camera: Tensor
    time_s: Tensor
    depth_m: Tensor
    size_px: tuple[int, int]
    camera_m: float

    def places(self, unit_px: int, *, depth: bool = True, ground: bool = True, samples: int = 5, poses=None) -> Tensor:
        at = self.world_from_camera if poses is None else poses
        plane = ground_below(at, self.camera_m) if ground else None
        measured = self.depth_m if depth else None
        k, size = self.intrinsics, self.size_px
        return unit_places(self.grid(unit_px), k, at, size, 1, measured, plane, samples=samples)

    def grid(self, unit_px: int) -> tuple[int, int, int]:
        return len(self.time_s[0]), self.size_px[0] // unit_px, self.size_px[1] // unit_px


def arc(speed_mps: float, yaw_rate: float, time_s: np.ndarray) -> np.ndarray:
    """start_from_ego [T, 4, 4] of a steady drive."""
    angle = yaw_rate * time_s
    along = speed_mps * time_s * np.sinc(angle / np.pi)
    across = speed_mps * time_s * (1 - np.cos(angle)) / np.where(angle == 0, 1, angle)
    return np.stack([pose.planar(x, y, a) for x, y, a in zip(along, across, angle, strict=True)])


def units_of(place: Tensor | None, grid: tuple[int, ...]) -> Units:
    n = int(np.prod(grid))
    return Units(torch.zeros(1, n, 3), torch.ones(1, n, dtype=torch.bool), torch.ones(1, n), grid, None, place)


def draw(policy: MaskPolicy, units: Units, number: int):
    return policy(units, keys(number, torch.tensor([7]), 0, "mask"), {})


def row(name: str, *values: float) -> None:
    print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |", flush=True)


def road() -> None:
    """Ground patches of 16 px up to 60 m away, 1600 x 900: how many keep to their place within half a patch."""
    print(
        "\n| stay share of a static tube | front 2 x .1 s | front 8 x .1 s | side 2 x .1 s | front 4 x .5 s |\n"
        + "|-" * 5
    )
    k = torch.tensor([[1266.0, 0, 799.5], [0, 1266.0, 449.5], [0, 0, 1]], dtype=torch.float64)
    for speed in (1.4, 7.0, 14.0):
        shares = []
        for frames, step, yaw_deg in ((2, 0.1, 0), (8, 0.1, 0), (2, 0.1, 90), (4, 0.5, 0)):
            ahead = torch.from_numpy(pose.pose(pose.turn(np.radians(yaw_deg)) @ OPTICAL_AXES, np.array([0, 0, 1.5])))
            drive = torch.from_numpy(arc(speed, 0.0, np.arange(frames) * step)) @ ahead
            grid, size = (frames, 56, 100), (896, 1600)
            intrinsics, poses = k.expand(1, frames, 3, 3), drive[None]
            place = unit_places(grid, intrinsics, poses, size, 1, None, ground_below(poses, 1.5), samples=1)
            place[place[..., :2].norm(dim=-1) > 60] = torch.nan
            shares.append(float(leaks.stay_share(place, Shots.of(intrinsics, poses, size[0]), size, grid)))
        row(f"{speed} m/s", *shares)


def bev() -> None:
    """Units of 2 m on 64 x 64 m of ground around a vehicle at 7 m/s."""
    policies = {
        "static tube .75": Tube(ratio=0.75),
        "cell 1, no guard": EgoTube(visible=0.25, target=0.75, cell=1, by="ground"),
        "cell 2, no guard": EgoTube(visible=0.25, target=0.75, cell=2, by="ground"),
        "cell 4, .25 / .5": EgoTube(cell=4, by="ground"),
        "cell 6, .25 / .5": EgoTube(cell=6, by="ground"),
        "cell 4, .15 / .6": EgoTube(visible=0.15, target=0.6, cell=4, by="ground"),
    }
    print("\n| BEV, 2 m units, 7 m/s: leak | " + " | ".join(policies) + " |\n" + "|-" * (1 + len(policies)))
    for name, frames, step, yaw in (
        ("8 x .1 s", 8, 0.1, 0.0),
        ("8 x .1 s, .2 rad/s", 8, 0.1, 0.2),
        ("4 x .5 s", 4, 0.5, 0.0),
    ):
        world_from_ego = torch.from_numpy(arc(7.0, yaw, np.arange(frames) * step))
        place, fine = (_bev_places(world_from_ego, 32, 2.0, n) for n in (5, 4))
        ego = torch.einsum("tij,nsti->nstj", world_from_ego[:, :3, :3], fine[0][:, :, None] - world_from_ego[:, :3, 3])
        at = (ego[..., :2] / 2.0 + 16).floor().long()
        inside = ((at >= 0) & (at < 32)).all(dim=-1)
        seen = torch.where(inside, (torch.arange(frames) * 32 + at[..., 0]) * 32 + at[..., 1], -1)[None]
        units, true = (units_of(p, (frames, 32, 32)) for p in (place, fine))
        leaks = [
            np.mean([float(leaks.leak_share(draw(policy, units, n), true, seen)) for n in range(DRAWS)])
            for policy in policies.values()
        ]
        row(name, *leaks)


def _bev_places(world_from_ego: Tensor, n: int, side: float, samples: int) -> Tensor:
    """Samples [1, T n n, S, 3] of cells around each pose; five from edge to edge, four of equal parts."""
    within = torch.linspace(0, 1, 5) if samples == 5 else (torch.arange(samples) + 0.5) / samples
    line = ((torch.arange(n)[:, None] + within) * side - n * side / 2).double()
    x, y = line[:, None, :, None].expand(n, n, samples, samples), line[None, :, None, :].expand(n, n, samples, samples)
    ego = torch.stack([x, y, torch.zeros_like(x)], dim=-1).flatten(2, 3).flatten(0, 1)
    return (
        torch.einsum("tij,nsj->tnsi", world_from_ego[:, :3, :3], ego) + world_from_ego[:, None, None, :3, 3]
    ).flatten(0, 1)[None]


def apron_scene(log: int, speed: float, yaw_rate: float, frames: int = 8, step: float = 0.1) -> Scene:
    """What stands on the embedded apron, seen by a car that drives as asked from where log `log` begins."""
    size = (224, 400)
    apron = make_apron(make_site(0, log % 2), 0, log, size_px=size)
    camera, time_s = Camera.facing(size, 64.6, CAMERA_M, pitch_deg=2.0), np.arange(frames) * step
    site_from_ego = apron.drive.at(0.0) @ arc(speed, yaw_rate, time_s)
    depth = np.stack([cast_image(apron.standing, camera.ray_field(p), size).depth_m for p in site_from_ego])
    (fx, fy), (cx, cy) = camera.focal_px, camera.centre_px
    k = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64).expand(1, frames, 3, 3)
    poses = torch.from_numpy(site_from_ego @ camera.ego_from_camera)[None]
    return Scene(k, poses, torch.from_numpy(time_s)[None], torch.from_numpy(depth)[None], size, CAMERA_M)


def world() -> None:
    for speed, yaw in ((1.4, 0.0), (7.0, 0.0), (7.0, 0.2), (14.0, 0.0)):
        table(f"apron, {speed} m/s, {yaw} rad/s, 8 x .1 s", (apron_scene(log, speed, yaw) for log in range(4)), 16)


def kitti(lidar: Path, camera: Path) -> None:
    """Half-size KITTI frames, poses by LiDAR odometry, depth of the nearest sweep, the plane elsewhere."""
    table("KITTI, 8 x .1 s", kitti_scenes(lidar, camera, [range(s, s + 8) for s in range(0, 64, 12)]), 16)
    table("KITTI, 4 x .6 s", kitti_scenes(lidar, camera, [range(s, s + 24, 6) for s in range(0, 54, 12)]), 16)


def kitti_scenes(lidar: Path, camera: Path, windows: list[range]) -> Iterator[Scene]:
    sweeps = np.load(lidar, allow_pickle=False)
    with zipfile.ZipFile(camera) as files:
        calibration = json.loads(files.read("calib.json"))
    camera_from_lidar = np.array(calibration["R_rect_00"]) @ np.array(calibration["RT"])
    p, top, size = np.array(calibration["P_rect_00"]), 11, (176, 608)  # the lower 176 of 187 rows
    k = np.array(
        [[p[0, 0] / 2, 0, (p[0, 2] + 0.5) / 2 - 0.5], [0, p[1, 1] / 2, (p[1, 2] + 0.5) / 2 - 0.5 - top], [0, 0, 1]]
    )
    sweep_s, local_from_lidar = (
        torch.from_numpy(sweeps["timestamp_ns"] / 1e9)[None],
        torch.from_numpy(sweeps["pose"])[None],
    )
    for window in windows:
        time_s = torch.tensor([[number / 10 for number in window]], dtype=torch.float64)
        poses = poses_at(local_from_lidar, sweep_s, time_s) @ torch.from_numpy(pose.inverse(camera_from_lidar))
        nearest = (time_s[0][:, None] - sweep_s).abs().argmin(dim=1).tolist()
        depth = []
        for sweep, at in zip(nearest, poses[0].numpy(), strict=True):
            a, b = sweeps["ptr"][sweep : sweep + 2]
            xyz = np.cumsum(sweeps["dxyz"][:, a:b], axis=1, dtype=np.int16).T * float(sweeps["scale"])
            local = pose.transform(sweeps["pose"][sweep], xyz)
            depth.append(_depth_image(pose.transform(pose.inverse(at), local), k, size))
        intrinsics = torch.from_numpy(k).expand(1, len(window), 3, 3)
        yield Scene(intrinsics, poses, time_s, torch.from_numpy(np.stack(depth))[None], size, 1.65)


def _depth_image(point: np.ndarray, k: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest point in each pixel; NaN without."""
    point = point[point[:, 2] > 1]
    u, v, _ = np.round((point @ k.T / point[:, 2:]).T).astype(int)
    kept = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    depth = np.full(size, np.inf)
    np.minimum.at(depth, (v[kept], u[kept]), point[kept, 2])
    return np.where(np.isinf(depth), np.nan, depth)


def table(title: str, scenes: Iterator[Scene], unit_px: int) -> None:
    """Masks by what is known of places, judged by all that is known."""
    found: dict[str, list[list[float]]] = {}
    basis = []
    for scene in scenes:
        grid, k, poses, size = scene.grid(unit_px), scene.intrinsics, scene.world_from_camera, scene.size_px
        fine = scene.places(unit_px, samples=8)
        full, plane = scene.places(unit_px), scene.places(unit_px, depth=False)
        dense = None if bool(scene.depth_m.isnan().any()) else scene.depth_m
        seen, true = seen_at(fine, grid, k, poses, size, 1, dense), units_of(fine, grid)
        only = units_of(scene.places(unit_px, ground=False), grid)
        noises = [keys(number, torch.tensor([3]), 0, "noise") for number in range(DRAWS)]
        noisy = [scene.places(unit_px, poses=leaks.shaken(poses, scene.time_s, noise)) for noise in noises]
        stay = leaks.stay_share(full, Shots.of(k, poses, size[0]), size, grid)
        basis.append([float(x) for x in (stay, leaks.in_view_share(true, seen), leaks.unknown_share(only))])
        for name, policy, place in (
            ("static tube .75", Tube(ratio=0.75), full),
            ("static tube, guard", EgoTube(fallback="tube"), None),
            ("depth, cell 1, no guard", EgoTube(visible=0.25, target=0.75, cell=1), full),
            ("depth, cell 4", EgoTube(cell=4), full),
            ("depth, cell 6", EgoTube(cell=6), full),
            ("depth, cell 8", EgoTube(cell=8), full),
            ("depth, cell 4, .15 / .6", EgoTube(visible=0.15, target=0.6, cell=4), full),
            ("depth, cell 6, .15 / .6", EgoTube(visible=0.15, target=0.6, cell=6), full),
            ("plane only, cell 8", EgoTube(), plane),
        ):
            for number in range(DRAWS):
                mask, iou = draw(policy, units_of(place, grid), number), torch.tensor([torch.nan])
                if place is full and isinstance(policy, EgoTube):
                    iou = leaks.overlap(mask.target, draw(policy, units_of(noisy[number], grid), number).target)
                shares = (leaks.leak_share(mask, true, seen), leaks.again_share(mask, true, seen), iou)
                found.setdefault(name, []).append([float(share) for share in shares])
    stay, in_view, unknown = np.mean(basis, axis=0)
    print(f"\n{title}: stay {stay:.3f}, in view {in_view:.3f}, without a place but for the plane {unknown:.3f}")
    print("| mask | leak | again | IoU under noise |\n|-|-|-|-|")
    for name, values in found.items():
        row(name, *np.mean(values, axis=0))


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["road", "bev", "world"]
    for name in ("road", "bev", "world"):
        if name in wanted:
            globals()[name]()
    if wanted[0] == "kitti":
        kitti(Path(wanted[1]), Path(wanted[2]))


if __name__ == "__main__":
    main()
